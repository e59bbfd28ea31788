#!/bin/bash
# The perplexities that Transformers gave in float32, by both protocols, in
# each precision.
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
