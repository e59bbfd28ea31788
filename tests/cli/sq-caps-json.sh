#!/bin/bash
# The descriptors have their fields, and follow the options.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

exits 0 sq-caps
for k in backend name num_cores total_memory_gb isa memory_bandwidth flops; do
	grep -q "\"$k\":" out || fail "no $k: $(cat out)"
done
exits 0 sq-caps --kv int4 --context 512 --batch 4 "$model"
for k in backend_name instance_type hardware_backend max_batch_size \
    max_sequence_length kv_cache_capacity_gb supported_precisions kv_schema \
    quant_profile_id sparsity_ratio throughput_hint_tps ttft_hint_ms \
    kv_quant_schema; do
	grep -q "\"$k\":" out || fail "no $k: $(cat out)"
done
grep -q '"max_sequence_length": 512' out || fail "$(cat out)"
grep -q '"max_batch_size": 4' out || fail "$(cat out)"
grep -q '"dtype": "int4"' out || fail "$(cat out)"
grep -q '"rotation": "hadamard"' out || fail "$(cat out)"
grep -Eq '"throughput_hint_tps": [1-9]' out || fail "$(cat out)"
exits 0 sq-caps --no-measure --instance decode "$model"
grep -q '"instance_type": "decode"' out || fail "$(cat out)"
grep -Eq '"ttft_hint_ms": 0' out || fail "$(cat out)"
exits 1 sq-caps absent
last_says sq-caps
