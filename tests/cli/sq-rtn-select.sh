#!/bin/bash
# Which tensors sq-rtn quantizes: the linear layers of the blocks, or what
# --only and --except say.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

# chosen OPTION ...: how many, and their names.
chosen() {
	sq-rtn -m "$tiny" "$@" | sq-ls | awk '$2 == "int4" { print $1 }' |
	    sed 's/^model.layers/L/; s/.weight$//; s/self_attn.//; s/mlp.//' |
	    paste -sd ' '
}

# expect NAMES OPTION ...
expect() {
	local want=$1 got

	shift
	got=$(chosen "$@")
	[ "$got" = "$want" ] || fail "$*: '$got', not '$want'"
}

block() {
	echo L.$1.q_proj L.$1.k_proj L.$1.v_proj L.$1.o_proj L.$1.gate_proj \
	    L.$1.up_proj L.$1.down_proj
}

expect "$(block 0) $(block 1)"
expect "$(block 1)" --only 'model.layers.1.*'
expect "L.0.q_proj L.1.q_proj" --only '*q_proj*'
expect "L.0.q_proj L.0.k_proj L.1.q_proj L.1.k_proj" --only '*.q_proj.*' \
    --only '*.k_proj.*'
expect "$(block 0)" --except 'model.layers.1.*'
expect "L.0.down_proj" --only '*down*' --except '*.1.*'
expect "L.1.up_proj" --only '*.[12].mlp.u?_proj.weight'
expect "model.embed_tokens" --only '*embed*'
expect "model.embed_tokens $(block 0) $(block 1) lm_head" --only '*'
expect "" --except '*'
expect "" --except 'model.*'

# A name that is not there is an error: somebody has mistyped it.
for o in model.layers.9.self_attn.q_proj.weight '*.norm.*' ''; do
	exits 1 sq-rtn -m "$tiny" --only "$o"
	says "--only '${o//\*/.}'"
done
exits 0 sq-rtn -m "$tiny" --except nothing-like-that
many=()
for i in {1..64}; do
	many+=(--except "x$i")
done
exits 0 sq-rtn -m "$tiny" "${many[@]}"
exits 2 sq-rtn -m "$tiny" "${many[@]}" --except y

# The globs are in the provenance, in their order.
sq-rtn -m "$tiny" --only '*q_p*' --only '*k_p*' --except '*.1.*' |
    sq-ls -v >list
grep -qF '"except":["*.1.*"],"grid":"int4","group":0,"only":["*q_p*","*k_p*"],"scale":"absmax"' list
