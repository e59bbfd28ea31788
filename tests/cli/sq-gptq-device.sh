#!/bin/bash
# sq-gptq with a device's memory: what a device does leaves the error that the
# host leaves, what it does not know is the host's, to the byte.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

fake_device
sq-import "$model" | sq-calibrate -q --length 64 --samples 8 \
    -t "$root/tests/data/text/calib.txt" >c.sq

one=(--only '*layers.0.self_attn.[qk]*' --sweeps 1 --drop-stats)
errors() {
	sed -n 's/.*layers.*output error \([^,]*\),.*/\1/p' "$1"
}
# near OPTION...: within a percent
near() {
	sq-gptq -v "${one[@]}" "$@" <c.sq 2>is >/dev/null
	sq-gptq -v "${one[@]}" -k fake "$@" <c.sq 2>was >there.sq
	[ "$(errors was | wc -l)" = 2 ] || fail "$*: $(cat was)"
	paste <(errors is) <(errors was) |
	    awk '$2 > 1.01 * $1 { exit 1 }' || fail "$*: $(errors was)"
}
near
grep -q 'kernels: fake for integers' was || fail "$(cat was)"
near -b 3 -g 64 --asym --no-pairs
near -b 8 --sweeps 0

sq-gptq -q "${one[@]}" -k fake <c.sq >a.sq
sq-gptq -q "${one[@]}" -k fake -j 3 <c.sq | cmp - a.sq
sq-gptq -q "${one[@]}" -k fake -M 300M <c.sq >b.sq
[ "$(sq-ls b.sq | grep -c int4)" = 2 ] || fail "$(sq-ls b.sq)"

# of two whose H follow each other the first has a mask: the host's
two=(--only '*layers.0.self_attn.[vo]*' --sweeps 1 --drop-stats)
sq-mask -q --pattern 2:4 --criterion magnitude \
    --only '*layers.0.self_attn.v*' <c.sq >m.sq
sq-gptq -q "${two[@]}" <m.sq >is.sq
sq-gptq -v "${two[@]}" -k fake <m.sq 2>was >was.sq
[ "$(errors was | wc -l)" = 2 ] || fail "$(cat was)"
v=model.layers.0.self_attn.v_proj.weight
cmp <(sq-cat -p codes is.sq $v) <(sq-cat -p codes was.sq $v) ||
    fail "what has a mask is not the host's"

codes() {
	for t in q k; do
		t=model.layers.0.self_attn.${t}_proj.weight
		sq-cat -p codes "$1" $t
		sq-cat -p scales "$1" $t
	done
}
for o in '-g 0' '--grid fp4' '--mask 2:4' '--scale mse' '--order natural'; do
	sq-gptq -q "${one[@]}" $o <c.sq >is.sq
	sq-gptq -q "${one[@]}" $o -k fake <c.sq >was.sq
	cmp <(codes is.sq) <(codes was.sq) || fail "$o is not the host's"
done
