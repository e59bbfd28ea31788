#!/bin/bash
# sq-gptq --sequential: the same bytes however it is run, closer to the model,
# and refused where it cannot work.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt
two_blocks two
quantize() {
	sq-gptq --sweeps 0 "$@"
}
tokens() {
	sq-calibrate -q -m two --tokens-only --samples 8 -t "$text" "$@"
}
tokens --length 64 >t.sq
quantize --sequential <t.sq >want.sq
quantize --sequential -j 1 -v <t.sq 2>v | cmp - want.sq
tokens --length 64 | quantize --sequential -z | sq-pack -o z.sqa
sq-pack -o p.sqa -m want.sq
same z.sqa p.sqa
[ "$(grep -c ' target at ' v)" -eq 8 ] || fail "$(cat v)"
[ "$(grep -c ' relative output error ' v)" -eq 14 ] || fail "$(cat v)"
sq-ls want.sq >list
[ "$(grep -c ' int4 .* 1x128$' list)" -eq 14 ] || fail "$(cat list)"
[ "$(grep -c '^TOKENS' list)" -eq 1 ] || fail "$(cat list)"

# With as little memory as it says, the hidden states are in a file.
exits 1 sq-gptq --sequential -M 60M -m t.sq
least=$(sed 's/.*at least \([0-9]*M\).*/\1/' err)
quantize --sequential -j 3 -M "$least" -m t.sq | cmp - want.sq

# Inputs of layers are kept in a file where there is room, which nobody sees.
TMPDIR=/nowhere quantize --sequential -m t.sq | cmp - want.sq
mkdir small.mount
if mount -t tmpfs -o size=512k none small.mount 2>/dev/null; then
	TMPDIR=small.mount quantize --sequential -m t.sq | cmp - want.sq
fi

# Statistics are not needed, nor passed on; without the flag they are.
sq-calibrate -q -m two --samples 8 --length 64 -t "$text" >c.sq
quantize --sequential <c.sq >s.sq
for part in codes scales; do
	cmp <(sq-cat -p $part s.sq model.layers.1.mlp.down_proj.weight) \
	    <(sq-cat -p $part want.sq model.layers.1.mlp.down_proj.weight)
done
sq-ls s.sq | grep '^STATS' && fail "STATS are still there"
quantize <c.sq >g.sq
for l in 0 1; do
	if cmp -s <(sq-cat -p codes g.sq model.layers.$l.mlp.down_proj.weight) \
	    <(sq-cat -p codes want.sq model.layers.$l.mlp.down_proj.weight); then
		fail "the flag makes no difference in block $l"
	fi
done

# Of the others nothing changes.
quantize --sequential --except '*down_proj*' --except '*.0.*' <t.sq >e.sq
for t in model.layers.1.mlp.down_proj.weight model.layers.0.mlp.up_proj.weight \
    model.embed_tokens.weight model.layers.1.self_attn.q_proj.bias; do
	sq-cat e.sq $t | cmp - <(sq-cat t.sq $t)
done

# What it cannot do.
exits 1 sq-gptq --sequential -m two
grep -q 'no TOKENS' err || fail "$(cat err)"
sq-calibrate -q -m two --tokens-only --samples 7 --length 64 \
    -t "$text" >few.sq
exits 1 sq-gptq --sequential -m few.sq
grep -q 'at least 8 samples' err || fail "$(cat err)"
exits 1 sq-gptq --sequential --only model.embed_tokens.weight -m t.sq
grep -q 'linear layers of blocks' err || fail "$(cat err)"
head -c 10500000 t.sq >cut.sq
exits 1 sq-gptq --sequential -m cut.sq
exits 1 sq-gptq --sequential -m want.sq
grep -q 'is quantized already' err || fail "$(cat err)"
TMPDIR=/nowhere exits 1 sq-gptq --sequential -M "$least" -m t.sq
grep -q 'temporary file' err || fail "$(cat err)"

# A profile asks for it where it can be done, and says when it cannot.
quantize -q -p w4a16 <t.sq >profile.sq
quantize -q -p w4a16 --sequential <t.sq | cmp - profile.sq
sq-calibrate -q -m two --samples 2 --length 64 -t "$text" >few.sq
quantize -p w4a16 -v <few.sq 2>v >profile.sq
[ "$(grep -c 'not sequential' v)" -eq 1 ] || fail "$(cat v)"
quantize -q -p w4a16 --no-sequential <few.sq | cmp - profile.sq
