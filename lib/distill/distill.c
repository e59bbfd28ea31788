/* Distillation; see distill.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "distill/distill_state.h"
#include "distill/distill_work.h"
#include "distill/redraw.h"
#include "distill/take.h"

#define ROWS		512		/* of logits at a time, at most, */
#define LOGITS		((size_t)16 << 20)	/* and as many bytes of each */
#define PASS		512		/* tokens, or one sample, at a time */
#define HELD_OUT	16		/* one sample of so many, */
#define ENOUGH		8		/* but not more of the teacher's own */

/* As many samples of a step side by side as are worth it. */
static size_t
group_of(const struct sq_distill_config *c, size_t length)
{
	size_t n = PASS / length;

	return n < 1 ? 1 : n < c->batch ? n : (size_t)c->batch;
}

static size_t
slice_of(size_t vocab)
{
	size_t n = LOGITS / (vocab * sizeof(float));

	return n < 1 ? 1 : n < ROWS ? n : ROWS;
}

/* Whether hidden states are compared. */
static int
is_mapped(const struct sq_distill_config *c)
{
	return c->preset != SQ_RESPONSE || c->nlayers > 0;
}

uint64_t
sq_distill_bytes(const struct sq_distill_config *c, const struct sq_config *t,
    const struct sq_config *s, enum sq_prec prec, size_t length,
    size_t threads, uint64_t hold)
{
	uint64_t weights = s->layers * (s->dim * s->head_dim * 2 *
	    (s->heads + s->kv_heads) + 3 * s->dim * s->ffn);
	size_t group = group_of(c, length), rows = group * length;

	return (c->train == SQ_TRAIN_CODES ? sq_codes_bytes(weights, threads) :
	    16 * weights) + sq_backward_forth_bytes(t, group, length) +
	    sq_backward_bytes(s, group, length) + sq_trail_bytes(s, rows,
	    hold) + 4 * rows * s->dim * (2 + (is_mapped(c) ? s->layers : 0)) +
	    8 * s->vocab * slice_of((size_t)s->vocab) + 4 * s->vocab * s->dim +
	    sq_head_bytes(t, prec, 0) + sq_head_bytes(s, prec, 1);
}

/* ---- the beginning ---- */

/* Which of the teacher's layers each of the student's is held against. */
static int
set_map(struct sq_distill *d, struct sq_distill_work *k, char *err)
{
	const struct sq_distill_config *c = d->config;
	uint64_t nt = d->teacher->config.layers, i, s, t;

	for (i = 0; i < k->layers; i++)
		k->map[i] = -1;
	if (!is_mapped(c))
		return 0;
	if (d->teacher->config.dim != k->dim)
		return sq_fail(err, "hidden states of %ju and of %zu channels "
		    "cannot be compared: use the preset 'response'",
		    (uintmax_t)d->teacher->config.dim, k->dim);
	if (c->preset == SQ_SELF && nt != k->layers)
		return sq_fail(err, "the preset 'self' is for a teacher of as "
		    "many layers: %zu, not %ju", k->layers, (uintmax_t)nt);
	for (i = 0; i < (c->nlayers > 0 ? c->nlayers : k->layers); i++) {
		s = c->nlayers > 0 ? c->layer[i].student : i;
		t = c->nlayers > 0 ? c->layer[i].teacher :
		    (i + 1) * nt / k->layers - 1;
		if (s >= k->layers || t >= nt)
			return sq_fail(err, "layers %ju: %ju: there is no "
			    "such layer", (uintmax_t)s, (uintmax_t)t);
		k->mapped += k->map[s] < 0;
		k->map[s] = (int64_t)t;
	}
	return 0;
}

static int
set_memory(struct sq_distill_work *k, int mapped, char *err)
{
	size_t one = k->rows * k->dim, v = k->slice * k->vocab;

	k->want = malloc((mapped ? k->layers * one : 1) * sizeof(float));
	k->dx = sq_mem_host.alloc(2 * one * sizeof(float));
	k->tl = sq_mem_host.alloc(2 * v * sizeof(float));
	k->lse = malloc(3 * k->slice * sizeof(float));
	k->map = malloc(k->layers * sizeof(*k->map));
	k->order = malloc(k->learned * sizeof(*k->order));
	k->ids = malloc(k->rows * sizeof(*k->ids));
	k->sample = malloc(k->group * sizeof(*k->sample));
	if (k->want == NULL || k->dx == NULL || k->tl == NULL ||
	    k->lse == NULL || k->map == NULL || k->order == NULL ||
	    k->ids == NULL || k->sample == NULL)
		return sq_fail(err, "out of memory");
	k->dh = k->dx + one;
	k->sl = k->tl + v;
	k->kl = k->lse + k->slice;
	k->nll = k->kl + k->slice;
	k->epoch = UINT64_MAX;
	return 0;
}

/* Of the samples that there are, those that are not learned from come first. */
static void
set_samples(const struct sq_distill *d, struct sq_distill_work *k)
{
	size_t n = d->own != NULL ? (size_t)d->config->own :
	    (size_t)(d->tokens->count / d->tokens->length);

	k->held = n / HELD_OUT;
	if (k->held == 0 && n > 1)
		k->held = 1;
	if (d->own != NULL && k->held > ENOUGH)
		k->held = ENOUGH;
	k->learned = n - k->held;
}

/* What the teacher makes of a sample is the same each time, and some come
 * again. */
static int
set_recall(struct sq_distill *d, struct sq_distill_work *k, char *err)
{
	const struct sq_distill_config *c = d->config;

	if (is_mapped(c) || c->redraw > 0 || c->steps * c->batch <= k->learned)
		return 0;
	return sq_recall_init(&k->recall, d->ctx->pool, k->held + k->learned,
	    k->length * (size_t)d->teacher->config.dim, err);
}

/* Sample i is the one at place j of the next pass. */
static void
read_sample(struct sq_distill *d, size_t j, size_t i)
{
	struct sq_distill_work *k = d->work;

	k->sample[j] = i;
	memcpy(k->ids + j * k->length, (d->own != NULL ? d->own :
	    d->tokens->id) + i * k->length, k->length * sizeof(*k->ids));
}

int
sq_distill_init(struct sq_distill *d, char *err)
{
	const struct sq_config *c = &d->student->config;
	struct sq_distill_work *k = calloc(1, sizeof(*k));

	sq_codes_init(&d->codes);
	d->grad = calloc((size_t)c->layers, sizeof(*d->grad));
	if ((d->work = k) == NULL || d->grad == NULL)
		return sq_fail(err, "out of memory");
	if (d->teacher->config.vocab != c->vocab)
		return sq_fail(err, "a teacher of %ju tokens for a student of "
		    "%ju", (uintmax_t)d->teacher->config.vocab,
		    (uintmax_t)c->vocab);
	k->length = (size_t)d->length;
	k->group = group_of(d->config, k->length);
	k->rows = k->group * k->length;
	k->layers = (size_t)c->layers;
	k->dim = (size_t)c->dim;
	k->vocab = (size_t)c->vocab;
	k->slice = slice_of(k->vocab);
	set_samples(d, k);
	if (set_memory(k, is_mapped(d->config), err) < 0 ||
	    set_map(d, k, err) < 0 || set_recall(d, k, err) < 0 ||
	    sq_backward_init_forth(&k->t, d->teacher, d->ctx, d->prec, k->group,
	    k->length, err) < 0 ||
	    sq_backward_init(&k->s, d->student, d->ctx, d->prec, k->group,
	    k->length, err) < 0 ||
	    sq_backward_hold(&k->s, d->hold, err) < 0 ||
	    sq_head_init(&k->th, d->teacher, d->ctx, d->prec, 0, NULL,
	    err) < 0 ||
	    sq_head_init(&k->sh, d->student, d->ctx, d->prec, 1, &k->th,
	    err) < 0)
		return -1;
	if (sq_distill_take(d, err) < 0)
		return -1;
	return sq_distill_load(d, err);
}

void
sq_distill_release(struct sq_distill *d)
{
	struct sq_distill_work *k = d->work;

	if (k != NULL) {
		sq_backward_release(&k->t);
		sq_backward_release(&k->s);
		free(k->want);
		sq_mem_host.free(k->dx);
		sq_mem_host.free(k->tl);
		free(k->lse);
		free(k->map);
		free(k->order);
		sq_head_release(&k->sh);
		sq_head_release(&k->th);
		free(k->ids);
		free(k->sample);
		sq_recall_release(&k->recall);
		free(k);
	}
	if (d->params.n > 0)
		sq_distill_leave(d->student);
	sq_params_release(&d->params);
	sq_codes_release(&d->codes);
	free(d->grad);
	d->work = NULL;
	d->grad = NULL;
}

/* ---- a pass: n samples, in ids ---- */

/* The teacher's states of sample i of a pass. */
static float *
taught(struct sq_distill *d, size_t i)
{
	struct sq_distill_work *k = d->work;

	return (float *)k->t.f.x.p + i * k->length * k->t.f.x.cols;
}

/* 1 when all of them are known already. */
static int
recall(struct sq_distill *d, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t i;

	for (i = 0; i < n; i++)
		if (!sq_recall_knows(&k->recall, k->sample[i]))
			return 0;
	for (i = 0; i < n; i++)
		if (sq_recall_get(&k->recall, k->sample[i], taught(d, i),
		    err) < 0)
			return -1;
	return 1;
}

static int
teach(struct sq_distill *d, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t one = k->rows * k->dim, now = n * k->length * k->dim, l, s;
	int r;

	if (sq_backward_embed(&k->t, k->ids, n, err) < 0)
		return -1;
	if ((r = recall(d, n, err)) != 0)
		return r < 0 ? -1 : 0;
	for (l = 0; l < d->teacher->config.layers; l++) {
		if (sq_backward_forward(&k->t, l, err) < 0)
			return -1;
		for (s = 0; s < k->layers; s++)
			if (k->map[s] == (int64_t)l)
				sq_pool_copy(d->ctx->pool, k->want + s * one,
				    k->t.f.x.p, now * sizeof(float));
	}
	for (s = 0; s < n; s++)
		sq_recall_put(&k->recall, k->sample[s], taught(d, s));
	return 0;
}

static int
answer(struct sq_distill *d, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t l;

	if (sq_backward_embed(&k->s, k->ids, n, err) < 0)
		return -1;
	for (l = 0; l < k->layers; l++)
		if (sq_backward_forward(&k->s, l, err) < 0)
			return -1;
	return 0;
}

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

/* dx += the gradient of |h - t|^2 / mean(t^2), weighted, token by token. */
struct hidden_job {
	const float *h, *t;
	float *dx;
	size_t dim;
	double weight;
};

static void
hidden_row(void *arg, long row, int thread)
{
	const struct hidden_job *k = arg;
	const float *h = k->h + (size_t)row * k->dim;
	const float *t = k->t + (size_t)row * k->dim;
	float *dx = k->dx + (size_t)row * k->dim, by;
	double norm;
	size_t j;

	(void)thread;
	for (norm = 0, j = 0; j < k->dim; j++)
		norm += (double)t[j] * t[j];
	if (norm == 0)
		return;
	by = (float)(2 * k->weight / norm);
	for (j = 0; j < k->dim; j++)
		dx[j] += by * (h[j] - t[j]);
}

/* Of what a layer gives. */
static void
hidden_grad(struct sq_distill *d, size_t layer, size_t rows, double weight)
{
	struct sq_distill_work *k = d->work;
	struct hidden_job j = { k->s.f.x.p, k->want + layer * k->rows * k->dim,
	    k->dx, k->dim, weight * d->config->hidden / (double)k->mapped };

	if (layer + 1 < k->layers)
		j.h = sq_trail_entry(&k->s.trail, layer + 1);
	sq_pool_run(d->ctx->pool, hidden_row, &j, (long)rows);
}

static int
back(struct sq_distill *d, size_t n, double weight, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat dx = mat(k->dx, n * k->length, k->dim);
	size_t l = k->layers;

	while (l-- > 0) {
		if (k->map[l] >= 0)
			hidden_grad(d, l, dx.rows, weight);
		if (sq_backward_return(&k->s, l, err) < 0 ||
		    sq_backward_block(&k->s, l, &dx, &d->grad[l], 1, err) < 0)
			return -1;
	}
	return 0;
}

/* What the teacher has just read becomes what it reads now: the sample from
 * that row on, by the number of its turn. */
static int
vary(struct sq_distill *d, size_t at, uint64_t round, char *err)
{
	struct sq_distill_work *k = d->work;
	const struct sq_redraw how = { d->config->redraw, round };
	size_t row, n, all = k->length - 1;
	struct sq_mat t = mat(k->tl, 0, k->vocab);

	for (row = 0; row < all; row += n) {
		t.rows = n = all - row < k->slice ? all - row : k->slice;
		if (sq_head_logits(&k->th, &k->t.f, at + row, n, &t, err) < 0)
			return -1;
		if (sq_nll(d->ctx, &t, NULL, k->lse, NULL) != 0)
			return sq_no_kernel(err, SQ_OP_nll);
		sq_redraw(&how, d->ctx->pool, &t, k->lse, row,
		    k->ids + at + row + 1);
	}
	return 0;
}

/* The n samples in ids; `round' counts those that are learned from, from 1,
 * and is the first one's. */
static int
pass(struct sq_distill *d, size_t n, uint64_t round, double weight, char *err)
{
	size_t i, length = d->work->length;
	int learn = round > 0;

	if (teach(d, n, err) < 0)
		return -1;
	if (learn && d->config->redraw > 0) {
		for (i = 0; i < n; i++)
			if (vary(d, i * length, round + i, err) < 0)
				return -1;
		if (teach(d, n, err) < 0)
			return -1;
	}
	if (answer(d, n, err) < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (sq_distill_loss(d, i * length, learn, weight, err) < 0)
			return -1;
	return learn ? back(d, n, weight, err) : 0;
}

/* ---- steps ---- */

/* The samples that were held out: what the student is worth now. */
static int
judge(struct sq_distill *d, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t i, j, now, n = k->held > 0 ? k->held : k->learned;
	double tokens = (double)n * (double)(k->length - 1);

	k->kl_sum = k->nll_sum = 0;
	for (i = 0; i < n; i += now) {
		now = n - i < k->group ? n - i : k->group;
		for (j = 0; j < now; j++)
			read_sample(d, j, i + j);
		if (pass(d, now, 0, 0, err) < 0)
			return -1;
	}
	d->kl = k->kl_sum / tokens;
	d->nll = k->nll_sum / tokens;
	if (!isfinite(d->nll))
		return sq_fail(err, "step %ju: the student's loss is not "
		    "finite", (uintmax_t)d->step);
	if (d->step == 0)
		d->first = d->kl;
	if (d->told != NULL)
		d->told(d->arg, d);
	return 0;
}

/* The n-th sample that is learned from: all of them in an order of each round's
 * own, so that a run that goes on needs to know n alone. */
static size_t
draw(const struct sq_distill *d, uint64_t n)
{
	struct sq_distill_work *k = d->work;
	struct sq_rng rng = { n / k->learned + 1 };
	size_t i;

	if (n / k->learned != k->epoch) {
		k->epoch = n / k->learned;
		for (i = 0; i < k->learned; i++)
			k->order[i] = k->held + i;
		sq_rng_shuffle(&rng, k->order, k->learned);
	}
	return k->order[n % k->learned];
}

/* A warm-up, then half a cosine down to a tenth. */
static double
rate(const struct sq_distill_config *c, uint64_t step)
{
	double left;

	if (step <= c->warmup)
		return c->lr * (double)step / (double)(c->warmup + 1);
	left = (double)(step - c->warmup) / (double)(c->steps - c->warmup + 1);
	return c->lr * (0.55 + 0.45 * cos(M_PI * left));
}

/* Of the blocks, and of the head. */
static double
weights_of(const struct sq_config *c, int head)
{
	double block = (double)c->dim * (double)(2 * c->head_dim * (c->heads +
	    c->kv_heads) + 3 * c->ffn);

	return head ? (double)c->dim * (double)c->vocab :
	    block * (double)c->layers;
}

double
sq_distill_work_of(const struct sq_distill *d)
{
	const struct sq_config *t = &d->teacher->config;
	const struct sq_config *s = &d->student->config;
	int passes = d->config->redraw > 0 ? 2 : 1;

	return 2 * passes * (weights_of(t, 0) + weights_of(t, 1)) +
	    6 * weights_of(s, 0) + 4 * weights_of(s, 1);
}

static int
step(struct sq_distill *d, char *err)
{
	const struct sq_distill_config *c = d->config;
	struct sq_distill_work *k = d->work;
	double weight = 1 / ((double)c->batch * (double)(k->length - 1));
	struct sq_tune_rate codes;
	uint64_t i, n = d->step * c->batch;
	float left = (float)(c->steps - d->step) / (float)c->steps;
	size_t j, now;

	for (i = 0; i < c->batch; i += now, n += now) {
		now = c->batch - i < k->group ? (size_t)(c->batch - i) :
		    k->group;
		for (j = 0; j < now; j++)
			read_sample(d, j, draw(d, n + j));
		if (pass(d, now, n + 1, weight, err) < 0)
			return -1;
		sq_progress_add(d->progress, now * k->length);
	}
	d->step++;
	codes = (struct sq_tune_rate){ (int)d->step, (float)c->place * left,
	    (float)c->scale * left };
	if (sq_codes_step(&d->codes, &codes, err) < 0)
		return -1;
	sq_params_step(&d->params, d->ctx->pool, d->step, c->train ==
	    SQ_TRAIN_CODES ? c->norm * (double)left : rate(c, d->step),
	    c->weight_decay);
	return 0;
}

int
sq_distill_run(struct sq_distill *d, char *err)
{
	const struct sq_distill_config *c = d->config;
	double begin;

	sq_progress_add(d->progress, d->step * c->batch * d->work->length);
	if (judge(d, err) < 0)
		return -1;
	/* what the teacher wrote is not written again */
	if (d->step == 0 && d->own != NULL && sq_distill_save(d, err) < 0)
		return -1;
	while (d->step < c->steps) {
		begin = sq_now();
		if (step(d, err) < 0)
			return -1;
		d->learning += sq_now() - begin;
		d->learned += c->batch * d->work->length;
		if (d->step % c->checkpoint != 0 && d->step != c->steps)
			continue;
		if (judge(d, err) < 0 || sq_distill_save(d, err) < 0)
			return -1;
	}
	return 0;
}
