#!/bin/bash
# sq-act: descriptions say how inputs are quantized, filters keep that, and what
# runs the model does it.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/LICENSE
small_model small
model=small
sq-calibrate -qt "$text" --length 256 --samples 2 -m "$model" >c.sq

evaluate() {
	sq-eval -q --csv --f32 --reference "$model" -t "$text" --tokens 256 \
	    "$@" | awk -F, 'NR > 1 { print $8 }'
}

less() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }' ||
	    fail "$3: $1 is not less than $2"
}

for t in int8 fp8 int8:static fp8:static; do
	f=${t/:/-}
	sq-act $t <c.sq >$f.sq
	# before the quantizer or after it
	sq-rtn -qb 8 <$f.sq >a.sq
	sq-rtn -qb 8 <c.sq | sq-act $t >b.sq
	exits 0 sq-diff a.sq b.sq
	sq-pack -qo $f.sqa <a.sq
	sq-pack -qo b.sqa <b.sq
	for p in $f.sqa b.sqa; do
		tar xOf $p tensors.json | grep -c '"type": "'${t%:*}'"' >n
		[ "$(cat n)" -eq 14 ] || fail "$p: $(cat n) of them"
	done
	less 1e-4 "$(evaluate $f.sqa)" "$t costs nothing"
done
sq-rtn -qb 8 <c.sq | sq-pack -qo none.sqa
for t in int8 fp8 int8-static fp8-static; do
	less "$(evaluate none.sqa)" "$(evaluate $t.sqa)" "W8 against W8A8 $t"
done
less "$(evaluate int8.sqa)" "$(evaluate int8-static.sqa)" "static"
sq-act none <int8.sq >none.sq
exits 0 sq-diff none.sq c.sq
! sq-ls none.sq | grep -q ' act ' || fail "none"
lists int8-static.sq 'up_proj.weight .* act int8 static$'
lists fp8.sq 'up_proj.weight .* act fp8$'

# --act stands above what the model says.
a=$(evaluate int8.sqa)
[ "$(evaluate --act int8 none.sqa)" = "$a" ] || fail "--act int8"
[ "$(evaluate --act int8 fp8-static.sqa)" = "$a" ] || fail "--act int8, fp8"
[ "$(evaluate --act none int8.sqa)" = "$(evaluate none.sqa)" ] ||
    fail "--act none"
[ "$(evaluate --act fp8:static fp8-static.sqa)" = \
    "$(evaluate fp8-static.sqa)" ] || fail "--act fp8:static"
exits 1 sq-eval -t "$text" --act int8:static --tokens 64 none.sqa
says "none.sqa': --act: .*q_proj.weight': no static int8 scale"
exits 1 sq-eval -t "$text" --act int8:static --tokens 64 fp8-static.sqa
exits 2 sq-eval -t "$text" --act int4 none.sqa
says "sq-eval: --act: 'int4' is not"
sq-run --greedy --f32 -n 12 --act fp8 none.sqa "Once upon" >x
sq-run --greedy --f32 -n 12 fp8.sqa "Once upon" >y
same x y
sq-run -n 0 --f32 --logprobs 4 none.sqa "Once upon a" >y
sq-run -n 0 --f32 --logprobs 4 int8.sqa "Once upon a" >x
! cmp -s x y || fail "sq-run ignores the activations"

# Threads and batches change nothing.
[ "$(evaluate -j1 int8.sqa)" = "$(evaluate -j2 int8.sqa)" ] || fail "-j"

# Which layers; which scales.
sq-act --only '*.down_proj.weight' int8:static <c.sq >d.sq
sq-pack -qo d.sqa <d.sq
tar xOf d.sqa tensors.json | grep -c '"type": "int8"' >n
[ "$(cat n)" -eq 2 ] || fail "--only: $(cat n)"
less "$(evaluate d.sqa)" "$(evaluate int8-static.sqa)" "some"

exits 1 sq-act -q fp8:static -m "$model"
says "q_proj.weight': no statistics before it; sq-calibrate makes them"
exits 2 sq-act int4 <c.sq
says "sq-act: 'int4': not none, int8, fp8, int8:static or fp8:static"
exits 2 sq-act <c.sq
head -c $(($(size c.sq) / 2)) c.sq >cut.sq
exits 1 sq-act int8:static <cut.sq
says "sq-act: .*the stream stops"
pipe_exits 1 "sq-act -q int8 <cut.sq | sq-pack -qo new.sqa"
absent new.sqa
