#!/bin/bash
# From a mask to an answer: sparse weights are stored without what is dropped,
# come back as they were, and give what the whole weights give.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

[ -x "$build/bin/sq-mask" ] || skip "no sq-mask"
python=$(command -v python3) || python=

sq-import -q "$model" >m.sq
for how in 2:4,8 64x64,4 4:8,8; do
	pattern=${how%,*} bits=${how#*,}
	sq-mask -q --pattern $pattern --criterion magnitude <m.sq |
		sq-rtn -q -b $bits -g 64 >masked.sq
	sq-pack -v -o a.sqa <masked.sq 2>said
	grep -q 'masked tensors without what their masks drop' said
	sq-verify a.sqa >/dev/null

	# the same tensors, masks included
	sq-import -q a.sqa >back.sq
	sq-diff masked.sq back.sq >diff || { cat diff; exit 1; }

	# what kernels make of either
	for m in masked.sq a.sqa; do
		sq-eval -q --f32 --csv --tokens 200 -t "$root/LICENSE" $m |
			tail -1 | cut -d, -f5 >nll.$m
	done
	awk 'NR == FNR { a = $1; next } { d = a - $1; if (d < 0) d = -d;
		exit d > 2e-5 }' nll.masked.sq nll.a.sqa

	# what is read, and how much of it
	sq-run -v --greedy -n 4 a.sqa "Once upon a time" >text 2>said
	sq-run --greedy -n 4 masked.sq "Once upon a time" >want
	cmp text want
	sq-eval -v --csv --tokens 8 -t "$root/LICENSE" a.sqa 2>eval >text
	sed -n 's/^.*sparse weights: //p' said >ran
	sed -n 's/^.*sparse weights: //p' eval >evaluated
	cmp ran evaluated
	case $how in
	2:4,8) grep -q '2:4 of int8 pays in decoding' said ;;
	4:8,8) grep -q 'N:M other than 2:4 of int8 does not pay' said ;;
	*) ! grep -q ' pay' said ;;
	esac
	grep -q '^[0-9]* bytes read a token, 0\.[0-9]* of dense; ' ran
	grep -q '\(weights\|blocks\) multiplied, 0\.[45]' ran
	[ $pattern != 4:8 ] && [ -n "$python" ] || continue
	read -r bytes dense kept all \
	    <<<"$("$python" "$root/tests/cli/mask_counts.py" masked.sq)"
	grep -q "^$bytes bytes read .*; $kept of $all .* multiplied, " ran ||
	    fail "$how: $bytes of $dense bytes, $kept of $all, not $(cat ran)"
	case $how in
	2:4,8)	# 5/8 of the values, and all scales
		[ $((2 * kept)) -eq $all ] && [ $((100 * bytes)) -le $((66 * dense)) ] ;;
	esac
done

# other forms have the zeros
sq-pack -q -f hf -o hf <masked.sq
sq-pack -q -f hf -o hf2 <back.sq
cmp hf/model.safetensors hf2/model.safetensors
sq-caps --no-measure a.sqa >caps
grep -q '"sparsity_patterns": \["4:8"\]' caps || grep -A1 sparsity_patterns caps |
	grep -q 4:8
grep -q '"sparsity_ratio": 0.5' caps

# what lies
at=$(grep -abo '"m": 8' a.sqa | head -1 | cut -d: -f1)
cp a.sqa bad.sqa
printf '"m": 7' | dd of=bad.sqa bs=1 seek="$at" conv=notrunc status=none
exits 1 sq-run -n 1 bad.sqa x
says "sq-run: 'bad.sqa': tensor .*: a sparse layout that is not known here"
printf '"m": 4' | dd of=bad.sqa bs=1 seek="$at" conv=notrunc status=none
exits 1 sq-eval -q -t "$root/LICENSE" bad.sqa
says "sq-eval: 'bad.sqa': tensor .*"
head -c 3000000 a.sqa >short.sqa
exits 1 sq-run -n 1 short.sqa x
says "sq-run: 'short.sqa': .*"

# sparse attention: all of the keys are all of them
seq 1 250 | tr '\n' ' ' >long
sq-eval -q --csv -t long --length 512 a.sqa | cut -d, -f5 >all
for keys in pooled:1 vertical-slash:1 window:4096; do
	sq-eval -q --csv --attention $keys -t long --length 512 a.sqa |
		cut -d, -f5 >some
	cmp all some
done
sq-eval -q --csv --attention window:64+sink:64 -t long --length 512 a.sqa |
	cut -d, -f5 >some
! cmp -s all some
sq-run -v --attention window:128+sink:1 -n 2 a.sqa "$(cat long)" 2>said >text
grep -q 'sparse_attention: [0-9]* of [0-9]* blocks of keys seen, 0\.' said
for bad in window window:0 window:-1 pooled:2 pooled:0 vertical-slash: half; do
	exits 2 sq-run --attention $bad a.sqa x
	says "sq-run: --attention: '$bad' is not all, .*"
done
