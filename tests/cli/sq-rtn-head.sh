#!/bin/bash
# The head: left alone unless named; of a model whose head is its embedding, a
# quantized copy is made, and the embedding stays as it is.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

e=model.embed_tokens.weight h=lm_head.weight

grep -q '"tie_word_embeddings": true' "$model/config.json"
sq-rtn -m "$model" -b 8 --only $h >a.sq
exits 1 sq-diff "$model" a.sq
grep -qx "$h  *only in B" out || fail "$(cat out)"
[ "$(grep -c . out)" -eq 2 ] || fail "more than the head: $(cat out)"
sq-pack -o a.sqa <a.sq
exits 1 sq-diff "$model" a.sqa
grep -q "^1 of 50 tensors differ$" out || fail "$(cat out)"

# It is what quantizing the embedding gives, and stands where a head does.
sq-rtn -m "$model" -b 8 --only $e >b.sq
for p in codes scales; do
	sq-cat -p $p a.sq $h >1
	sq-cat -p $p b.sq $e >2
	same 1 2
done
sq-ls a.sq >list
grep -A 1 '^model.norm.weight ' list | grep -q "^$h " ||
    fail "the head does not follow the norm"

# Both of them.
sq-rtn -m "$model" -b 8 --only $h --only 'model.layers.*' >c.sq
lists c.sq "^$h  *int8 "
lists c.sq "^$e  *BF16 "
lists c.sq "q_proj.weight  *int8 "
sq-verify -q c.sq
exits 0 sq-rtn -m "$model" -b 8 --only '*' --except $h
sq-ls out >list
grep -q "^$h" list && fail "--except: there is a head"

# A second pass finds the head that the first one made.
exits 0 sq-rtn -m a.sq -b 4
mv out d.sq
sq-pack -o d.sqa <d.sq
lists d.sqa "^$h  *int8 "
exits 1 sq-rtn -m a.sq --only $h
says "'$h': is quantized already"

# A model with a head of its own.
grep -q '"tie_word_embeddings": false' "$tiny/config.json"
sq-rtn -m "$tiny" >a.sq
lists a.sq "^$h  *BF16 "
lists a.sq "^$e  *BF16 "
sq-rtn -m "$tiny" --only $h >a.sq
lists a.sq "^$h  *int4 "
[ "$(sq-ls a.sq | grep -c int4)" -eq 1 ] || fail "more than the head"

# One that says that they are tied, and has a head nevertheless.
cp -r "$tiny" both
chmod -R u+w both
sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' \
    both/config.json
sq-rtn -m both --only $h >b.sq
sq-pack -o b.sqa <b.sq
sq-cat -p codes a.sq $h >1
sq-cat -p codes b.sqa $h >2
same 1 2
