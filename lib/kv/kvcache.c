/* The paged cache of keys and values; see kvcache.h. */
#include <stdlib.h>
#include <string.h>

#include "kv/kvcache.h"

size_t
sq_kvcache_token_bytes(const struct sq_kvcache *c)
{
	return 2 * c->layers * c->kv.heads * c->kv.dim *
	    sq_dtype_size(c->kv.type);
}

int
sq_kvcache_init(struct sq_kvcache *c, const struct sq_kv *kv,
    const struct sq_mem *mem, size_t layers, size_t tokens, char *err)
{
	size_t i;

	memset(c, 0, sizeof(*c));
	c->kv = *kv;
	c->mem = mem;
	c->layers = layers;
	c->blocks = (tokens + kv->page - 1) / kv->page;
	c->page_bytes = kv->heads * kv->page * kv->dim *
	    sq_dtype_size(kv->type);
	c->block = calloc(c->blocks, sizeof(*c->block));
	c->unused = calloc(c->blocks, sizeof(*c->unused));
	if (c->block == NULL || c->unused == NULL) {
		sq_kvcache_release(c);
		return sq_fail(err, "KV cache: out of memory");
	}
	for (i = 0; i < c->blocks; i++)
		c->unused[i] = c->blocks - 1 - i;
	c->nunused = c->blocks;
	return 0;
}

void
sq_kvcache_release(struct sq_kvcache *c)
{
	size_t i;

	for (i = 0; c->block != NULL && i < c->blocks; i++)
		c->mem->free(c->block[i]);
	free(c->block);
	free(c->unused);
	c->block = NULL;
	c->unused = NULL;
}

int
sq_kvseq_init(struct sq_kvseq *s, struct sq_kvcache *c, size_t tokens,
    char *err)
{
	memset(s, 0, sizeof(*s));
	s->cache = c;
	s->cap = (tokens + c->kv.page - 1) / c->kv.page;
	s->id = calloc(s->cap, sizeof(*s->id));
	s->k = calloc(s->cap * c->layers, sizeof(*s->k));
	s->v = calloc(s->cap * c->layers, sizeof(*s->v));
	if (s->id == NULL || s->k == NULL || s->v == NULL) {
		sq_kvseq_release(s);
		return sq_fail(err, "KV cache: out of memory");
	}
	return 0;
}

void
sq_kvseq_clear(struct sq_kvseq *s)
{
	while (s->nblocks > 0)
		s->cache->unused[s->cache->nunused++] = s->id[--s->nblocks];
	s->length = 0;
}

void
sq_kvseq_release(struct sq_kvseq *s)
{
	if (s->cache != NULL)
		sq_kvseq_clear(s);
	free(s->id);
	free(s->k);
	free(s->v);
	memset(s, 0, sizeof(*s));
}

static int
add_block(struct sq_kvseq *s, char *err)
{
	struct sq_kvcache *c = s->cache;
	unsigned char *p;
	size_t id, l;

	if (s->nblocks == s->cap || c->nunused == 0)
		return sq_fail(err, "KV cache: full");
	id = c->unused[c->nunused - 1];
	if (c->block[id] == NULL) {
		c->block[id] = c->mem->alloc(2 * c->layers * c->page_bytes);
		if (c->block[id] == NULL)
			return sq_fail(err, "KV cache: out of memory");
	}
	c->nunused--;
	p = c->block[id];
	for (l = 0; l < c->layers; l++) {
		s->k[l * s->cap + s->nblocks] = p + 2 * l * c->page_bytes;
		s->v[l * s->cap + s->nblocks] = p + (2 * l + 1) *
		    c->page_bytes;
	}
	s->id[s->nblocks++] = id;
	return 0;
}

int
sq_kvseq_reserve(struct sq_kvseq *s, size_t n, char *err)
{
	while (s->nblocks * s->cache->kv.page < s->length + n)
		if (add_block(s, err) < 0)
			return -1;
	return 0;
}

struct sq_seq
sq_kvseq_view(const struct sq_kvseq *s, size_t layer, size_t row, size_t n)
{
	layer %= s->cache->layers;
	return (struct sq_seq){ .row = row, .n = n, .pos = s->length,
	    .k = s->k + layer * s->cap, .v = s->v + layer * s->cap };
}
