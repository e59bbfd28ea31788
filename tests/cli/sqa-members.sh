#!/bin/bash
# An artifact is a tar: what tar and sha256sum make of it, without sq.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

sq-rtn -m "$model" -b 4 -g 128 --asym | sq-pack -o a.sqa
mkdir x
tar xf a.sqa -C x 2>warnings
[ ! -s warnings ] || fail "tar: $(cat warnings)"
(cd x && sha256sum -c --strict --quiet MANIFEST)

# MANIFEST has every member before it, in their order, and a line over all.
tar tf a.sqa >members
tail -1 members | grep -qx MANIFEST
sed -n 's/^[0-9a-f]\{64\}  //p' x/MANIFEST >listed
head -n -1 members | cmp - listed
all=$(sed -n 's/^# all //p' x/MANIFEST)
[ "$(head -n -1 x/MANIFEST | sha256sum)" = "$all  -" ] || fail "# all"
head -1 members | grep -qx config.json
for m in tensors.json kernel_meta.json kv_schema.json profile.yaml \
    provenance.json preset.json tokenizer.json; do
	grep -qx "$m" members || fail "no $m"
done
for m in weights scales zeros; do
	grep -q "^$m/model.layers.0.self_attn.q_proj.weight$" members ||
	    fail "no $m"
done

# The blobs are what they were; so are the parts.
for f in "$model"/*.json; do
	same "$f" "x/${f##*/}"
done
t=model.layers.1.mlp.down_proj.weight
sq-cat -p codes a.sqa $t | cmp - x/weights/$t
sq-cat -p scales a.sqa $t | cmp - x/scales/$t
sq-cat -p zeros a.sqa $t | cmp - x/zeros/$t
sq-cat -p data "$model" model.norm.weight | cmp - x/weights/model.norm.weight

# Weights begin at multiples of 4096: tar -R says in which block of 512 bytes
# the last header of a member is, and the data follow it.
tar tvRf a.sqa --numeric-owner | awk '
$8 ~ /^(weights|scales|zeros)\// {
	n++
	if (($2 + 1) % 8 != 0) { print; bad = 1 }
}
END { exit bad || n < 50 }' || fail "weights that are not aligned"

# No quotes of the run: the options that change the result are in, others not.
grep -q '"asym": true' x/provenance.json
grep -q '"group": 128' x/provenance.json
for w in threads memory output time host '"m"' path; do
	grep -qi "$w" x/provenance.json && fail "'$w' is in the provenance"
done
grep -q "\"version\": \"$(sq-rtn -V | cut -d' ' -f2)\"" x/provenance.json
