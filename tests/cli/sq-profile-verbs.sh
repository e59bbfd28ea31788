#!/bin/bash
# What sq-profile lists, shows and refuses.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

for name in w4a16 w4a16-asym w3a16 w8a16 w8a8-int8 w8a8-fp8 w4a8 w4a8kv4 \
    mxfp4 q4_k q4_0 kv8 kv4 fp8-dynamic; do
	sq-profile list | grep -q "^$name  *[^ ]" || fail "no $name"
done

# The ten fields, by name; what is shown reads back as the same.
sq-profile show -p w4a8kv4 >./all.yaml
for f in weight_bits:\ 4 activation_bits:\ 8 kv_bits_prefill:\ 4 \
    kv_bits_decode:\ 4 sparsity_ratio:\ 0 sparsity_pattern:\ none \
    kernel_backend:\ cpu calibration_dataset:\ '""' \
    calibration_samples:\ 128 max_sequence_length:\ 8192; do
	grep -qx "$f" all.yaml || fail "no '$f'"
done
sq-profile show -p ./all.yaml | cmp - all.yaml
[ "$(sq-profile show -p w8a8-int8 algorithm)" = "smooth gptq" ]
[ "$(sq-profile show -p w4a8kv4 kv.window)" = 128 ]
exits 0 sq-profile validate -p w4a8kv4
sed "s/kernel_backend: cpu/kernel_backend: kunlunxin/" all.yaml >chip.yaml
exits 1 sq-profile validate -p ./chip.yaml
grep -q "^./chip.yaml:[0-9]*: kunlunxin has no cache in int4" out
exits 1 sq-profile show -p w4a16 no.such
says "'no.such': no such key"

# A preset has no slash, a file has one.
exits 1 sq-profile show -p all.yaml
says "'all.yaml': no such preset"
exits 1 sq-profile show -p ./none.yaml
says "none.yaml"
sed 's/^weight_bits: 4/weight_bits: 5/' all.yaml >five.yaml
exits 1 sq-profile validate -p ./five.yaml
says '^sq-profile: ./five.yaml:1: weight_bits'

# Engines: 1 and a line for each problem; nothing and 0 without.
exits 0 sq-profile validate -p w4a16 --engine vllm -m "$model"
[ ! -s out ]
exits 1 sq-profile validate -p w3a16 --engine vllm --engine llama.cpp \
    --engine transformers
silent
[ "$(wc -l <out)" -eq 2 ]
grep -q '^w3a16:[0-9]*: llama.cpp does not take' out
exits 1 sq-profile validate -p w4a16 --engine vllm --tp 4 -m "$model"
grep -q "o_proj.weight': 64 columns of a rank of 4 .* group, 128" out
exits 2 sq-profile validate -p w4a16 --engine nobody
says "'nobody'"
exits 2 sq-profile validate -p w4a16 --engine llama.cpp --tp 2
sed 's/engine: vllm/engine: mine/; s/bits: \[4\]/bits: [3]/' \
    "$root/pipelines/engines/vllm.yaml" >mine.yaml
exits 0 sq-profile validate -p w3a16 --engine ./mine.yaml
exits 1 sq-profile validate -p w4a16 --engine ./mine.yaml
grep -q 'mine does not' out
echo 'engine: [x]' >bad.yaml
exits 2 sq-profile validate -p w4a16 --engine ./bad.yaml
says 'bad.yaml:1:'

# q and k in one matrix, but not of one kind.
{ sq-profile show -p w4a16; cat <<'END'; } >mixed.yaml
  overrides:
  - match: "re:model\\.layers\\.[13]\\.self_attn\\.k_proj\\.weight"
    bits: 8
    group_size: 128
END
exits 1 sq-profile validate -p ./mixed.yaml --engine vllm -m "$model"
[ "$(grep -c 'lays .*q_proj.* and .*k_proj' out)" -eq 2 ]
exits 0 sq-profile validate -p ./mixed.yaml --engine transformers -m "$model"

for bad in "" "list x" "show" "show -p w4a16 a b" "validate" "weigh -p w4a16"; do
	exits 2 sq-profile $bad
done
