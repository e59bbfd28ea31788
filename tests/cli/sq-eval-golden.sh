#!/bin/bash
# The perplexities that Transformers gave in float32, by both protocols, in
# each precision, and a count of right answers.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$shared/data/eval/docs.txt
[ -r "$text" ] || skip "no $text"

# near VALUE WANTED FRACTION
near() {
	awk -v a="$1" -v b="$2" -v f="$3" 'BEGIN {
		d = a / b - 1; exit !(d < f && d > -f) }' || fail "$1, not $2"
}
ppl() {
	sq-eval -q --csv "$@" --length 1024 -t "$text" "$model" |
	    tail -1 | cut -d , -f 7
}
# golden/reference.json: sq-ref-7m, docs.txt
near "$(ppl --f32)" 19.91551205931945 .0005
near "$(ppl --protocol llama)" 18.406989723548037 .003

# Its counts take an answer that the model ends at once for wrong, so the
# token that ends it stands in it: needles of up to 512 tokens, 26 of 41.
awk 'length < 2400' "$shared/data/tasks/needle.jsonl" >short.jsonl
sq-eval -q --csv --f32 --special --task free=short.jsonl "$model" >out.csv
grep -q ',512,exact,41,0.634146,' out.csv || fail "$(cat out.csv)"
