#!/bin/bash
# What every tool says of itself, and to options that it does not have.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

for t in "$build"/bin/sq-*; do
	t=${t##*/}
	exits 0 "$t" -h
	silent
	grep -q "^usage: $t" out || fail "$t -h: $(cat out)"
	cp out help
	exits 0 "$t" --help
	same out help
	exits 0 "$t" -V
	silent
	grep -Eqx "$t [0-9]+\.[0-9]+\.[0-9]+" out || fail "$t -V: $(cat out)"
	for o in --no-such-option -% ; do
		exits 2 "$t" $o
		[ ! -s out ] || fail "$t $o: prints to standard output"
		# the usage, as -h has it, but for the man page
		grep -v 'see man' help | cmp - err
	done
	for o in "-j 0" "-j x" "-j 99999999999" "-M 1" "-M x" "-M -1G" \
	    "-M nan" "--threads=" "-j"; do
		exits 2 "$t" $o
		[ -s err ] || fail "$t $o: silent"
		[ ! -s out ] || fail "$t $o: prints to standard output"
	done
done

# Operands that are missing or too many.
for c in sq-import "sq-import a b" "sq-rtn a" sq-pack "sq-pack a" \
    "sq-pack -o a b" "sq-pack -o a --shard-size 1M" "sq-ls a b" sq-cat "sq-cat a" \
    "sq-cat a b c" "sq-cat -t -p codes a b" sq-diff "sq-diff a" \
    "sq-diff a b c"; do
	exits 2 $c
	grep -q '^usage: ' err || fail "$c: $(cat err)"
done

# Values that an option does not have: the message names the option.
while IFS='|' read -r command what; do
	exits 2 $command </dev/null
	says "$what"
done <<'END'
sq-rtn -b 7|-b 7: not 2, 3, 4, 5, 6 or 8
sq-rtn -b 9|-b '9': not a whole number from 2 to 8
sq-rtn -b 4x|-b '4x'
sq-rtn -g -1|-g '-1'
sq-rtn --grid fp4|--grid 'fp4': not one of int, fp8_e4m3
sq-rtn --grid fp8_e4m3 -b 4|-b 4: fp8 has 8 bits
sq-rtn --grid fp8_e4m3 --asym|--asym: fp8 has no zero points
sq-rtn --scale none|--scale 'none': not one of absmax, mse
sq-rtn -k z80|z80
sq-rtn -M 31M|-M '31M': less than 32M
sq-pack -o a -f zip|-f 'zip': not one of sqa, hf
sq-pack -o a -f hf --shard-size 0|--shard-size '0'
sq-pack -o a -k z80|z80
sq-pack -o a -f awq --kv|--kv: -f awq has no scales for the cache
sq-diff -k z80 a b|z80
END
absent a
