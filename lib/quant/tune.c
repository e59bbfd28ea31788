/* Block-wise reconstruction; see tune.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "quant/tune.h"

#define HELD_OUT	16		/* one sample of so many */
#define LOOKS		8		/* at the objective, evenly spread */

/* What one call works on. */
struct work {
	struct sq_tune *t;
	size_t layer;
	struct sq_tune_weight *const *w;
	struct sq_layer_grad grad;
	size_t held, learned;		/* samples: the first `held' are not
					   learned from */
	float *d;			/* y - t of a part, [rows][dim] */
	double *loss;			/* [rows] */
	size_t *order;			/* of the learned samples */
	size_t next;			/* in it */
	struct sq_rng rng;
};

int
sq_tune_pass(struct sq_backward *b, struct sq_hidden *h, size_t layer,
    size_t first, size_t n, char *err)
{
	size_t one = h->length * h->dim, i;
	float *p;

	for (i = 0; i < n; i++) {
		if ((p = sq_hidden_get(h, first + i, err)) == NULL)
			return -1;
		sq_pool_copy(b->f.ctx->pool, (float *)b->f.x.p + i * one, p,
		    one * sizeof(*p));
	}
	b->f.x.rows = n * h->length;
	return sq_backward_forward(b, layer, err);
}

/* A row of y - t, weighted, and what it adds to the objective. */
struct row_job {
	const float *y;
	float *d;			/* holds t */
	double *loss;
	size_t dim;
};

static void
do_row(void *arg, long row, int thread)
{
	const struct row_job *j = arg;
	const float *y = j->y + (size_t)row * j->dim;
	float *d = j->d + (size_t)row * j->dim, weight;
	double norm = 0, loss = 0;
	size_t i;

	(void)thread;
	for (i = 0; i < j->dim; i++) {
		norm += (double)d[i] * d[i];
		d[i] = y[i] - d[i];
		loss += (double)d[i] * d[i];
	}
	norm /= (double)j->dim;
	weight = norm > 0 ? (float)(1 / norm) : 1;
	for (i = 0; i < j->dim; i++)
		d[i] *= weight;
	j->loss[row] = loss * (double)weight;
}

/* The samples id[0] .. id[n-1] through the block, and the gradient of its
 * output in k->d; the objective is added to *loss. */
static int
part(struct work *k, const size_t *id, size_t n, double *loss, char *err)
{
	struct sq_tune *t = k->t;
	size_t one = t->in->length * t->in->dim, i;
	struct row_job j = { t->back->f.x.p, k->d, k->loss, t->in->dim };
	struct sq_pool *pool = t->back->f.ctx->pool;
	float *p;

	for (i = 0; i < n; i++) {
		if ((p = sq_hidden_get(t->in, id[i], err)) == NULL)
			return -1;
		sq_pool_copy(pool, (float *)t->back->f.x.p + i * one, p,
		    one * sizeof(*p));
		if ((p = sq_hidden_get(t->target, id[i], err)) == NULL)
			return -1;
		sq_pool_copy(pool, k->d + i * one, p, one * sizeof(*p));
	}
	t->back->f.x.rows = n * t->in->length;
	if (sq_backward_forward(t->back, k->layer, err) < 0)
		return -1;
	sq_pool_run(pool, do_row, &j, (long)t->back->f.x.rows);
	for (i = 0; i < t->back->f.x.rows; i++)
		*loss += k->loss[i];
	sq_progress_add(t->progress, t->back->f.x.rows);
	return 0;
}

/* How many samples the backward pass takes at a time, of n. */
static size_t
portion(const struct work *k, size_t n)
{
	size_t most = k->t->back->samples;

	most = most > SQ_TUNE_PORTION ? SQ_TUNE_PORTION : most;
	return n < most ? n : most;
}

/* The objective on the samples that judge, for each token and channel. */
static int
look(struct work *k, double *loss, char *err)
{
	size_t i, n, id, all = k->held > 0 ? k->held : k->learned, c;
	size_t ids[SQ_TUNE_PORTION];

	*loss = 0;
	for (i = 0; i < all; i += n) {
		n = portion(k, all - i);
		for (c = 0, id = i; c < n; c++, id++)
			ids[c] = id;
		if (part(k, ids, n, loss, err) < 0)
			return -1;
	}
	*loss /= (double)all * (double)(k->t->in->length * k->t->in->dim);
	return 0;
}

/* The next sample: all of them in a new random order, again and again. */
static size_t
draw(struct work *k)
{
	size_t s;

	if (k->next == 0)
		sq_rng_shuffle(&k->rng, k->order, k->learned);
	s = k->order[k->next];
	k->next = (k->next + 1) % k->learned;
	return s;
}

static int
step(struct work *k, int number, char *err)
{
	struct sq_tune *t = k->t;
	float left = 1 - (float)(number - 1) / (float)t->steps;
	struct sq_tune_rate rate = { number, t->place * left,
	    t->scale * left };
	struct sq_mat d = { k->d, SQ_F32, 0, t->in->dim, t->in->dim };
	size_t ids[SQ_TUNE_PORTION], i, n, got;
	double loss = 0;
	int w;

	for (got = 0; got < t->batch; got += n) {
		n = portion(k, t->batch - got);
		for (i = 0; i < n; i++)
			ids[i] = draw(k);
		if (part(k, ids, n, &loss, err) < 0)
			return -1;
		d.rows = n * t->in->length;
		if (sq_backward_block(t->back, k->layer, &d, &k->grad, 0,
		    err) < 0)
			return -1;
	}
	for (w = 0; w < SQ_LINEARS; w++)
		if (k->w[w] != NULL)
			sq_tune_weight_step(k->w[w], &rate);
	return 0;
}

/* Notes the weights when they are the best so far. */
static int
judge(struct work *k, int number, char *err)
{
	double loss;
	int w;

	if (look(k, &loss, err) < 0)
		return -1;
	if (number == 0)
		k->t->before = loss;
	if (number != 0 && !(loss < k->t->after))
		return 0;
	k->t->after = loss;
	k->t->best = number;
	for (w = 0; w < SQ_LINEARS && number != 0; w++)
		if (k->w[w] != NULL)
			sq_tune_weight_note(k->w[w]);
	return 0;
}

static int
run(struct work *k, char *err)
{
	int i, steps = k->t->steps;

	/* what came is noted already, and is the best until it is beaten */
	if (judge(k, 0, err) < 0)
		return -1;
	for (i = 1; i <= steps; i++) {
		if (step(k, i, err) < 0)
			return -1;
		if ((i * LOOKS / steps != (i - 1) * LOOKS / steps ||
		    i == steps) && judge(k, i, err) < 0)
			return -1;
	}
	return isfinite(k->t->after) ? 0 : sq_fail(err, "block %zu: the error "
	    "of its output is not finite", k->layer);
}

int
sq_tune_block(struct sq_tune *t, struct sq_model *m, size_t layer,
    struct sq_tune_weight *const w[SQ_LINEARS], char *err)
{
	struct work k = { .t = t, .layer = layer, .w = w,
	    .rng = { layer + 1 } };
	size_t rows = t->back->samples * t->in->length, i;
	struct sq_linear *l;
	int n, r = -1;

	k.held = t->in->samples / HELD_OUT;
	if (k.held == 0 && t->in->samples >= 4)
		k.held = 1;
	k.learned = t->in->samples - k.held;
	k.d = malloc(rows * t->in->dim * sizeof(*k.d));
	k.loss = malloc(rows * sizeof(*k.loss));
	k.order = malloc(k.learned * sizeof(*k.order));
	if (k.d == NULL || k.loss == NULL || k.order == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	for (i = 0; i < k.learned; i++)
		k.order[i] = k.held + i;
	for (n = 0; n < SQ_LINEARS; n++) {
		if (w[n] == NULL)
			continue;
		sq_tune_weight_apply(w[n]);
		l = sq_layer_linear(&m->layer[layer], n);
		l->w = (struct sq_weight){ .grid = SQ_DENSE, .type = SQ_F32,
		    .rows = w[n]->rows, .cols = w[n]->cols, .data = w[n]->w };
		sq_layer_linear_grad(&k.grad, n)->w = w[n]->g;
	}
	r = run(&k, err);
done:
	free(k.d);
	free(k.loss);
	free(k.order);
	return r;
}
