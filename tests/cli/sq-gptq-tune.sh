#!/bin/bash
# sq-gptq --tune: what sq-distill makes of what sq-gptq makes, from a pipe, a
# file and a model; its options reach both; a run that was ended goes on.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

two_blocks two
sq-import two >m.sq
sq-calibrate -q --length 64 --samples 8 -t "$root/tests/data/text/calib.txt" \
    <m.sq >c.sq
tune() {
	sq-gptq -q -b 3 -g 64 --sweeps 0 --drop-stats --tune 16 --tune-batch 2 \
	    "$@"
}

sq-gptq -q -b 3 -g 64 --sweeps 0 --drop-stats <c.sq >q.sq
sq-distill -q --train codes --teacher two --steps 16 --batch 2 <q.sq >want.sq
weights() {
	sq-ls "$1" | awk '$2 ~ /int3/ { print $1 }' | while read -r t; do
		sq-cat -p codes "$1" "$t"
		sq-cat -p scales "$1" "$t"
	done
}
tune <c.sq >o.sq
cmp <(weights o.sq) <(weights want.sq)
cmp -s <(weights o.sq) <(weights q.sq) && fail "nothing was learned"
[ "$(sq-ls o.sq | grep -c int3)" -eq 14 ] || fail "$(sq-ls o.sq)"
cat c.sq | tune -j 1 | cmp - o.sq
tune -j 3 -z -m c.sq >z.sq
[ "$(stat -c %s z.sq)" -lt "$(stat -c %s o.sq)" ] || fail "-z is not passed on"
cmp <(sq-ls z.sq | grep ' int3 ') <(sq-ls o.sq | grep ' int3 ')

# Options that must count.
tune --tune 8 <c.sq >short.sq
for o in '--tune-batch 1' --f32; do
	tune --tune 8 $o <c.sq >other.sq
	cmp -s short.sq other.sq && fail "$o changes nothing"
done

# From a checkpoint.
tune --state s -v <c.sq 2>/dev/null | cmp - o.sq
tune --state s -v <c.sq 2>log | cmp - o.sq
grep -q 'step 0 of' log && fail "it began again"
exits 1 tune --state s -g 32 -m c.sq
grep -q 'another teacher, student, text or configuration' err

# What ends either of them ends both.
exits 1 tune -m m.sq
exits 2 sq-gptq --tune 0 -m c.sq
exits 2 tune --tune-blocks 2 -m c.sq
grep -q 'does not go with' err
head -c 100000 c.sq >cut.sq
exits 1 tune <cut.sq
