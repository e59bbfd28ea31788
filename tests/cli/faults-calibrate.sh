#!/bin/bash
# What may go wrong on the way from a text to quantized weights: texts that are
# none, no room for temporary files, streams that end, stages that are killed,
# statistics of another model.  One line, exit 1, nothing left behind.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

text=$root/tests/data/text/calib.txt
two_blocks two
sq-import two >m.sq
calibrate() {
	sq-calibrate -q --length 32 --samples 64 "$@"
}

# Texts.
: >empty
head -c 3000 m.sq >binary
echo Short. >short
printf '<|endoftext|>\n\n<|endoftext|>\n' >none
while IFS='|' read -r file what; do
	exits 1 calibrate -m m.sq -t $file
	says "^sq-calibrate: $what"
	[ "$(size out)" -eq 0 ] || fail "$file: $(size out) bytes are out"
done <<'END'
empty|the text is empty
binary|not a text in UTF-8
short|[0-9]* tokens: fewer than 1 samples of 32
none|[0-9]* tokens: fewer than 1 samples of 32
nowhere|'nowhere': No such file
END

# With the least memory there is a temporary file: the same statistics, and
# nothing of it stays, nor when it is ended.
calibrate -t "$text" <m.sq >c.sq
exits 1 calibrate -M 40M -t "$text" -m m.sq
says '^sq-calibrate: -M: needs at least [0-9]*M for this model'
[ "$(size out)" -eq 0 ] || fail "$(size out) bytes are out"
least=$(sed 's/.*at least \([0-9]*M\).*/\1/' err)
mkdir t
export TMPDIR=$tmp/t
calibrate -M $least -t "$text" -v <m.sq 2>err | cmp - c.sq
grep -q 'hidden states in a file' err || fail "$(cat err)"
mkfifo in
sq-calibrate -q --length 32 --samples 64 -M $least -t "$text" \
    <in >killed.sq & p=$!
exec 8>in
head -c 10500000 m.sq >&8
ls -l /proc/$p/fd >fds
grep -q "$TMPDIR/.*deleted" fds || fail "no temporary file: $(cat fds)"
kill -9 $p
{ wait $p; } 2>/dev/null || :
exec 8>&-
exits 1 sq-verify killed.sq
[ -z "$(ls t)" ] || fail "left behind: $(ls t)"

head -c 10500000 m.sq >half.sq
exits 1 calibrate -t "$text" -m half.sq
last_says sq-calibrate 'the stream stops after'
pipe_exits 1 "sq-calibrate -q --length 32 --samples 64 -t '$text' <half.sq |
    sq-gptq -q | sq-pack -o x.sqa"
absent x.sqa

# No room for it, and none for those of sq-gptq.
for dir in nowhere $([ -z "${SQ_ASAN-}" ] && echo small.mount); do
	what='temporary file'
	if [ $dir = small.mount ]; then
		mkdir -p $dir
		mount -t tmpfs -o size=256k none $dir 2>/dev/null || continue
		what='No space left'
	fi
	export TMPDIR=$tmp/$dir
	exits 1 calibrate -M $least -t "$text" -m m.sq
	says "^sq-calibrate: .*$what"
	exits 1 sq-gptq --budget 4.2 -m c.sq
	says "^sq-gptq: .*$what"
	[ -z "$(ls $dir 2>/dev/null)" ] || fail "left behind: $(ls $dir)"
done
export TMPDIR=$tmp/t

# Statistics of another model: its first record is not theirs.
cp -rL two other
chmod -R u+w other
dd if=/dev/zero of=other/model.safetensors bs=512 seek=16400 count=1 \
    conv=notrunc 2>dd.err
sq-import other >o.sq
first=$(record_offsets o.sq | sed -n 2p)
{ head -c $first o.sq; tail -c +$(($(record_offsets c.sq | sed -n 2p) + 1)) \
    c.sq; } >mixed.sq
exits 1 sq-gptq -m mixed.sq
says "^sq-gptq: .*statistics .*of another model: "

# Once for three settings: equal to the same in a pipe.
few() {
	sq-calibrate -q --length 32 --samples 4 -t "$text" -m two
}
few >c.sq
for o in "-b 3 --sweeps 0" "-b 4 -g 32 --asym --sweeps 0" "-b 8 -g 0 \
    --sweeps 1"; do
	sq-gptq -q $o -m c.sq 2>/dev/null >f.sq
	few | sq-gptq -q $o 2>/dev/null | cmp - f.sq
done
