#!/bin/bash
# A profile gives each tensor its rule, flags override it, and sq-pack stores
# it, or refuses what is not what it says.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

cat >./p.yaml <<'END'
weight_bits: 4
activation_bits: 16
kv_bits_prefill: 16
kv_bits_decode: 16
extensions:
  id: mine
  group_size: 64
  overrides:
  - {match: "*.layers.0.*.down_proj.weight", bits: 8, group_size: 0}
  - {match: "re:.*\\.[01]\\.self_attn\\.(q|k)_proj\\.weight", bits: 3, symmetric: false}
  - {match: "*.1.mlp.down_proj.weight", format: none}
  - {match: lm_head.weight, bits: 8, group_size: 128}
END

# kind NAME: grid and group of that tensor in the list.
kind() {
	awk -v n="$1" '$1 == n { print $2, $5 }' list
}
p=model.layers
check() {
	[ "$(kind $p.0.mlp.up_proj.weight)" = "int4 1x64" ]
	[ "$(kind $p.0.mlp.down_proj.weight)" = "int8 1x768" ]
	[ "$(kind $p.1.mlp.down_proj.weight)" = "BF16 " ]
	[ "$(kind $p.2.mlp.down_proj.weight)" = "int4 1x64" ]
	[ "$(kind $p.1.self_attn.k_proj.weight)" = "int3 1x64" ]
	[ "$(kind $p.2.self_attn.k_proj.weight)" = "int4 1x64" ]
}
sq-rtn -p ./p.yaml -m "$model" >rtn.sq
sq-ls rtn.sq >list
check
[ "$(kind lm_head.weight)" = "int8 1x128" ]
grep -q zeros <(sq-ls -v rtn.sq | grep -A9 layers.0.self_attn.q_proj)

# The bytes are those that flags would have made.
sq-rtn -g 64 -m "$model" --only "$p.0.mlp.up_proj.weight" >flags.sq
alike() {
	cmp <(sq-cat "$1" "$3") <(sq-cat "$2" "$3") || fail "$3 is not alike"
}
alike rtn.sq flags.sq $p.0.mlp.up_proj.weight

# Flags win, for all tensors.
sq-rtn -p ./p.yaml -g 32 -b 5 --except lm_head.weight -m "$model" |
    sq-ls >list
[ "$(kind $p.0.mlp.down_proj.weight)" = "int5 1x32" ]
[ "$(kind $p.1.mlp.down_proj.weight)" = "BF16 " ]
[ -z "$(kind lm_head.weight)" ]

# The artifact has the profile, with what really happened.
sq-pack -o a.sqa <rtn.sq
tar xOf a.sqa profile.yaml >got.yaml
sq-profile show -p ./got.yaml | cmp - got.yaml
grep -qx '  id: mine' got.yaml
grep -qx '  algorithm: \[rtn\]' got.yaml
grep -qx 'max_sequence_length: 1024' got.yaml
tar xOf a.sqa preset.json | grep -q '"quant_profile_id": "mine"'
sq-pack -p ./p.yaml -o b.sqa <rtn.sq
tar xOf b.sqa profile.yaml | cmp - got.yaml

# Once it does not hold any more, the weights tell; and who asks for it is
# refused.
sq-rtn -p ./p.yaml -b 6 --except lm_head.weight -m "$model" >six.sq
sq-pack -o c.sqa <six.sq
tar xOf c.sqa profile.yaml >told.yaml
grep -qx '  bits: 6' told.yaml
grep -q 'id: ""' told.yaml
sq-pack -p ./told.yaml -o d.sqa <six.sq
tar xOf d.sqa profile.yaml | cmp - told.yaml
exits 1 sq-pack -p ./p.yaml -o e.sqa -m six.sq
says "q_proj.weight': is in int of 6 bits, group 64, zero points, not in int of 3"
absent e.sqa e.sqa.part
sq-pack -m "$model" -o f.sqa
tar xOf f.sqa profile.yaml | grep -qx 'weight_bits: 16'

# An engine is asked before the work, or tensor by tensor.
exits 1 sq-pack -p ./p.yaml --engine vllm -o g.sqa -m six.sq
says 'vllm'
exits 1 sq-pack --engine vllm -o g.sqa -m six.sq
says "self_attn.q_proj.weight': does not take weights in int of 6 bits"
absent g.sqa
sq-rtn -p w4a16 -m "$model" | sq-pack -p w4a16 --engine vllm -o h.sqa
tar xOf h.sqa kv_schema.json | grep -q '"dtype": "fp16"'

# The same rules in sq-gptq.
sq-calibrate -m "$model" -t "$root/LICENSE" --samples 2 --length 128 >cal.sq
sq-gptq -p ./p.yaml --sweeps 0 --except lm_head.weight <cal.sq 2>/dev/null >gptq.sq
sq-ls gptq.sq >list
check
for t in "mlp.down_proj -b 8 -g 0" "self_attn.k_proj -b 3 -g 64 --asym" \
    "self_attn.v_proj -b 4 -g 64"; do
	set -- $t
	name=$p.0.$1.weight
	shift
	sq-gptq "$@" --sweeps 0 --only $name <cal.sq 2>/dev/null >flags.sq
	alike gptq.sq flags.sq $name
done
exits 1 sq-rtn -p nothing -m "$model"
says "'nothing': no such preset"

exits 1 sq-rtn -p q4_k -m "$model"
says 'sq-rtn does not round to q4_k'
sed 's/^extensions:/&\n  scale: weighted/' p.yaml >./w.yaml
exits 1 sq-rtn -p ./w.yaml -m "$model"
says 'weighted scales are those of sq-gptq'

# A profile can ask for the quantized prefix, too.
small_model small
sq-calibrate -q -m small -t "$root/LICENSE" --samples 8 --length 16 >seq.sq
sed 's/^extensions:/&\n  sequential: true/; /overrides/,$d' p.yaml >./s.yaml
sq-gptq -q -p ./s.yaml --sweeps 0 <seq.sq >a.sq 2>/dev/null
sq-gptq -q -b 4 -g 64 --sweeps 0 --sequential <seq.sq >b.sq 2>/dev/null
sq-gptq -q -b 4 -g 64 --sweeps 0 <seq.sq >c.sq 2>/dev/null
alike a.sq b.sq $p.1.mlp.down_proj.weight
! cmp -s <(sq-cat a.sq $p.1.mlp.down_proj.weight) \
    <(sq-cat c.sq $p.1.mlp.down_proj.weight) || fail "not sequential"

# A state is one of its profile: another one refuses it.
sq-gptq -q -p w3a16 --tune-blocks 1 --tune-batch 1 --state state <seq.sq | sq-ls >list
[ "$(kind $p.0.mlp.up_proj.weight)" = "int3 1x128" ]
exits 1 sq-gptq -q -p w4a16 --tune-blocks 1 --tune-batch 1 --state state -m seq.sq
says 'finished for another model, text or options'
