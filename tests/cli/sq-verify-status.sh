#!/bin/bash
# sq-verify: says which of its files is damaged, and looks at all of them.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$tiny" >a.sq
sq-import -z "$tiny" >z.sq
sq-rtn <a.sq | sq-pack -o a.sqa
exits 0 sq-verify a.sq z.sq a.sqa "$tiny"
silent
d=$(sq-ls a.sq | sed -n 's/.*digest //p')
diff out - <<END
a.sq: ok, 24 records, digest $d
z.sq: ok, 24 records, digest $d
a.sqa: ok, sqa, 21 tensors
$tiny: structure ok (no checksums), safetensors, 21 tensors
END
exits 0 sq-verify -q a.sq z.sq a.sqa "$tiny"
[ ! -s out ] || fail "-q prints"
exits 0 sq-verify <a.sq
grep -qx "stdin: ok, 24 records, digest $d" out
exits 0 sq-verify - <z.sq
grep -qx "stdin: ok, 24 records, digest $d" out

# A bit of each member that holds data, of each header, of the padding.
flip() {
	local b

	b=$(od -An -tu1 -j "$2" -N1 "$1")
	le $((b ^ 16)) 1 | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
tar tRf a.sqa | sed -n 's/^block \([0-9]*\): .*/\1/p' | grep -v '^0$' |
    head -40 >blocks
while read -r block; do
	for at in $((block * 512 - 512)) $((block * 512 + 20)) \
	    $((block * 512 + 513)); do
		cp a.sqa b.sqa
		flip b.sqa $at
		got=0
		sq-verify b.sqa >out 2>err || got=$?
		# what only tar itself looks at, or nobody
		if [ $got -eq 0 ] && exits 0 sq-diff a.sqa b.sqa; then
			continue
		fi
		[ $got -eq 1 ] || fail "$at: exit status $got"
		says 'b.sqa'
	done
done <blocks
# in the data it is always seen
t=model.layers.0.mlp.up_proj.weight
for at in $(tar tvRf a.sqa | awk -v t=weights/$t '$NF == t {
	print ($2 + 1) * 512; print ($2 + 1) * 512 + $5 - 1 }'); do
	cp a.sqa b.sqa
	flip b.sqa "$at"
	exits 1 sq-verify a.sq b.sqa a.sqa
	says "member 'weights/$t': does not match MANIFEST"
	[ "$(grep -c ok out)" -eq 2 ] || fail "it stopped: $(cat out)"
done

# MANIFEST itself.
cp a.sqa b.sqa
at=$(grep -obUa '# all' b.sqa | sed 's/:.*//')
flip b.sqa $((at + 10))
exits 1 sq-verify b.sqa
says 'MANIFEST: does not match itself'

for n in 1 64 600; do
	head -c -$n a.sq >cut.sq
	exits 1 sq-verify cut.sq
	says 'cut.sq: the stream stops'
done
for n in 1536 3000 100000; do
	head -c -$n a.sqa >cut.sqa
	exits 1 sq-verify cut.sqa
	says 'cut.sqa'
done
exits 1 sq-verify nothing-there a.sq
says 'No such file'
grep -q '^a.sq: ok' out
