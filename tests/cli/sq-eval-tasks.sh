#!/bin/bash
# Tasks: figures that must come out, the log that a run goes on from, refusals.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# What the model itself writes is what it must find likeliest and write again.
said=$(sq-run -n 6 --greedy --f32 "$model" "The history of the city")
line=${said%%$'\n'*}
printf '{"context": "The history of the city", "continuation": "%s"}\n' \
    "${line# }" >l.jsonl
sq-eval -q --csv --f32 --task lambada=l.jsonl "$model" >out.csv
grep -q ',all,acc,1,1.000000,' out.csv || fail "$(cat out.csv)"

# A right answer, by any number of questions at a time.
for i in 1 2 3 4 5 6 7 8 9; do
	printf '{"prompt": "The history of the city", "answer": "%s"}\n' \
	    "${line# }"
	printf '{"prompt": "Once upon", "answer": "nothing like it %d"}\n' $i
done >f.jsonl
for b in 1 5 16; do
	sq-eval -q --csv --f32 --make 6 --batch $b --task free=f.jsonl \
	    "$model" >b$b.csv
	same b1.csv b$b.csv
done
grep -q ',all,exact,18,0.500000,' b1.csv || fail "$(cat b1.csv)"

# What ends an answer stands in it where that is wanted.
needle() {
	sq-eval -q --task needle="$root/LICENSE" --lengths 256 --depths 1 \
	    --items "$1" "${@:2}" "$model"
}
needle cut.csv >out
needle whole.csv --special >out
grep -q ',1,1, [0-9]*$' cut.csv || fail "$(cat cut.csv)"
grep -q ',0,0, [0-9]*<|endoftext|>$' whole.csv || fail "$(cat whole.csv)"
if grep -q endoftext cut.csv; then
	fail "$(cat cut.csv)"
fi
rm whole.csv

# What an option costs has the same bits for any number of questions at a time.
for i in 1 2 3 4 5 6 7; do
	printf '{"context": "The history of %d cities", "continuation": "%s"}\n' \
	    $i "$(head -c $((i * 20)) "$root/LICENSE" | tr -cs 'A-Za-z' ' ')"
done >n.jsonl
for b in 1 3 7; do
	sq-eval -q --batch $b --items n$b.csv --task lambada=n.jsonl \
	    "$model" >out
	same n1.csv n$b.csv
done

# Compared with itself nothing differs; with a damaged model something may.
sq-import "$model" | sq-rtn -q -b 2 -g 0 | sq-pack -q -o bad.sqa
sq-eval -q --csv --f32 --make 6 --task free=f.jsonl --reference "$model" \
    "$model" bad.sqa >c.csv
grep ",all,exact,18,0.500000,.*,0.000000,1.000000," c.csv >list
[ "$(wc -l <list)" -eq 1 ] || fail "$(cat c.csv)"
grep "^bad.sqa.*,all,exact,18,0.000000,.*,-0.500000,0.00" c.csv >list ||
    fail "$(cat c.csv)"

# A log that was cut off is gone on from, and gives the same figures.
ask() {
	sq-eval -q --csv --f32 --make 6 --task free=f.jsonl --items items.csv \
	    "$model"
}
ask >all.csv
cp items.csv whole.csv
head -c $(($(size items.csv) / 2)) whole.csv >items.csv
ask >again.csv
same all.csv again.csv
same whole.csv items.csv
ask >third.csv
same all.csv third.csv
same whole.csv items.csv
# Not with other inputs of the layers, or other keys.
for other in "--act int8" "--attention window:64"; do
	sq-eval -q --csv --f32 --make 6 --task free=f.jsonl --items items.csv \
	    $other "$model" >other.csv
	grep -q ' a[a-z]*=[a-z]*[8:]' other.csv || fail "$(cat other.csv)"
done
[ "$(grep -c ,precision items.csv)" -eq $((3 * $(grep -c ,precision whole.csv))) ]
cp whole.csv items.csv

# So do the shards, whose logs make the whole; in each its own questions.
for k in 1 2 3; do
	sq-eval -q --csv --f32 --make 6 --task free=f.jsonl --shard $k/3 \
	    --items part$k.csv "$model" >s$k.csv
	grep -q ',all,exact,6,' s$k.csv || fail "$(cat s$k.csv)"
done
(cat part1.csv; tail -q -n +2 part2.csv part3.csv) >items.csv
same whole.csv items.csv
exits 2 sq-eval --task free=f.jsonl --shard 4/3 "$model"
exits 1 sq-eval --task lambada=l.jsonl --shard 1/2 "$model"
last_says sq-eval "fewer questions than shards"

# An option costs the same before and after a long one, whatever the cache is
# kept in: of two that are alike the first is taken.
long=$(tr -cd 'a-z ' <"$root/tests/data/text/eval.txt" | cut -c 1-350 | head -1)
for n in 150 190 230 270; do
	printf '{"query": "%s", "choices": [" the", " %s", " the"], "gold": 2}\n' \
	    "$(tr -cd 'a-z ' <"$root/LICENSE" | cut -c 1-$n)" "$long"
done >twice.jsonl
for kv in int8 int4,sink=0,window=32; do
	sq-eval -q --csv --kv $kv --task choice=twice.jsonl "$model" >kv.csv
	grep -q ",all,acc,4,0.000000,.* kv=int" kv.csv || fail "$(cat kv.csv)"
done

# A needle for each length and depth, the same for the same seed.
needle() {
	sq-eval -q --csv --task needle="$root/LICENSE" --lengths 256:512 \
	    --depths 3 --each 1 "$@" "$model"
}
needle >n.csv
for g in 256,0.00 256,0.50 512,1.00; do
	grep -q "\"$g\",exact,1," n.csv || fail "$(cat n.csv)"
done

exits 1 sq-eval --task choice=absent "$model"
last_says sq-eval absent
exits 2 sq-eval --task other=f.jsonl "$model"
exits 2 sq-eval --task choice "$model"
exits 2 sq-eval --task free=f.jsonl -t f.jsonl "$model"
echo '{"prompt": 1}' >bad.jsonl
exits 1 sq-eval --task free=bad.jsonl "$model"
last_says sq-eval "bad.jsonl': line 1: .*prompt"
exits 1 sq-eval --task needle="$root/LICENSE" --lengths 65536 "$model"
last_says sq-eval "too short"
