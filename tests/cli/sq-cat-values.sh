#!/bin/bash
# sq-cat: values as float32 or text, parts as they are, files.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

n=model.layers.0.self_attn.k_proj.weight
sq-rtn -b 4 -g 32 --asym -m "$tiny" >q.sq
sq-pack -o q.sqa <q.sq

# BF16 is the upper half of a float32.
sq-cat "$tiny" $n >f32
[ "$(size f32)" -eq $((32 * 64 * 4)) ] || fail "$(size f32) bytes"
sq-cat -p data "$tiny" $n | od -An -v -tx2 -w2 | sed 's/ *//; s/$/0000/' >was
od -An -v -tx4 -w4 f32 | sed 's/ *//' | cmp - was

# A line for each row, in digits that give the same number back.
sq-cat -t "$tiny" $n >text
[ "$(wc -l <text)" -eq 32 ] || fail "$(wc -l <text) lines"
awk 'NF != 64 { exit 1 }' text || fail "not 64 columns"
od -An -v -tf4 -w256 f32 | awk '
NR == FNR { for (i = 1; i <= NF; i++) a[FNR, i] = $i; next }
{ for (i = 1; i <= NF; i++)
	if ((d = $i - a[FNR, i]) > 1e-6 || d < -1e-6) exit 1 }' - text ||
    fail "text and values differ"

# The same values from the stream, the artifact, and worked out by hand.
sq-cat q.sq $n >1
sq-cat q.sqa $n >2
same 1 2
sq-cat -p codes q.sqa $n | od -An -v -tu1 -w1 |
    awk '{ print $1 % 16; print int($1 / 16) }' >codes
sq-cat -p zeros q.sqa $n | od -An -v -tu1 -w1 >zeros
sq-cat -p scales q.sqa $n | od -An -v -tu2 -w2 | awk '
{ e = int($1 / 1024); m = $1 % 1024
  printf "%.12g\n", e == 0 ? m * 2^-24 : (1024 + m) * 2^(e - 25) }' >scales
od -An -v -tf4 -w4 1 >values
paste scales zeros | awk '{ for (i = 0; i < 32; i++) print }' |
    paste codes - values | awk '
{ d = ($1 - $3) * $2 - $4; if (d > 1e-7 || d < -1e-7) { print; exit 1 } }' ||
    fail "not (u - z) s"

# Files.
for f in config.json; do
	sq-cat "$tiny" $f | cmp - "$tiny/$f"
	sq-cat q.sq $f | cmp - "$tiny/$f"
	sq-cat q.sqa $f | cmp - "$tiny/$f"
done
sq-cat "$model" tokenizer.json | cmp - "$model/tokenizer.json"

exits 1 sq-cat q.sqa nothing
says "'nothing': no tensor or file of that name"
exits 1 sq-cat -p data q.sqa $n
says "has no part 'data'"
exits 1 sq-cat nothing-there $n
says 'No such file'
sq-import -z "$tiny" >z.sq
exits 1 sq-cat z.sq $n
says 'compressed: sq-import expands it'
exits 1 sh -c "sq-cat '$tiny' $n >/dev/full"
says 'standard output: No space left on device'
