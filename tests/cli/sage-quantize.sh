#!/bin/bash
# sage infer quantize, validate and profile, as a user runs them.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/LICENSE
exits 0 sage infer quantize --model "$model" --profile w8a16 --output w8
cmp <(tar xOf w8/model.sqa profile.yaml | grep -x '  id: w8a16') \
    <(echo '  id: w8a16')
sq-rtn -p w8a16 -m "$model" | sq-pack -p w8a16 -o by-hand.sqa
same w8/model.sqa by-hand.sqa

# A profile of the ten fields alone is enough.
cat >./ten.yaml <<'END'
weight_bits: 4
activation_bits: 16
kv_bits_prefill: 16
kv_bits_decode: 16
calibration_dataset: text
calibration_samples: 2
END
cp "$text" text
exits 0 sage infer quantize --model="$model" --profile ./ten.yaml \
    --output deep/er -q
tar xOf deep/er/model.sqa profile.yaml >got
grep -qx '  algorithm: \[gptq\]' got
grep -qx 'calibration_samples: 2' got

validate() {
	sage infer quantize validate -q --dataset "$text" --tokens 512 \
	    --length 128 "$@"
}
exits 0 validate --model w8 --reference "$model"
[ "$(sed -n 's/^digest *//p' out)" = "$(sq-ls -v "$model" |
    sed -n 's/^model digest //p')" ]
grep -q '^ppl  *[0-9.]* -> [0-9.]*$' out
grep -q '^rise  *-*0\.00[0-9]*, limit 0.05$' out
grep -q '^top1  *[01]\.[0-9]*$' out
[ "$(grep -c 'model.sqa .* [0-3]  *[0-9].[0-9e-]*  *[01]\.[0-9]*$' out)" -eq 4 ]
exits 1 validate --model deep/er --reference "$model" --limit -0.5
says 'rises by .*, more than -0.5'

# Not made of that one.
cp -r "$model" other
sed -i 's/"rope_theta": [0-9.]*/"rope_theta": 20000/' other/config.json
exits 1 validate --model w8 --reference other
says 'was not made of'

# What is missing leaves nothing; nor does a stage that fails.
exits 1 sage infer quantize --model "$model" --profile w4a16 --output no
says 'needs a text'
exits 1 sage infer quantize --model "$model" --profile nobody --output no
says "'nobody': no such preset"
exits 1 sage infer quantize --model "$root" --profile w8a16 --output no
grep -q "^sage: 'no/model.sqa' not written" err
absent no

# A student learns from its teacher.
printf 'text: text\nlength: 32\nsamples: 4\nsteps: 1\nbatch: 1\n' >d.yaml
# Masks, with a text and without; and what they would cost.
exits 0 sage infer prune --model "$tiny" --sparsity 0.5 --pattern 2:4 -q
tar xOf pruned/model.sqa profile.yaml >got
grep -qx 'sparsity_pattern: .*2:4.*' got || fail "$(cat got)"
grep -qx 'sparsity_ratio: 0.5' got
sq-ls -v pruned/model.sqa >list
grep -q '"criterion":"magnitude"' list || fail "$(cat list)"
exits 0 sage infer prune analyze --model "$tiny" --plot plot.svg -q
grep -q '^<svg .*Sensitivity' plot.svg
grep -q '^mean' out
grep -q '^cpu: .*2:4' out
exits 1 sage infer prune --model "$tiny" --sparsity 0.3 --pattern 2:4 -q
[ ! -e pruned/model.sqa.part ]

exits 0 sage infer distill --teacher "$model" --student "$model" \
    --config d.yaml --output trained -q
sq-ls -v trained/model.sqa | grep -q '"tool":"sq-distill"'

exits 0 sage infer profile list
grep -q '^w4a16 ' out
exits 0 sage infer profile show w4a16
sq-profile show -p w4a16 | cmp - out

# A tool that is not there is named.
mkdir few
for t in sq-profile sq-import; do
	ln -s "$build/bin/$t" few
done
PATH=few:/usr/bin:/bin exits 1 "$build/bin/sage" infer distill --teacher a \
    --student b --config c
says '^sage: sq-distill: not installed'
PATH=few:/usr/bin:/bin exits 1 "$build/bin/sage" infer quantize \
    --model "$model" --profile w8a16 --output no
says '^sage: sq-rtn: not installed'

for bad in "" "infer" "infer quantize" "infer profile" "infer profile show" \
    "infer quantize --model x --profile" "infer quantise --model x" \
    "infer quantize --model x --profile w8a16 --output y --speed 3" "serve"; do
	exits 2 sage $bad
done
exits 0 sage --help
