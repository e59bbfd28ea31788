#!/bin/bash
# sq-rotate: the model stays what it is, on a model with biases, grouped heads
# and a head that is its embedding; its statistics are those of the new model.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/LICENSE
small_model small
model=small
sq-calibrate -q --f32 -t "$text" --length 256 --samples 4 -m "$model" >c.sq

kl() {
	sq-eval -q --csv --f32 --reference "$model" -t "$text" --tokens 256 \
	    "$@" | awk -F, 'NR > 1 { print $8 }'
}

less() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }' ||
	    fail "$3: $1 is not less than $2"
}

for p in both residual heads; do
	sq-rotate -q --type f32 --part $p <c.sq >$p.sq
	less "$(kl $p.sq)" 1e-6 "$p: divergence"
	exits 1 sq-diff c.sq $p.sq
	sq-calibrate -q --f32 -t "$text" --length 256 --samples 4 <$p.sq \
	    >again.sq
	sq-diff --stats $p.sq again.sq >out || [ $? -eq 1 ]
	awk '$5 == "H" { n++; if ($6 > 3e-5 || $8 > 3e-5) { print; bad = 1 } }
	END { exit bad || n < 4 }' out || fail "$p: statistics: $(cat out)"
done
lists both.sq 'lm_head.weight'
sq-ls heads.sq | grep -q lm_head && fail "heads alone need no head"

# As a checkpoint that others load, in its own types.
sq-rotate -q --type keep -m "$model" | sq-pack -q -f hf -o hf
grep -q '"tie_word_embeddings": false' hf/config.json || fail "tied"
less "$(kl hf)" 2e-3 "in 16 bits"
sq-ls hf | awk '/norm.weight|lm_head/ && $2 != "BF16" { bad = 1 }
END { exit bad }' || fail "types"

# With H that has turned.
sq-rotate -q <c.sq | sq-gptq -q -g 64 --sweeps 0 | sq-pack -qo q.sqa
less "$(kl q.sqa)" 0.2 "sq-gptq"

# Options, threads, compression.
sq-rotate -q <c.sq >r.sq
for o in "--seed 1" "--part heads" "--part residual" "--type f32" \
    "--type keep"; do
	sq-rotate -q $o <c.sq >o.sq
	! cmp -s r.sq o.sq || fail "$o changes nothing"
done
sq-rotate -q -j1 <c.sq >o.sq
same r.sq o.sq
sq-rotate -q -j2 <c.sq >o.sq
same r.sq o.sq
[ "$(sq-rotate -qz <c.sq | digest)" = "$(digest <r.sq)" ] || fail "-z"

# A second rotation needs no second head.
sq-rotate -q --type f32 --seed 7 <both.sq >twice.sq
less "$(kl twice.sq)" 1e-6 "twice"

exits 1 bash -c "sq-rtn -q -m '$model' | sq-rotate -q"
says "q_proj.weight': is quantized already"
sq-calibrate -q --stats diag -t "$text" --length 128 --samples 1 \
    -m "$model" >d.sq
exits 1 sq-rotate -q <d.sq
says "diagonal of H alone"
exits 1 sq-rotate -qM 32M <c.sq
says "needs at least [0-9]*M"
exits 2 sq-rotate --part none <c.sq
n=$(size c.sq)
for at in 100 $((n / 3)) $((n / 2)) $((n - 64)); do
	head -c $at c.sq >cut.sq
	exits 1 sq-rotate -q <cut.sq
	says "sq-rotate: .*the stream stops"
	pipe_exits 1 "sq-rotate -q <cut.sq | sq-pack -qo new.sqa"
	absent new.sqa new.sqa.part
done
