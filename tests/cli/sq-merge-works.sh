#!/bin/bash
# Halves of a model, quantized apart, give what the whole does; refusals.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$tiny" >m.sq
rtn() {
	sq-rtn -q -b 4 -g 32 "$@" <m.sq
}
layers=$(sq-ls m.sq | grep -o 'layers\.[0-9]*' | sort -u | wc -l)
[ "$layers" -ge 2 ] || fail "$layers layers"
rtn | sq-pack -q -o whole.sqa
rtn --only '*.layers.0.*' >1.sq
rtn --only '*.layers.[1-9].*' >2.sq
sq-merge -q 1.sq 2.sq >both.sq
sq-pack -q -o both.sqa <both.sq
exits 0 sq-diff whole.sqa both.sqa
# whichever comes first; compressed; through pipes; alone
sq-merge -q 2.sq 1.sq | sq-pack -q -o other.sqa
exits 0 sq-diff whole.sqa other.sqa
sq-merge -q <(rtn -z --only '*.layers.0.*') 2.sq | sq-pack -q -o z.sqa
exits 0 sq-diff whole.sqa z.sqa
sq-merge -q both.sq | sq-pack -q -o alone.sqa
exits 0 sq-diff whole.sqa alone.sqa
sq-verify both.sq

exits 1 sq-merge -q 1.sq both.sq
last_says sq-merge "tensor '.*' is quantized in 1.sq and in both.sq"
exits 1 sq-merge -q 1.sq absent.sq
last_says sq-merge "absent.sq"
head -c $(($(size 2.sq) - 5)) 2.sq >cut.sq
exits 1 sq-merge -q 1.sq cut.sq
last_says sq-merge "cut.sq: the stream stops"
sq-import "$root/tests/data/tiny/qwen2" >other.sq
exits 1 sq-merge -q 1.sq other.sq
last_says sq-merge "other.sq: another HEADER"
exits 2 sq-merge -q
