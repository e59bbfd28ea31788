#!/bin/bash
# sq-pack -f gguf and back: the same integers, the same values, the same bytes
# when it is written again; what does not fit is refused.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# Written, read and written again: the same bytes.
again() {
	sq-import "$1" | sq-pack -f gguf -o again.gguf
	same "$1" again.gguf
	sq-verify -q "$1"
}

# Differences of values, which are none.
equal() {
	exits 1 sq-diff "$1" "$2"
	awk '/ differ$/ { next } !/max 0\.000e\+00/ { print; bad = 1 }
	    END { exit bad }' out || fail "$1 and $2"
}

# Dense, of every architecture: all values are what they were.
for m in "$model" "$root"/tests/data/tiny/*/; do
	case $m in *qwen3-moe*) continue ;; esac
	sq-pack -m "$m" -f gguf -o m.gguf
	again m.gguf
	equal "$m" m.gguf
done

# The chat template and the end of a turn come back.
cp -r "$model" chat
chmod -R u+w chat
echo '{"eos_token_id": [0, 7]}' >chat/generation_config.json
printf '{%% for m in messages %%}{{ m }}\n{%% endfor %%}' >chat/chat_template.jinja
sq-pack -m chat -f gguf -o chat.gguf
again chat.gguf
sq-import chat.gguf | sq-pack -f hf -o back
tr -d ' \n' <back/generation_config.json >is
echo -n '{"eos_token_id":[0,7]}' >was
same was is
grep -qF '{% for m in messages %}{{ m }}\n' back/tokenizer_config.json ||
    fail "$(cat back/tokenizer_config.json)"

# Experts: a slice each of three tensors, which have one type.
tiny=$root/tests/data/tiny
exits 1 sq-pack -m "$tiny/qwen3-moe" -f gguf -o no.gguf
says 'layers without experts'
sq-rtn -q -b 4 -g 32 --only '*w[13]*' -m "$tiny/mixtral" >e.sq
sq-pack -f gguf -o e.gguf <e.sq
again e.gguf
sq-import e.gguf >f.sq
equal e.sq f.sq
lists e.gguf 'experts.3.w3.weight *int4'
lists e.gguf 'experts.3.w2.weight *BF16'
sq-rtn -q -b 4 -g 32 --only '*experts.1.w1*' -m "$tiny/mixtral" >e.sq
exits 1 sq-pack -f gguf -o no.gguf <e.sq
says 'not of the type that the first expert has'
absent no.gguf

# What tokens and logits come to is what counts in the end.
sq-pack -m "$model" -f gguf -o m.gguf
sq-eval -q --csv --f32 --tokens 600 -t "$root/LICENSE" "$model" m.gguf |
    awk -F, 'NR > 1 { print $4, $5 }' | uniq >figures
[ "$(wc -l <figures)" -eq 1 ] || fail "$(cat figures)"
lists m.gguf 'v_proj.weight  *BF16 '

# Integers.
types() {
	sq-ls "$1" | awk '$1 ~ /proj.weight/ { print $2 }' | sort -u | tr '\n' ' '
}
codes() {
	sq-cat -p codes "$1" model.layers.1.self_attn.q_proj.weight
}
while read -r bits group want; do
	sq-rtn -q -b "$bits" -g "$group" -m "$model" >q.sq
	sq-pack -f gguf -o q.gguf <q.sq
	again q.gguf
	[ "$(types q.gguf)" = "$want " ] || fail "$bits: $(types q.gguf)"
	sq-import q.gguf >r.sq
	equal q.sq r.sq
	[ "$want" = "int$bits" ] || continue
	codes q.sq >was
	codes r.sq >is
	same was is
done <<'EOF'
3 64 int4
4 128 int4
5 32 int5
6 64 int8
8 256 int8
EOF
sq-rtn -q -b 4 -g 64 --asym -m "$model" | sq-pack -f gguf -o q.gguf
again q.gguf
[ "$(types q.gguf)" = 'uint4m ' ] || fail "$(types q.gguf)"

# No type holds groups of 48, or FP8: their values.
sq-rtn -q -b 4 -g 48 -m "$model" >q.sq
sq-pack -f gguf -o q.gguf <q.sq
[ "$(types q.gguf)" = 'BF16 ' ] || fail "$(types q.gguf)"

# Rounding to a type is what sq-rtn does; other types are for other tools.
sq-rtn -q -b 4 -g 32 --scale absmax -m "$model" | sq-pack -f gguf -o a.gguf
sq-pack -m "$model" -f gguf --gguf-type q4_0 -o b.gguf
same a.gguf b.gguf
sq-pack -m a.gguf -f gguf --gguf-type F16 -o b.gguf
[ "$(types b.gguf)" = 'F16 ' ] || fail "$(types b.gguf)"
exits 2 sq-pack -m "$model" -f gguf --gguf-type Q4_K -o b.gguf
exits 2 sq-pack -m "$model" -f gguf --gguf-type Q9 -o b.gguf
exits 2 sq-pack -m "$model" -f hf --gguf-type F16 -o b

# To another engine's format and back, nothing is lost.
sq-import a.gguf | sq-pack -f compressed-tensors -o ct
codes ct >is
codes a.gguf >was
same was is
[ -s is ] || fail "no codes"

# Broken files leave nothing.
for n in 10 100 5000 $(($(size a.gguf) - 1)); do
	head -c "$n" a.gguf >cut.gguf
	exits 1 sq-import cut.gguf
	says cut.gguf
	pipe_exits 1 'set -o pipefail; sq-import cut.gguf 2>&- |
	    sq-pack -f gguf -o no.gguf'
	absent no.gguf
done
head -c 100000 "$tmp/r.sq" >cut.sq
exits 1 sq-pack -f gguf -o no.gguf <cut.sq
absent no.gguf
