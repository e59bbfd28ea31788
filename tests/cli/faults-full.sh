#!/bin/bash
# No room: a small file system, a limit on the size of files.  Every way in
# which an output is written: one line, exit 1, the earlier output is there.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" >a.sq
sq-rtn <a.sq >q.sq

# After the first pages, in the middle, just before the end.
full=$(sq-pack -o good.sqa <q.sq && size good.sqa)
sq-pack -f hf -o good <q.sq
echo earlier >old.sqa

for k in 1 700 4000 8000 $((full / 1024 - 3)); do
	exits 1 bash -c "ulimit -f $k; sq-pack -o new.sqa <q.sq"
	last_says sq-pack "'new.sqa' not written: cannot write: File too large"
	absent new.sqa new.sqa.part
	exits 1 bash -c "ulimit -f $k; sq-pack -o old.sqa <q.sq"
	grep -qx earlier old.sqa
	exits 1 bash -c "ulimit -f $k; sq-pack -f hf -o new <q.sq"
	last_says sq-pack "'new' not written: .*File too large"
	absent new new.part
	exits 1 bash -c "ulimit -f $k; sq-pack -f hf -o good <q.sq"
	[ "$(ls good | wc -l)" -eq "$(ls "$model" | wc -l)" ] || fail "lost"
done
sq-pack -o again.sqa -m q.sq
same again.sqa good.sqa
exits 1 bash -c "ulimit -f 100; sq-rtn <a.sq >half.sq"
says 'sq-rtn: .*cannot write: File too large'
exits 1 bash -c 'sq-rtn <a.sq >/dev/full'
says 'sq-rtn: .*cannot write: No space left on device'
exits 1 bash -c "sq-import '$model' >/dev/full"
says 'sq-import: .*cannot write: No space left on device'
for c in "sq-ls a.sq" "sq-diff -v a.sq q.sq" "sq-verify a.sq"; do
	exits 1 sh -c "$c >/dev/full"
	says 'standard output: No space left on device'
done

# The rest needs a file system of its own.
mkdir small.mount
mount -t tmpfs -o size=4m,mode=755 none small.mount 2>/dev/null ||
    exit 0
cd small.mount
head -c 100000 ../good.sqa >old.sqa
cp old.sqa ../old
for i in 1 2; do
	exits_in() {
		local got=0

		"${@:2}" >../out 2>../err || got=$?
		[ $got -eq "$1" ] || fail "exit status $got, not $1: $*"
	}
	for o in new.sqa old.sqa; do
		exits_in 1 sq-pack -o $o -m ../q.sq
		(cd .. && last_says sq-pack \
		    "'$o' not written: cannot write: No space left")
		cmp old.sqa ../old
	done
	exits_in 1 sq-pack -f hf -o new -m ../q.sq
	(cd .. && last_says sq-pack "'new' not written: .*No space left")
	[ "$(ls)" = old.sqa ] || fail "left behind: $(ls)"
done
# A temporary file, of the twin of a tied embedding.
cd ..
TMPDIR=$PWD/small.mount exits 1 sq-rtn -b 8 -m "$model" --only lm_head.weight
says 'sq-rtn: .*No space left'
umount small.mount

# Without /proc, and so without O_TMPFILE: the output is made under OUT.part.
# (The sanitizers need /proc themselves.)
[ -z "${SQ_ASAN-}" ] || exit 0
unshare -m true 2>/dev/null || exit 0
unshare -m bash -c '
mount -t tmpfs none /proc || exit 0
sq-pack -o part.sqa <q.sq && cmp part.sqa good.sqa || exit 1
[ ! -e part.sqa.part ] || exit 2
head -c 100000 q.sq | sq-pack -o part2.sqa 2>/dev/null && exit 3
[ ! -e part2.sqa.part ] && [ ! -e part2.sqa ] || exit 4
echo junk >part3.sqa.part
echo earlier >part3.sqa
sq-pack -o part3.sqa <q.sq && cmp part3.sqa good.sqa || exit 5
[ ! -e part3.sqa.part ] || exit 6
' || fail "without /proc: $?"
