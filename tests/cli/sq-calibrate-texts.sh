#!/bin/bash
# The forms that a calibration text comes in, its report and its thresholds.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

{ sed -n 1,60p "$root/LICENSE"; echo '<|endoftext|>'
sed -n 61,120p "$root/LICENSE"; echo '<|endoftext|>'
sed -n 1,60p "$root/LICENSE"; } >text
sed -n '1,60p' "$root/LICENSE" >one
sed -n '61,120p' "$root/LICENSE" >two
for f in one two one; do
	printf '{"text": "%s"}\n' "$(sed 's/[\\"]/\\&/g' $f |
	    awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')"
done >lines
calibrate() {
	sq-calibrate -q -m "$model" --length 64 --samples 6 --tokens-only "$@"
}

# The same documents are the same tokens: as text, as lines, as tokens.
calibrate -t text --save-tokens a.ids >a.sq
calibrate -t lines --save-tokens b.ids >b.sq
cmp <(tail -n +2 a.ids) <(tail -n +2 b.ids)
[ "$(grep -c '"ids"' a.ids)" -eq 6 ]
calibrate -t a.ids >c.sq
same a.sq c.sq
exits 1 sq-calibrate -m "$tiny" -t a.ids --length 4 --tokens-only
says 'tokens of another tokenizer\|no tokenizer'
sed '1d; s/\[/[99999999,/' a.ids >bad.ids
exits 1 calibrate -t bad.ids
says 'token 99999999 is not one of'
sed '3s/}/,/' lines >bad
exits 1 calibrate -t bad
says '^sq-calibrate: line 3: '

# The report.
sq-calibrate -q -m "$model" --length 64 --samples 6 -t text --report r.csv \
    --max-idle 0 >full.sq
tr -d '\r' <r.csv >r
for line in what,name,value documents,text,3 duplicates,,1 tokens,taken,384 \
    tokens,sample,64 tokens,bos,0 \
    idle,model.layers.3.mlp.down_proj.weight,0; do
	grep -qx "$line" r || fail "no '$line'"
done
[ "$(grep -c ^document, r)" -eq 3 ]
[ "$(sed -n 's/^document,1,//p' r)" = "$(sq-calibrate -v -q -m "$model" \
    --tokens-only --length 1 -t one 2>&1 >/dev/null |
    sed -n 's/.* \([0-9]*\) tokens, .* BOS$/\1/p')" ]

# Thresholds end it before the work, or without an end.
exits 1 calibrate -t text --min-tokens 385
says '384 tokens, less than --min-tokens 385'
exits 1 calibrate -t text --max-duplicates 0
says '1 documents are there more than once'
exits 0 calibrate -t text --max-duplicates 1 --min-tokens 384


# A profile gives samples, length and text; flags win.
cat >./p.yaml <<'END'
weight_bits: 4
activation_bits: 16
kv_bits_prefill: 16
kv_bits_decode: 16
calibration_dataset: text
calibration_samples: 6
extensions: {calibration_length: 64}
END
sq-calibrate -q -m "$model" -p ./p.yaml --tokens-only >d.sq
same a.sq d.sq
sq-calibrate -q -m "$model" -p ./p.yaml --samples 2 --tokens-only \
    --save-tokens two.ids >/dev/null
cmp two.ids <(head -n 3 a.ids)
exits 2 sq-calibrate -m "$model" -p w4a16

# A conversation, as the model's template has it.
mkdir chat
ln -s "$model"/*.safetensors "$model"/config.json "$model"/tokenizer.json chat
printf '%s\n' '{"chat_template": "<|im_start|> <|im_end|>"}' \
    >chat/tokenizer_config.json
printf '%s\n' '{"messages": [{"role": "user", "content": "Hello there"},
{"role": "assistant", "content": "Yes."}]}' | tr -d '\n' >talk
printf '<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n' >talk.txt
sq-calibrate -q -m chat --length 1 --tokens-only -t talk \
    --save-tokens talk.ids >/dev/null
sq-calibrate -q -m chat --length 1 --tokens-only -t talk.txt \
    --save-tokens text.ids >/dev/null
cmp <(tail -n +2 talk.ids) <(tail -n +2 text.ids)
sed -i 's/im_start/start/' chat/tokenizer_config.json
exits 1 sq-calibrate -m chat --length 1 --tokens-only -t talk
says 'chat template is not one of'
