#!/bin/bash
# sq-gptq --grid and --budget: other grids come out whole, a budget is kept.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-calibrate -q -m "$model" --length 128 --samples 4 \
    -t "$root/tests/data/text/calib.txt" >c.sq
only='*.layers.1.*[kqvep]_proj.weight'

for g in q4_k iq4_nl mxfp4; do
	sq-gptq -q --grid $g --sweeps 1 --only '*.1.mlp.up_proj.weight' \
	    <c.sq >g.sq
	[ "$(sq-ls g.sq | grep -c " $g ")" -eq 1 ] || fail "$(sq-ls g.sq)"
	sq-gptq -q --grid $g --sweeps 1 --only '*.1.mlp.up_proj.weight' \
	    -j 1 <c.sq | cmp - g.sq
	sq-verify g.sq
done
exits 2 sq-gptq --grid q9 -m c.sq
exits 1 sq-gptq --grid q4_k -g 64 --only '*.1.mlp.up_proj.weight' -m c.sq
grep -q "groups of 32" err || fail "$(cat err)"

# Bits are kept, and those that share an input share a grid.
sq-gptq -q --budget 4.25 --sweeps 0 --only "$only" <c.sq >b.sq
sq-ls b.sq >list
for set in '[qkv]' '(gate|up)'; do
	[ "$(grep -E "^model.layers.1.*\.${set}_proj.weight " list |
	    awk '{ print $2 }' | sort -u | wc -l)" -eq 1 ] ||
	    fail "$(cat list)"
done
read -r bits weights <<<"$(awk '/^model.layers.1.*[kqvep]_proj.weight / {
	split($3, d, "x"); w += d[1] * d[2]; b += 8 * $4 }
	END { print b, w }' list)"
[ $((100 * bits)) -le $((425 * weights)) ] || fail "$bits for $weights"
[ $((100 * bits)) -ge $((400 * weights)) ] || fail "$bits for $weights"
exits 1 sq-gptq --budget 1 --only '*.1.self_attn.k_proj.weight' -m c.sq
grep -q 'needs at least' err || fail "$(cat err)"

# It chooses among what is allowed, and groups are as they are asked for.
few=(-q --budget 4 --grids int3:32,iq4_xs,int8 --sweeps 0
    --only '*.layers.1.self_attn.*_proj.weight')
sq-gptq "${few[@]}" <c.sq >b.sq
sq-gptq "${few[@]}" -j 1 <c.sq | cmp - b.sq
sq-ls b.sq | awk '/^model.layers.1.self_attn.*_proj.weight / { print $2, $5 }' |
    sort -u >list
grep -q 'int3 1x32' list || fail "$(cat list)"
grep -vxE 'int3 1x32|iq4_xs 1x32|int8 1x128' list && fail "$(cat list)"
exits 2 sq-gptq --budget 4 --grids int3,q9 -m c.sq
exits 2 sq-gptq --budget 4 --grids q6_k:32 -m c.sq
exits 2 sq-gptq --grids int3 -m c.sq
