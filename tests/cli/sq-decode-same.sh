#!/bin/bash
# sq-prefill | sq-decode prints what sq-run prints at the same precision of keys
# and values: through a pipe, a file, compressed, a connection; for prompts of
# one token to several blocks.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

long=$(head -c 1500 "$root/tests/data/text/eval.txt" | tr '\n' ' ')
cat >prompts <<END
Once upon a time
a
$long
{"prompt": "The history of the city", "max_tokens": 5, "stop": "."}
$long and then
END
sq-rtn -q -m "$model" -b 4 | sq-pack -q -o w4.sqa

for kv in bf16 int8 fp8_e4m3 int4 int4,channel int8/int4,layers=0-0:bf16; do
	sq-run -n 12 --greedy --kv $kv "$model" <prompts >want
	sq-prefill --kv $kv "$model" <prompts >kv
	sq-decode -n 12 --greedy "$model" <kv >got
	same want got
done
[ "$(grep -c . want)" -ge 5 ] || fail "$(cat want)"
sq-run -n 12 --seed 5 --kv int4 w4.sqa <prompts >want
sq-prefill -z --kv int4 w4.sqa <prompts | sq-decode -n 12 --seed 5 w4.sqa >got
same want got
sq-run -n 12 --greedy --f32 "$model" <prompts >want
sq-prefill --f32 "$model" <prompts | sq-decode -n 12 --greedy --f32 "$model" >got
same want got

# What is kept in another precision is converted.
sq-run -n 12 --greedy --kv int4 --kv-prefill int8 "$model" <prompts >want
sq-prefill --kv int8 "$model" <prompts |
    sq-decode -n 12 --greedy --kv int4 "$model" >got
same want got

# Over a connection; the last prompt begins as the third, whose blocks are
# there: none of those is sent again.
sq-run -n 12 --greedy --kv int8 "$model" <prompts >want
sq-decode -v -n 12 --greedy --listen unix:s "$model" >got 2>log &
sq-prefill -v --kv int8 --batch 1 --connect unix:s "$model" <prompts 2>err
wait $!
same want got
blocks=$(sed -n 's/.*; \([0-9]*\) blocks sent, \([0-9]*\) were there.*/\1 \2/p' err)
[ "${blocks#* }" -gt 3 ] || fail "no block was there: $(cat err)"
absent s
printf '%s\n' "$long" "$long" >twice
sq-decode -v -n 4 --greedy --listen unix:s "$model" >got 2>log &
sq-prefill -v --kv int4 --batch 1 --connect unix:s "$model" <twice 2>err
wait $!
[ "$(sort -u got | wc -l)" -eq 1 ] || fail "$(cat got)"
set -- $(sed -n 's/.*, \([0-9]*\) tokens, \([0-9]*\) of them reused; \([0-9]*\) blocks sent, \([0-9]*\) were.*/\1 \2 \3 \4/p' err)
full=$((($1 / 2 - 1) / 64))
[ "$2" -eq $((full * 64)) ] && [ "$4" -eq $full ] ||
    fail "of $full blocks: $(cat err)"

# tcp too, the other way round.
port=$((20000 + RANDOM % 20000))
sq-prefill --kv int8 --listen tcp:127.0.0.1:$port "$model" <prompts &
sq-decode -n 12 --greedy --connect tcp:127.0.0.1:$port "$model" >got
wait $!
same want got
