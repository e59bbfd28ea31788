#!/bin/bash
# At a terminal: no stream is written there, and progress is shown there alone.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "no script(1)"

# at_terminal STATUS COMMAND: what the terminal shows is in `shown'.
at_terminal() {
	local got=0

	script -qec "$2" /dev/null </dev/null >shown 2>&1 || got=$?
	[ $got -eq "$1" ] || fail "exit status $got, not $1: $2: $(cat shown)"
}

sq-import "$tiny" >a.sq
for c in "sq-import $tiny" "sq-rtn <a.sq" "sq-rtn -m $tiny" \
    "sq-cat $tiny model.norm.weight" "sq-cat -p data $tiny model.norm.weight"
do
	at_terminal 2 "$c"
	grep -q 'standard output is a terminal' shown || fail "$c: $(cat shown)"
	[ "$(wc -l <shown)" -eq 1 ] || fail "$c: more than a line"
done
at_terminal 0 "sq-cat -t $tiny model.norm.weight"
at_terminal 0 "sq-ls a.sq"

# A slow stream: the progress line comes, and is wiped at the end.
slow() {
	head -c 20000 a.sq
	sleep .3
	tail -c +20001 a.sq
}
mkfifo slow.2 slow.3 slow.4
slow >slow.2 &
at_terminal 0 "sq-pack -o a.sqa <slow.2"
grep -q 'sq-pack: tensor [0-9]* of [0-9]*, ' shown || fail "no progress"
tail -c 4 shown | cmp - <(printf '\r\033[K')
slow >slow.3 &
at_terminal 0 "sq-pack -q -o a.sqa <slow.3"
[ ! -s shown ] || fail "-q: $(cat shown)"
slow >slow.4 &
exits 0 bash -c "sq-pack -o a.sqa <slow.4"
silent
[ ! -s out ] || fail "prints"
