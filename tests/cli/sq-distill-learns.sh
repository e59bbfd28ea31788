#!/bin/bash
# sq-distill: a damaged student comes closer to its teacher on text that it did
# not learn from; the same bytes however it is run; zeros stay zeros.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt

# The student: the teacher with a hole in its second down_proj.
two_blocks teacher
cp -rL teacher student
chmod -R u+w student
dd if=/dev/zero of=student/model.safetensors bs=4096 count=80 conv=notrunc \
    seek=2440 2>dd.err
sq-import student >s.sq
sq-calibrate -q --tokens-only --length 64 --samples 6 -t "$text" <s.sq >t.sq
cat >c.yaml <<'Y'
steps: 8
batch: 2
lr: 2e-4
warmup: 2
checkpoint: 4
Y
distill() {
	sq-distill -q --teacher teacher --config c.yaml "$@"
}

distill -v -j 1 <t.sq >want.sq 2>v
distill -j 3 -m t.sq | cmp - want.sq

# At steps 0, 4 and 8: the divergence falls by a tenth at least.
divergence_falls .9 v

# The embedding is as it was; zeros stay.
cmp <(sq-cat want.sq model.embed_tokens.weight) \
    <(sq-cat s.sq model.embed_tokens.weight)
zeros() {
	for i in 0 1; do
		for p in gate up down; do
			sq-cat -p data "$1" model.layers.$i.mlp.${p}_proj.weight
		done
	done | od -An -v -tx2 -w2 | grep -c '0000'
}
a=$(zeros s.sq)
b=$(zeros want.sq)
[ "$a" -gt 1000 ] && [ "$b" -ge "$a" ] || fail "$a zeros, then $b"
sq-ls -v want.sq | grep -qF '"preset":"response"'

# A text in place of TOKENS; presets and what goes with them.
printf 'text: %s\nlength: 64\nsamples: 6\n' "$text" >>c.yaml
distill -m student >o.sq
cmp <(sq-cat o.sq model.norm.weight) <(sq-cat want.sq model.norm.weight)
distill --steps 2 <t.sq >want.3
for o in "--preset layer" "--steps 1" --f32; do
	distill --steps 2 $o <t.sq >o.sq
	cmp -s o.sq want.3 && fail "$o changes nothing"
done
distill --preset self --steps 1 <t.sq | sq-ls -v - | grep -qF '"preset":"self"'
cp c.yaml map.yaml
printf 'layers: {1: 0}\n' >>map.yaml
sq-distill -q --teacher teacher --config map.yaml --steps 2 <t.sq >o.sq
cmp -s o.sq want.3 && fail "a map changes nothing"

# It goes on from a checkpoint, and refuses another run's.
{
	distill --state s -v <t.sq 2>&3 >/dev/null &
	pid=$!
} 3>log
begun() {
	grep -q 'step 4 of' log && [ -e s ]
}
ended_when $pid begun
distill --state s -v <t.sq 2>log | cmp - want.sq
grep -q 'step 0 of' log && fail "it began again"
exits 1 distill --state s --steps 13 -m t.sq
grep -q 'another teacher, student, text or configuration' err
exits 1 distill --state "$text" -m t.sq
grep -q 'not a file of --state' err

# What does not go together, or is wrong.
exits 1 sq-distill -q --teacher "$tiny" -m t.sq
grep -q 'a teacher of' err
exits 1 sq-distill -q --teacher teacher -m s.sq
grep -q 'no TOKENS' err
exits 1 distill -M 100M -m t.sq
grep -q -- '-M: needs at least' err
exits 2 sq-distill -m t.sq
for bad in 'stepps: 3' 'steps: many' 'preset: best' 'layers: 3' '- 1'; do
	echo "$bad" >bad.yaml
	exits 1 sq-distill -q --teacher teacher --config bad.yaml -m t.sq
	grep -q 'bad.yaml: 1: ' err || fail "$bad: $(cat err)"
done
head -c 200000 t.sq >short.sq
exits 1 distill -m short.sq
