#!/bin/bash
# KV streams that are cut, damaged or of another model, and ends that go away.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

printf 'Once upon a time\nTwo\nThree little pigs went\n' >prompts
sq-prefill --batch 1 "$model" <prompts >kv
sq-decode -n 6 --greedy "$model" <kv >whole

# Cut anywhere: a reason, and those that had arrived are answered.
n=$(size kv)
for cut in 0 1 63 64 200 $((n / 3)) $((n / 2)) $((n - 64)) $((n - 1)); do
	head -c $cut kv >part
	exits 1 sq-decode -n 6 --greedy "$model" <part
	last_says sq-decode
	head -c "$(size out)" whole | cmp - out || fail "cut at $cut"
done
head -c $((n - 64)) kv >part
exits 1 sq-decode -n 6 --greedy "$model" <part
same whole out

# Any flipped byte is found.
for at in 3 20 70 300 $((n / 2)) $((n / 4 * 3)) $((n - 100)); do
	cp kv bad
	byte=$(od -An -tu1 -j$at -N1 kv)
	printf "\\x$(printf %02x $((byte ^ 64)))" |
	    dd of=bad bs=1 seek=$at conv=notrunc 2>/dev/null
	exits 1 sq-decode -n 6 --greedy "$model" <bad
	last_says sq-decode
done

# Another model, the same one stored otherwise, and no stream at all.
sq-rtn -q -m "$model" -b 8 | sq-pack -q -o w8.sqa
exits 1 sq-decode w8.sqa <kv
says "of another model"
exits 1 sq-decode "$tiny" <kv
last_says sq-decode
exits 1 sq-decode "$model" </dev/null
says "no KV stream"
exits 1 sq-decode "$model" <prompts
says "KV stream"

# A prompt that cannot be: named on both sides, the others go on.
printf 'Once upon a time\n{"prompt": 1}\n{"prompt": "x", "top_p": 7}\nTwo\n' >p
exits 1 bash -c "sq-prefill '$model' <p >kv2"
grep -q "prompt 2: .*'prompt'" err || fail "$(cat err)"
exits 1 sq-decode -n 6 --greedy "$model" <kv2
[ "$(grep -c . out)" -ge 2 ] || fail "$(cat out)"
printf 'word %.0s' {1..1500} >p
printf '\nTwo\n' >>p
exits 1 bash -c "sq-prefill '$model' <p >kv2"
grep -q "longer than the context" err || fail "$(cat err)"
exits 1 sq-decode -n 6 --greedy "$model" <kv2
[ "$(grep -c . out)" -ge 1 ] || fail "$(cat out)"

# The side that answers is killed: the other one stops with a reason.
printf 'Once upon a time\n%.0s' {1..400} >many
sq-decode -n 400 --ignore-eos --listen unix:s "$model" >/dev/null &
victim=$!
(sleep 1; kill -9 $victim) 2>/dev/null &
exits 1 sq-prefill --connect unix:s "$model" <many
last_says sq-prefill "other end"
wait $victim 2>/dev/null || true
rm -f s

# Nobody there; addresses that are none.
exits 1 sq-prefill --connect tcp:127.0.0.1 "$model" <prompts
says "not tcp:HOST:PORT"
exits 1 sq-decode --connect udp:1 "$model"
says "not unix:PATH or tcp:HOST:PORT"
exits 2 sq-prefill --kv int3 "$model" <prompts
exits 2 sq-prefill --connect a --listen b "$model"
