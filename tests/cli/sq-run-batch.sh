#!/bin/bash
# Prompts one a line, as text and as JSON: each gives what it gives alone, in
# their order, whatever the batch.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

cat >prompts <<'END'
Once upon a time
The city
{"prompt": "In the year", "max_tokens": 3}
{"prompt": "A", "temperature": 1, "seed": 9, "top_k": 50}
I think that

There
END
sed -i 6d prompts
while IFS= read -r line; do
	printf '%s\n' "$line" | sq-run -n 16 --greedy "$model"
done <prompts >alone
for b in 1 3 64; do
	sq-run -n 16 --greedy --batch $b "$model" <prompts >got
	same alone got
done
printf %s "$(cat prompts)" | sq-run -n 16 --greedy "$model" >got
same alone got
sq-run -n 16 --greedy "$model" "Once upon a time" | cmp - <(
    head -n "$(sq-run -n 16 --greedy "$model" "Once upon a time" | wc -l)" alone)

# JSON out: one object a prompt, with the same text.
sq-run -n 16 --greedy --json "$model" <prompts >json
[ "$(wc -l <json)" -eq 6 ] || fail "$(cat json)"
if command -v python3 >/dev/null; then
	python3 -c 'import json, sys
for l in sys.stdin:
    print(json.loads(l)["text"])' <json >got
	same alone got
fi
grep -q '"finish_reason":"length"' json || fail "$(cat json)"

# A prompt may be its tokens: BOS and "A" as the tokenizer has them.
sq-run -n 8 --greedy "$model" A >alone
id=$(grep -o '"A": *[0-9]*' "$model/tokenizer.json" | head -1 | tr -dc 0-9)
echo "{\"prompt\": [1, $id]}" | sq-run -n 8 --greedy "$model" >got
same alone got
exits 1 sq-run "$model" <<<'{"prompt": [1, -2]}'
grep -q "entry 2 is not a token id" err || fail "$(cat err)"

# A stop string ends the text before it.
text=$(sq-run -n 16 --greedy "$model" "Once upon a time")
word=$(printf %s "$text" | awk 'NR == 1 { print $3 }')
sq-run -n 16 --greedy --stop " $word" "$model" "Once upon a time" >got
[ "$(cat got)" = "${text%%" $word"*}" ] || fail "$(cat got), not before '$word'"

# One that fails leaves the others alone.
printf 'Once upon a time\n{"prompt": 3}\nThe city\n' >some
exits 1 sq-run -n 4 --greedy "$model" <some
says "prompt 2: .*prompt"
[ "$(grep -c . out)" -ge 2 ] || fail "$(cat out)"

# The precision of the cache follows the memory and the link, and is explained.
exits 0 sq-run -v -n 2 --kv auto "$model" a
grep -q 'KV cache: bf16, ' err || fail "$(cat err)"
exits 0 sq-run -v -n 2 --kv auto --batch 32 -M 40M "$model" a
grep -q 'beyond the memory' err || fail "$(cat err)"
grep -q 'KV cache: int8,' err || fail "$(cat err)"
exits 0 sq-run -v -n 2 --kv auto --link-rate 1K "$model" a
grep -q 'KV cache: int4,' err || fail "$(cat err)"
exits 2 sq-run --kv int9 "$model" a
exits 2 sq-run --link-rate x "$model" a
