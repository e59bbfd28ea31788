#!/bin/bash
# What sq-run and sq-eval do not take, and what they say.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# A copy of the model in which some value may be changed.
cp -r "$model" m
chmod -R u+w m
text=$root/tests/data/text/eval.txt

# A prompt that fills the context and more; a token that is not text.
printf "one two three four %.0s" {1..2000} >long
exits 1 sq-run "$model" <long
says "a prompt of [0-9]* tokens is longer than the context of 1024"
exits 2 sq-run --temperature x "$model" a
exits 2 sq-run
exits 2 sq-eval "$model"

# Texts with nothing to score.
: >empty
exits 1 sq-eval -t empty "$model"
last_says sq-eval "empty'"
printf a >one
exits 1 sq-eval -t one "$model"
last_says sq-eval "one'"
exits 1 sq-eval -t absent "$model"
last_says sq-eval "absent'"

# Weights that are not numbers: an answer would be noise.
size=$(stat -c %s m/model.safetensors)
printf '\xff\x7f%.0s' {1..4096} |
    dd of=m/model.safetensors bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
exits 1 sq-eval -q -t "$text" --tokens 1024 m
last_says sq-eval
exits 1 sq-run -n 4 m "Once upon a time"
last_says sq-run

# A configuration that lies.
cp -f "$model/model.safetensors" m
lie() {
	sed "$1" "$model/config.json" >m/config.json
	cmp -s m/config.json "$model/config.json" && fail "no lie: $1"
	exits 1 sq-run m a
	last_says sq-run "$2"
	exits 1 sq-eval -t "$text" m
	last_says sq-eval "$2"
}
lie 's/"num_attention_heads": [0-9]*/"num_attention_heads": 3/' ''
lie 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 5/' 'layers.4'
lie 's/"hidden_size": [0-9]*/"hidden_size": 512/' ''
lie 's/"vocab_size": [0-9]*/"vocab_size": 1000/' ''
lie 's/Qwen2ForCausalLM/NobodyForCausalLM/' 'Nobody'
cp -f "$model/config.json" m

# A tokenizer that is damaged, or missing.
head -c 1000 "$model/tokenizer.json" >m/tokenizer.json
exits 1 sq-run m a
last_says sq-run "tokenizer.json"
rm m/tokenizer.json
exits 1 sq-run m a
last_says sq-run "tokenizer.json"
