#!/bin/bash
# Loads: what a server of known speed must give, the same clock for the engine
# in the process, and what goes wrong.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# field NAME: of the line of CSV in out.csv, which has no commas in its fields
field() {
	awk -F, -v f="$1" 'NR == 1 { for (i = 1; i <= NF; i++)
		if ($i == f) c = i } NR == 2 { print $c }' out.csv
}
# is NAME LOW HIGH
is() {
	awk -v v="$(field "$1")" -v lo="$2" -v hi="$3" \
	    'BEGIN { exit !(v != "" && v + 0 >= lo && v + 0 <= hi) }' ||
	    fail "$1: '$(field "$1")', not $2 to $3"
}

# The engine: each request gets what it asks for, whatever their order.
printf 'prompt,generate,arrival\n8,4,0\n16,5,0.01\n24,6,0.02\n' >trace.csv
printf 'per_hour,currency\n3.6,EUR\n' >price.csv
for way in "--at-once 1" "--rate 200" "--rate 200 --arrival fixed" \
    "--arrival trace" ""; do
	sq-bench -q --csv --trace trace.csv --price price.csv $way \
	    --slo ttft=60000,tpot=60000 load "$tiny" >out.csv
	is completed 3 3
	is failed 0 0
	is in_tokens 48 48
	is out_tokens 15 15
	is goodput_req_s "$(field req_s)" "$(field req_s)"
	is ttft_ms_p50 1e-6 60000
	is memory_weights 200000 230000
	awk -v c="$(field cost_mtok)" -v r="$(field out_tok_s)" \
	    'BEGIN { d = c * r / 1000; exit !(d > .999 && d < 1.001) }' ||
	    fail "cost $(field cost_mtok) at $(field out_tok_s)"
done
sq-bench -q --json --requests 2 --prompt 8 --generate 3 load "$tiny" >out.json
for key in mean_ttft_ms output_throughput '"kind": "e2e"' avg_tbt_ms \
    "99.00 percentile first token latency (ns)"; do
	grep -qF "$key" out.json || fail "no $key: $(cat out.json)"
done
sq-bench -q --csv --slo ttft=0.000001 --requests 2 --prompt 8 --generate 3 \
    load "$tiny" >out.csv
is goodput_req_s 0 0
sq-report out.csv >table
grep -q '^TTFT' table || fail "$(cat table)"

# An endpoint: 10 tokens, 20 ms apart; times are at least the server's.
program fake_openai fake_openai.c
./fake_openai 20 10 >port &
for i in $(seq 100); do [ -s port ] && break; sleep .05; done
url=http://127.0.0.1:$(cat port)/v1
load() {
	sq-bench -q --csv --requests 3 --prompt 5 --generate 10 --text text \
	    "$@" >out.csv
}
echo "A text that prompts are cut from, long enough for some of them." >text
for at in "$url" "$url/chat/completions"; do
	load --at-once 3 load "$at"
	is completed 3 3
	is in_tokens 21 21
	is out_tokens 30 30
	is ttft_ms_p50 20 20000
	is tpot_ms_p50 19 20000
	is e2e_ms_p50 200 20000
	[ "$(field model)" = fake ] || fail "$(field model)"
done
# ids instead of text; one after the other takes longer than all at once
load --tokenizer "$model" --at-once 1 load "$url/"
is duration_s .6 600
is completed 3 3
# several tokens in a part count as the server counts them
echo "PAIR PAIR PAIR PAIR PAIR PAIR PAIR" >text
load load "$url"
is out_tokens 30 30
is tpot_ms_p50 8 20000
is itl_ms_p50 19 20000

echo "FAIL FAIL FAIL FAIL FAIL FAIL FAIL" >text
exits 1 load load "$url"
last_says sq-bench "3 requests failed; request [1-3]: HTTP status 500: sorry"
is failed 3 3
echo "CUT CUT CUT CUT CUT CUT CUT CUT" >text
exits 1 load load "$url"
last_says sq-bench "ended early"
exits 1 sq-bench --text text load "$url/nowhere"
last_says sq-bench "status 404"
exits 1 sq-bench load "$url"
last_says sq-bench "needs a text"
kill %1
exits 1 sq-bench --text text load "$url"
last_says sq-bench "onnect"

exits 1 sq-bench --prompt 100000 load "$tiny"
last_says sq-bench "more than the context"
printf 'prompt,generate\n8,x\n' >bad.csv
exits 1 sq-bench --trace bad.csv load "$tiny"
last_says sq-bench "bad.csv': line 2: lengths"
exits 1 sq-bench --trace bad.csv --arrival trace load "$tiny"
last_says sq-bench "no column 'arrival'"
exits 1 sq-bench --arrival trace load "$tiny"
exits 2 sq-bench --slo ttft=0 load "$tiny"
exits 2 sq-bench --slo ttft=1,speed=2 load "$tiny"
exits 2 sq-bench --arrival never load "$tiny"
