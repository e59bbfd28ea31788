#!/bin/bash
# What sq-gptq does not take, and what it says.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt
calibrate() {
	sq-calibrate -q --length 64 "$@" -t "$text"
}
small_model small
sq-import small >t.sq
calibrate --samples 16 <t.sq >c.sq

# No statistics; without H; of a matrix that has none.
exits 1 sq-gptq -m t.sq
says "q_proj.weight': no statistics before it; sq-calibrate"
calibrate --samples 16 --stats diag <t.sq >d.sq
exits 1 sq-gptq -m d.sq
says "q_proj.weight': its statistics have the diagonal of H alone; sq-calibrate --stats full"
exits 0 sq-gptq --except '*' -m d.sq
exits 1 sq-gptq --only '*embed*' -m c.sq
last_says sq-gptq "embed_tokens.weight': no statistics"
exits 1 sq-gptq --only nothing -m c.sq
says "--only 'nothing': no such tensor"

# What is quantized already, here or before.
sq-gptq -q --sweeps 0 <c.sq >q.sq 2>/dev/null
exits 1 sq-gptq -m q.sq
last_says sq-gptq "q_proj.weight': is quantized already"

# A memory that does not do, said before anything else is done.
exits 1 sq-gptq -M 32M -m c.sq
says "tensor '.*': -M: needs at least [0-9]*M"

# Few tokens are a warning with the numbers, once for each width.
exits 0 sq-gptq --sweeps 0 --except '*down_proj*' -m c.sq
silent
calibrate --samples 1 --length 16 <t.sq >few.sq
exits 0 sq-gptq --sweeps 0 -m few.sq
grep -q "statistics of 16 tokens for [0-9]* channels" err || fail "$(cat err)"
[ "$(wc -l <err)" -le 2 ] || fail "$(cat err)"
exits 0 sq-gptq --damp 0 --sweeps 0 -m few.sq
grep -q "damping raised to [0-9.e-]* of the mean diagonal" err ||
    fail "$(cat err)"

# Half a stream is no stream.
head -c $(($(size c.sq) * 2 / 3)) c.sq >half.sq
exits 1 sq-gptq -m half.sq
last_says sq-gptq "the stream stops after"

while IFS='|' read -r command what; do
	exits 2 $command </dev/null
	says "$what"
done <<'END'
sq-gptq -b 7|-b 7: not 2, 3, 4, 5, 6 or 8
sq-gptq -g -1|-g '-1'
sq-gptq --damp 2|--damp '2': not a number from 0 to 1
sq-gptq --damp nan|--damp 'nan'
sq-gptq --order up|--order 'up': not one of natural, act
sq-gptq --scale max|--scale 'max': not one of absmax, mse
sq-gptq -k z80|z80
END
