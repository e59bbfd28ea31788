#!/bin/bash
# sq-gptq: the same bytes however it is run, less error than rounding, and
# nothing touched that it is not for.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt
calibrate() {
	sq-calibrate -q --length 256 --samples 4 -t "$text" "$@"
}
small_model small
sq-import small >m.sq
calibrate <m.sq >c.sq

# Threads, memory, compression, a pipe or a file: one result.
for o in "" "-b 3 -g 64 --asym --order natural --fixed-scales" \
    "-b 8 -g 0 --scale absmax --damp .05 --sweeps 1"; do
	o="$o --only *.layers.1.*_proj.weight"
	sq-gptq $o <c.sq >want.sq
	sq-gptq $o -j 1 -v <c.sq 2>v | cmp - want.sq
	sq-gptq $o -j 3 -q -m c.sq | cmp - want.sq
	cat c.sq | sq-gptq $o | cmp - want.sq
	sq-gptq $o -z <c.sq | sq-pack -o z.sqa
	sq-pack -o p.sqa -m want.sq
	same z.sqa p.sqa
	exits 1 sq-gptq $o -M 40M -m c.sq
	least=$(sed 's/.*at least //' err)
	sq-gptq $o -M "$least" <c.sq | cmp - want.sq
	rm z.sqa p.sqa

	# every tensor comes out better than by rounding to nearest
	awk '/ relative output error / {
		n++
		if ($(NF - 5) + 0 >= $NF + 0) {
			print
			bad = 1
		}
	}
	END { exit bad || n != 7 }' v || fail "$o: $(cat v)"
done

# Scales and grids as asked; norms, embedding and statistics as they were.
sq-gptq <c.sq >g.sq
sq-ls g.sq >list
[ "$(grep -c ' int4 .* 1x128$' list)" -eq 14 ] || fail "$(cat list)"
[ "$(grep -c '^STATS' list)" -eq "$(sq-ls c.sq | grep -c '^STATS')" ]
for t in model.norm.weight model.embed_tokens.weight \
    model.layers.0.self_attn.q_proj.bias; do
	sq-cat g.sq $t | cmp - <(sq-cat m.sq $t)
done
sq-ls -v g.sq >list
grep -qF '"options":{"asym":false,"budget":0.0,"damp":0.01,"drop-stats":false,"except":[],"fixed-scales":false,"grid":"int4","group":128,"only":[],"order":"act","pairs":true,"scale":"weighted","sequential":false,"sweeps":4}' list

# Each step has its effect, and leaves less error than the one before it.
# errors OPTION...: the sum of all relative output errors.
errors() {
	sq-gptq -v --only '*.layers.1.*_proj.weight' "$@" <c.sq 2>v >e.sq
	awk '/ relative output error / { sum += $(NF - 5) }
	    END { printf "%.6f\n", sum }' v
}
: >steps
for o in "--scale mse --sweeps 0 --order natural" "--scale mse --sweeps 0" \
    "--scale mse --sweeps 2 --fixed-scales --no-pairs" \
    "--scale mse --sweeps 2 --no-pairs" "--scale mse --sweeps 2" \
    "--scale mse --sweeps 8"; do
	errors $o >>steps
done
sort -g -r -u steps | cmp - steps || fail "$(cat steps)"
sq-gptq --only '*.1.mlp.down_proj*' --scale mse <c.sq >e.sq
if cmp -s <(sq-cat -p scales e.sq model.layers.1.mlp.down_proj.weight) \
    <(sq-cat -p scales g.sq model.layers.1.mlp.down_proj.weight); then
	fail "--scale makes no difference"
fi

# Without the statistics the rest is the same.
sq-gptq --only '*.1.mlp.down_proj*' --drop-stats <c.sq >d.sq
sq-ls d.sq | grep '^STATS' && fail "STATS are still there"
sq-cat -p codes d.sq model.layers.1.mlp.down_proj.weight |
    cmp - <(sq-cat -p codes g.sq model.layers.1.mlp.down_proj.weight)

# Statistics serve more than one filter: some tensors here, some there.
sq-gptq --only '*down_proj*' -b 8 <c.sq | sq-gptq --except '*down_proj*' >two.sq
sq-ls two.sq >list
[ "$(grep -c ' int8 ' list)" -eq 2 ]
[ "$(grep -c ' int4 ' list)" -eq 12 ]
sq-cat -p codes two.sq model.layers.1.mlp.up_proj.weight |
    cmp - <(sq-cat -p codes g.sq model.layers.1.mlp.up_proj.weight)

# --state: what is finished is taken, wherever the run was ended; what another
# run has left, and what is damaged, is refused.
some() {
	sq-gptq --sweeps 0 --only '*.layers.[01].*_proj.weight' "$@"
}
some <c.sq >want.sq
some --state s <c.sq | cmp - want.sq
truncate -s -20000 s
some -v --state s <c.sq 2>v | cmp - want.sq
[ "$(grep -c "weight: reused from 's'" v)" -eq 13 ] || fail "$(cat v)"
exits 1 some --state s --damp .02 -m c.sq
says '--state: part 0 was finished for another model, text or options'
printf xxxx | dd of=s bs=1 seek=5000 conv=notrunc status=none
exits 1 some --state s -m c.sq
says '--state: part 0 is damaged'
exits 2 some --state s --sequential -m c.sq
