/* Shared blocks; see kvprefix.h. */
#include <string.h>
#include <openssl/evp.h>

#include "kv/kvprefix.h"

/* SHA-256 of two pieces, cut. */
static void
digest(unsigned char hash[SQ_KV_HASH], const void *a, size_t na,
    const void *b, size_t nb)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned char full[EVP_MAX_MD_SIZE] = { 0 };
	unsigned n;

	if (c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1) {
		EVP_DigestUpdate(c, a, na);
		EVP_DigestUpdate(c, b, nb);
		EVP_DigestFinal_ex(c, full, &n);
	}
	EVP_MD_CTX_free(c);
	memcpy(hash, full, SQ_KV_HASH);
}

void
sq_kvprefix_root(unsigned char hash[SQ_KV_HASH], const char *model,
    const char *policy)
{
	char text[SQ_KV_TEXT + 64];
	size_t n = 0;

	memcpy(text, "sq-kv-1 ", 8);
	n = 8 + strnlen(model, 48);
	memcpy(text + 8, model, n - 8);
	text[n++] = ' ';
	digest(hash, text, n, policy, strlen(policy));
}

void
sq_kvprefix_hash(const unsigned char root[SQ_KV_HASH], const uint32_t *ids,
    size_t page, size_t n, unsigned char *hash)
{
	size_t i;

	for (i = 0; i < n; i++) {
		digest(hash, root, SQ_KV_HASH, ids + i * page,
		    page * sizeof(*ids));
		root = hash;
		hash += SQ_KV_HASH;
	}
}

static size_t *
bucket(const struct sq_kvcache *c, const unsigned char *hash)
{
	uint64_t h;

	memcpy(&h, hash, sizeof(h));
	return c->bucket + h % c->blocks;
}

size_t
sq_kvprefix_find(const struct sq_kvcache *c,
    const unsigned char hash[SQ_KV_HASH])
{
	size_t id;

	for (id = *bucket(c, hash); id != SQ_KV_NONE; id = c->block[id].next)
		if (memcmp(c->block[id].hash, hash, SQ_KV_HASH) == 0)
			break;
	return id;
}

size_t
sq_kvprefix_window(const struct sq_kvcache *c, size_t pos)
{
	return pos + 1 > c->window ? (pos + 1 - c->window) / c->kv.page : 0;
}

size_t
sq_kvprefix_match(const struct sq_kvcache *c, const unsigned char *hash,
    size_t n, size_t *found)
{
	size_t m, b, id;

	for (m = 0; m < n; m++)
		if (sq_kvprefix_find(c, hash + m * SQ_KV_HASH) == SQ_KV_NONE)
			break;
	*found = m;
	if (c->near_bytes == 0)
		return m;
	for (; m > 0; m = b) {
		for (b = m; b > sq_kvprefix_window(c, m * c->kv.page); b--) {
			id = sq_kvprefix_find(c, hash + (b - 1) * SQ_KV_HASH);
			if (c->block[id].near == NULL)
				break;
		}
		if (b == sq_kvprefix_window(c, m * c->kv.page))
			break;
		b--;
	}
	return m;
}

int
sq_kvprefix_adopt(struct sq_kvseq *s, const unsigned char *hash, size_t n,
    char *err)
{
	struct sq_kvcache *c = s->cache;
	size_t i, first = sq_kvprefix_window(c, n * c->kv.page);

	if (n > s->cap)
		return sq_fail(err, "KV cache: full");
	for (i = 0; i < n; i++)
		sq_kvseq_join(s, sq_kvprefix_find(c, hash + i * SQ_KV_HASH),
		    i >= first);
	s->near = first;
	s->length = n * c->kv.page;
	return 0;
}

void
sq_kvprefix_share(struct sq_kvseq *s, size_t b,
    const unsigned char hash[SQ_KV_HASH])
{
	struct sq_kvcache *c = s->cache;
	size_t id = s->id[b], known = sq_kvprefix_find(c, hash), *p;
	struct sq_kvblock *mine = c->block + id, *other;

	if (mine->indexed)
		return;
	if (known == SQ_KV_NONE) {
		memcpy(mine->hash, hash, SQ_KV_HASH);
		p = bucket(c, hash);
		mine->next = *p;
		*p = id;
		mine->indexed = 1;
		return;
	}
	/* the same bytes twice: the older copy gets what it lacks */
	other = c->block + known;
	if (other->near == NULL) {
		other->near = mine->near;
		mine->near = NULL;
	}
	sq_kvseq_swap(s, b, known);
}
