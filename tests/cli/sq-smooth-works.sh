#!/bin/bash
# sq-smooth and sq-awq: the model stays what it is, its statistics are those of
# the changed model, and quantizing it costs less, by the statistics and by what
# it predicts.  On a model with biases and grouped heads.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/LICENSE
two_blocks two
model=two
sq-calibrate -q --f32 -t "$text" --length 256 --samples 4 -m "$model" >c.sq

# kl MODEL ...: the divergence from the original.
kl() {
	sq-eval -q --csv --f32 --reference "$model" -t "$text" --tokens 256 \
	    "$@" | awk -F, 'NR > 1 { print $8 }'
}

less() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }' ||
	    fail "$3: $1 is not less than $2"
}

# equivalent FILE TOLERANCE
equivalent() {
	less "$(kl "$1")" "$2" "$1: divergence"
	sq-calibrate -q --f32 -t "$text" --length 256 --samples 4 <"$1" \
	    >again.sq
	exits 1 sq-diff --stats "$1" again.sq
	awk '$5 == "H" { n++; if ($6 > 2e-5 || $8 > 2e-5) { print; bad = 1 } }
	END { exit bad || n != 8 }' out || fail "$1: statistics: $(cat out)"
}

sq-smooth -q --rows 128 <c.sq >smooth.sq
sq-awq -q --rows 128 -g 64 <c.sq >awq.sq
sq-smooth -q --data-free -b 4 -g 64 <c.sq >free.sq
for f in smooth awq free; do
	equivalent $f.sq 1e-6
done
for f in smooth awq free; do
	! cmp -s c.sq $f.sq || fail "$f changed nothing"
done
! cmp -s awq.sq free.sq || fail "--data-free changes nothing"

# Without statistics only --data-free does anything.
sq-smooth -q --data-free -b 4 -g 64 -m "$model" >bare.sq
exits 0 sq-diff free.sq bare.sq
exits 1 sq-smooth -q -m "$model"
says "q_proj.weight': no statistics before it; sq-calibrate makes them"

# What it is for.
quantized() {
	local in=$1

	shift
	"$@" <"$in" >q.sq
	sq-pack -qo q.sqa <q.sq
	kl q.sqa
}
less "$(quantized awq.sq sq-rtn -q -g 64)" \
    "$(quantized c.sq sq-rtn -q -g 64)" "sq-awq, 4 bits"
w8a8() {
	sq-act int8 | sq-rtn -q -b 8
}
export -f w8a8
less "$(quantized smooth.sq w8a8)" "$(quantized c.sq w8a8)" "sq-smooth, W8A8"

# The objective that it reports is that of the weights it wrote: rounding them
# has the same error, by the statistics that went with them.
sq-awq -v --rows 0 -g 64 --only "*.layers.1.*" <c.sq 2>said >all.sq
sq-gptq -v -g 64 --sweeps 0 --scale absmax --only "*.layers.1.*" <all.sq 2>was \
    >/dev/null
for t in self_attn.o_proj mlp.down_proj; do
	a=$(sed -n "s/.*layers.1.$t.*output error \([^,]*\), unscaled.*/\1/p" \
	    said)
	b=$(sed -n "s/.*layers.1.$t.*rounding to nearest \(.*\)/\1/p" was)
	awk -v a="$a" -v b="$b" 'BEGIN { exit !(a > 0 && b > 0 &&
	    a / b > .99 && a / b < 1.01) }' || fail "$t: said $a, is $b"
done
awk '/unscaled/ { n++; if ($(NF - 2) + 0 > $NF + 0) bad = 1 }
END { exit bad || n != 4 }' said || fail "the objective rises: $(cat said)"

# Every option counts.
sq-smooth -q --rows 32 --only '*.layers.1.*' <c.sq >some.sq
t=model.layers.0.mlp.up_proj.weight
cmp <(sq-cat some.sq $t) <(sq-cat c.sq $t)
for o in "--act none" "--act int8:static" "-b 3" "-g 32" "--asym" "--rows 8" \
    "--scale mse" "--type keep" "--except *.down_proj.weight"; do
	sq-smooth -q --rows 32 --only '*.layers.1.*' $o <c.sq >o.sq
	exits 1 sq-diff some.sq o.sq
done
sq-awq -q --rows 16 -g 64 --only '*.layers.1.*' <c.sq >some.sq
for o in "-b 3" "--asym" "--scale mse" "-g 32"; do
	sq-awq -q --rows 16 -g 64 --only '*.layers.1.*' $o <c.sq >o.sq
	exits 1 sq-diff some.sq o.sq
done
sq-smooth -q --rows 1 --type keep <c.sq >keep.sq
lists keep.sq 'layers.0.mlp.up_proj.weight .*BF16'
lists smooth.sq 'layers.0.mlp.up_proj.weight .*F32'

# Threads change nothing; nor does compression.
some="--rows 16 --only *.layers.1.*"
sq-smooth -q $some -j1 <c.sq >j1.sq
sq-smooth -q $some -j2 <c.sq >j2.sq
same j1.sq j2.sq
[ "$(sq-smooth -qz $some <c.sq | digest)" = "$(digest <j1.sq)" ] ||
    fail "-z"

# What it refuses.
sq-rtn -q --only '*.down_proj.weight' <c.sq >q.sq
exits 1 sq-smooth -q <q.sq
says "down_proj.weight': is quantized already"
sq-smooth -q --rows 1 --except '*.down_proj.weight' <q.sq >/dev/null
exits 1 sq-smooth -qM 32M <c.sq
says "needs at least [0-9]*M"
exits 2 sq-smooth --act int4 <c.sq
says "sq-smooth: --act"
exits 2 sq-awq -b 7 <c.sq
n=$(size c.sq)
for at in 100 $((n / 3)) $((n / 2)) $((n - 64)); do
	head -c $at c.sq >cut.sq
	exits 1 sq-smooth -q --rows 1 <cut.sq
	says "sq-smooth: .*the stream stops"
	pipe_exits 1 "sq-awq -q --rows 1 <cut.sq | sq-pack -qo new.sqa"
	absent new.sqa new.sqa.part
done
pipe_exits 1 "(head -c $((n / 2)) c.sq; head -c 9999 /dev/urandom) |
    sq-smooth -q --rows 1"
says "sq-smooth: .*the stream stops"
