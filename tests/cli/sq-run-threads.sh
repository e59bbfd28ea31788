#!/bin/bash
# The same tokens for any number of threads, for dense and quantized weights,
# and from a directory, an artifact and a stream; seeds that are kept.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" | sq-rtn -q -b 4 -g 64 >w4.sq
sq-pack -q -o w4.sqa <w4.sq
ask() {
	sq-run -n 24 "$@" "The history of the city began when"
}
for m in "$model" w4.sqa; do
	ask --greedy -j 1 "$m" >one
	ask --greedy -j 2 "$m" >two
	same one two
	ask --seed 7 -j 1 "$m" >one
	ask --seed 7 -j 2 "$m" >two
	same one two
	ask --seed 8 -j 2 "$m" >other
	cmp -s two other && fail "the seed changes nothing"
done
ask --greedy w4.sqa >artifact
ask --greedy w4.sq >stream
same artifact stream

# The logarithms of probabilities are CSV, the best first.
sq-run -n 1 --greedy --logprobs 3 "$model" "Once upon" >best
head -1 best | grep -qx position,rank,id,logprob,token || fail "$(head -1 best)"
tail -n +2 best | awk -F, '$2 == 1 { last = $4 } $4 > last { exit 1 }
	{ last = $4; n++ } END { exit n % 3 != 0 || n == 0 }' ||
	fail "$(cat best)"
