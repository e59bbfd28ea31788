/* Samples side by side; see lanes.h. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "calib/lanes.h"

struct sq_lanes_one {
	struct sq_ctx own, *ctx;	/* own: unless it is the only lane */
	struct sq_lane lane;
	struct sq_collect collect;
	struct sq_gram_space space;
	struct sq_hidden hidden;	/* shared */
	char err[SQ_ERR];
	int failed;
};

/* What the lanes do now. */
struct job {
	struct sq_lanes *l;
	size_t layer, first;		/* of the group's samples */
	const struct sq_collect **sample;	/* the group */
	size_t n;
	atomic_size_t next;		/* piece of H that nobody took */
	size_t pieces;
};

/* The width of the widest input of a linear layer. */
static uint64_t
widest(const struct sq_config *c)
{
	uint64_t ffn = c->experts > 0 ? c->expert_ffn : c->ffn;

	return ffn > c->dim ? ffn : c->dim;
}

uint64_t
sq_lanes_bytes(const struct sq_config *c, size_t length, int full,
    enum sq_prec prec)
{
	uint64_t rows = SQ_LANE_ROWS, forward, kv;
	uint64_t ffn = c->experts > 0 ? c->expert_ffn : c->ffn;

	forward = 4 * rows * (3 * c->dim + 2 * c->head_dim *
	    (c->heads + c->kv_heads) + 2 * ffn);
	kv = 4 * length * c->kv_heads * c->head_dim * 2;
	return sq_lane_work(c) + 4 * rows * widest(c) + forward + kv +
	    4 * length * c->dim + sq_collect_bytes(c, length, full, prec) +
	    (full ? sq_gram_space_bytes() : 0);
}

size_t
sq_lanes_most(const struct sq_ctx *ctx, size_t samples)
{
	size_t n = (size_t)sq_pool_threads(ctx->pool);

	if (ctx->kern->mem->device)
		return 1;
	n = n < samples ? n : samples;
	return n < SQ_COLLECT_MAX ? n : SQ_COLLECT_MAX;
}

static int
context(struct sq_lanes_one *a, const struct sq_lanes_how *o, char *err)
{
	a->ctx = o->n == 1 ? o->ctx : &a->own;
	if (o->n > 1 && sq_ctx_init_part(a->ctx, o->ctx, (int)o->n) < 0)
		return sq_fail(err, "out of memory");
	return 0;
}

static int
one_init(struct sq_lanes_one *a, const struct sq_lanes_how *o, char *err)
{
	const struct sq_config *c = &o->model->config;
	size_t length = o->hidden->length;

	a->hidden.fd = -1;
	if (context(a, o, err) < 0 ||
	    sq_hidden_share(&a->hidden, o->hidden, err) < 0 ||
	    sq_lane_init(&a->lane, o->model, a->ctx, o->prec, length, 1,
	    err) < 0 ||
	    sq_collect_init(&a->collect, a->ctx, c, length, o->full, o->prec,
	    err) < 0)
		return -1;
	a->lane.f.tap = sq_collect_tap;
	a->lane.f.tap_arg = &a->collect;
	a->collect.expert = &a->lane.f.expert;
	return o->full ? sq_gram_space_init(&a->space, a->ctx, err) : 0;
}

static void
one_release(struct sq_lanes_one *a)
{
	sq_gram_space_release(&a->space);
	sq_collect_release(&a->collect);
	sq_lane_release(&a->lane);
	sq_hidden_unshare(&a->hidden);
	sq_ctx_release_part(&a->own);
}

int
sq_lanes_init(struct sq_lanes *l, const struct sq_lanes_how *o, char *err)
{
	size_t i;

	*l = (struct sq_lanes){ .o = *o };
	if (sq_collect_init_sum(&l->sum, &o->model->config, o->full, err) < 0)
		return -1;
	if ((l->lane = calloc(o->n, sizeof(*l->lane))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < o->n; i++)
		if (one_init(&l->lane[i], o, err) < 0)
			return -1;
	return 0;
}

void
sq_lanes_release(struct sq_lanes *l)
{
	size_t i;

	for (i = 0; l->lane != NULL && i < l->o.n; i++)
		one_release(&l->lane[i]);
	free(l->lane);
	sq_collect_release(&l->sum);
	memset(l, 0, sizeof(*l));
}

static struct sq_pass
pass(struct sq_lanes_one *a, size_t layer)
{
	return (struct sq_pass){ &a->lane, &a->hidden, layer,
	    sq_forward_block, 1, NULL };
}

int
sq_lanes_embed(struct sq_lanes *l, const uint32_t *ids, char *err)
{
	struct sq_pass p = pass(&l->lane[0], 0);

	return sq_pass_embed(&p, ids, err);
}

/* Sample `task' of the group. */
static void
pass_one(void *arg, long task, int thread)
{
	const struct job *j = arg;
	struct sq_lanes_one *a = &j->l->lane[task];
	struct sq_pass p = pass(a, j->layer);

	(void)thread;
	sq_collect_reset(&a->collect);
	a->failed = sq_pass_sample(&p, j->first + (size_t)task, a->err) < 0;
	if (a->failed && a->collect.err[0] != '\0')
		sq_fail(a->err, "%s", a->collect.err);
	if (!a->failed)
		a->failed = sq_collect_sample(&a->collect, a->hidden.length,
		    a->err) < 0;
}

/* Pieces of H, as long as there are any. */
static void
add_pieces(void *arg, long task, int thread)
{
	struct job *j = arg;
	struct sq_lanes_one *a = &j->l->lane[task];
	size_t piece;

	(void)thread;
	while (!a->failed && (piece = atomic_fetch_add(&j->next, 1)) <
	    j->pieces)
		a->failed = sq_collect_piece(&j->l->sum, j->sample, j->n,
		    piece, &a->space, a->err) < 0;
}

static int
failed(const struct sq_lanes *l, char *err)
{
	size_t i;

	for (i = 0; i < l->o.n; i++)
		if (l->lane[i].failed)
			return sq_fail(err, "%s", l->lane[i].err);
	return 0;
}

static int
group(struct job *j, char *err)
{
	struct sq_lanes *l = j->l;
	struct sq_pool *pool = l->o.ctx->pool;
	size_t i;

	sq_pool_run(pool, pass_one, j, (long)j->n);
	if (failed(l, err) < 0)
		return -1;
	for (i = 0; i < j->n; i++) {
		j->sample[i] = &l->lane[i].collect;
		sq_collect_add(&l->sum, j->sample[i]);
	}
	if (!l->o.full)
		return 0;
	atomic_store(&j->next, 0);
	sq_pool_run(pool, add_pieces, j, (long)l->o.n);
	return failed(l, err);
}

int
sq_lanes_block(struct sq_lanes *l, size_t layer, struct sq_progress *progress,
    char *err)
{
	const struct sq_collect *sample[SQ_COLLECT_MAX];
	size_t left, samples = l->o.hidden->samples;
	struct job j = { .l = l, .layer = layer, .sample = sample,
	    .pieces = sq_collect_pieces(&l->sum) };

	sq_collect_reset(&l->sum);
	for (; j.first < samples; j.first += j.n) {
		left = samples - j.first;
		j.n = left < l->o.n ? left : l->o.n;
		if (group(&j, err) < 0)
			return -1;
		sq_progress_add(progress, j.n * l->o.hidden->length);
	}
	if (sq_collect_fetch(&l->sum, &l->lane[0].collect, err) < 0)
		return -1;
	sq_collect_finish(&l->sum);
	return 0;
}
