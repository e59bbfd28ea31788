#!/bin/bash
# A reader that goes early: the stage before it dies by SIGPIPE and says
# nothing, even when whoever started it ignores that signal.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-import "$model" >a.sq
sq-rtn <a.sq | sq-pack -o q.sqa
for c in "sq-import '$model'" "sq-import a.sq" "sq-import -z a.sq" \
    "sq-rtn <a.sq" "sq-rtn -z -m '$model'" "sq-rtn -m a.sq" \
    "sq-cat q.sqa model.embed_tokens.weight" \
    "sq-cat -t q.sqa model.embed_tokens.weight" \
    "sq-cat q.sqa tokenizer.json"; do
	for ignore in : "trap '' PIPE"; do
		pipe_exits 141 "$ignore; set -o pipefail; $c | head -c 1000"
		silent
		[ "$(size out)" -eq 1000 ] || fail "$c: $(size out) bytes"
	done
done

# sq-ls and sq-diff print less than a pipe holds, so the pipe is closed at once.
for c in "sq-ls -v a.sq" "sq-diff -v a.sq '$model'" "sq-verify a.sq"; do
	pipe_exits 141 "set -o pipefail; { sleep .1; $c; } | :"
	silent
done

# Closed descriptors: no file takes their place.
exits 1 sh -c "sq-import '$model' >&-"
says 'cannot write: Bad file descriptor'
exits 1 sh -c 'sq-rtn <&-'
says 'stdin: cannot read: Bad file descriptor'
exits 1 sh -c 'sq-ls a.sq >&-'
says 'standard output: Bad file descriptor'
exits 1 sh -c 'sq-pack -o new.sqa <&-'
last_says sq-pack 'Bad file descriptor'
absent new.sqa
sq-rtn -v -m "$model" --only lm_head.weight 2>&- | sq-pack -v -o new.sqa 2>&-
sq-rtn -m "$model" --only lm_head.weight | sq-pack -o was.sqa
same new.sqa was.sqa
exits 1 sh -c "sq-pack -o other.sqa </dev/null 2>&-"
absent other.sqa
