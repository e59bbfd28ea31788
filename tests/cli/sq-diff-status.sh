#!/bin/bash
# sq-diff: 0 the same, 1 different, 2 trouble; and what it says.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$tiny" >a.sq
exits 0 sq-diff "$tiny" a.sq
silent
grep -qx '0 of 21 tensors differ' out
exits 0 sq-diff -q "$tiny" a.sq
[ ! -s out ] || fail "-q prints"
exits 0 sq-diff -v "$tiny" a.sq
[ "$(grep -c ' same$' out)" -eq 21 ] || fail "$(cat out)"

# One value of one tensor, by 2 in the exponent's last bit: from a to 2a.
n=model.norm.weight
mkdir b
cp "$tiny"/* b
chmod u+w b/*
first=$(sq-cat "$tiny" $n | od -An -tf4 -N4)
bytes=$(sq-cat -p data "$tiny" $n | head -c 16 | od -An -tx1 | tr -d ' ')
at=$(grep -obUaP "$(sed 's/../\\x&/g' <<<"$bytes")" b/model.safetensors |
    sed 's/:.*//')
[ "$(wc -w <<<"$at")" -eq 1 ] || fail "cannot find the tensor"
old=$(od -An -tu2 -j "$at" -N2 b/model.safetensors)
le $((old ^ 128)) 2 |
    dd of=b/model.safetensors bs=1 seek="$at" conv=notrunc status=none
exits 1 sq-diff "$tiny" b
silent
awk -v a="$first" '
NR == 1 { ok = $1 == "model.norm.weight" && $2 == "BF16" && $3 == "BF16" &&
    ($5 / a == 1 || $5 / a == .5) && $8 == "1.6%" }
NR == 2 { ok = ok && $0 == "1 of 21 tensors differ" }
END { exit !(ok && NR == 2) }' out || fail "$first: $(cat out)"

# Another form, and the figures: relative is sum (b - a)^2 / sum a^2.
n=model.layers.1.mlp.up_proj.weight
sq-rtn -b 4 -g 32 -m "$tiny" --only $n >q.sq
exits 1 sq-diff "$tiny" q.sq
read -r name fa fb x max y rel share <out
[ "$name $fa $fb $x $y" = "$n BF16 int4 max relative" ] || fail "$(cat out)"
paste <(sq-cat "$tiny" $n | od -An -v -tf4 -w4) \
    <(sq-cat q.sq $n | od -An -v -tf4 -w4) | awk -v max=$max -v rel=$rel '
function near(x, y) { return x > .999 * y && x < 1.001 * y }
{ d = $2 - $1; e += d * d; s += $1 * $1; d = d < 0 ? -d : d
  m = d > m ? d : m }
END { exit !(near(m, max) && near(e / s, rel)) }' || fail "$(cat out)"

# Tensors that only one has, and other shapes.
sq-rtn -m "$model" -b 8 --only lm_head.weight >h.sq
exits 1 sq-diff h.sq "$model"
grep -q '^lm_head.weight  *only in A$' out
exits 1 sq-diff "$model" h.sq
grep -q '^lm_head.weight  *only in B$' out
exits 1 sq-diff "$tiny" "$root/tests/data/tiny/mistral"
grep -q ' shapes differ$' out

# Tensors that have no values for kernels: the bytes are compared.
ints() {
	local header='{"n":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}'

	le ${#header} 8
	printf %s "$header"
	le 7 8
	le "$1" 8
}
ints 1 >i1.safetensors
ints 2 >i2.safetensors
exits 0 sq-diff i1.safetensors i1.safetensors
exits 1 sq-diff i1.safetensors i2.safetensors
head -1 out | grep -q '^n  *I64  *I64  *bytes differ$' || fail "$(cat out)"

# Trouble.
exits 2 sq-diff "$tiny" nothing-there
says 'No such file'
exits 2 sq-diff "$root/LICENSE" "$tiny"
says 'neither'
sq-import -z "$tiny" >z.sq
exits 2 sq-diff "$tiny" z.sq
says 'compressed'
