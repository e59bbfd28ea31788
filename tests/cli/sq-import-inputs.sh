#!/bin/bash
# What sq-import takes: a checkpoint, an artifact, its shipping form, a stream
# in a file, in a pipe, on standard input, compressed or not.  The tensors are
# the same, and so is what comes out of them.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

tensors() {
	sq-ls "$1" | grep -v -e PROVENANCE -e HEADER -e '^[0-9]* '
}

sq-import "$model" >a.sq
sq-rtn <a.sq >q.sq
sq-pack -o q.sqa <q.sq

# From the artifact: the same tensors, and one more line of history.
sq-import q.sqa >b.sq
tensors q.sq >was
tensors b.sq >is
same was is
exits 0 sq-diff q.sqa b.sq
sq-pack -o b.sqa <b.sq
exits 0 sq-diff q.sqa b.sqa
[ "$(sq-ls b.sqa | grep -c PROVENANCE)" -eq 5 ] || fail "$(sq-ls b.sqa)"

# The model's digest goes along.
for f in a.sq q.sq b.sq; do
	sq-ls -v $f | grep -o '"model":"[0-9a-f]*"'
done | uniq | wc -l | grep -qx 1 || fail "the model digest changes"

# Streams: whatever the way, the same one comes out.
sq-import - <q.sq >1
sq-import q.sq >2
sq-import <(cat q.sq) >3
cat q.sq | sq-import - >4
sq-import -z q.sq >z.sq
sq-import - <z.sq >z2.sq
sq-import -z - <z.sq >z3.sq
same 1 2
same 1 3
same 1 4
[ "$(size z.sq)" -lt "$(size q.sq)" ] || fail "-z does not make it smaller"
[ "$(digest 1)" = "$(digest z.sq)" ] || fail "-z changes the digest"
[ "$(digest z2.sq)" = "$(digest z3.sq)" ] || fail "-z changes the digest"


# Compressed all along the pipe.
sq-import -z "$model" | sq-rtn -z | sq-pack -o z.sqa
same q.sqa z.sqa
sq-pack -o z.sqa <z.sq
exits 0 sq-diff q.sqa z.sqa

# -m is a pipe less to write.
sq-rtn -m "$model" | sq-pack -o m.sqa
same q.sqa m.sqa
sq-rtn -m a.sq | sq-pack -o m.sqa
same q.sqa m.sqa
sq-pack -m q.sq -o m.sqa
same q.sqa m.sqa
sq-pack -m z.sq -o m.sqa
exits 0 sq-diff q.sqa m.sqa

if command -v zstd >/dev/null; then
	zstd -q q.sqa
	sq-import q.sqa.zst >c.sq
	same b.sq c.sq
fi

# What it does not take.
for f in nothing-there /dev/null "$model/config.json" "$model/tokenizer.json" \
    "$root/tests" "$root/LICENSE"; do
	exits 1 sq-import "$f"
	says "$f"
	[ ! -s out ] || fail "something for $f"
done
exits 1 sq-import - </dev/null
says 'stdin: the input is empty'
exits 1 sq-import - <"$root/LICENSE"
says 'stdin: not an sq stream'
