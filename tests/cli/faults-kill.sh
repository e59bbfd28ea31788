#!/bin/bash
# kill -9 of each stage in turn, in the middle of its work.  The stages are held
# there: the first one's input comes through a pipe that stays open, the last
# one's reader has not come yet.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" >a.sq
sq-rtn <a.sq >q.sq
sq-pack -o good.sqa <q.sq
sq-pack -f hf -o good <q.sq
mkfifo in mid

# Waits until a process sleeps on a pipe: it has taken what there was.
held() {
	local i

	for ((i = 0; i < 500; i++)); do
		grep -q pipe "/proc/$1/wchan" 2>/dev/null && return
		grep -q '^State:	S' "/proc/$1/status" 2>/dev/null &&
		    [ $i -gt 20 ] && return
		sleep .01
	done
	fail "process $1 is not held"
}

# ends STATUS PID WHAT
ends() {
	local got=0

	wait "$2" 2>/dev/null || got=$?
	[ $got -eq "$1" ] || fail "$3: status $got, not $1"
}

half=$(($(size a.sq) / 2))

# run FORMAT OUT VICTIM: import | rtn | pack -o OUT, one of them killed.
run() {
	local r p

	: >err
	case $3 in
	import)
		# sq-import writes into mid, whose reader stops half way
		sq-import "$model" >mid 2>err.import & r=$!
		exec 7<mid
		head -c $half <&7 | { cat; sleep .1; kill -9 $r; cat <&7; } |
		    sq-rtn -q 2>err.rtn | sq-pack -f $1 -o $2 2>err & p=$!
		exec 7<&-
		ends 1 $p sq-pack
		ends 137 $r sq-import
		last_says sq-pack "'$2' not written: "
		;;
	rtn)
		sq-rtn -q <in >mid 2>err.rtn & r=$!
		sq-pack -f $1 -o $2 <mid 2>err & p=$!
		exec 8>in
		head -c $half a.sq >&8
		held $r
		kill -9 $r
		exec 8>&-
		ends 137 $r sq-rtn
		ends 1 $p sq-pack
		last_says sq-pack "'$2' not written: the stream stops after"
		;;
	pack)
		sq-rtn -q <in >mid 2>err.rtn & r=$!
		sq-pack -f $1 -o $2 <mid 2>err & p=$!
		exec 8>in
		head -c $half a.sq >&8
		held $p
		kill -9 $p
		ends 137 $p sq-pack
		# the stage before it finds nobody, and says nothing
		{ tail -c +$((half + 1)) a.sq >&8; } 2>/dev/null || :
		exec 8>&-
		ends 141 $r sq-rtn
		[ ! -s err.rtn ] || fail "sq-rtn: $(cat err.rtn)"
		[ ! -s err ] || fail "sq-pack: $(cat err)"
		;;
	esac
}

trap '' PIPE	# of this script; the tools set their own
for victim in import rtn pack; do
	# a file: nothing is left at all, and an earlier one stays
	run sqa new.sqa $victim
	absent new.sqa
	rm -f new.sqa.part
	cp good.sqa new.sqa
	run sqa new.sqa $victim
	same new.sqa good.sqa
	rm -f new.sqa new.sqa.part

	# a directory: at most OUT.part, which the next run replaces
	run hf new $victim
	absent new
	[ $victim = pack ] || absent new.part
	cp -r good new
	run hf new $victim
	diff -r good new
	sq-pack -f hf -o new <q.sq
	diff -r good new
	absent new.part
	rm -rf new
done
[ "$(ls -d new* 2>/dev/null | wc -l)" -eq 0 ] || fail "left: $(ls -d new*)"

# With -m the reader is a process of its own: it goes when the tool goes.
mkfifo hold
sq-pack -m "$model" -f hf -o x >/dev/null
sq-rtn -m "$model" >hold 2>err & r=$!
exec 7<hold
held $r
child=$(cat /proc/$r/task/$r/children 2>/dev/null) || child=
kill -9 $r
{ ends 137 $r sq-rtn; } 2>/dev/null
exec 7<&-
gone() {
	! grep -qs '^State:	[^Z]' "/proc/${child% }/status"
}
for ((i = 0; i < 500; i++)); do
	gone && break
	sleep .01
done
[ -z "$child" ] || gone || fail "a child is left behind"

# SIGTERM and SIGINT leave nothing either.
for sig in TERM INT; do
	(trap - INT; exec sq-pack -o new.sqa <in 2>err) & p=$!
	exec 8>in
	head -c $half a.sq >&8
	held $p
	kill -$sig $p
	ends $((128 + $(kill -l $sig))) $p sq-pack
	exec 8>&-
	absent new.sqa new.sqa.part
done
exit 0
