#!/bin/bash
# sq-import | sq-pack -f hf gives back the same tensors, bit for bit: of every
# architecture, with and without a head of its own, whole and in shards.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# The bytes of each tensor.
raw() {
	local n

	sq-ls "$1" | awk '$2 == "BF16" { print $1 }' | sort >names
	[ -s names ] || fail "no tensors in $1"
	while read -r n; do
		printf '%s ' "$n"
		sq-cat -p data "$1" "$n" | cksum
	done <names
}

for m in "$model" "$root"/tests/data/tiny/*/; do
	rm -rf hf
	sq-import "$m" | sq-pack -f hf -o hf
	exits 0 sq-diff "$m" hf
	grep -q '^0 of [0-9]* tensors differ$' out || fail "$(cat out)"
	same "$m/config.json" hf/config.json
	[ "$(digest <(sq-import "$m"))" = "$(digest <(sq-import hf))" ] ||
	    fail "$m: another stream"
done
for f in tokenizer.json tokenizer_config.json generation_config.json; do
	sq-import "$model" | sq-pack -f hf -o hf
	same "$model/$f" "hf/$f"
done

# The data part of the file, byte for byte, where the order is the same: a
# checkpoint that sq-pack wrote is written again.
sq-import hf | sq-pack -f hf -o again
same hf/model.safetensors again/model.safetensors

# Shards.
sq-import "$model" | sq-pack -f hf --shard-size 2M -o parts
absent parts/model.safetensors
[ "$(ls parts/model-*-of-*.safetensors | wc -l)" -gt 2 ] || fail "$(ls parts)"
[ -s parts/model.safetensors.index.json ] || fail "no index"
exits 0 sq-diff "$model" parts
raw parts >is
raw "$model" >was
same was is
[ "$(digest <(sq-import "$model"))" = "$(digest <(sq-import parts))" ] ||
    fail "shards: another stream"

# A directory of symbolic links, as Hugging Face's cache has them.
mkdir -p cache/blobs cache/snapshot
for f in "$model"/*; do
	n=$(cksum <"$f" | tr ' ' -)
	cp "$f" "cache/blobs/$n"
	ln -s "../blobs/$n" "cache/snapshot/${f##*/}"
done
exits 0 sq-diff "$model" cache/snapshot
sq-import cache/snapshot | sq-verify -q
