#!/bin/bash
# Outputs that cannot be: read-only directories, things that are in the way.
# They are refused before any work, and what is there stays.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-rtn -m "$tiny" >q.sq
sq-pack -o good.sqa <q.sq
mkdir dir dir/sub fresh
echo mine >dir/letter
touch file
mkfifo fifo
ln -s good.sqa link.sqa
ln -s nowhere.sqa dangling.sqa

# refused FORMAT OUT PATTERN
refused() {
	exits 1 sq-pack -f "$1" -o "$2" -m q.sq
	last_says sq-pack "'$2': $3"
}

refused sqa dir 'exists and is not a regular file'
refused sqa dir/ 'exists and is not a regular file'
refused sqa / 'exists and is not a regular file'
refused sqa . 'exists and is not a regular file'
refused sqa fifo 'exists and is not a regular file'
refused sqa /dev/null 'exists and is not a regular file'
refused sqa no/where.sqa 'No such file or directory'
refused sqa file/x.sqa 'Not a directory'
refused sqa '' 'cannot be an output'
refused hf file 'exists and is not an earlier output'
refused hf dir 'exists and is not an earlier output'
refused hf . 'exists and is not an earlier output'
refused hf / 'exists and is not an earlier output'
exits 1 sq-pack -f hf -o no/where -m q.sq
last_says sq-pack 'No such file or directory'
grep -qx mine dir/letter
[ -d dir/sub ] && [ -p fifo ] && [ -f file ] || fail "something is gone"
absent dir.part file.part

# What may be replaced is: an empty directory, an earlier one, a file, and what
# a killed run has left.  A symbolic link is replaced itself.
sq-pack -f hf -o fresh -m q.sq
sq-pack -f hf -o fresh/ -m q.sq
mkdir fresh.part
touch fresh.part/junk
sq-pack -f hf -o fresh -m q.sq
absent fresh.part fresh/junk
sq-verify -q fresh
sq-pack -o file -m q.sq
same file good.sqa
cp good.sqa was.sqa
for l in link.sqa dangling.sqa; do
	sq-pack -o $l -m q.sq
	same $l good.sqa
done
same was.sqa good.sqa
absent nowhere.sqa
ln good.sqa hard.sqa
echo other >good.sqa
sq-pack -o good.sqa -m q.sq
grep -qx other hard.sqa || fail "a hard link has changed"
(umask 027 && sq-pack -o mode.sqa -m q.sq)
[ "$(stat -c %a mode.sqa)" = 640 ] || fail "mode $(stat -c %a mode.sqa)"

# A directory that nobody may write to; root may, so somebody else tries.
chmod 755 .
mkdir locked
sq-pack -f hf -o locked/old -m q.sq
sq-pack -o locked/old.sqa -m q.sq
cksum locked/old.sqa locked/old/* >was
chmod 555 locked locked/old
as=()
if [ "$(id -u)" -eq 0 ]; then
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	"${as[@]}" "$(command -v sq-ls)" -V >/dev/null 2>&1 ||
	    skip "nobody cannot run the tools"
fi
for o in new.sqa old.sqa; do
	exits 1 "${as[@]}" "$(command -v sq-pack)" -o locked/$o -m q.sq
	last_says sq-pack "'locked/$o': Permission denied"
done
for o in new old; do
	exits 1 "${as[@]}" "$(command -v sq-pack)" -f hf -o locked/$o -m q.sq
	last_says sq-pack "Permission denied"
done
cksum locked/old.sqa locked/old/* | diff was -
[ "$(ls locked | paste -sd ' ')" = "old old.sqa" ] || fail "$(ls locked)"
