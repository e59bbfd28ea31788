#!/bin/bash
# Questions about long texts with some of the keys: all of the keys are all of
# them, and every question is asked.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

python=$(command -v python3) || skip "no Python"
text=$root/tests/data/text/eval.txt
ask() {
	printf '{"id": "%s", "answer": "7", "prompt": "Read.\\n\\n%s' "$1" "$2"
	printf '\\n\\nQuestion: What?\\nAnswer:"}\n'
}
ask a short >needle.jsonl
ask b "$(tr -cd 'a-z ' <"$text" | cut -c 1-1500 | head -1)" >>needle.jsonl
for i in 1 2 3; do
	ask $i "One is $i.\\nTwo is not."
done >rag.jsonl
(cd "$root" && make -s -f pipelines/keys.mk MODEL="$model" OUT="$tmp/out" \
    EVAL="$build/bin/sq-eval" NEEDLE="$tmp/needle.jsonl" \
    RAG="$tmp/rag.jsonl" TEXT="$text" FROM=1400 TO=2000 EVERY=2 \
    ATTENTION="all pooled:1 window:64" FLAGS=) >table
awk -F, 'NR > 1 && $1 != "window:64" && ($7 > 0 || $8 > 0) { bad = 1 }
    { n[$1] += $5 } END { exit !(!bad && NR == 10 && n["all"] == 6) }' \
    out/keys.csv || fail "$(cat out/keys.csv)"
"$python" -c 'import json, sys
for line in open(sys.argv[1]):
    p = json.loads(line)["prompt"]
    assert 1400 <= len(p.encode()) and p.startswith("Read.\n")
    assert "\nTwo is not.\n" in p and p.endswith("What?\nAnswer:")
' out/rag.jsonl
