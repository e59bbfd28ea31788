#!/bin/bash
# The same bytes: for any number of threads, in any directory, under any name,
# at any time, whoever runs it.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

umask 077
sq-import "$model" | sq-rtn -j 1 -b 4 -g 128 | sq-pack -j 1 -o one.sqa
umask 022
sq-import "$model" | sq-rtn -j 2 -b 4 -g 128 | sq-pack -j 2 -o two.sqa
same one.sqa two.sqa
sq-import "$model" | sq-rtn -j 7 -q -M 40M -b 4 -g 128 | sq-pack -v -o 7.sqa 2>/dev/null
same one.sqa 7.sqa

# Another directory, and other names for all there is.
mkdir -p elsewhere/deep
cp -r "$model" elsewhere/deep/m
chmod -R u+w elsewhere
touch -d 2001-01-01 elsewhere/deep/m/*
cd elsewhere/deep
TZ=Asia/Tokyo LOGNAME=nobody sq-import ./m/ >x.sq
LC_ALL=C.UTF-8 sq-rtn --bits 4 --group=128 <x.sq | sq-pack -o "$tmp/other name.sqa"
sq-rtn -g 128 -m m/model.safetensors | sq-pack -o "$tmp/file.sqa"
cd "$tmp"
same one.sqa 'other name.sqa'
same one.sqa file.sqa

# Nothing of the machine is in it.
tar tvf one.sqa --numeric-owner >list
grep -qv '^-rw-r--r-- 0/0 .* 1970-01-01 ' list && fail "$(cat list)"
for w in "$tmp" "$root" "$(date +%Y-)" one.sqa $(uname -n | grep ......); do
	grep -qaF -e "$w" one.sqa && fail "'$w' is in the artifact"
done

# The other outputs as well.
for z in '' -z; do
	sq-import $z "$model" >1
	sq-import $z elsewhere/deep/m >2
	same 1 2
	sq-rtn $z -j 1 --scale mse <1 >3
	sq-rtn $z -j 2 --scale mse <2 >4
	same 3 4
done
sq-pack -j 1 -f hf --shard-size 3M -o h1 <3
sq-pack -j 2 -f hf --shard-size 3M -o h2 <4
for f in h1/*; do
	same "$f" "h2/${f##*/}"
done

# More threads than there are tiles of a weight.
sq-import "$model" | sq-calibrate -q --samples 2 --length 256 \
    -t "$root/tests/data/text/calib.txt" >c.sq
sq-gptq -q -j 1 -m c.sq >one.sq 2>/dev/null
sq-gptq -q -j 9 -m c.sq >nine.sq 2>/dev/null
same one.sq nine.sq
