#!/bin/bash
# sq-gptq --grid and --budget: other grids come out whole, a budget is kept.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-calibrate -q -m "$model" --length 128 --samples 4 \
    -t "$root/tests/data/text/calib.txt" >c.sq
only='*.layers.1.*_proj.weight'

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
sq-gptq -q --budget 4.25 --sweeps 0 --only "$only" -j 1 <c.sq | cmp - b.sq
sq-ls b.sq >list
for set in '[qkv]' '(gate|up)'; do
	[ "$(grep -E "^model.layers.1.*\.${set}_proj.weight " list |
	    awk '{ print $2 }' | sort -u | wc -l)" -eq 1 ] ||
	    fail "$(cat list)"
done
bits=0
weights=0
for t in q k v o; do
	names="${names-} self_attn.${t}_proj"
done
for t in $names mlp.gate_proj mlp.up_proj mlp.down_proj; do
	for p in codes scales; do
		n=$(sq-cat -p $p b.sq model.layers.1.$t.weight | wc -c)
		bits=$((bits + 8 * n))
	done
	n=$(sq-cat c.sq model.layers.1.$t.weight | wc -c)
	weights=$((weights + n / 4))
done
[ $((100 * bits)) -le $((425 * weights)) ] || fail "$bits for $weights"
[ $((100 * bits)) -ge $((400 * weights)) ] || fail "$bits for $weights"
exits 1 sq-gptq --budget 1 --only "$only" -m c.sq
grep -q 'needs at least' err || fail "$(cat err)"
