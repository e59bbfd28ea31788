#!/bin/bash
# Every grid: codes and scales are those of a naive program, an artifact gives
# them back, and more bits mean less error.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

program naive_rtn naive_rtn.c
small_model small
model=small

# against_naive BITS GROUP RULE TENSOR FILE
against_naive() {
	local p

	for p in codes scales zeros; do
		rm -f is was
		sq-cat -p $p "$5" $4 >is 2>/dev/null || [ $p = zeros ]
		sq-cat "$model" $4 | ./naive_rtn $1 $2 $3 $p \
		    "$(sq-ls "$model" | awk -v t=$4 '$1 == t { print $3 }')" >was
		cmp is was >&2 || fail "$1 bits, group $2, $3: $p of $4"
	done
}

last=
for c in "2 0" "2 32" "3 128" "4 128" "5 0" "6 64" "8 0" "4 100"; do
	read -r b g <<<"$c"
	for rule in absmax asym; do
		o="-b $b -g $g"
		[ $rule = absmax ] || o+=" --asym"
		sq-rtn $o -m "$model" >q.sq
		for t in model.layers.0.self_attn.k_proj.weight \
		    model.layers.1.mlp.down_proj.weight; do
			against_naive $b $g $rule $t q.sq
		done
		sq-pack -o q.sqa <q.sq
		sq-verify -q q.sqa q.sq
		exits 0 sq-diff q.sq q.sqa
	done
done

# The sum of the relative errors of all tensors.
error() {
	sq-rtn -m "$model" "$@" >e.sq
	exits 1 sq-diff "$model" e.sq
	awk '
	{ for (i = 1; i < NF; i++) if ($i == "relative") e += $(i + 1) }
	END { printf "%.9f\n", e }' out
}

less() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }' ||
	    fail "$3: $1 is not less than $2"
}

e2=$(error -b 2 -g 64)
e3=$(error -b 3 -g 64)
e4=$(error -b 4 -g 64)
e8=$(error -b 8 -g 64)
less $e8 $e4 "8 bits"
less $e4 $e3 "4 bits"
less $e3 $e2 "3 bits"
less $e4 "$(error -b 4)" "groups"
less "$(error -b 4 -g 64 --scale mse)" $e4 "mse"
less "$(error -b 3 -g 64 --asym --scale mse)" \
    "$(error -b 3 -g 64 --asym)" "mse, asymmetric"
less "$(error --grid fp8_e4m3)" $e4 "fp8"
less 0 $e8 "an error at all"

# fp8 and mse through an artifact and a checkpoint.
for o in "--grid fp8_e4m3" "--grid fp8_e4m3 -g 128 --scale mse" \
    "-b 3 -g 64 --scale mse" "-b 8 --asym --scale mse"; do
	sq-rtn $o -m "$model" >q.sq
	sq-pack -o q.sqa <q.sq
	exits 0 sq-diff q.sq q.sqa
	rm -rf hf
	sq-pack -f hf -o hf <q.sq
	# the values, rounded to the type that the tensors came from
	exits 1 sq-diff q.sq hf
	awk '
	{ for (i = 1; i < NF; i++) if ($i == "relative") {
		n++; if ($(i + 1) > 4e-6) { print; bad = 1 } } }
	END { exit bad || n != 14 }' out || fail "$o: sq-pack -f hf"
done

# Every kernel level that this machine has gives the same bytes but for its
# name in the provenance.
sq-rtn -k ref -b 4 -g 128 -m "$model" >ref.sq
for k in avx2 avx512 avx512vnni avx512bf16 amx; do
	sq-rtn -k $k -b 4 -g 128 -m "$model" >k.sq 2>err || continue
	exits 0 sq-diff ref.sq k.sq
done
