#!/bin/bash
# A directory that was not finished: what is right in OUT.part is not written
# again, and the outcome is that of a run that was never stopped.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-rtn -q -b 4 -g 64 -m "$model" >q.sq
pack() {
	sq-pack -f gptq --shard-size 500K "$@"
}
pack -q -o good <q.sq
[ "$(ls good/*.safetensors | wc -l)" -gt 3 ] || fail "$(ls good)"

# Stopped early: the message says what stays.
stop() {
	pipe_exits 1 "head -c $1 q.sq | sq-pack -q -f gptq --shard-size 500K -o new"
	says "'new' not written: the stream stops.*; 'new.part' has [0-9]* finished"
	absent new
	[ -s new.part/model-00001.tmp ] || fail "$(ls new.part)"
}
half=$(($(size q.sq) * 9 / 10))
stop $half
exits 0 pack -v -o new -m q.sq
grep -q '[0-9]\{7\} bytes were there from an earlier run$' err ||
    fail "$(cat err)"
diff -r good new
absent new.part
rm -r new

# Files that are half written, damaged, or of another model.
stop $half
truncate -s -1000 new.part/model-00001.tmp
printf x | dd of=new.part/model-00002.tmp bs=1 seek=300000 conv=notrunc \
    status=none
pack -q -o new <q.sq
diff -r good new
rm -r new
stop $half
sq-rtn -q -b 8 -m "$model" >8.sq
pack -q -o new <8.sq
pack -q -o other <8.sq
diff -r other new
rm -r new

# Of another format, with more shards: nothing of it is left over.
stop $half
touch new.part/model-00077.tmp new.part/config.json new.part/junk
sq-pack -q -f hf -o new <q.sq
sq-pack -q -f hf -o hf <q.sq
diff -r hf new

# A directory that is not ours.
mkdir -p deep.part/er
exits 1 pack -q -o deep -m q.sq
says "'deep.part'"
[ -d deep.part/er ] || fail "deep.part/er is gone"
