#!/bin/bash
# Smaller models: their shapes, what they cost, that they are models like any
# other; and that what is wrong is refused.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" | sq-calibrate -q --length 64 --samples 8 \
    -t "$root/LICENSE" >c.sq 2>/dev/null

# shape STREAM NAME: of the tensor in the last block.
shape() {
	sq-ls "$1" | awk -v n="$2" '$1 ~ n { s = $3 } END { print s }'
}

sq-prune -q --heads 0.6 --channels 0.2 --layers 1 -v <c.sq >p.sq 2>err
sq-verify -q p.sq
[ "$(shape p.sq q_proj.weight)" = 128x256 ]
[ "$(shape p.sq q_proj.bias)" = 128 ]
[ "$(shape p.sq k_proj.weight)" = 64x256 ]
[ "$(shape p.sq o_proj.weight)" = 256x128 ]
[ "$(shape p.sq gate_proj.weight)" = 640x256 ]
[ "$(shape p.sq down_proj.weight)" = 256x640 ]
[ "$(sq-ls p.sq | grep -c 'layers\.[012]\.input_layernorm')" = 3 ]
! sq-ls p.sq | grep -q 'layers\.3\|STATS' || fail "$(sq-ls p.sq)"

# what is kept makes good for what goes, and the best goes
awk '/relative output error/ {
	if (!($10 + 0 < 0.6 * $NF)) exit 1; n++ } END { exit n != 6 }' err ||
    fail "$(cat err)"

# as a stream, packed, and as Hugging Face has it: the same model
sq-pack -q -o p.sqa <p.sq
sq-pack -q -f hf -o p <p.sq
sq-run -q -n 8 p.sqa "Once upon" >a
sq-run -q -n 8 p "Once upon" >b
cmp a b
sq-prune -q --channels 0.2 -j 1 <c.sq >1.sq
sq-prune -q --channels 0.2 -j 2 <c.sq >2.sq
cmp 1.sq 2.sq

exits 2 sq-prune -m c.sq
exits 1 sq-prune -q --heads 0.2 -m c.sq
grep -q 'that is none' err || fail "$(cat err)"
exits 1 sq-prune -q --heads 0.6 -m "$tiny"
grep -q 'no statistics\|that is none' err || fail "$(cat err)"
exits 1 sq-prune -q --layers 4 -m c.sq
exits 1 sq-prune -q --layers 1 -m "$model"
grep -q 'no TOKENS' err || fail "$(cat err)"
exits 1 sq-prune -q --channels 0.2 -M 40M -m c.sq
sq-rtn -q <c.sq >q.sq
exits 1 sq-prune -q --channels 0.2 -m q.sq
head -c 9500000 c.sq >cut.sq
exits 1 sq-prune -q --channels 0.2 -m cut.sq
