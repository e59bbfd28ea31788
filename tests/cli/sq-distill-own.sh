#!/bin/bash
# sq-distill --train codes on what the teacher writes itself: the student comes
# nearer to it on text that was given, too; the same bytes however it is run; a
# run that was ended goes on, and does not write again.
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
own: 12
Y
learn() {
	sq-distill -q --teacher two --config c.yaml "$@"
}

learn -v -j 1 <q.sq >want.sq 2>v
learn -j 3 -m q.sq | cmp - want.sq
divergence_falls .97 v
sq-ls -v want.sq | grep -qF '"own":12'

# It is what codes are learned from where nothing is said; how much counts.
learn --steps 2 <q.sq >two.sq
for o in 'own: 0' 'own: 3' 'redraw: 0.5'; do
	sed "s/^own:.*/$o/" c.yaml >o.yaml
	sq-distill -q --teacher two --config o.yaml --steps 2 <q.sq >o.sq
	cmp -s o.sq two.sq && fail "$o changes nothing"
done
sed '/^own:/d' c.yaml >o.yaml
sq-distill -q --teacher two --config o.yaml --steps 12 <q.sq >o.sq
learn --steps 12 <q.sq | cmp - o.sq

# Ended as soon as it has written.
{
	learn --state s -v <q.sq 2>&3 >/dev/null &
	pid=$!
} 3>log
ended_when $pid test -e s
learn --state s <q.sq | cmp - want.sq
