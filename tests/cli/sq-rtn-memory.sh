#!/bin/bash
# -M is obeyed or refused, and changes nothing else.  Without it, memory does
# not grow with the model.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"
[ -z "${SQ_ASAN-}" ] || skip "the sanitizers' own memory is in the way"

program peak peak.c

# at_most MEGABYTES COMMAND ...
at_most() {
	local most=$1

	shift
	./peak most "$@" >out 2>err || fail "$*: $(cat err)"
	[ "$(cat most)" -le $((most * 1024)) ] ||
	    fail "$*: $(cat most) KB, more than $most MB"
}

# Zeros: 180 MB of weights, tensors of 52.
sparse_model big 1024 25600 1 8192
sq-import big >big.sq
at_most 32 sq-import big
at_most 80 sq-rtn -j 2 -v -g 128 -m big
sq-rtn -g 128 <big.sq >q.sq
at_most 32 sq-rtn -M 32M -g 128 -m big.sq
same out q.sq
at_most 32 sq-rtn -M 32M -z -v -g 128 -m big.sq
at_most 48 sq-rtn -M 48M -g 128 -m big.sq
same out q.sq
at_most 32 sq-pack -o big.sqa -m q.sq
at_most 32 sq-verify big.sqa q.sq
at_most 32 sq-ls big.sqa
at_most 32 sq-diff big.sqa q.sq
at_most 32 sq-cat -p codes q.sq model.layers.0.mlp.up_proj.weight

# One row of scales too many for the ceiling: refused, with the least it takes.
exits 1 sq-rtn -M 32M -g 1 -m big.sq
says "tensor '.*': -M: needs at least [0-9]*M"
least=$(sed 's/.*at least //' err)
sq-rtn -M "$least" -g 1 -m big.sq >/dev/null 2>err ||
    says "needs at least [0-9]*M"

# A dequantized tensor has its codes in memory.
exits 1 sq-pack -M 32M -f hf -o hf -m q.sq
last_says sq-pack "-M: needs at least [0-9]*M"
absent hf hf.part
at_most 64 sq-pack -M 64M -f hf -o hf -m q.sq
