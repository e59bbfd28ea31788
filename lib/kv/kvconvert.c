/* From one precision to another; see kvconvert.h. */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kv/kvconvert.h"

/* n tokens from position pos on, in one layer, as float32. */
struct rows {
	struct sq_mat k, v;
	size_t pos, n;
};

static void
plain_row(const void *from, const struct sq_kv *kv, float *to)
{
	const uint16_t *h = from;
	size_t i;

	if (kv->type == SQ_F32)
		memcpy(to, from, kv->dim * sizeof(*to));
	else
		for (i = 0; i < kv->dim; i++)
			to[i] = kv->type == SQ_F16 ? sq_f16_to_f32(h[i]) :
			    sq_bf16_to_f32(h[i]);
}

/* Plain values, where there are any, in place of what the pages hold. */
static void
overlay(const struct sq_kv *kv, const struct sq_seq *s, const struct rows *r)
{
	size_t t, h, pos;
	float *k, *v;

	for (t = 0; t < r->n; t++)
		for (h = 0; h < kv->heads; h++) {
			pos = r->pos + t;
			k = (float *)r->k.p + t * r->k.stride + h * kv->dim;
			v = (float *)r->v.p + t * r->v.stride + h * kv->dim;
			if (pos < kv->sink && s->sink_k != NULL) {
				plain_row(sq_sink_at(kv, s->sink_k, h, pos),
				    kv, k);
				plain_row(sq_sink_at(kv, s->sink_v, h, pos),
				    kv, v);
			} else if (kv->window > 0 && s->near_k != NULL &&
			    s->near_k[pos / kv->page] != NULL) {
				plain_row(sq_near_at(kv, s->near_k, h, pos),
				    kv, k);
				plain_row(sq_near_at(kv, s->near_v, h, pos),
				    kv, v);
			}
		}
}

static int
is_rotated(const struct sq_kvcache *c, size_t layer)
{
	return c->policy.hadamard &&
	    sq_kvcache_layer(c, layer)->k.grid != SQ_PAGE_PLAIN;
}

static int
layer(struct sq_kvseq *to, const struct sq_kvseq *from, size_t l,
    struct rows *r, struct sq_ctx *ctx)
{
	const struct sq_kv *kv = sq_kvcache_layer(from->cache, l);
	struct sq_seq s = sq_kvseq_view(from, l, 0, r->n);

	s.pos = r->pos;
	if (sq_kv_read(ctx, kv, &s, 1, &r->k, &r->v) != 0)
		return -1;
	overlay(kv, &s, r);
	/* the transform is its own inverse */
	if (is_rotated(from->cache, l) != is_rotated(to->cache, l) &&
	    sq_hadamard(ctx, kv->dim, &r->k) != 0)
		return -1;
	s = sq_kvseq_view(to, l, 0, r->n);
	return sq_kv_append(ctx, sq_kvcache_layer(to->cache, l), &s, 1, &r->k,
	    &r->v) == 0 ? 0 : -1;
}

static int
block(struct sq_kvseq *to, const struct sq_kvseq *from, struct rows *r,
    struct sq_ctx *ctx, char *err)
{
	size_t l;

	r->k.rows = r->v.rows = r->n;
	if (sq_kvseq_reserve(to, r->n, err) < 0)
		return -1;
	for (l = 0; l < from->cache->layers; l++)
		if (layer(to, from, l, r, ctx) < 0)
			return sq_fail(err, "no kernel converts this cache");
	sq_kvseq_advance(to, r->n);
	return 0;
}

int
sq_kv_convert(struct sq_kvseq *to, const struct sq_kvseq *from,
    struct sq_ctx *ctx, char *err)
{
	const struct sq_kv *kv = &from->cache->kv;
	size_t cols = kv->heads * kv->dim;
	float *mem = malloc(2 * kv->page * cols * sizeof(*mem));
	struct rows r = { .k = { mem, SQ_F32, 0, cols, cols } };
	int ret = 0;

	if (mem == NULL)
		return sq_fail(err, "out of memory");
	r.v = r.k;
	r.v.p = mem + kv->page * cols;
	for (; ret == 0 && r.pos < from->length; r.pos += r.n) {
		r.n = from->length - r.pos < kv->page ?
		    from->length - r.pos : kv->page;
		ret = block(to, from, &r, ctx, err);
	}
	free(mem);
	if (ret < 0)
		sq_kvseq_clear(to);
	return ret;
}
