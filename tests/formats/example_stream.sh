#!/bin/sh
# The hexdump in sq-stream(5) is a stream: decodes it, and has the tiny reader
# (mini_stream, the first argument) judge it.
#
#	tests/formats/example_stream.sh build/tests/mini_stream

set -eu
page=$(dirname "$0")/../../man/sq-stream.5

# The lines of the dump as octal escapes; '*' repeats a line up to the next.
octal() {
	awk '
	function hex(s,	n, i) {
		n = 0
		for (i = 1; i <= length(s); i++)
			n = 16 * n + index("0123456789abcdef",
			    substr(s, i, 1)) - 1
		return n
	}
	function put() {
		printf "%s", line
		at += 16
	}
	$1 == "*" { next }
	/^[0-9a-f][0-9a-f][0-9a-f](  |$)/ {
		while (at < hex($1))
			put()
		if (NF == 1)
			exit
		line = ""
		for (i = 2; i <= 17; i++)
			line = line sprintf("\\%03o", hex($i))
		put()
	}' "$page"
}

got=$(printf "$(octal)" | "$1")
want='0 1 135 2 1349cde127705c16
1 5 92 0 2d06800538d394c2
2 6 57 0 2d06800538d394c2
end 2 e3d1beaf9eb014bb345d2c59ae515bb5'
if [ "$got" != "$want" ]; then
	echo "the example in sq-stream(5) is not the stream that it should be:"
	echo "$got"
	exit 1
fi
