/* The side that answers; see handoff.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/handoff.h"
#include "formats/fmt_json.h"
#include "kv/kvconvert.h"
#include "kv/kvprefix.h"

enum { PAGES = 1, NEAR = 2, SINK = 4 };

int
sq_receiver_head(struct sq_receiver *r)
{
	const char *model, *policy;
	int n = sq_kvin_next(&r->in);

	if (n <= 0)
		return sq_fail(r->err, "%s", n < 0 ? r->in.err :
		    "there is no KV stream");
	if (r->in.type != SQ_KVR_HEAD)
		return sq_fail(r->err, "the KV stream has no head");
	if (sq_json_string(r->in.desc, "model", &model, r->err) < 0 ||
	    sq_json_string(r->in.desc, "policy", &policy, r->err) < 0)
		return -1;
	if (strlen(model) >= SQ_DIGEST || strlen(policy) >= SQ_KV_TEXT)
		return sq_fail(r->err, "a head that is too long");
	snprintf(r->model, sizeof(r->model), "%s", model);
	snprintf(r->policy, sizeof(r->policy), "%s", policy);
	return 0;
}

static int
same_shape(struct sq_receiver *r, const char *key, uint64_t want)
{
	uint64_t v;

	if (sq_json_uint(r->in.desc, key, &v, r->err) < 0)
		return -1;
	return v == want ? 0 : sq_fail(r->err, "the KV stream has %s %ju, the "
	    "model %ju", key, (uintmax_t)v, (uintmax_t)want);
}

int
sq_receiver_begin(struct sq_receiver *r, struct sq_runner *b)
{
	const struct sq_config *f = &b->model->config;
	struct sq_kvcache *c = sq_batcher_cache(b->engine);
	struct sq_kv_policy p;
	char mine[SQ_KV_TEXT];

	r->b = b;
	if (b->ctx.kern->mem->device)
		return sq_fail(r->err, "a KV stream is for the CPU");
	if (strcmp(r->model, b->digest) != 0)
		return sq_fail(r->err, "the KV stream is of another model "
		    "(%s, here %s)", r->model, b->digest);
	if (same_shape(r, "layers", f->layers) < 0 ||
	    same_shape(r, "kv_heads", f->kv_heads) < 0 ||
	    same_shape(r, "head_dim", f->head_dim) < 0 ||
	    same_shape(r, "page", c->kv.page) < 0)
		return -1;
	if (sq_kv_policy_parse(&p, r->policy, r->err) < 0)
		return -1;
	sq_kv_policy_text(&c->policy, mine);
	sq_kvprefix_root(r->root, b->digest, mine);
	r->converts = strcmp(mine, r->policy) != 0;
	if (r->converts && sq_kvcache_init_policy(&r->other, &c->kv, &p,
	    &sq_mem_host, (size_t)f->layers, 2 * b->how.context + c->kv.page,
	    0, r->err) < 0)
		return -1;
	r->in.max = 16 * ((uint64_t)4 * c->kv.page * f->layers * f->kv_heads *
	    f->head_dim * 4 + (uint64_t)b->how.context * 8 + 65536);
	return 0;
}

void
sq_arrival_free(struct sq_arrival *a)
{
	if (a == NULL)
		return;
	sq_kvseq_release(&a->seq);
	json_decref(a->request);
	free(a->error);
	free(a->ids);
	free(a->want);
	free(a);
}

void
sq_receiver_release(struct sq_receiver *r)
{
	struct sq_arrival *a;

	while ((a = r->first) != NULL) {
		r->first = a->next;
		sq_arrival_free(a);
	}
	sq_kvin_release(&r->in);
	if (r->converts)
		sq_kvcache_release(&r->other);
}

/* A block that is there already, or room for one that comes. */
static int
place(struct sq_arrival *a, size_t b, const unsigned char *hash, size_t first,
    char *err)
{
	struct sq_kvseq *q = &a->seq;
	struct sq_kvcache *c = q->cache;
	int near = c->near_bytes > 0 && b >= first;
	size_t id = hash == NULL ? SQ_KV_NONE : sq_kvprefix_find(c, hash);

	if (id == SQ_KV_NONE) {
		if ((id = sq_kvcache_take(c, err)) == SQ_KV_NONE)
			return -1;
		a->want[b] = PAGES;
	}
	if (near && c->block[id].near == NULL)
		a->want[b] |= NEAR;
	if (b == 0 && c->sink_bytes > 0 && (a->want[b] & PAGES))
		a->want[b] |= SINK;
	/* joined first, so that making room cannot take it away */
	sq_kvcache_ref(c, id);
	if ((near && sq_kvcache_near(c, id, err) < 0) ||
	    ((a->want[b] & SINK) && sq_kvcache_sink(c, id, err) < 0)) {
		sq_kvcache_drop(c, id);
		return -1;
	}
	sq_kvseq_join(q, id, near);
	c->block[id].refs--;
	return 0;
}

/* Where the blocks of a sequence will be. */
static int
lay_out(struct sq_receiver *r, struct sq_arrival *a, char *err)
{
	struct sq_kvcache *c = r->converts ? &r->other :
	    sq_batcher_cache(r->b->engine);
	size_t page = c->kv.page, blocks = (a->n - 1 + page - 1) / page, b;
	size_t full = (a->n - 1) / page;
	size_t first = sq_kvprefix_window(c, a->n - 1);
	unsigned char *hash = malloc(full * SQ_KV_HASH + 1);
	int ret = 0;

	a->want = calloc(1, blocks + 1);
	if (hash == NULL || a->want == NULL)
		ret = sq_fail(err, "out of memory");
	else
		ret = sq_kvseq_init(&a->seq, c, r->b->how.context, err);
	if (ret == 0)
		sq_kvprefix_hash(r->root, a->ids, page, full, hash);
	for (b = 0; ret == 0 && b < blocks; b++)
		ret = place(a, b, r->converts || b >= full ? NULL : hash +
		    b * SQ_KV_HASH, first, err);
	a->seq.near = first;
	free(hash);
	return ret;
}

static int
send_want(struct sq_receiver *r, const struct sq_arrival *a, size_t blocks)
{
	unsigned char none[1] = { 0 };
	struct sq_piece p = { a->want == NULL ? none : a->want, blocks };

	if (r->back.fd < 0)
		return 0;
	if (sq_kvout_put(&r->back, SQ_KVR_WANT, json_pack("{s:I}", "id",
	    (json_int_t)a->id), &p, 1) < 0)
		return sq_fail(r->err, "%s", r->back.err);
	return 0;
}

/* What goes wrong here concerns this sequence alone: its records are read over,
 * and its error is its answer. */
static int
take_seq(struct sq_receiver *r)
{
	struct sq_arrival *a = calloc(1, sizeof(*a)), **p;
	const struct sq_runner *b = r->b;
	const char *error = json_string_value(json_object_get(r->in.desc,
	    "error"));
	size_t page = sq_batcher_cache(b->engine)->kv.page, full, blocks, i;
	uint64_t n, id;
	char why[SQ_ERR];

	if (a == NULL)
		return sq_fail(r->err, "out of memory");
	for (p = &r->first; *p != NULL; p = &(*p)->next)
		;
	*p = a;
	if (sq_json_uint(r->in.desc, "id", &id, r->err) < 0 ||
	    sq_json_uint(r->in.desc, "tokens", &n, r->err) < 0)
		return -1;
	a->id = id;
	r->n.sequences++;
	if (error != NULL) {
		a->error = strdup(error);
		a->done = 1;
		return 0;
	}
	full = n == 0 ? 0 : (size_t)(n - 1) / page;
	if (n == 0 || n > SQ_KVR_PAYLOAD / 8 || r->in.size != n *
	    sizeof(*a->ids) + full * SQ_KV_HASH)
		return sq_fail(r->err, "sequence %ju: a payload of a wrong "
		    "size", (uintmax_t)id);
	a->n = (size_t)n;
	if ((a->ids = malloc(a->n * sizeof(*a->ids))) == NULL)
		return sq_fail(r->err, "out of memory");
	memcpy(a->ids, r->in.payload, a->n * sizeof(*a->ids));
	a->request = json_incref(json_object_get(r->in.desc, "request"));
	blocks = (a->n - 1 + page - 1) / page;
	r->n.blocks += blocks;
	if (a->n > b->how.context)
		sq_fail(why, "a prompt of %zu tokens is longer than the "
		    "context of %zu", a->n, b->how.context);
	else if (lay_out(r, a, why) == 0)
		why[0] = '\0';
	if (why[0] != '\0') {
		a->error = strdup(why);
		sq_kvseq_release(&a->seq);
		free(a->want);
		a->want = calloc(1, blocks + 1);
		if (a->want == NULL)
			return sq_fail(r->err, "out of memory");
	}
	for (i = 0; i < blocks; i++)
		r->n.had += !(a->want[i] & PAGES) && a->error == NULL;
	return send_want(r, a, blocks);
}

static struct sq_arrival *
find(struct sq_receiver *r)
{
	struct sq_arrival *a;
	uint64_t id;

	if (sq_json_uint(r->in.desc, "id", &id, r->err) < 0)
		return NULL;
	for (a = r->first; a != NULL && a->id != id; a = a->next)
		;
	if (a == NULL || a->done)
		sq_fail(r->err, "record of sequence %ju, which is not open",
		    (uintmax_t)id);
	return a == NULL || a->done ? NULL : a;
}

/* A piece of the payload goes where it is wanted. */
static int
take_piece(struct sq_receiver *r, size_t *at, size_t n, unsigned char *to)
{
	if (n > r->in.size - *at)
		return sq_fail(r->err, "a block of a wrong size");
	if (to != NULL)
		memcpy(to, r->in.payload + *at, n);
	*at += n;
	return 0;
}

static int
take_block(struct sq_receiver *r)
{
	struct sq_arrival *a = find(r);
	struct sq_kvblock *k;
	struct sq_kvcache *c;
	uint64_t b, has[3];
	size_t at = 0;
	unsigned char *want;

	if (a == NULL || sq_json_uint(r->in.desc, "block", &b, r->err) < 0 ||
	    sq_json_uint(r->in.desc, "pages", &has[0], r->err) < 0 ||
	    sq_json_uint(r->in.desc, "near", &has[1], r->err) < 0 ||
	    sq_json_uint(r->in.desc, "sink", &has[2], r->err) < 0)
		return -1;
	if (a->error != NULL)
		return 0;
	if (b >= a->seq.nblocks)
		return sq_fail(r->err, "sequence %ju has no block %ju",
		    (uintmax_t)a->id, (uintmax_t)b);
	c = a->seq.cache;
	k = c->block + a->seq.id[b];
	want = a->want + b;
	r->n.sent += has[0] == 1;
	if ((has[0] && take_piece(r, &at, c->page_bytes, *want & PAGES ?
	    k->page : NULL) < 0) ||
	    (has[1] && take_piece(r, &at, c->near_bytes, *want & NEAR ?
	    k->near : NULL) < 0) ||
	    (has[2] && take_piece(r, &at, c->sink_bytes, *want & SINK ?
	    k->sink : NULL) < 0))
		return -1;
	if (at != r->in.size)
		return sq_fail(r->err, "a block of a wrong size");
	*want &= (unsigned char)~((has[0] ? PAGES : 0) | (has[1] ? NEAR : 0) |
	    (has[2] ? SINK : 0));
	return 0;
}

/* From the stream's precision to the engine's. */
static int
convert(struct sq_receiver *r, struct sq_arrival *a, char *err)
{
	struct sq_kvseq to;

	if (sq_kvseq_init(&to, sq_batcher_cache(r->b->engine),
	    r->b->how.context, err) < 0)
		return -1;
	if (sq_kv_convert(&to, &a->seq, &r->b->ctx, err) < 0) {
		sq_kvseq_release(&to);
		return -1;
	}
	sq_kvseq_release(&a->seq);
	a->seq = to;
	return 0;
}

static int
take_ready(struct sq_receiver *r)
{
	struct sq_arrival *a = find(r);
	size_t b, page, full;
	unsigned char *hash;
	char why[SQ_ERR];

	if (a == NULL)
		return -1;
	a->done = 1;
	if (a->error != NULL)
		return 0;
	for (b = 0; b < a->seq.nblocks; b++)
		if (a->want[b] != 0)
			return sq_fail(r->err, "sequence %ju: block %zu has "
			    "not come", (uintmax_t)a->id, b);
	a->seq.length = a->n - 1;
	if (r->converts) {
		if (convert(r, a, why) < 0)
			a->error = strdup(why);
		return 0;
	}
	page = a->seq.cache->kv.page;
	full = (a->n - 1) / page;
	if ((hash = malloc(full * SQ_KV_HASH + 1)) == NULL)
		return sq_fail(r->err, "out of memory");
	sq_kvprefix_hash(r->root, a->ids, page, full, hash);
	a->seq.keep[0] = (struct sq_kvrange){ sq_kvprefix_window(
	    a->seq.cache, full * page), full };
	for (b = 0; b < full; b++)
		sq_kvprefix_share(&a->seq, b, hash + b * SQ_KV_HASH);
	free(hash);
	return 0;
}

int
sq_receiver_next(struct sq_receiver *r, struct sq_arrival **out)
{
	int n = sq_kvin_next(&r->in), ret = 0;

	*out = NULL;
	if (n <= 0)
		return sq_fail(r->err, "%s", n < 0 ? r->in.err :
		    "the KV stream has been cut: it has no end");
	switch (r->in.type) {
	case SQ_KVR_SEQ: ret = take_seq(r); break;
	case SQ_KVR_BLOCK: ret = take_block(r); break;
	case SQ_KVR_READY: ret = take_ready(r); break;
	case SQ_KVR_END:
		r->ended = 1;
		return r->first == NULL ? 0 : sq_fail(r->err, "the KV stream "
		    "ends before a sequence does");
	default:
		return sq_fail(r->err, "a record that does not belong here");
	}
	if (ret < 0)
		return -1;
	if (r->first == NULL || !r->first->done)
		return 2;
	*out = r->first;
	r->first = r->first->next;
	return 1;
}
