#!/bin/bash
# Channels that change places leave a model what it is, to the order of its
# sums, and its masks keep more; statistics go along.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" | sq-calibrate -q --length 64 --samples 8 \
    -t "$root/LICENSE" >c.sq
sq-mask -v --permute <c.sq >p.sq 2>err
sq-verify -q p.sq || fail "damaged"
sq-mask -q -j 1 --permute <c.sq | cmp - p.sq || fail "another one of a thread"

# more is kept of each tensor, and of all of them something
awk '/of the scores kept/ { n++; if ($3 + 0 < $8 + 0) exit 1 }
    END { exit n != 8 }' err || fail "less is kept: $(cat err)"

# the same model: in float32, sums of another order
kl() {
	sq-eval -q --csv --f32 -t "$root/LICENSE" --length 256 --tokens 2048 \
	    --reference c.sq "$1" |
	    awk -F , 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
	    END { printf "%.9f\n", $at["kl"] }'
}
[ "$(kl p.sq | awk '{ print ($1 < 1e-7) }')" = 1 ] ||
    fail "another model: $(kl p.sq)"

# statistics went along: masks of what has moved cost less
only="--only *down_proj* --only *o_proj*"
set -f
sq-mask -q --criterion wanda $only <c.sq >plain.sq
sq-mask -q --criterion wanda $only <p.sq >better.sq
set +f
awk -v a="$(kl plain.sq)" -v b="$(kl better.sq)" 'BEGIN { exit !(b < a) }' ||
    fail "no better: $(kl better.sq), $(kl plain.sq) before"

# each output channel of gate has moved as that of up has
one=model.layers.0.mlp
order() {
	sq-cat -t c.sq $one.$1.weight | awk '{ print $1, $2, $3 }' |
	    nl -ba | sort -k2 >a
	sq-cat -t p.sq $one.$1.weight | awk '{ print $1, $2, $3 }' |
	    nl -ba | sort -k2 >b
	paste a b | awk '{ print $5, $1 }' | sort -n
}
order gate_proj >gate
order up_proj >up
cmp gate up || fail "gate and up part"

exits 2 sq-mask --permute --pattern 64x64 <c.sq
exits 2 sq-mask --permute --criterion movement <c.sq
exits 1 sq-mask -q --permute <plain.sq
sq-import "$model" >m.sq
sq-mask -q --permute --criterion magnitude <m.sq | sq-verify -q
exits 1 sq-mask -q --permute --criterion wanda <m.sq
