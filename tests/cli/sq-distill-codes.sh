#!/bin/bash
# sq-distill --train codes: codes and scales learn towards the original's
# answers, on text that is not learned from too; the same bytes however it is
# run; a run that was ended goes on.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

three_bits
cat >c.yaml <<'Y'
train: codes
steps: 8
batch: 2
checkpoint: 4
place: 5e-3
scale: 3e-3
redraw: 0.3
Y
learn() {
	sq-distill -q --teacher two --config c.yaml "$@"
}

learn -v -j 1 <q.sq >want.sq 2>v
learn -j 3 -m q.sq | cmp - want.sq

# With as little memory as it says, blocks are passed twice.
exits 1 learn -M 100M -m q.sq
least=$(sed 's/.*at least \([0-9]*M\).*/\1/' err)
learn -M "$least" -m q.sq | cmp - want.sq

# At steps 0, 4 and 8: the divergence falls by a twentieth at least.
divergence_falls .95 v

# Codes, scales and norms change, grids do not, and nothing else.
part() {
	sq-cat -p "$1" "$2" model.layers.1.mlp.up_proj.weight
}
for p in codes scales; do
	cmp -s <(part $p want.sq) <(part $p q.sq) && fail "$p are as they were"
done
sq-ls want.sq >list
[ "$(grep -c ' int3 .* 1x64$' list)" -eq 14 ] || fail "$(cat list)"
for t in model.norm model.layers.0.input_layernorm; do
	cmp -s <(sq-cat want.sq $t.weight) <(sq-cat m.sq $t.weight) &&
	    fail "$t is as it was"
done
cmp <(sq-cat want.sq model.embed_tokens.weight) \
    <(sq-cat m.sq model.embed_tokens.weight)
sq-ls -v want.sq | grep -qF '"train":"codes"'

# Options that must count.
learn --steps 1 <q.sq >one.sq
for o in 'redraw: 0' 'scale: 0' 'norm: 0' 'hidden: 1' 'preset: response'; do
	sed "s/^${o%:*}:.*/$o/; \$a $o" c.yaml | awk '!s[$1]++' >o.yaml
	sq-distill -q --teacher two --config o.yaml --steps 1 <q.sq >o.sq
	cmp -s o.sq one.sq && fail "$o changes nothing"
done

# What is learned and no better is not taken.
sed 's/^place:.*/place: 1/' c.yaml >wild.yaml
sq-distill -q --teacher two --config wild.yaml --steps 3 <q.sq >o.sq
cmp <(part codes o.sq) <(part codes q.sq)
cmp <(sq-cat o.sq model.norm.weight) <(sq-cat q.sq model.norm.weight)

# It goes on from a checkpoint, and refuses another run's.
{
	learn --state s -v <q.sq 2>&3 >/dev/null &
	pid=$!
} 3>log
ended_when $pid test -e s
learn --state s -v <q.sq 2>log | cmp - want.sq
grep -q 'step 0 of' log && fail "it began again"
exits 1 learn --state s --train dense -m q.sq
grep -q 'another teacher, student, text or configuration' err

# There must be integers.
sq-calibrate -q --tokens-only --length 64 --samples 4 \
    -t "$root/tests/data/text/calib.txt" <m.sq >t.sq
exits 1 learn -m t.sq
grep -q 'no integers' err
exits 2 sq-distill --train all --teacher two -m t.sq
