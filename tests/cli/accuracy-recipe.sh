#!/bin/bash
# pipelines/accuracy.mk: its tables, and that it goes on where it was.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

command -v make >/dev/null || skip "no make"
recipe() {
	make -s -f "$root/pipelines/accuracy.mk" MODEL="$model" \
	    CALIB="$root/LICENSE" TEXTS="$root/LICENSE" OUT=table SAMPLES=2 \
	    LENGTH=64 WINDOW=64 TOKENS=128 ROWS='rtn-w4 w4 w4-mixed kv-int8' SKIPS=0 \
	    J=1 "$@"
}
recipe >log 2>&1 || fail "$(tail -5 log)"
[ "$(sed -n 1p table/accuracy.csv)" = \
    setting,skip,bits_per_weight,text,kl,top1,E,ppl,ppl_original ]
# 4 bits and 16 for each group of 128; down projections are 2/5 of the rest.
grep -q '^rtn-w4,0,4.1250,' table/accuracy.csv
grep -q '^w4,0,4.1250,' table/accuracy.csv
grep -q '^w4-mixed,0,5.1250,' table/accuracy.csv
grep -q '^kv-int8,0,16.0000,' table/accuracy.csv
[ "$(wc -l <table/accuracy.csv)" -eq 5 ]
awk -F , 'NR > 1 && !($5 > 0 && $8 > 1 && $9 > 1 &&
    ($7 - log($8 / $9)) ^ 2 < 1e-8) { exit 1 }' table/accuracy.csv ||
    fail "$(cat table/accuracy.csv)"
cut -d , -f 1 table/means.csv | paste -sd ' ' |
    grep -qx 'setting rtn-w4 w4 w4-mixed kv-int8'
[ "$(cut -d , -f 1 table/curve.csv | paste -sd ' ')" = \
    'bits_per_weight 4.1250 4.1250 5.1250' ]

# One artifact is lost: it is made again, and is what it was.
cp table/accuracy.csv before
rm table/accuracy.csv table/w4-0.csv table/w4-0.sqa
touch mark
recipe >log 2>&1 || fail "$(tail -5 log)"
same before table/accuracy.csv
[ -z "$(find table -newer mark -name 'rtn*')" ] || fail "made again: rtn-w4"

exits 2 make -f "$root/pipelines/accuracy.mk" MODEL="$model"
grep -q 'CALIB= is missing' err
