/* Distillation; see distill.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distill/distill.h"
#include "distill/distill_state.h"
#include "distill/redraw.h"
#include "distill/take.h"
#include "model/head.h"

#define ROWS		512		/* of logits at a time, at most, */
#define LOGITS		((size_t)64 << 20)	/* and as many bytes of each */
#define PASS		2048		/* tokens, or one sample, at a time */
#define HELD_OUT	16		/* one sample of so many, */
#define ENOUGH		8		/* but not more of the teacher's own */

struct sq_distill_work {
	struct sq_backward t, s;	/* teacher, student: a pass each */
	size_t group;			/* samples of a pass, at most, */
	size_t rows;			/* and their tokens */
	size_t slice;			/* rows of logits at a time */
	size_t length, layers, dim, vocab;
	float *entry;			/* [layers + 1][rows][dim] */
	int64_t *map;			/* [layers]: teacher's layer, or -1 */
	size_t mapped;
	float *want;			/* [layers][rows][dim], as mapped */
	float *dx, *dh;			/* [rows][dim] */
	float *tl, *sl, *dl;		/* [slice][vocab] */
	float *tlse, *slse, *kl, *nll;	/* [slice] */
	struct sq_head th, sh;		/* their heads */
	uint32_t *ids;			/* [rows]: what is read now */
	double kl_sum, nll_sum;
	size_t held, learned;		/* samples; the first are held out */
	size_t *order;
	uint64_t epoch;			/* that `order' is of */
};

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

uint64_t
sq_distill_bytes(const struct sq_distill_config *c, const struct sq_config *t,
    const struct sq_config *s, enum sq_prec prec, size_t length)
{
	uint64_t weights = s->layers * (s->dim * s->head_dim * 2 *
	    (s->heads + s->kv_heads) + 3 * s->dim * s->ffn);
	size_t group = group_of(c, length);

	return (c->train == SQ_TRAIN_CODES ? sq_codes_bytes(weights) :
	    16 * weights) + sq_backward_bytes(t, group, length) +
	    sq_backward_bytes(s, group, length) + 4 * group * length *
	    s->dim * (2 * s->layers + 3) + 12 * s->vocab *
	    slice_of((size_t)s->vocab) + 4 * s->vocab * s->dim +
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
	if (c->preset == SQ_RESPONSE && c->nlayers == 0)
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
set_memory(struct sq_distill_work *k, char *err)
{
	size_t one = k->rows * k->dim, v = k->slice * k->vocab;

	k->entry = malloc((k->layers + 1) * one * sizeof(float));
	k->want = malloc(k->layers * one * sizeof(float));
	k->dx = malloc(2 * one * sizeof(float));
	k->tl = malloc(3 * v * sizeof(float));
	k->tlse = malloc(4 * k->slice * sizeof(float));
	k->map = malloc(k->layers * sizeof(*k->map));
	k->order = malloc(k->learned * sizeof(*k->order));
	k->ids = malloc(k->rows * sizeof(*k->ids));
	if (k->entry == NULL || k->want == NULL || k->dx == NULL ||
	    k->tl == NULL || k->tlse == NULL || k->map == NULL ||
	    k->order == NULL || k->ids == NULL)
		return sq_fail(err, "out of memory");
	k->dh = k->dx + one;
	k->sl = k->tl + v;
	k->dl = k->sl + v;
	k->slse = k->tlse + k->slice;
	k->kl = k->slse + k->slice;
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

static const uint32_t *
sample_at(const struct sq_distill *d, size_t i)
{
	return (d->own != NULL ? d->own : d->tokens->id) + i *
	    d->work->length;
}

int
sq_distill_init(struct sq_distill *d, char *err)
{
	const struct sq_config *c = &d->student->config;
	struct sq_distill_work *k = calloc(1, sizeof(*k));

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
	if (set_memory(k, err) < 0 || set_map(d, k, err) < 0 ||
	    sq_backward_init(&k->t, d->teacher, d->ctx, d->prec, k->group,
	    k->length, err) < 0 ||
	    sq_backward_init(&k->s, d->student, d->ctx, d->prec, k->group,
	    k->length, err) < 0 ||
	    sq_head_init(&k->th, d->teacher, d->ctx, d->prec, 0, err) < 0 ||
	    sq_head_init(&k->sh, d->student, d->ctx, d->prec, 1, err) < 0)
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
		free(k->entry);
		free(k->want);
		free(k->dx);
		free(k->tl);
		free(k->tlse);
		free(k->map);
		free(k->order);
		sq_head_release(&k->th);
		sq_head_release(&k->sh);
		free(k->ids);
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

static int
teach(struct sq_distill *d, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t one = k->rows * k->dim, now = n * k->length * k->dim, l, s;

	if (sq_backward_embed(&k->t, k->ids, n, err) < 0)
		return -1;
	for (l = 0; l < d->teacher->config.layers; l++) {
		if (sq_backward_forward(&k->t, l, err) < 0)
			return -1;
		for (s = 0; s < k->layers; s++)
			if (k->map[s] == (int64_t)l)
				memcpy(k->want + s * one, k->t.f.x.p,
				    now * sizeof(float));
	}
	return 0;
}

static int
answer(struct sq_distill *d, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t one = k->rows * k->dim, now = n * k->length * k->dim, l;

	if (sq_backward_embed(&k->s, k->ids, n, err) < 0)
		return -1;
	for (l = 0; l < k->layers; l++) {
		memcpy(k->entry + l * one, k->s.f.x.p, now * sizeof(float));
		if (sq_backward_forward(&k->s, l, err) < 0)
			return -1;
	}
	memcpy(k->entry + l * one, k->s.f.x.p, now * sizeof(float));
	return 0;
}

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

/* Both models' logits of rows row .. row+n-1, at the temperature; their
 * divergence, and the text's loss, are added up. */
static int
logits(struct sq_distill *d, const uint32_t *next, size_t row, size_t n,
    double temperature, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat t = mat(k->tl, n, k->vocab), s = mat(k->sl, n, k->vocab);
	float cold = (float)(1 / temperature);
	size_t i;

	if (sq_head_logits(&k->th, &k->t.f, row, n, &t, err) < 0 ||
	    sq_head_logits(&k->sh, &k->s.f, row, n, &s, err) < 0)
		return -1;
	if (sq_nll(d->ctx, &s, next, k->nll, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	for (i = 0; temperature != 1 && i < n * k->vocab; i++) {
		k->tl[i] *= cold;
		k->sl[i] *= cold;
	}
	if (sq_nll(d->ctx, &t, NULL, k->tlse, NULL) != 0 ||
	    sq_nll(d->ctx, &s, NULL, k->slse, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	if (sq_kl(d->ctx, &t, &s, k->kl) != 0)
		return sq_no_kernel(err, SQ_OP_kl);
	for (i = 0; i < n; i++) {
		k->kl_sum += (double)k->kl[i];
		k->nll_sum += (double)k->nll[i];
	}
	return 0;
}

/* The gradient of the loss by these logits, in dl. */
static int
logits_grad(struct sq_distill *d, const uint32_t *next, size_t n,
    double weight, char *err)
{
	const struct sq_distill_config *c = d->config;
	struct sq_distill_work *k = d->work;
	struct sq_mat t = mat(k->tl, n, k->vocab), s = mat(k->sl, n, k->vocab);
	struct sq_mat g = mat(k->dl, n, k->vocab);
	float by = (float)(weight * c->temperature);
	float ce = (float)(weight * c->ce), warm = (float)c->temperature;
	size_t i;

	memset(k->dl, 0, n * k->vocab * sizeof(float));
	if (sq_softmax_add(d->ctx, &s, k->slse, by, &g) != 0 ||
	    sq_softmax_add(d->ctx, &t, k->tlse, -by, &g) != 0)
		return sq_no_kernel(err, SQ_OP_softmax_add);
	if (ce == 0)
		return 0;
	for (i = 0; i < n * k->vocab; i++)
		k->sl[i] *= warm;
	if (sq_nll(d->ctx, &s, NULL, k->slse, NULL) != 0)
		return sq_no_kernel(err, SQ_OP_nll);
	if (sq_softmax_add(d->ctx, &s, k->slse, ce, &g) != 0)
		return sq_no_kernel(err, SQ_OP_softmax_add);
	for (i = 0; i < n; i++)
		k->dl[i * k->vocab + next[i]] -= ce;
	return 0;
}

/* Through head and last norm: the gradient of rows row .. in dx. */
static int
head_back(struct sq_distill *d, size_t row, size_t n, char *err)
{
	struct sq_distill_work *k = d->work;
	struct sq_mat g = mat(k->dl, n, k->vocab);
	struct sq_mat h = mat(k->dh + row * k->dim, n, k->dim);
	struct sq_mat x = mat(k->entry + (k->layers * k->rows + row) *
	    k->dim, n, k->dim);
	struct sq_mat dx = mat(k->dx + row * k->dim, n, k->dim);

	return sq_head_back(&k->sh, &g, &x, &h, &dx, d->norm_grad, err);
}

/* What comes after the last token of a sample is not known: it is left out. */
static int
output(struct sq_distill *d, size_t at, int learn, double weight, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t row, n, last = at + k->length - 1;

	memset(k->dx + last * k->dim, 0, k->dim * sizeof(float));
	for (row = at; row < last; row += n) {
		n = last - row < k->slice ? last - row : k->slice;
		if (logits(d, k->ids + row + 1, row, n, learn ?
		    d->config->temperature : 1, err) < 0)
			return -1;
		if (learn && (logits_grad(d, k->ids + row + 1, n, weight,
		    err) < 0 || head_back(d, row, n, err) < 0))
			return -1;
	}
	return 0;
}

/* dx += the gradient of |h - t|^2 / mean(t^2), weighted, token by token. */
static void
hidden_grad(struct sq_distill_work *k, size_t layer, size_t rows,
    double weight)
{
	const float *h = k->entry + (layer + 1) * k->rows * k->dim;
	const float *t = k->want + layer * k->rows * k->dim;
	float *dx = k->dx, by;
	size_t i, j;
	double norm;

	for (i = 0; i < rows; i++, h += k->dim, t += k->dim, dx += k->dim) {
		for (norm = 0, j = 0; j < k->dim; j++)
			norm += (double)t[j] * t[j];
		if (norm == 0)
			continue;
		by = (float)(2 * weight / norm);
		for (j = 0; j < k->dim; j++)
			dx[j] += by * (h[j] - t[j]);
	}
}

static int
back(struct sq_distill *d, size_t n, double weight, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t one = k->rows * k->dim, l = k->layers;
	struct sq_mat dx = mat(k->dx, n * k->length, k->dim);

	while (l-- > 0) {
		if (k->map[l] >= 0)
			hidden_grad(k, l, dx.rows, weight *
			    d->config->hidden / (double)k->mapped);
		memcpy(k->s.f.x.p, k->entry + l * one, dx.rows * k->dim *
		    sizeof(float));
		if (sq_backward_forward(&k->s, l, err) < 0 ||
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
		if (sq_nll(d->ctx, &t, NULL, k->tlse, NULL) != 0)
			return sq_no_kernel(err, SQ_OP_nll);
		sq_redraw(&how, d->ctx->pool, &t, k->tlse, row,
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
		if (output(d, i * length, learn, weight, err) < 0)
			return -1;
	return learn ? back(d, n, weight, err) : 0;
}

/* ---- steps ---- */

/* The samples that were held out: what the student is worth now. */
static int
judge(struct sq_distill *d, char *err)
{
	struct sq_distill_work *k = d->work;
	size_t i, now, n = k->held > 0 ? k->held : k->learned;
	double tokens = (double)n * (double)(k->length - 1);

	k->kl_sum = k->nll_sum = 0;
	for (i = 0; i < n; i += now) {
		now = n - i < k->group ? n - i : k->group;
		memcpy(k->ids, sample_at(d, i), now * k->length *
		    sizeof(*k->ids));
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
static const uint32_t *
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
	return sample_at(d, k->order[n % k->learned]);
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
			memcpy(k->ids + j * k->length, draw(d, n + j),
			    k->length * sizeof(*k->ids));
		if (pass(d, now, n + 1, weight, err) < 0)
			return -1;
		sq_progress_add(d->progress, now * k->length);
	}
	d->step++;
	codes = (struct sq_tune_rate){ (int)d->step, (float)c->place * left,
	    (float)c->scale * left };
	sq_codes_step(&d->codes, &codes);
	sq_params_step(&d->params, d->ctx->pool, d->step, c->train ==
	    SQ_TRAIN_CODES ? c->norm * (double)left : rate(c, d->step),
	    c->weight_decay);
	return 0;
}

int
sq_distill_run(struct sq_distill *d, char *err)
{
	const struct sq_distill_config *c = d->config;

	sq_progress_add(d->progress, d->step * c->batch * d->work->length);
	if (judge(d, err) < 0)
		return -1;
	/* what the teacher wrote is not written again */
	if (d->step == 0 && d->own != NULL && sq_distill_save(d, err) < 0)
		return -1;
	while (d->step < c->steps) {
		if (step(d, err) < 0)
			return -1;
		if (d->step % c->checkpoint != 0 && d->step != c->steps)
			continue;
		if (judge(d, err) < 0 || sq_distill_save(d, err) < 0)
			return -1;
	}
	return 0;
}
