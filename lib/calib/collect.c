/* The statistics of one block; see collect.h. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "calib/collect.h"

/* Without H and what it is made of. */
static uint64_t
input_bytes(size_t channels)
{
	return channels * (5 * sizeof(float) + 3 * sizeof(double));
}

uint64_t
sq_collect_bytes(const struct sq_config *c, size_t length, int full,
    enum sq_prec prec)
{
	uint64_t n = 0;
	size_t ch;
	int i;

	for (i = 0; i < sq_inputs(c); i++) {
		ch = sq_input_channels(c, i);
		n += input_bytes(ch);
		if (full)
			n += sq_gram_x_bytes(ch, length, prec);
	}
	return n;
}

uint64_t
sq_collect_sum_bytes(const struct sq_config *c, int full)
{
	uint64_t n = 0;
	size_t ch;
	int i;

	for (i = 0; i < sq_inputs(c); i++) {
		ch = sq_input_channels(c, i);
		n += input_bytes(ch) + (full ? sq_gram_h_bytes(ch) : 0);
	}
	return n;
}

static int
input_init(struct sq_collect_input *in, size_t channels, char *err)
{
	struct sq_stats *s = &in->stats;
	size_t n = channels;

	in->channels = n;
	s->channels = n;
	s->min = malloc(n * sizeof(float));
	s->max = malloc(n * sizeof(float));
	s->mean = malloc(n * sizeof(float));
	s->absmean = malloc(n * sizeof(float));
	s->hdiag = malloc(n * sizeof(float));
	s->hist = malloc(SQ_HIST * sizeof(uint64_t));
	in->sum = malloc(n * sizeof(double));
	in->abssum = malloc(n * sizeof(double));
	in->square = malloc(n * sizeof(double));
	if (s->min == NULL || s->max == NULL || s->mean == NULL ||
	    s->absmean == NULL || s->hdiag == NULL || s->hist == NULL ||
	    in->sum == NULL || in->abssum == NULL || in->square == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

/* Everything but the grams. */
static int
collect_init(struct sq_collect *k, const struct sq_config *c, int full,
    char *err)
{
	size_t n = (size_t)(c->kv_heads * c->head_dim);
	int i;

	memset(k, 0, sizeof(*k));
	k->full = full;
	k->n = sq_inputs(c);
	if ((k->in = calloc((size_t)k->n, sizeof(*k->in))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < k->n; i++)
		if (input_init(&k->in[i], sq_input_channels(c, i), err) < 0)
			return -1;
	k->kv.is_kv = 1;
	k->kv.heads = c->kv_heads;
	k->kv.dim = c->head_dim;
	k->kv.kmin = malloc(n * sizeof(float));
	k->kv.kmax = malloc(n * sizeof(float));
	k->kv.vmin = malloc(n * sizeof(float));
	k->kv.vmax = malloc(n * sizeof(float));
	if (k->kv.kmin == NULL || k->kv.kmax == NULL || k->kv.vmin == NULL ||
	    k->kv.vmax == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

int
sq_collect_init(struct sq_collect *k, struct sq_ctx *ctx,
    const struct sq_config *c, size_t length, int full, enum sq_prec prec,
    char *err)
{
	int i, r = collect_init(k, c, full, err);

	k->ctx = ctx;
	for (i = 0; r == 0 && full && i < k->n; i++)
		r = sq_gram_init_sample(&k->in[i].gram, ctx,
		    k->in[i].channels, length, prec, err);
	if (r == 0)
		sq_collect_reset(k);
	else
		sq_collect_release(k);
	return r;
}

int
sq_collect_init_sum(struct sq_collect *k, const struct sq_config *c, int full,
    char *err)
{
	int i, r = collect_init(k, c, full, err);
	struct sq_gram *g;

	for (i = 0; r == 0 && full && i < k->n; i++) {
		g = &k->in[i].gram;
		g->h = malloc((size_t)sq_gram_h_bytes(k->in[i].channels));
		if (g->h == NULL)
			r = sq_fail(err, "statistics of %zu channels: out of "
			    "memory", k->in[i].channels);
	}
	if (r == 0)
		sq_collect_reset(k);
	else
		sq_collect_release(k);
	return r;
}

void
sq_collect_release(struct sq_collect *k)
{
	int i;

	for (i = 0; k->in != NULL && i < k->n; i++) {
		k->in[i].stats.h = NULL;	/* the gram's */
		sq_stats_release(&k->in[i].stats);
		sq_gram_release(&k->in[i].gram);
		free(k->in[i].sum);
		free(k->in[i].abssum);
		free(k->in[i].square);
	}
	free(k->in);
	sq_stats_release(&k->kv);
	free(k->view.p);
	memset(k, 0, sizeof(*k));
}

static void
fill(float *p, size_t n, float v)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = v;
}

void
sq_collect_reset(struct sq_collect *k)
{
	size_t n = (size_t)(k->kv.heads * k->kv.dim);
	struct sq_collect_input *in;
	int i;

	for (i = 0; i < k->n; i++) {
		in = &k->in[i];
		in->tokens = 0;
		in->stats.h = in->gram.h;
		sq_gram_end(&in->gram);
		fill(in->stats.min, in->channels, FLT_MAX);
		fill(in->stats.max, in->channels, -FLT_MAX);
		memset(in->sum, 0, in->channels * sizeof(double));
		memset(in->abssum, 0, in->channels * sizeof(double));
		memset(in->square, 0, in->channels * sizeof(double));
		memset(in->stats.hist, 0, SQ_HIST * sizeof(uint64_t));
		if (in->gram.h != NULL)
			memset(in->gram.h, 0,
			    (size_t)sq_gram_h_bytes(in->channels));
	}
	fill(k->kv.kmin, n, FLT_MAX);
	fill(k->kv.kmax, n, -FLT_MAX);
	fill(k->kv.vmin, n, FLT_MAX);
	fill(k->kv.vmax, n, -FLT_MAX);
	k->tokens = 0;
}

/* x where the host reaches it: itself, or a copy that lives until the next
 * call.  NULL with the reason in k->err. */
static const struct sq_mat *
on_host(struct sq_collect *k, const struct sq_mat *x)
{
	const struct sq_mem *mem = k->ctx->kern->mem;
	size_t n = ((x->rows - 1) * x->stride + x->cols) * sizeof(float);

	if (!mem->device || x->rows == 0)
		return x;
	if (n > k->view_size) {
		free(k->view.p);
		k->view_size = 0;
		if ((k->view.p = malloc(n)) == NULL) {
			sq_fail(k->err, "out of memory");
			return NULL;
		}
		k->view_size = n;
	}
	if (mem->get(k->view.p, x->p, n) < 0) {
		sq_fail(k->err, "%s", mem->error());
		return NULL;
	}
	k->view = (struct sq_mat){ k->view.p, x->type, x->rows, x->cols,
	    x->stride };
	return &k->view;
}

#define LANES	16

static inline void
widen_some(float *min, float *max, const struct sq_mat *x, size_t col, size_t n)
{
	const float *row = (const float *)x->p + col;
	size_t i, j;

	for (i = 0; i < x->rows; i++, row += x->stride)
		for (j = 0; j < n; j++) {
			min[j] = row[j] < min[j] ? row[j] : min[j];
			max[j] = row[j] > max[j] ? row[j] : max[j];
		}
}

/* A few columns at a time, which the processor keeps at hand. */
static void
widen(float *min, float *max, const struct sq_mat *x)
{
	float lo[LANES], hi[LANES];
	size_t col;

	for (col = 0; col + LANES <= x->cols; col += LANES) {
		memcpy(lo, min + col, sizeof(lo));
		memcpy(hi, max + col, sizeof(hi));
		widen_some(lo, hi, x, col, LANES);
		memcpy(min + col, lo, sizeof(lo));
		memcpy(max + col, hi, sizeof(hi));
	}
	widen_some(min + col, max + col, x, col, x->cols - col);
}

static void
add_squares(double *square, const struct sq_mat *x)
{
	const float *row = x->p;
	size_t i, j;

	for (i = 0; i < x->rows; i++, row += x->stride)
		for (j = 0; j < x->cols; j++)
			square[j] += (double)row[j] * row[j];
}

static int
take_input(struct sq_collect *k, struct sq_collect_input *in,
    const struct sq_mat *x)
{
	struct sq_moments m = { in->stats.min, in->stats.max, in->sum,
	    in->abssum, in->stats.hist };

	if (sq_moments(k->ctx, x, &m) != 0)
		return sq_fail(k->err, "statistics: %s",
		    k->ctx->kern->mem->error());
	in->tokens += x->rows;
	if (k->full)
		return sq_gram_take(&in->gram, x, k->err);
	if ((x = on_host(k, x)) == NULL)
		return -1;
	add_squares(in->square, x);
	return 0;
}

int
sq_collect_tap(void *arg, enum sq_role role, size_t layer,
    const struct sq_mat *x)
{
	struct sq_collect *k = arg;
	int e = k->expert == NULL ? -1 : (int)*k->expert;

	(void)layer;
	if (e >= 0)
		return take_input(k, &k->in[SQ_INPUTS + 2 * e +
		    (role == SQ_DOWN)], x);
	if ((role == SQ_K || role == SQ_V) && (x = on_host(k, x)) == NULL)
		return -1;
	switch (role) {
	case SQ_Q:
		return take_input(k, &k->in[SQ_IN_QKV], x);
	case SQ_O:
		return take_input(k, &k->in[SQ_IN_O], x);
	case SQ_GATE:
		return take_input(k, &k->in[SQ_IN_FFN], x);
	case SQ_DOWN:
		return take_input(k, &k->in[SQ_IN_DOWN], x);
	case SQ_K:
		widen(k->kv.kmin, k->kv.kmax, x);
		return 0;
	case SQ_V:
		widen(k->kv.vmin, k->kv.vmax, x);
		return 0;
	default:
		return 0;
	}
}

/* Experts get some of the tokens, or none. */
int
sq_collect_sample(struct sq_collect *k, size_t tokens, char *err)
{
	struct sq_gram *g;
	int i;

	for (i = 0; k->full && i < k->n; i++) {
		g = &k->in[i].gram;
		if (g->have == 0)
			continue;
		if (i >= SQ_INPUTS)
			sq_gram_pad(g);
		if (sq_gram_lay(g, err) < 0)
			return -1;
	}
	k->tokens += tokens;
	return 0;
}

/* min and max of a widen to those of b. */
static void
join(float *min, float *max, const float *bmin, const float *bmax, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		min[i] = bmin[i] < min[i] ? bmin[i] : min[i];
		max[i] = bmax[i] > max[i] ? bmax[i] : max[i];
	}
}

static void
add_input(struct sq_collect_input *to, const struct sq_collect_input *in)
{
	size_t i;

	to->tokens += in->tokens;
	join(to->stats.min, to->stats.max, in->stats.min, in->stats.max,
	    to->channels);
	for (i = 0; i < to->channels; i++) {
		to->sum[i] += in->sum[i];
		to->abssum[i] += in->abssum[i];
		to->square[i] += in->square[i];
	}
	for (i = 0; i < SQ_HIST; i++)
		to->stats.hist[i] += in->stats.hist[i];
}

void
sq_collect_add(struct sq_collect *sum, const struct sq_collect *k)
{
	size_t n = (size_t)(k->kv.heads * k->kv.dim);
	int i;

	for (i = 0; i < k->n; i++)
		add_input(&sum->in[i], &k->in[i]);
	join(sum->kv.kmin, sum->kv.kmax, k->kv.kmin, k->kv.kmax, n);
	join(sum->kv.vmin, sum->kv.vmax, k->kv.vmin, k->kv.vmax, n);
	sum->tokens += k->tokens;
}

size_t
sq_collect_pieces(const struct sq_collect *sum)
{
	size_t n = 0;
	int i;

	for (i = 0; i < sum->n; i++)
		n += sq_gram_pieces(sum->in[i].channels);
	return n;
}

int
sq_collect_piece(struct sq_collect *sum, const struct sq_collect *const *k,
    size_t n, size_t piece, const struct sq_gram_space *space, char *err)
{
	const struct sq_gram *sample[SQ_COLLECT_MAX];
	struct sq_collect_input *in = sum->in;
	size_t i, pieces;

	for (; piece >= (pieces = sq_gram_pieces(in->channels)); in++)
		piece -= pieces;
	for (i = 0; i < n; i++)
		sample[i] = &k[i]->in[in - sum->in].gram;
	return sq_gram_piece(in->gram.h, sample, n, piece, space, err);
}

int
sq_collect_fetch(struct sq_collect *sum, struct sq_collect *k, char *err)
{
	int i;

	for (i = 0; i < k->n; i++)
		if (k->in[i].gram.far != NULL && sq_gram_fetch(&k->in[i].gram,
		    sum->in[i].gram.h, err) < 0)
			return -1;
	return 0;
}

/* An expert that no token went to: everything is 0. */
static void
none_seen(struct sq_collect_input *in)
{
	fill(in->stats.min, in->channels, 0);
	fill(in->stats.max, in->channels, 0);
	fill(in->stats.mean, in->channels, 0);
	fill(in->stats.absmean, in->channels, 0);
	fill(in->stats.hdiag, in->channels, 0);
}

void
sq_collect_finish(struct sq_collect *k)
{
	struct sq_collect_input *in;
	size_t j;
	int i;

	for (i = 0; i < k->n; i++) {
		in = &k->in[i];
		in->stats.tokens = in->tokens;
		/* an expert's H of few tokens says little */
		if (i >= SQ_INPUTS && in->tokens < in->channels)
			in->stats.h = NULL;
		if (in->tokens == 0) {
			none_seen(in);
			continue;
		}
		for (j = 0; j < in->channels; j++) {
			in->stats.mean[j] = (float)(in->sum[j] /
			    (double)in->tokens);
			in->stats.absmean[j] = (float)(in->abssum[j] /
			    (double)in->tokens);
			in->stats.hdiag[j] = (float)in->square[j];
		}
	}
	k->kv.tokens = k->tokens;
}
