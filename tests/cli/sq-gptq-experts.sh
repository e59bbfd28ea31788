#!/bin/bash
# A mixture of experts through calibration and GPTQ: statistics for each expert,
# with the diagonal alone where few tokens came, and better weights for them.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

kl() {
	sq-eval -q --csv --f32 --tokens 800 --reference m -t "$root/LICENSE" \
	    "$1" | awk -F, 'NR == 2 { print $8 }'
}

for m in mixtral qwen3-moe; do
	rm -rf m
	cp -r "$root/tests/data/tiny/$m" m
	cp "$root/tests/data/tok-bytes.json" m/tokenizer.json
	sq-calibrate -q -j 1 -t "$root/LICENSE" --samples 6 --length 100 \
	    -m m >c.sq
	sq-calibrate -q -j 3 -t "$root/LICENSE" --samples 6 --length 100 \
	    -m m >c3.sq
	same c.sq c3.sq
	lists c.sq '^STATS.*experts.* H '
	sq-gptq -q -b 4 -g 32 <c.sq >g.sq
	lists g.sq 'experts.*weight .*int4'
	lists g.sq 'gate.weight .*BF16'
	sq-rtn -q -b 4 -g 32 <c.sq >r.sq
	sq-pack -o g.sqa <g.sq
	sq-pack -o r.sqa <r.sq
	a=$(kl g.sqa) b=$(kl r.sqa)
	awk "BEGIN { exit !($a < 0.7 * $b) }" || fail "$m: $a and $b"

	# Few tokens: no H for experts, H for the rest, which is enough.
	sq-calibrate -q -t "$root/LICENSE" --samples 1 --length 70 -m m >few.sq
	lists few.sq '^STATS.*experts.*diag'
	lists few.sq '^STATS.*q_proj.* H '
	sq-gptq -q -b 4 -g 32 <few.sq | sq-pack -o f.sqa
	sq-calibrate -q -t "$root/LICENSE" --samples 1 --length 2 -m m |
	    sq-gptq -q -b 4 -g 32 | sq-verify -q
done

# The diagonal is not enough for what could have all of H.
sq-calibrate -q --stats diag -t "$root/LICENSE" --samples 2 --length 80 \
    -m m >d.sq
exits 1 sq-gptq -q -b 4 -g 32 <d.sq
says 'the diagonal of H alone'
