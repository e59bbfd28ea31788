#!/bin/bash
# What sq-ls shows of each kind of model.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-rtn -g 32 -m "$tiny" --only '*.0.self_attn.q_proj.weight' >a.sq
sq-rtn -g 48 --asym -m a.sq --only '*.0.mlp.up_proj.weight' -b 3 >b.sq

squeeze() {
	grep -q ' $' out && fail "blanks at the end of a line"
	sed 's/  */ /g' out
}

exits 0 sq-ls b.sq
silent
squeeze | head -11 | diff - <(cat <<'END'
HEADER 562
model.embed_tokens.weight BF16 256x64 32768
model.layers.0.input_layernorm.weight BF16 64 128
model.layers.0.self_attn.q_proj.weight int4 64x64 2304 1x32
model.layers.0.self_attn.k_proj.weight BF16 32x64 4096
model.layers.0.self_attn.v_proj.weight BF16 32x64 4096
model.layers.0.self_attn.o_proj.weight BF16 64x64 8192
model.layers.0.post_attention_layernorm.weight BF16 64 128
model.layers.0.mlp.gate_proj.weight BF16 128x64 16384
model.layers.0.mlp.up_proj.weight int3 128x64 3840 1x48 asym
model.layers.0.mlp.down_proj.weight BF16 64x128 16384
END
)
tail -1 out | grep -Eqx '26 records, [0-9]+ bytes, digest [0-9a-f]{32}'
grep -q " $(size b.sq) bytes" out || fail "not the size: $(tail -1 out)"

# The same from a pipe, from standard input, and named.
cp out was
sq-ls <b.sq | cmp - was
sq-ls - <b.sq | cmp - was
sq-ls <(cat b.sq) | cmp - was

# With -v the parts and the descriptions.
exits 0 sq-ls -v b.sq
squeeze >list
grep -A 3 '^model.layers.0.mlp.up_proj' list | tail -3 | diff - <(cat <<'END'
 codes BITS 3072
 scales F16 512
 zeros U8 256
END
)
grep -qF '"tool":"sq-rtn","version":"0.1.0","options":{"asym":true,' list
# The digest of the model that was imported, as sq-stream(5) defines it: it must
# stay what it is.
grep -qF '"model":"192d0c0432b5f46cb014ab2cbe61a770"' list

sq-pack -m b.sq -o b.sqa
exits 0 sq-ls b.sqa
squeeze >list
grep -qx 'model.layers.0.mlp.up_proj.weight int3 128x64 3840 1x48 asym' list
tail -1 out | grep -Eqx '21 tensors, [0-9]+ bytes, sqa, LlamaForCausalLM'
[ "$(grep -c ^PROVENANCE out)" -eq 4 ] || fail "$(cat out)"

exits 0 sq-ls "$tiny"
tail -1 out | grep -qx '21 tensors, 213632 bytes, safetensors, LlamaForCausalLM'
exits 0 sq-ls "$tiny/model.safetensors"
cp "$tiny/model.safetensors" alone.safetensors
exits 0 sq-ls alone.safetensors
tail -1 out | grep -qx '21 tensors, 213632 bytes, safetensors'

exits 1 sq-ls nothing-there
says "sq-ls: 'nothing-there': No such file or directory"
exits 1 sq-ls "$root/LICENSE"
says 'neither a safetensors file nor GGUF nor an artifact nor a stream'
exits 1 sq-ls </dev/null
says 'sq-ls: stdin: the input is empty'
head -c 5000 b.sq >cut.sq
exits 1 sq-ls cut.sq
says 'sq-ls: cut.sq: the stream stops after 5000 bytes, before its end'
