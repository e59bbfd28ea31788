#!/bin/bash
# A plug-in: found, refused, and given all that is large in its own memory.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

fake_device
head -c 6000 "$root/tests/data/text/eval.txt" >t.txt

# refused FAKE NAME WORDS
refused() {
	local r=0

	SQ_FAKE=$1 sq-eval -k "$2" -t t.txt "$model" >out 2>err || r=$?
	[ $r = 2 ] && [ ! -s out ] && grep -q "$3" err &&
	    [ "$(wc -l <err)" = 1 ] || fail "-k $2, $1: $r: $(cat err)"
}
refused "" nix "kernels 'nix': no such level, and no plug-in libsqk_nix.so"
refused "" ../x "kernels '../x': no such level"
refused none fake "kernels 'fake': no such device"
refused abi fake "kernels 'fake': the plug-in was built for another version"

# the same operations in other memory: the same figures
for o in "" --f32 "--reference $model"; do
	sq-eval -q --csv --length 256 --tokens 1024 $o -t t.txt "$model" >is
	sq-eval -q --csv --length 256 --tokens 1024 $o -k fake -t t.txt \
	    "$model" >was
	cmp is was >&2 || fail "sq-eval $o: $(cat was)"
done
sq-eval -q --layers --length 256 --tokens 512 --reference "$model" -k fake \
    -t t.txt "$model" >/dev/null
sq-run --greedy -n 12 "$model" "The history" >is
sq-run --greedy -n 12 -k fake "$model" "The history" >was
cmp is was >&2 || fail "sq-run: $(cat was)"

# and the same statistics
for k in auto fake; do
	sq-import "$model" | sq-calibrate -q -k $k --length 128 --samples 4 \
	    -t t.txt >$k.sq
done
sq-diff auto.sq fake.sq >out || fail "sq-calibrate: $(cat out)"
