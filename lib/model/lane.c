/* One sequence at a time; see lane.h. */
#include <string.h>

#include "model/lane.h"

#define PAGE	64			/* tokens of a KV page */

int
sq_lane_init_kv(struct sq_lane *l, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, const struct sq_kv_policy *policy,
    size_t tokens, size_t layers, char *err)
{
	const struct sq_config *c = &m->config;
	struct sq_kv kv = { .type = sq_forward_kv_type(prec),
	    .heads = (size_t)c->kv_heads, .dim = (size_t)c->head_dim,
	    .page = PAGE };

	struct sq_kv_policy plain;

	memset(l, 0, sizeof(*l));
	sq_kv_policy_plain(&plain, kv.type);
	l->rows = tokens < SQ_LANE_ROWS ? tokens : SQ_LANE_ROWS;
	if (sq_forward_init(&l->f, m, ctx, prec, l->rows, err) < 0 ||
	    sq_kvcache_init_policy(&l->cache, &kv, policy == NULL ? &plain :
	    policy, ctx->kern->mem, layers, tokens, 0, err) < 0)
		return -1;
	return sq_kvseq_init(&l->seq, &l->cache, tokens, err);
}

int
sq_lane_init(struct sq_lane *l, const struct sq_model *m, struct sq_ctx *ctx,
    enum sq_prec prec, size_t tokens, size_t layers, char *err)
{
	return sq_lane_init_kv(l, m, ctx, prec, NULL, tokens, layers, err);
}

void
sq_lane_release(struct sq_lane *l)
{
	sq_kvseq_release(&l->seq);
	sq_kvcache_release(&l->cache);
	sq_forward_release(&l->f);
	memset(l, 0, sizeof(*l));
}

uint64_t
sq_lane_work(const struct sq_config *c)
{
	uint64_t q = c->heads * c->head_dim, wide = c->ffn, weight;
	uint64_t half = SQ_WORK(1) / 2;

	wide = wide < c->expert_ffn ? c->expert_ffn : wide;
	wide = wide < q ? q : wide;
	weight = 2 * c->dim * wide;
	return (weight < half ? weight : half) + 4 * SQ_LANE_ROWS * wide;
}
