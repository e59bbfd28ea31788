/* The paged cache of keys and values; see kvcache.h. */
#include <stdlib.h>
#include <string.h>

#include "kv/kvcache.h"

enum { AT_K, AT_V, AT_NEAR_K, AT_NEAR_V, AT_SINK_K, AT_SINK_V, AT_KINDS };

static size_t
at(const struct sq_kvcache *c, int kind, size_t layer)
{
	return c->at[(size_t)kind * c->layers + layer];
}

const struct sq_kv *
sq_kvcache_layer(const struct sq_kvcache *c, size_t layer)
{
	return c->layer + layer % c->layers;
}

size_t
sq_kvcache_token_bytes(const struct sq_kvcache *c)
{
	return c->page_bytes / c->kv.page;
}

/* Space for n bytes at *end: where it begins. */
static size_t
place(size_t *end, size_t n)
{
	size_t begin = *end;

	*end += (n + 63) / 64 * 64;
	return begin;
}

static void
lay_out(struct sq_kvcache *c)
{
	size_t l, near, sink;

	for (l = 0; l < c->layers; l++) {
		struct sq_kv *kv = c->layer + l;
		size_t *o = c->at + l;

		*kv = c->kv;
		sq_kv_policy_layer(&c->policy, l, kv);
		near = kv->window > 0 ? sq_near_bytes(kv) : 0;
		sink = sq_sink_bytes(kv);
		o[AT_K * c->layers] = place(&c->page_bytes,
		    sq_page_bytes(kv, &kv->k));
		o[AT_V * c->layers] = place(&c->page_bytes,
		    sq_page_bytes(kv, &kv->v));
		o[AT_NEAR_K * c->layers] = place(&c->near_bytes, near);
		o[AT_NEAR_V * c->layers] = place(&c->near_bytes, near);
		o[AT_SINK_K * c->layers] = place(&c->sink_bytes, sink);
		o[AT_SINK_V * c->layers] = place(&c->sink_bytes, sink);
		if (kv->window > c->window)
			c->window = kv->window;
	}
}

static int
all_plain(const struct sq_kvcache *c)
{
	size_t l;

	for (l = 0; l < c->layers; l++)
		if (!sq_kv_plain(c->layer + l))
			return 0;
	return 1;
}

int
sq_kvcache_init_policy(struct sq_kvcache *c, const struct sq_kv *kv,
    const struct sq_kv_policy *policy, const struct sq_mem *mem,
    size_t layers, size_t tokens, uint64_t budget, char *err)
{
	size_t i;

	memset(c, 0, sizeof(*c));
	if (sq_kv_policy_check(policy, layers, kv->dim, kv->page, err) < 0)
		return -1;
	c->kv = *kv;
	c->kv.type = policy->near;
	c->policy = *policy;
	c->mem = mem;
	c->layers = layers;
	c->budget = budget;
	c->blocks = (tokens + kv->page - 1) / kv->page;
	c->oldest = c->newest = SQ_KV_NONE;
	c->layer = calloc(layers, sizeof(*c->layer));
	c->at = calloc(AT_KINDS * layers, sizeof(*c->at));
	c->block = calloc(c->blocks + 1, sizeof(*c->block));
	c->unused = calloc(c->blocks + 1, sizeof(*c->unused));
	c->spare = calloc(c->blocks + 1, sizeof(*c->spare));
	c->bucket = calloc(c->blocks + 1, sizeof(*c->bucket));
	if (c->layer == NULL || c->at == NULL || c->block == NULL ||
	    c->unused == NULL || c->spare == NULL || c->bucket == NULL) {
		sq_kvcache_release(c);
		return sq_fail(err, "KV cache: out of memory");
	}
	lay_out(c);
	if (mem->device && !all_plain(c)) {
		sq_kvcache_release(c);
		return sq_fail(err, "KV cache: coded pages are for the CPU");
	}
	for (i = 0; i < c->blocks; i++) {
		c->unused[i] = c->blocks - 1 - i;
		c->bucket[i] = SQ_KV_NONE;
	}
	c->nunused = c->blocks;
	return 0;
}

int
sq_kvcache_init(struct sq_kvcache *c, const struct sq_kv *kv,
    const struct sq_mem *mem, size_t layers, size_t tokens, char *err)
{
	struct sq_kv_policy plain;

	sq_kv_policy_plain(&plain, kv->type);
	return sq_kvcache_init_policy(c, kv, &plain, mem, layers, tokens, 0,
	    err);
}

static void
let_go(struct sq_kvcache *c, const struct sq_mem *mem, unsigned char **p,
    size_t n)
{
	if (*p != NULL)
		c->held -= n;
	mem->free(*p);
	*p = NULL;
}

void
sq_kvcache_release(struct sq_kvcache *c)
{
	size_t i;

	for (i = 0; c->block != NULL && i < c->blocks; i++) {
		c->mem->free(c->block[i].page);
		sq_mem_host.free(c->block[i].near);
		sq_mem_host.free(c->block[i].sink);
	}
	for (i = 0; i < c->nspare; i++)
		sq_mem_host.free(c->spare[i]);
	free(c->layer);
	free(c->at);
	free(c->block);
	free(c->unused);
	free(c->spare);
	free(c->bucket);
	memset(c, 0, sizeof(*c));
}

/* ---- memory of blocks ---- */

/* Near memory of a block: to the spare ones. */
static void
spare_near(struct sq_kvcache *c, struct sq_kvblock *b)
{
	if (b->near != NULL)
		c->spare[c->nspare++] = b->near;
	b->near = NULL;
	b->keep = 0;
}

static void
unlink_old(struct sq_kvcache *c, size_t id)
{
	struct sq_kvblock *b = c->block + id;

	if (b->older != SQ_KV_NONE)
		c->block[b->older].newer = b->newer;
	else
		c->oldest = b->newer;
	if (b->newer != SQ_KV_NONE)
		c->block[b->newer].older = b->older;
	else
		c->newest = b->older;
}

static void
unindex(struct sq_kvcache *c, size_t id)
{
	struct sq_kvblock *b = c->block + id;
	uint64_t h;
	size_t *p;

	memcpy(&h, b->hash, sizeof(h));
	for (p = c->bucket + h % c->blocks; *p != id; p = &c->block[*p].next)
		;
	*p = b->next;
	b->indexed = 0;
}

static int
evict(struct sq_kvcache *c)
{
	size_t id = c->oldest;

	if (id == SQ_KV_NONE)
		return 0;
	unlink_old(c, id);
	unindex(c, id);
	spare_near(c, c->block + id);
	c->unused[c->nunused++] = id;
	c->evicted++;
	return 1;
}

/* Makes room for n bytes: memory that is held for nothing goes first, then
 * blocks that nobody refers to. */
static int
make_room(struct sq_kvcache *c, size_t n, char *err)
{
	struct sq_kvblock *b;
	size_t i;

	if (c->budget == 0 || c->held + n <= c->budget)
		return 0;
	do {
		while (c->nspare > 0 && c->held + n > c->budget) {
			let_go(c, &sq_mem_host, &c->spare[c->nspare - 1],
			    c->near_bytes);
			c->nspare--;
		}
		for (i = 0; i < c->nunused && c->held + n > c->budget; i++) {
			b = c->block + c->unused[i];
			let_go(c, c->mem, &b->page, c->page_bytes);
			let_go(c, &sq_mem_host, &b->sink, c->sink_bytes);
		}
		if (c->held + n <= c->budget)
			return 0;
	} while (evict(c));
	return sq_fail(err, "KV cache: the budget of %ju bytes is used up",
	    (uintmax_t)c->budget);
}

static unsigned char *
allocate(struct sq_kvcache *c, const struct sq_mem *mem, size_t n, char *err)
{
	unsigned char *p;

	if (make_room(c, n, err) < 0)
		return NULL;
	if ((p = mem->alloc(n)) == NULL) {
		sq_fail(err, "KV cache: out of memory");
		return NULL;
	}
	c->held += n;
	if (c->held > c->peak)
		c->peak = c->held;
	return p;
}

size_t
sq_kvcache_take(struct sq_kvcache *c, char *err)
{
	struct sq_kvblock *b;
	size_t id;

	if (c->nunused == 0 && !evict(c)) {
		sq_fail(err, "KV cache: full");
		return SQ_KV_NONE;
	}
	id = c->unused[--c->nunused];
	b = c->block + id;
	if (b->page == NULL &&
	    (b->page = allocate(c, c->mem, c->page_bytes, err)) == NULL) {
		c->unused[c->nunused++] = id;
		return SQ_KV_NONE;
	}
	if (!c->mem->device)
		memset(b->page, 0, c->page_bytes);
	b->refs = b->near_refs = 0;
	b->keep = b->indexed = 0;
	return id;
}

int
sq_kvcache_near(struct sq_kvcache *c, size_t id, char *err)
{
	struct sq_kvblock *b = c->block + id;

	if (b->near != NULL || c->near_bytes == 0)
		return 0;
	b->near = c->nspare > 0 ? c->spare[--c->nspare] :
	    allocate(c, &sq_mem_host, c->near_bytes, err);
	if (b->near == NULL)
		return -1;
	memset(b->near, 0, c->near_bytes);
	return 0;
}

int
sq_kvcache_sink(struct sq_kvcache *c, size_t id, char *err)
{
	struct sq_kvblock *b = c->block + id;

	if (b->sink == NULL && c->sink_bytes > 0)
		b->sink = allocate(c, &sq_mem_host, c->sink_bytes, err);
	if (b->sink == NULL && c->sink_bytes > 0)
		return -1;
	if (b->sink != NULL)
		memset(b->sink, 0, c->sink_bytes);
	return 0;
}

void
sq_kvcache_ref(struct sq_kvcache *c, size_t id)
{
	if (c->block[id].refs++ == 0 && c->block[id].indexed)
		unlink_old(c, id);
}

void
sq_kvcache_drop(struct sq_kvcache *c, size_t id)
{
	struct sq_kvblock *b = c->block + id;

	if (b->refs > 0 && --b->refs > 0)
		return;
	if (!b->indexed) {
		spare_near(c, b);
		c->unused[c->nunused++] = id;
		return;
	}
	b->newer = SQ_KV_NONE;
	b->older = c->newest;
	if (c->newest != SQ_KV_NONE)
		c->block[c->newest].newer = id;
	else
		c->oldest = id;
	c->newest = id;
}

uint64_t
sq_kvcache_predict(const struct sq_kvcache *c, size_t seqs, size_t tokens,
    size_t step)
{
	size_t page = c->kv.page, blocks = (tokens + page - 1) / page;
	size_t reach = c->window + step < tokens ? c->window + step : tokens;
	size_t near = (reach + page - 1) / page + 1;

	/* the blocks that a prompt's end keeps for others */
	near += (c->window + page - 1) / page + 1;
	if (near > blocks)
		near = blocks;
	return (uint64_t)seqs * (blocks * c->page_bytes + near *
	    c->near_bytes + c->sink_bytes);
}

/* ---- sequences ---- */

int
sq_kvseq_init(struct sq_kvseq *s, struct sq_kvcache *c, size_t tokens,
    char *err)
{
	size_t n;

	memset(s, 0, sizeof(*s));
	s->cache = c;
	s->cap = (tokens + c->kv.page - 1) / c->kv.page;
	n = s->cap * c->layers;
	s->id = calloc(s->cap + 1, sizeof(*s->id));
	s->k = calloc(n + 1, sizeof(*s->k));
	s->v = calloc(n + 1, sizeof(*s->v));
	if (c->near_bytes > 0) {
		s->near_k = calloc(n + 1, sizeof(*s->near_k));
		s->near_v = calloc(n + 1, sizeof(*s->near_v));
	}
	if (s->id == NULL || s->k == NULL || s->v == NULL ||
	    (c->near_bytes > 0 && (s->near_k == NULL || s->near_v == NULL))) {
		sq_kvseq_release(s);
		return sq_fail(err, "KV cache: out of memory");
	}
	return 0;
}

static int
keeps(const struct sq_kvseq *s, size_t b)
{
	return (b >= s->keep[0].from && b < s->keep[0].to) ||
	    (b >= s->keep[1].from && b < s->keep[1].to);
}

/* The near memory of block b leaves the tables. */
static void
drop_near(struct sq_kvseq *s, size_t b)
{
	struct sq_kvcache *c = s->cache;
	struct sq_kvblock *k = c->block + s->id[b];
	size_t l;

	if (s->near_k == NULL || s->near_k[b] == NULL)
		return;
	for (l = 0; l < c->layers; l++)
		s->near_k[l * s->cap + b] = s->near_v[l * s->cap + b] = NULL;
	if (keeps(s, b))
		k->keep = 1;
	if (--k->near_refs == 0 && !k->keep)
		spare_near(c, k);
}

void
sq_kvseq_clear(struct sq_kvseq *s)
{
	while (s->nblocks > 0) {
		s->nblocks--;
		drop_near(s, s->nblocks);
		sq_kvcache_drop(s->cache, s->id[s->nblocks]);
	}
	s->length = s->near = 0;
	memset(s->keep, 0, sizeof(s->keep));
}

void
sq_kvseq_release(struct sq_kvseq *s)
{
	if (s->cache != NULL && s->id != NULL)
		sq_kvseq_clear(s);
	free(s->id);
	free(s->k);
	free(s->v);
	free(s->near_k);
	free(s->near_v);
	memset(s, 0, sizeof(*s));
}

/* Block id into place b of the tables, with one reference more. */
static void
enter(struct sq_kvseq *s, size_t b, size_t id, int near)
{
	struct sq_kvcache *c = s->cache;
	struct sq_kvblock *k = c->block + id;
	size_t l;

	sq_kvcache_ref(c, id);
	s->id[b] = id;
	near = near && k->near != NULL;
	k->near_refs += (size_t)near;
	for (l = 0; l < c->layers; l++) {
		s->k[l * s->cap + b] = k->page + at(c, AT_K, l);
		s->v[l * s->cap + b] = k->page + at(c, AT_V, l);
		if (s->near_k == NULL)
			continue;
		s->near_k[l * s->cap + b] = near ? k->near +
		    at(c, AT_NEAR_K, l) : NULL;
		s->near_v[l * s->cap + b] = near ? k->near +
		    at(c, AT_NEAR_V, l) : NULL;
	}
}

void
sq_kvseq_join(struct sq_kvseq *s, size_t id, int near)
{
	enter(s, s->nblocks++, id, near);
}

void
sq_kvseq_swap(struct sq_kvseq *s, size_t b, size_t id)
{
	size_t old = s->id[b];
	int near = s->near_k != NULL && s->near_k[b] != NULL;

	if (near)
		s->cache->block[old].near_refs--;
	enter(s, b, id, near);
	sq_kvcache_drop(s->cache, old);
}

static int
add_block(struct sq_kvseq *s, char *err)
{
	struct sq_kvcache *c = s->cache;
	size_t id;

	if (s->nblocks == s->cap)
		return sq_fail(err, "KV cache: full");
	if ((id = sq_kvcache_take(c, err)) == SQ_KV_NONE)
		return -1;
	if (sq_kvcache_near(c, id, err) < 0 || (s->nblocks == 0 &&
	    sq_kvcache_sink(c, id, err) < 0)) {
		sq_kvcache_drop(c, id);
		return -1;
	}
	sq_kvseq_join(s, id, 1);
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

void
sq_kvseq_advance(struct sq_kvseq *s, size_t n)
{
	size_t page = s->cache->kv.page, window = s->cache->window, b;

	s->length += n;
	if (s->near_k == NULL || s->length < window)
		return;
	for (b = s->near; (b + 1) * page <= s->length - window + 1; b++)
		if (!keeps(s, b))
			drop_near(s, b);
	s->near = b;
}

struct sq_seq
sq_kvseq_view(const struct sq_kvseq *s, size_t layer, size_t row, size_t n)
{
	const struct sq_kvcache *c = s->cache;
	struct sq_seq q = { .row = row, .n = n, .pos = s->length };
	unsigned char *sink = s->nblocks == 0 ? NULL :
	    c->block[s->id[0]].sink;

	layer %= c->layers;
	q.k = s->k + layer * s->cap;
	q.v = s->v + layer * s->cap;
	if (s->near_k != NULL) {
		q.near_k = s->near_k + layer * s->cap;
		q.near_v = s->near_v + layer * s->cap;
	}
	if (sink != NULL) {
		q.sink_k = sink + at(c, AT_SINK_K, layer);
		q.sink_v = sink + at(c, AT_SINK_V, layer);
	}
	return q;
}
