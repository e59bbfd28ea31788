#!/bin/bash
# Masks keep to their patterns, whatever filter comes after them; the same bytes
# for any number of threads; what is wrong is refused.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" | sq-calibrate -q --length 64 --samples 8 \
    -t "$root/LICENSE" >c.sq
one=model.layers.1.mlp.up_proj.weight
only="--only $one"

# zeros STREAM N M: each M weights along a row keep at most N; and how many go.
zeros() {
	sq-cat -t "$1" $one | awk -v n="$2" -v m="$3" '
	    { kept = 0
	      for (i = 1; i <= NF; i++) {
		all++
		if ($i != 0) { kept++; sum++ }
		if (i % m == 0) { if (kept > n) exit 1; kept = 0 }
	      } }
	    END { printf "%.3f\n", 1 - sum / all }'
}

# masked WHAT N M RATIO FILTER ...: with the filter after m.sq, or alone; the
# ratio is a pattern, for a filter may round to zero.
masked() {
	local what=$1 n=$2 m=$3 ratio=$4

	shift 4
	if [ $# = 0 ]; then
		cp m.sq f.sq
	else
		"$@" <m.sq >f.sq 2>err || fail "$what: $(cat err)"
	fi
	sq-verify -q f.sq || fail "$what: damaged"
	[[ $(zeros f.sq $n $m) == $ratio ]] ||
	    fail "$what: $n:$m: $(zeros f.sq $n $m) are zero"
}

for p in 2:4 4:8 1:4; do
	sq-mask -q $only --pattern $p --sweeps 1 <c.sq >m.sq
	masked "$p" ${p%:*} ${p#*:} \
	    $(awk "BEGIN { printf \"%.3f\", 1 - ${p%:*} / ${p#*:} }")
done
sq-mask -q $only --pattern unstructured --sparsity 0.75 --criterion magnitude \
    <c.sq >m.sq
masked unstructured 256 256 0.750
sq-mask -q $only --pattern 32x32 --sparsity 0.25 --criterion wanda <c.sq >m.sq
masked 32x32 256 256 0.250

# later filters
sq-mask -q $only --sweeps 1 <c.sq >m.sq
for f in "sq-rtn -g 64 $only" "sq-rtn -b 3 -g 0 $only" \
    "sq-gptq -b 4 -g 64 $only" \
    "sq-gptq -b 4 -g 32 --asym --order natural $only" \
    "sq-gptq --grid fp8_e4m3 -g 0 $only" "sq-smooth" \
    "sq-gptq --sequential -g 64 $only"; do
	masked "$f" 2 4 "0.[56]*" $f
done
exits 1 sq-rotate -q -m m.sq
exits 1 sq-gptq -q --grid q4_k $only -m m.sq
grep -q 'has a mask' err || fail "$(cat err)"
exits 1 sq-gptq -q --tune-blocks 2 -m m.sq
exits 1 sq-mask -q $only -m m.sq
grep -q 'masked already' err || fail "$(cat err)"

# mask and codes in one pass
sq-gptq -q -g 64 $only --mask 2:4 <c.sq >m.sq 2>/dev/null
masked "gptq --mask" 2 4 "0.5*"

# threads
for o in "" "--pattern unstructured --allocate sensitivity --sweeps 0"; do
	for j in 1 2; do
		sq-mask -q -j $j $only $o <c.sq >j$j.sq
	done
	cmp j1.sq j2.sq
done

# the gradient's choice costs the text less than that of the weights alone
nll() {
	sq-eval -q --csv -t "$root/LICENSE" --length 64 --tokens 512 "$1" |
	    cut -d , -f 5 | tail -1
}
for c in magnitude movement; do
	sq-mask -q --drop-stats --criterion $c --pattern 16x16 --sparsity 0.3 \
	    -j 2 <c.sq >$c.sq
done
awk "BEGIN { exit !($(nll movement.sq) + 0.1 < $(nll magnitude.sq)) }" ||
    fail "movement: $(nll movement.sq), magnitude: $(nll magnitude.sq)"
sq-mask -q --criterion movement --rounds 2 $only -j 1 <c.sq >j1.sq
sq-mask -q --criterion movement --rounds 2 $only -j 2 <c.sq >m.sq
cmp j1.sq m.sq
masked movement 2 4 0.500
exits 1 sq-mask -q --criterion movement -m "$tiny"
grep -q 'no TOKENS' err || fail "$(cat err)"
exits 1 sq-mask -q --criterion movement -M 170M -m c.sq
grep -q 'needs at least' err || fail "$(cat err)"
exits 2 sq-mask --criterion movement --sequential -m c.sq

# the table
sq-mask -q --analyze --csv --only '*layers.0*k_proj.weight' -m c.sq >a.csv
awk -F , 'NR > 1 && !($4 >= $5 && $5 > 0) { exit 1 }
    $2 == "2:4" { a = $5 } $2 == "4:8" { b = $5 }
    END { exit !(NR == 8 && b < a) }' a.csv || fail "$(cat a.csv)"

# as a plot: what is twice as much is as far above, wherever that is
sq-mask -q --analyze --csv --plot p.svg --only '*layers.*_proj.weight' \
    -m c.sq >a.csv
points=$(grep -c '<circle class="p s[0-9]" .*<title>' p.svg)
[ "$points" -eq $(($(wc -l <a.csv) - 1)) ] || fail "$points points"
sed -n 's/.*class="p s[0-9]" cx="[0-9.]*" cy="\([0-9.]*\)".*, \([0-9.e-]*\)<.title>.*/\1 \2/p' \
    p.svg | awk 'NR == 1 { y = $1; v = $2; next }
    $2 / v > 2 || v / $2 > 2 { s = (y - $1) / log($2 / v);
	if (!n++) first = s; d = s / first - 1; bad += d * d > .0025 }
    END { exit bad > 0 || n == 0 }' || fail "$(cat p.svg)"
exits 2 sq-mask --plot p.svg -m c.sq
says 'sq-mask: --plot: of --analyze'

# what is wrong
exits 2 sq-mask --pattern 4:2 -m c.sq
exits 2 sq-mask --sparsity 0.3 -m c.sq
exits 2 sq-mask --allocate sensitivity -m c.sq
exits 1 sq-mask -q -m "$tiny"
grep -q 'no statistics' err || fail "$(cat err)"
exits 1 sq-mask -q -M 40M -m c.sq
