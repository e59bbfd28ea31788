#!/bin/bash
# 200 random bits, one at a time: every one is seen, nothing is written.
# SQ_FAULTS=long: also in compressed streams, and 2000.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

RANDOM=${SQ_SEED:-1}

# flips FILE COUNT FROM TO: bits of bytes FROM to TO
flips() {
	local i at old

	for ((i = 0; i < $2; i++)); do
		at=$(($3 + (RANDOM * 32768 + RANDOM) % ($4 - $3)))
		old=$(od -An -tu1 -j $at -N1 "$1")
		le $((old ^ 1 << RANDOM % 8)) 1 |
		    dd of="$1" bs=1 seek=$at conv=notrunc status=none
		exits 1 sq-pack -o new.sqa <"$1"
		last_says sq-pack "'new.sqa' not written: "
		absent new.sqa new.sqa.part
		if ((i % 8 == 0)); then
			exits 1 sq-verify "$1"
			says "$1: "
			pipe_exits 1 "sq-rtn -q <'$1' | sq-pack -o new.sqa"
			last_says sq-pack "'new.sqa' not written: "
			absent new.sqa
		fi
		le $((old)) 1 |
		    dd of="$1" bs=1 seek=$at conv=notrunc status=none
	done
}

sq-import "$tiny" >a.sq
cp a.sq was
many=100
[ "${SQ_FAULTS-}" != long ] || many=1000
# anywhere; and where there are headers and descriptions more than weights
flips a.sq $many 0 "$(size a.sq)"
flips a.sq $((many / 2)) 0 1400
flips a.sq $((many / 2)) $(($(size a.sq) - 600)) "$(size a.sq)"
same a.sq was
sq-pack -o new.sqa <a.sq
rm new.sqa
if [ "${SQ_FAULTS-}" = long ]; then
	sq-import -z "$tiny" >z.sq
	flips z.sq $many 0 "$(size z.sq)"
	sq-rtn -g 32 --asym <a.sq >q.sq
	flips q.sq $many 0 "$(size q.sq)"
fi
