#!/bin/bash
# The recipes: what is made in parts is what the whole gives; sweeps and budgets;
# a step that fails leaves a gap and nothing else.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

command -v make >/dev/null || skip "no make"
recipe() {
	make -s -f "$root/pipelines/$1.mk" MODEL="$model" CALIB="$root/LICENSE" \
	    TEXT="$root/tests/data/text/eval.txt" SAMPLES=2 LENGTH=64 \
	    TOKENS=256 WINDOW=64 RUNS= "${@:2}" >log 2>&1
}
# numbers FILE: of its second line, without the name and the digest
numbers() {
	sed 1d "$1" | cut -d , -f 4-15,17-
}
# alike FILE FILE: up to the digits that are printed
alike() {
	paste -d , <(numbers "$1") <(numbers "$2") | awk -F , '{
		n = NF / 2
		for (i = 1; i <= n; i++) {
			d = $i - $(i + n)
			most = 2e-6 + 1e-7 * $i + 1e-3 * ($i < 1e-3) * $i
			if ((d < 0 ? -d : d) > most)
				exit 1
		}
	}' || fail "$(cat "$1" "$2")"
}
sweep="METHODS=rtn GROUPS=64"
recipe sweep OUT=whole $sweep BITS='8 3' || fail "$(tail -5 log)"
recipe sweep OUT=split $sweep BITS=3 SHARDS=3 -j 2 \
    RANGES='*.layers.[01].* *.layers.[23].*' || fail "$(tail -5 log)"
exits 0 sq-diff whole/rtn-w3-g64.sqa split/rtn-w3-g64.sqa
alike whole/eval-rtn-w3-g64.csv split/eval-rtn-w3-g64.csv
alike whole/eval-sq-ref-7m.csv split/eval-sq-ref-7m.csv
[ "$(ls split/eval-rtn-w3-g64.csv.*-of-3 | wc -l)" -eq 3 ]
ppl() {
	awk -F , -v v="$1" '$1 == v && $2 == "ppl" { print $3 }' \
	    whole/report.csv
}
awk -v base="$(ppl sq-ref-7m)" -v w8="$(ppl rtn-w8-g64)" \
    -v w3="$(ppl rtn-w3-g64)" 'BEGIN { exit !(base > 1 && w8 < 1.01 * base &&
    w3 > 1.01 * base) }' || fail "$(cat whole/report.csv)"

# What is there is kept; each budget and profile is asked for by its name.
touch mark
recipe sweep OUT=whole $sweep BITS='8 3' || fail "$(tail -5 log)"
[ -z "$(find whole -newer mark -name 'eval*')" ] || fail "made again"
recipe budget -n parts OUT=b BUDGETS='4 4.5' GROUP=64
grep -q 'sq-gptq -q --budget 4.5 -g 64 <.*b/b4.5.sqa' log || fail "$(cat log)"

# A profile that does not exist: the report names the gap, the rest is there,
# and nothing is half done.
! recipe compare OUT=gap PROFILES=nothing || fail "$(cat log)"
grep -q "missing: .*gap/eval-nothing.csv" log || fail "$(cat log)"
grep -q '^sq-ref-7m,ppl,[0-9]' gap/report.csv || fail "$(cat log)"
[ -z "$(find whole split gap -name '*.part')" ] || fail "$(ls gap)"

# The page of results: each file with what was run, where and when.
mkdir results
printf '%s\n' 'sq-bench --csv kernels' 'Some CPU, 2 cores' 2026-01-02 0.10 \
    >results/kernels-x.how
printf 'op,shape,rate\nmatmul,"a|b, 2x4",123456.789\n' >results/kernels-x.csv
printf '%s\n' 'sq-bench model m' 'Some CPU' 2026-01-02 >results/speed-m.how
printf 'model,batch,prompt,generate,metric,value,unit\n%s\n%s\n' \
    x/m,1,32,4,ttft,7.5,ms x/m,1,32,4,throughput,99,tok/s >results/speed-m.csv
"$root/pipelines/mkresults" results >page || fail "no page"
for want in '    sq-bench --csv kernels' '| matmul | a\|b, 2x4 | 1.2346e+05 |' \
    'Some CPU, 2 cores; 2026-01-02; load average 0.10.' \
    '| m | 32 | 1 | 7.5 |  | 99 |  |  | not available |'; do
	grep -qxF "$want" page || fail "no '$want': $(cat page)"
done
