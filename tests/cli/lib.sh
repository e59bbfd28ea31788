# What the scripts here share.  A script runs in a temporary directory of its
# own, with the built tools in PATH:
#
#	set -eu -o pipefail
#	. "$(dirname "$0")/lib.sh"
#
# It exits 0 when all is well, 77 with a reason when it cannot run here, and
# otherwise says what was wrong.  SQ_BUILD names the build (build).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${SQ_BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
shared=${SQ_SHARED:-$root/../shared}
model=$root/tests/data/sq-ref-7m
tiny=$root/tests/data/tiny/llama
PATH=$build/bin:$PATH
export LC_ALL=C

tmp=$(mktemp -d) || exit 1
cd "$tmp" || exit 1
leave() {
	set +e
	trap - ERR
	kill $(jobs -p) 2>/dev/null
	for m in "$tmp"/*.mount; do
		[ -d "$m" ] && umount "$m" 2>/dev/null
	done
	cd /
	chmod -R u+w "${tmp:?}"
	rm -rf --one-file-system "${tmp:?}"
}
trap leave EXIT
trap 'exit 1' INT TERM
set -E
trap 'echo "${0##*/}: line $LINENO: $BASH_COMMAND" >&2' ERR

skip() {
	echo "skipped: $*"
	exit 77
}

fail() {
	echo "${0##*/}: line ${BASH_LINENO[-2]}: $*" >&2
	exit 1
}

# exits STATUS COMMAND ...: what it prints is in `out' and `err'.
exits() {
	local want=$1 got=0

	shift
	"$@" >out 2>err || got=$?
	if [ "$got" -ne "$want" ]; then
		head -5 err >&2
		fail "exit status $got, not $want: $*"
	fi
}

# The same for a pipeline, given as text: the status of its last stage.
pipe_exits() {
	exits "$1" bash -c "$2"
}

# says PATTERN: `err' is one line, and it matches.
says() {
	[ "$(wc -l <err)" -eq 1 ] || fail "not one line: $(cat err)"
	grep -q -e "$1" err || fail "not '$1': $(cat err)"
}

# last_says TOOL PATTERN: one line of `err' is from TOOL, and it matches.
last_says() {
	[ "$(grep -c "^$1: " err)" -eq 1 ] ||
	    fail "not one line from $1: $(cat err)"
	grep -q "^$1: .*${2-}" err || fail "not '$2' from $1: $(cat err)"
}

silent() {
	[ ! -s err ] || fail "not silent: $(cat err)"
}

same() {
	cmp "$1" "$2" >&2 || fail "$1 and $2 differ"
}

absent() {
	local f

	for f; do
		[ ! -e "$f" ] || fail "'$f' is there"
	done
}

# lists FILE PATTERN: sq-ls shows such a line.
lists() {
	sq-ls "$1" >list
	grep -q -e "$2" list || fail "$1 has no '$2': $(cat list)"
}

digest() {
	sq-verify "$@" | sed 's/.*digest //'
}

size() {
	stat -c %s "$1"
}

# Where the records of a stream begin.
record_offsets() {
	grep -obUaP 'sqR\x1a' "$1" | sed 's/:.*//' |
	    while read -r at; do
		[ $((at % 64)) -ne 0 ] || echo "$at"
	done
}

# le N BYTES: a number as little-endian bytes.
le() {
	local i

	for ((i = 0; i < $2; i++)); do
		printf "\\x$(printf %02x $(($1 >> (8 * i) & 255)))"
	done
}

# two_blocks DIR: the small model without its last two blocks.  They are still
# in the file, but no longer of the model.
two_blocks() {
	mkdir "$1"
	ln -s "$model"/* "$1"
	sed 's/"num_hidden_layers": 4/"num_hidden_layers": 2/' \
	    "$model/config.json" >"$1/c"
	mv "$1/c" "$1/config.json"
}

# small_model DIR: a checkpoint of two of its blocks, and of nothing else.
small_model() {
	sq-calibrate -q --tokens-only --length 64 --samples 1 \
	    -t "$root/LICENSE" -m "$model" | sq-prune -q --layers 2 |
	    sq-pack -q -f hf -o "$1"
}

# sparse_model DIR DIM FFN LAYERS VOCAB: a checkpoint of zeros that takes no
# room on the disk.
sparse_model() {
	local dir=$1 d=$2 f=$3 n=$4 v=$5 i at=0 sep= header

	mkdir "$dir"
	cat >"$dir/config.json" <<-END
	{"architectures": ["LlamaForCausalLM"], "hidden_size": $d,
	"intermediate_size": $f, "num_hidden_layers": $n, "vocab_size": $v,
	"num_attention_heads": $((d / 64)), "tie_word_embeddings": true}
	END
	header='{'
	put() {
		header+=$sep"\"model.$1.weight\":{\"dtype\":\"BF16\",\"shape\":"
		header+="[$2],\"data_offsets\":[$at,$((at + $3 * 2))]}"
		at=$((at + $3 * 2)) sep=,
	}
	put embed_tokens $v,$d $((v * d))
	for ((i = 0; i < n; i++)); do
		put layers.$i.input_layernorm $d $d
		put layers.$i.post_attention_layernorm $d $d
		put layers.$i.self_attn.q_proj $d,$d $((d * d))
		put layers.$i.self_attn.k_proj $d,$d $((d * d))
		put layers.$i.self_attn.v_proj $d,$d $((d * d))
		put layers.$i.self_attn.o_proj $d,$d $((d * d))
		put layers.$i.mlp.gate_proj $f,$d $((d * f))
		put layers.$i.mlp.up_proj $f,$d $((d * f))
		put layers.$i.mlp.down_proj $d,$f $((d * f))
	done
	put norm $d $d
	header+='}'
	{ le ${#header} 8; printf %s "$header"; } >"$dir/model.safetensors"
	truncate -s +$at "$dir/model.safetensors"
}

# Compiles a small C program of the tests: program NAME FILE.
program() {
	command -v "${CC:-gcc}" >/dev/null || skip "no C compiler"
	"${CC:-gcc}" -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O2 \
	    -ffp-contract=off -o "$1" "$root/tests/cli/$2" -lm
}

# three_bits: m.sq, the first two blocks; q.sq, the same in 3 bits, with text.
three_bits() {
	two_blocks two
	sq-import two >m.sq
	sq-calibrate -q --tokens-only --length 64 --samples 4 \
	    -t "$root/tests/data/text/calib.txt" <m.sq |
	    sq-rtn -q -b 3 -g 64 >q.sq
}

# ended_when PID COMMAND ...: ends a process once a command succeeds.
ended_when() {
	local pid=$1

	shift
	until "$@"; do
		kill -0 "$pid" 2>/dev/null || break
		sleep .05
	done
	kill -9 "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

# divergence_falls FACTOR FILE: what sq-distill -v told of steps 0, 4 and 8: at
# the last one less than FACTOR times the first.
divergence_falls() {
	awk -v most="$1" '/divergence/ { d[++n] = $7 + 0 }
	END { exit !(n == 3 && d[1] > 0 && d[3] < most * d[1]) }' \
	    <(tr -d , <"$2") || fail "$(cat "$2")"
}

# A plug-in `fake', whose device is the host's memory; skips without a compiler.
fake_device() {
	command -v "${CC:-gcc}" >/dev/null || skip "no C compiler"
	"${CC:-gcc}" -std=gnu11 -D_GNU_SOURCE -shared -fPIC -I"$root" \
	    -I"$root/lib" -o libsqk_fake.so "$root/tests/cli/fake_device.c"
	export LD_LIBRARY_PATH=$PWD
}
