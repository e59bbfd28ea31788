#!/bin/bash
# sq-gptq --tune-blocks: the same bytes however it is run, the objective lower than
# what it began with on tokens that were not learned from, and a run that was
# ended goes on.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt
two_blocks two
sq-import two >m.sq
sq-calibrate -q --tokens-only --length 64 --samples 8 -t "$text" <m.sq >c.sq
tune() {
	sq-gptq -q -b 3 --tune-blocks 8 --tune-batch 2 "$@"
}

tune -v -j 1 <c.sq >want.sq 2>v
tune -j 3 -m c.sq | cmp - want.sq
tune --f32 -j 2 <c.sq >f32.sq
cmp -s f32.sq want.sq && fail "--f32 changes nothing"

# Eight samples, one of which judges: lower in each block.
awk '/: block .*: error .* tuned / {
	n++
	if ($7 + 0 >= $5 + 0) {
		print
		bad = 1
	}
}
END { exit bad || n != 2 }' <(tr -d , <v) || fail "$(cat v)"

# The grid is as asked, the codes are not those of rounding to nearest.
sq-rtn -q -b 3 -g 128 --scale mse <c.sq >r.sq
sq-ls want.sq >list
[ "$(grep -c ' int3 .* 1x128$' list)" -eq 14 ] || fail "$(cat list)"
grep -q '^TOKENS' list
codes() {
	for i in 0 1; do
		sq-cat -p codes "$1" model.layers.$i.mlp.up_proj.weight
	done
}
cmp -s <(codes want.sq) <(codes r.sq) && fail "the codes are those of sq-rtn"
sq-ls -v want.sq | grep -qF '"tune-blocks":8'

# Options that must count.
for o in "--tune-blocks 4" "--tune-batch 1" "--tune-blocks 4 --asym"; do
	tune $o <c.sq >o.sq
	cmp -s o.sq want.sq && fail "$o changes nothing"
done

# Hidden states in files: the same.
exits 1 tune -M 50M -m c.sq
grep -q -- '-M: needs at least [0-9]*M' err
least=$(sed 's/.*at least \([0-9]*M\).*/\1/' err)
tune -M "$least" -m c.sq | cmp - want.sq

# With statistics weights begin as GPTQ leaves them, with less of an error, and
# the statistics end here; without TOKENS there is nothing to learn from.
sq-calibrate -q --f32 --length 64 --samples 8 -t "$text" <m.sq |
    sq-gptq -q -b 3 --sweeps 0 --tune-blocks 1 -v 2>w | sq-ls - >list
grep '^STATS' list && fail "STATS are still there"
awk '/block 0: error/ { e[FILENAME] = $5 + 0 }
END { exit !(e["w"] < e["v"]) }' v w || fail "$(cat v w)"
exits 1 tune -m m.sq
grep -q 'no TOKENS' err

# After --sequential: another beginning, lower once more, the same for any -j,
# and reused.
both() {
	tune --sequential --sweeps 0 --state b "$@" <c.sq
}
both -v -j 1 >both.sq 2>v
[ "$(grep -c 'block .*: error' v)" -eq 2 ] || fail "$(cat v)"
tr -d , <v | awk '/block .*: error .* tuned / && $7 + 0 >= $5 + 0 { exit 1 }' ||
    fail "$(cat v)"
cmp -s both.sq want.sq && fail "--sequential changes nothing"
both -v -j 3 2>log | cmp - both.sq
[ "$(grep -c 'reused from' log)" -eq 2 ] || fail "$(cat log)"
tune --sequential --sweeps 0 -j 3 <c.sq | cmp - both.sq
exits 1 tune --only model.embed_tokens.weight -m c.sq
exits 2 sq-gptq --tune-blocks 0 -m c.sq

# Ended after its first block, it goes on with the second.
{
	tune --state s -v <c.sq 2>&3 >/dev/null &
	pid=$!
} 3>log
ended_when $pid grep -q 'block 0: error' log
tune --state s -v <c.sq 2>log >again.sq
cmp again.sq want.sq
grep -q "block 0: reused from 's'" log

# A file cut short loses its last block; one of another run is refused.
size=$(stat -c %s s)
truncate -s $((size - 5)) s
tune --state s -v <c.sq 2>log | cmp - want.sq
grep -q 'block 0: reused' log
grep -q 'block 1: error' log
exits 1 tune --state s -g 32 -m c.sq
grep -q 'another model, text or options' err
exits 1 tune --state "$text" -m c.sq
grep -q 'not a file of --state' err
cmp "$text" "$root/tests/data/text/calib.txt"
