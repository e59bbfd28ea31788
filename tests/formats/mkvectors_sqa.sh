#!/bin/bash
# Makes the vectors of sqa(5), with GNU tar and no code of sq: archives of a few
# small members, good and bad.
#
#	tests/formats/mkvectors_sqa.sh tests/formats/sqa
#
# bad/EXPECT has a line for each bad one: its name, a tab, a part of why.
# Vectors are added, never changed.
set -eu
mkdir -p "$1/good" "$1/bad"
to=$(realpath "$1")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
export LC_ALL=C
: >"$to/bad/EXPECT"

# The MANIFEST of the files named, in their order.
manifest() {
	: >MANIFEST
	[ $# -eq 0 ] || sha256sum "$@" >MANIFEST
	echo "# all $(sha256sum <MANIFEST | cut -c 1-64)" >MANIFEST.all
	cat MANIFEST.all >>MANIFEST
	rm MANIFEST.all
}

archive() {
	local pax=()

	[ "${format:-pax}" != pax ] || pax=(--pax-option=delete=atime \
	    --pax-option=delete=ctime,exthdr.name=%d/PaxHeaders/%f)
	tar cf "$1" -b 1 --format="${format:-pax}" --owner=0 --group=0 \
	    --numeric-owner --mtime=@0 --mode=644 --no-recursion \
	    "${pax[@]}" "${@:2}"
}

good() {
	archive "$to/good/$1.sqa" "${@:2}"
}

bad() {
	archive "$to/bad/$1.sqa" "${@:3}"
	expect "$1" "$2"
}

expect() {
	printf '%s.sqa\t%s\n' "$1" "$2" >>"$to/bad/EXPECT"
}

fresh() {
	rm -rf "${tmp:?}"/*
	mkdir weights
	echo '{}' >config.json
	printf 'four' >weights/a
	: >empty
}

fresh
manifest config.json weights/a empty
good members config.json weights/a empty MANIFEST
good unknown-member config.json weights/a empty MANIFEST
format=ustar good ustar config.json weights/a empty MANIFEST
format=gnu good gnu config.json weights/a empty MANIFEST
manifest
good no-members MANIFEST
fresh
long=weights/$(printf 'n%.0s' {1..255})
echo long >"$long"
manifest config.json "$long"
good long-name config.json "$long" MANIFEST
format=gnu good long-name-gnu config.json "$long" MANIFEST

fresh
manifest config.json weights/a
bad no-manifest 'no MANIFEST at its end' config.json weights/a
bad manifest-first 'no MANIFEST at its end' MANIFEST config.json weights/a
bad manifest-twice "'MANIFEST' occurs twice" --hard-dereference MANIFEST config.json weights/a \
    MANIFEST
bad member-twice "'config.json' occurs twice" --hard-dereference config.json weights/a \
    config.json MANIFEST
bad member-more 'does not match' config.json weights/a empty MANIFEST
bad member-less 'does not match' config.json MANIFEST
bad member-order 'does not match' weights/a config.json MANIFEST
bad directory "'weights/': not a plain file" config.json weights weights/a \
    MANIFEST
ln -s config.json link
bad symbolic-link "'link': not a plain file" config.json link weights/a MANIFEST
ln config.json hard
bad hard-link "'hard': not a plain file" config.json hard weights/a MANIFEST
mkfifo fifo
bad fifo "'fifo': not a plain file" config.json fifo MANIFEST
truncate -s 65536 sparse
echo end >>sparse
format=gnu bad sparse-file "member 'sparse': " -S config.json sparse MANIFEST
bad up 'a name that is not allowed' --transform='s,^weights/a,weights/../a,' \
    config.json weights/a MANIFEST
bad up-first 'a name that is not allowed' -P --transform='s,^weights/a,../a,' \
    config.json weights/a MANIFEST
bad absolute 'a name that is not allowed' -P \
    --transform='s,^weights/a,/etc/passwd,' config.json weights/a MANIFEST
echo five >weights/a
bad other-bytes "'weights/a': does not match MANIFEST" config.json weights/a \
    MANIFEST

fresh
manifest config.json weights/a
sed -i '$d' MANIFEST
bad manifest-no-all 'MANIFEST: does not match itself' config.json weights/a \
    MANIFEST
manifest config.json weights/a
sed -i '$s/[0-9a-f]$/x/' MANIFEST
bad manifest-wrong-all 'MANIFEST: does not match itself' config.json weights/a \
    MANIFEST
manifest config.json weights/a
echo >>MANIFEST
bad manifest-more 'MANIFEST: does not match itself' config.json weights/a \
    MANIFEST
: >MANIFEST
bad manifest-empty 'MANIFEST: a line is missing' config.json MANIFEST
printf 'no newline' >MANIFEST
bad manifest-no-line 'MANIFEST: a line is missing' config.json MANIFEST
tr a-f A-F <<<"$(sha256sum config.json)" >MANIFEST
bad manifest-upper 'does not match MANIFEST' config.json MANIFEST
printf '\\%s\n' "$(sha256sum config.json)" >MANIFEST
bad manifest-escaped 'does not match MANIFEST' config.json MANIFEST

# Cuts and damage.
fresh
manifest config.json weights/a
archive whole config.json weights/a MANIFEST
for n in 1 511 512 600 1024 1500 2048 2500; do
	head -c $n whole >"$to/bad/cut-$n.sqa"
	expect "cut-$n" ''
done
head -c -1024 whole >"$to/good/no-end-blocks.sqa"
# a size of 2^60, and a checksum that holds: the header of weights/a
resize() {
	archive whole config.json weights/a MANIFEST
	cp whole "$to/bad/$1.sqa"
	at=$(grep -obUa 'weights/a' whole | head -1 | cut -d: -f1)
	printf "$2" | dd of="$to/bad/$1.sqa" bs=1 seek=$((at + 124)) \
	    conv=notrunc status=none
	printf '        ' | dd of="$to/bad/$1.sqa" bs=1 seek=$((at + 148)) \
	    conv=notrunc status=none
	sum=$(tail -c +$((at + 1)) "$to/bad/$1.sqa" | head -c 512 |
	    od -An -v -tu1 -w1 | awk '{ s += $1 } END { print s }')
	printf '%06o\0 ' "$sum" | dd of="$to/bad/$1.sqa" bs=1 \
	    seek=$((at + 148)) conv=notrunc status=none
	expect "$1" "$3"
}
format=ustar resize size-8g '77777777777\0' ''
format=ustar resize size-2e60 '\200\0\0\0\020\0\0\0\0\0\0\0' ''
format=ustar resize size-negative '\377\377\377\377\377\377\377\377\377\377\377\0' ''
format=ustar resize size-more '00000010000\0' ''
format=ustar resize size-letters 'abcdefghijk\0' ''
: >"$to/bad/nothing.sqa"
expect nothing ''
head -c 10240 /dev/zero >"$to/bad/zeros.sqa"
expect zeros ''
gzip -nc whole >"$to/bad/gzip.sqa"
expect gzip ''
printf '\050\265\057\375\044\000\001\000\000\231\351\330\121' >"$to/bad/zstd-empty.sqa"
expect zstd-empty ''
printf '\050\265\057\375\044\000\001\000' >"$to/bad/zstd-cut.sqa"
expect zstd-cut 'compressed data stop'
printf '\050\265\057\375damaged' >"$to/bad/zstd-damaged.sqa"
expect zstd-damaged ''
