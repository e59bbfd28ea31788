#!/bin/bash
# Every format for other engines: what it writes has the integers and scales of
# the stream, and what is imported and written again has the same bytes.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# holds STREAM FORMAT OPTION ...: out and back, twice.
holds() {
	local s=$1 f=$2

	shift 2
	rm -rf one two
	sq-pack -q -f "$f" "$@" -o one <"$s"
	[ "$(ls one/*.part 2>/dev/null)" = "" ] || fail "$f: $(ls one)"
	sq-import -q one >back.sq
	exits 0 sq-diff --values "$s" back.sq
	grep -q '^0 of [1-9][0-9]* tensors differ$' out || fail "$f: $(cat out)"
	sq-pack -q -f "$f" "$@" -o two <back.sq
	diff -r one two || fail "$f $*: other bytes"
	same "$model/tokenizer.json" one/tokenizer.json
	same "$model/generation_config.json" one/generation_config.json
}

# has FILE KEY ... VALUE: a member of a JSON file.
has() {
	local f=$1

	shift
	python3 - "$f" "$@" <<-'END' || fail "$f: $*"
	import json, sys
	v = json.load(open(sys.argv[1]))
	for k in sys.argv[2:-1]:
	    v = v[int(k) if isinstance(v, list) else k]
	if json.dumps(v) != sys.argv[-1]:
	    sys.exit(f"{json.dumps(v)}")
	END
}

sq-import "$model" >m.sq
q=quantization_config

# Symmetric and with zero points, groups and rows, all widths, of small weights.
mkdir tiny
cp "$root/tests/data/tiny/qwen2-tied"/{config.json,model.safetensors} \
    "$model"/{tokenizer,generation_config}*.json tiny
sq-import -q tiny >t.sq
for b in 2 3 4 5 6 8; do
	sq-rtn -q -b $b -g 32 --asym <t.sq >a.sq
	sq-rtn -q -b $b <t.sq >r.sq
	holds a.sq compressed-tensors
	has one/config.json $q config_groups group_0 weights num_bits $b
	has one/config.json $q config_groups group_0 weights symmetric false
	holds r.sq compressed-tensors
	has one/config.json $q config_groups group_0 weights strategy \
	    '"channel"'
	case $b in
	3 | 5 | 6)
		holds a.sq compressed-tensors --old-packing
		head -c 9000 one/model.safetensors | grep -aq "0.self_attn.q_proj.weight_packed\":{[^}]*\"shape\":\[64,$(((64 + 32 / b - 1) / (32 / b)))\]" ||
		    fail "int$b: $(head -c 999 one/model.safetensors)"
		;;
	esac
	case $b in 5 | 6) continue ;; esac
	holds a.sq gptq-v2
	has one/quantize_config.json checkpoint_format '"gptq_v2"'
	holds r.sq gptq
	has one/config.json $q group_size -1
	has one/config.json $q bits $b
done
sq-rtn -q -b 4 -g 64 <m.sq >4.sq
sq-rtn -q -b 4 -g 64 --asym <m.sq >4a.sq
holds 4.sq gptq
holds 4.sq awq
has one/config.json $q zero_point true
holds 4a.sq awq
has one/config.json torch_dtype '"bfloat16"'

# Both sides in 8 bits.
sq-rtn -q -b 8 <m.sq >8.sq
sq-rtn -q -b 4 <m.sq >4r.sq
sq-act -q int8 <8.sq >8d.sq
sq-act -q int8 <4r.sq >4d.sq
sq-act -q fp8 <4.sq >4f.sq
holds 8d.sq compressed-tensors
has one/config.json $q format '"int-quantized"'
has one/config.json $q config_groups group_0 input_activations dynamic true
holds 4d.sq compressed-tensors
holds 4f.sq compressed-tensors
sq-rtn -q --grid fp8_e4m3 <m.sq >f.sq
holds f.sq compressed-tensors
sq-act -q fp8 <f.sq >fd.sq
holds fd.sq compressed-tensors
has one/config.json $q format '"float-quantized"'
# One scale for a tensor: q, k and v have the same, and so have gate and up.
cat >tensor.yaml <<'END'
weight_bits: 8
activation_bits: 8
kv_bits_prefill: 16
kv_bits_decode: 16
kernel_backend: cuda
extensions:
  format: fp8_e4m3
  group_size: tensor
END
sq-rtn -q -p ./tensor.yaml <m.sq >ft.sq
holds ft.sq compressed-tensors
has one/config.json $q config_groups group_0 weights strategy '"tensor"'
for t in self_attn.q self_attn.k self_attn.v mlp.gate mlp.up; do
	sq-cat -p scales ft.sq model.layers.1.${t}_proj.weight | cksum
done | uniq -c | awk '{ print $1 }' | xargs | grep -qx '3 2' ||
    fail "scales of fused weights differ"
for t in q k v; do
	sq-cat ft.sq model.layers.1.self_attn.${t}_proj.bias |
	    cmp - <(sq-cat m.sq model.layers.1.self_attn.${t}_proj.bias)
done
holds 8.sq ascend
has one/quant_model_description.json model_quant_type '"W8A16"'
holds 8d.sq ascend
has one/quant_model_description.json \
    model.layers.0.mlp.up_proj.weight_scale '"W8A8_DYNAMIC"'
has one/quant_model_description.json model.norm.weight '"FLOAT"'
holds 4d.sq ascend
if grep -q quantization_config one/config.json; then
	fail "ascend: quantization_config"
fi

# Several ways in one model, and layers that are left alone.
sq-rtn -q -b 8 -g 64 --only '*.0.mlp.down_proj.weight' <m.sq |
    sq-rtn -q -b 4 -g 64 --except '*down_proj*' --except '*.1.*' >mix.sq
holds mix.sq compressed-tensors
has one/config.json $q config_groups group_0 targets '["Linear"]'
has one/config.json $q config_groups group_1 targets \
    '["model.layers.0.mlp.down_proj"]'
has one/config.json $q ignore 0 '"model.layers.1.self_attn.q_proj"'
holds mix.sq gptq
has one/quantize_config.json dynamic \
    '+:^model\.layers\.0\.mlp\.down_proj$' bits 8

# Experts.
for m in mixtral qwen3-moe; do
	sq-import -q "$root/tests/data/tiny/$m" >e.sq
	sq-rtn -q -b 4 -g 16 <e.sq >e4.sq
	sq-rtn -q -b 8 <e.sq | sq-act -q int8 >e8.sq
	for f in e4/compressed-tensors e8/compressed-tensors e8/ascend; do
		rm -rf one two
		sq-pack -q -f ${f#*/} -o one <${f%/*}.sq
		sq-import -q one >back.sq
		exits 0 sq-diff --values ${f%/*}.sq back.sq
		grep -q '^0 of [0-9]* tensors' out || fail "$m $f: $(cat out)"
		sq-pack -q -f ${f#*/} -o two <back.sq
		diff -r one two || fail "$m $f: other bytes"
	done
done

# The cache, from ranges in the stream.
sq-calibrate -q --samples 1 --length 128 -t "$root/LICENSE" <m.sq >c.sq
sq-rtn -q -b 8 <c.sq | sq-act -q int8:static >c8.sq
sq-rtn -q --grid fp8_e4m3 <c.sq | sq-act -q fp8:static >cf.sq
holds c8.sq compressed-tensors
has one/config.json $q config_groups group_0 input_activations dynamic false
lists one 'q_proj.weight *int8'
holds c8.sq ascend
has one/quant_model_description.json model_quant_type '"W8A8"'
has one/quant_model_description.json \
    model.layers.0.self_attn.q_proj.quant_bias '"W8A8"'
holds cf.sq compressed-tensors
for f in compressed-tensors ascend; do
	sq-pack -q -f $f --kv -o kv-$f <c8.sq
	sq-import -q kv-$f | sq-pack -q -f $f -o kv2-$f
	diff -r kv-$f kv2-$f || fail "$f: other bytes with a cache"
done
has kv-compressed-tensors/config.json $q kv_cache_scheme type '"float"'
[ "$(sq-ls kv-compressed-tensors | grep -c '\.[kv]_scale ')" -eq 8 ] ||
    fail "$(sq-ls kv-compressed-tensors)"
has kv-ascend/quant_model_description.json kv_cache_type '"C8"'
pipe_exits 1 'sq-pack -f compressed-tensors --kv -o no <8.sq'
says 'no ranges of keys and values'
absent no no.part

# One format after another: the same integers all the way.
sq-pack -q -f awq -o w1 <4.sq
sq-import -q w1 | sq-pack -q -f gptq -o w2
sq-import -q w2 | sq-pack -q -f compressed-tensors -o w3
exits 0 sq-diff 4.sq w3

# Shards; a head of its own, quantized, is no longer the embedding.
sq-pack -q -f gptq --shard-size 2M -o s1 <4.sq
[ -s s1/model.safetensors.index.json ] || fail "no index"
sq-import -q s1 >back.sq
exits 0 sq-diff 4.sq back.sq
sq-rtn -q -b 8 --only lm_head.weight <m.sq >h.sq
sq-pack -q -f compressed-tensors -o h <h.sq
has h/config.json tie_word_embeddings false
sq-import -q h >back.sq
exits 0 sq-diff h.sq back.sq

# What a format does not have: the tensor, and what to do; --dense does it.
sq-rtn -q -b 2 -g 32 --asym <m.sq >2a.sq
while IFS='|' read -r s f what; do
	pipe_exits 1 "sq-pack -f $f -o no <$s"
	says "tensor 'model.layers.*$what"
	absent no no.part
	exits 0 sq-pack -q -f $f --dense '*_proj.weight' -o dense -m $s
	rm -r dense
done <<'END'
2a.sq|gptq|no zero point 0: -f gptq-v2 has
8.sq|awq|no grid but 4 bits
4a.sq|ascend|no weights but symmetric ones
4r.sq|ascend|no such grid with such activations
f.sq|gptq|no grid but
END
sq-rtn -q -b 8 --only '*embed*' <m.sq >e.sq
pipe_exits 1 'sq-pack -f compressed-tensors -o no <e.sq'
says "the embedding is not quantized in this format: --dense 'model.embed"
