#!/bin/bash
# A stream that stops early: at every record boundary, 1 and 64 bytes before
# its end, at random places, without END.  Each time the last stage says why and
# exits 1, and there is no output but the earlier one.
#
# SQ_FAULTS=long takes a larger model, and compressed streams too.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

m=$tiny
[ "${SQ_FAULTS-}" != long ] || m=$model
RANDOM=${SQ_SEED:-1}

# judge FILE: as the last stage, and behind a filter.
judge() {
	exits 1 sq-pack -o new.sqa <"$1"
	last_says sq-pack "'new.sqa' not written: "
	absent new.sqa new.sqa.part
	exits 1 sq-pack -o old.sqa <"$1"
	same old.sqa good.sqa
	exits 1 sq-verify <"$1"
	says 'sq-verify: stdin: '
	[ "${SQ_FAULTS-}" = long ] || [ $((RANDOM % 4)) -eq 0 ] || return 0
	exits 1 sq-pack -f hf -o new <"$1"
	last_says sq-pack "'new' not written: "
	absent new new.part
	pipe_exits 1 "sq-rtn -q <'$1' | sq-pack -o new.sqa"
	last_says sq-pack "'new.sqa' not written: "
	last_says sq-rtn
	absent new.sqa new.sqa.part
}

cut_at() {
	head -c "$1" "$s" >cut.sq
	judge cut.sq
}

all() {
	local n end i

	s=$1
	n=$(size "$s")
	sq-pack -o good.sqa <"$s"
	cp good.sqa old.sqa
	record_offsets "$s" >at
	[ "$(wc -l <at)" -gt 20 ] || fail "no records in $s"
	while read -r i; do
		cut_at "$i"
	done <at
	end=$(tail -1 at)
	for i in 1 2 8 63 64 65 128; do
		cut_at $((n - i))
	done
	for ((i = 0; i < 100; i++)); do
		cut_at $(((RANDOM * 32768 + RANDOM) % n))
	done
	# END twice, records after END, a second stream, a byte
	{ cat "$s"; tail -c +$((end + 1)) "$s"; } >cut.sq
	judge cut.sq
	{ cat "$s"; head -c "$end" "$s"; } >cut.sq
	judge cut.sq
	cat "$s" "$s" >cut.sq
	judge cut.sq
	{ cat "$s"; echo; } >cut.sq
	judge cut.sq
	# a record left out, two records swapped
	while read -r i; do
		[ "$i" -gt 0 ] && [ "$i" -lt "$end" ] || continue
		n=$(awk -v i="$i" '$1 > i { print; exit }' at)
		{ head -c "$i" "$s"; tail -c +$((n + 1)) "$s"; } >cut.sq
		judge cut.sq
		[ "${SQ_FAULTS-}" = long ] || break
	done <at
}

sq-import "$m" >a.sq
all a.sq
if [ "${SQ_FAULTS-}" = long ]; then
	sq-import -z "$m" >z.sq
	all z.sq
	sq-rtn --asym <a.sq >q.sq
	all q.sq
fi
