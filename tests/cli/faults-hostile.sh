#!/bin/bash
# Files that lie, through the tools: exit 1 and one line, no crash, no hang, no
# memory without bound, no stream that looks whole.  SQ_FAULTS=long: through
# more of the tools.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

if [ -z "${SQ_ASAN-}" ]; then
	ulimit -v 2000000
fi
seen=0
often() {
	[ "${SQ_FAULTS-}" = long ] || [ $((seen % 16)) -eq 0 ]
}

# refused COMMAND ...: within ten seconds.
refused() {
	exits 1 timeout 10 "$@"
	[ "$(wc -l <err)" -ge 1 ] || fail "no reason: $*"
	LC_ALL=C.UTF-8 grep -q '[[:cntrl:]]' err && fail "control bytes: $*"
	seen=$((seen + 1))
}

# A checkpoint is refused, and what sq-import has written by then is no stream.
import_refused() {
	refused sq-import "$1"
	says '^sq-import: '
	mv err why
	often || return 0
	exits 1 sq-verify <out
	pipe_exits 1 "sq-import '$1' 2>/dev/null | sq-pack -o new.sqa"
	absent new.sqa
}

for v in "$root"/tests/formats/safetensors/bad/*; do
	case $v in
	*/EXPECT)
		continue ;;
	*/dir-*)
		rm -rf m
		cp -r "$v" m
		[ -e m/config.json ] && [ "${v##*/}" != dir-none ] ||
		    cp "$tiny/config.json" m ;;
	*)
		rm -rf m
		mkdir m
		cp "$tiny/config.json" m
		cp "$v" m/model.safetensors ;;
	esac
	import_refused m
done
for v in "$root"/tests/formats/config/bad/*.json; do
	rm -rf m
	mkdir m
	cp "$tiny/model.safetensors" m
	cp "$v" m/config.json
	import_refused m
	grep -q 'config.json' why || fail "$v: $(cat why)"
done
for v in "$root"/tests/formats/sqa/bad/*.sqa; do
	refused sq-verify "$v"
	says "${v##*/}"
	cp "$v" v.sqa
	if ! sq-import v.sqa >out 2>err; then
		says '^sq-import: '
	fi
done
for v in "$root"/tests/formats/stream/bad/*.sq; do
	refused sq-pack -o new.sqa -m "$v"
	absent new.sqa
	often || continue
	refused sq-verify - <"$v"
	says '^sq-verify: stdin: '
	refused sq-verify "$v"
	refused sq-ls "$v"
	refused sq-import "$v"
done

# Checkpoints whose parts are fine and do not belong together.
edit() {
	rm -rf m
	cp -r "$tiny" m
	chmod -R u+w m
	sed -i "$1" m/config.json
}
while IFS='|' read -r s reason; do
	edit "$s"
	import_refused m
	grep -q -e "$reason" why || fail "$s: $(cat why)"
done <<'END'
s/"hidden_size": 64/"hidden_size": 128/|shape is not what config.json says
s/"num_hidden_layers": 2/"num_hidden_layers": 3/|'model.layers.2.*' is missing
s/"vocab_size": 256/"vocab_size": 257/|shape is not what config.json says
s/"num_key_value_heads": 2/"num_key_value_heads": 3/|do not divide
s/LlamaForCausalLM/LlamaForSpeech/|'LlamaForSpeech' is not supported
s/LlamaForCausalLM/Qwen3ForCausalLM/|q_norm.weight' is missing
s/"num_hidden_layers": 2/"num_hidden_layers": 4096/|is missing
s/"num_hidden_layers": 2/"num_hidden_layers": 4611686018427387904/|num_hidden_layers
END
edit 's/"num_hidden_layers": 2/"num_hidden_layers": 1/'
sq-import m | sq-verify -q

# Weights that cannot be: infinity where scales are made.
edit ''
at=$(grep -obUaP "$(sq-cat -p data m model.layers.0.self_attn.q_proj.weight |
    head -c 16 | od -An -tx1 | tr -d ' \n' | sed 's/../\\x&/g')" \
    m/model.safetensors | sed 's/:.*//')
le 0x7f80 2 | dd of=m/model.safetensors bs=1 seek="$at" conv=notrunc status=none
sq-import m | sq-verify -q
refused sq-rtn -m m
says "q_proj.weight': rows 0 to .* hold infinity, NaN"
pipe_exits 1 "sq-rtn -m m 2>/dev/null | sq-pack -o new.sqa"
absent new.sqa
[ $seen -gt 200 ] || fail "only $seen cases"
