/* Channels are scaled; see smooth.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/chunks.h"
#include "quant/smooth.h"

#define MAX_SHARED	3		/* weights that take one input */

/* One input: what makes it, and what takes it. */
struct joint {
	struct sq_held *norm;		/* or NULL: */
	struct sq_held *before, *bias;	/* rows of a weight, its bias or NULL */
	struct sq_held *w[MAX_SHARED];
	size_t nw;
	uint32_t *tie;			/* or NULL */
	size_t n, nscales;		/* channels, factors */
	struct sq_stats *stats, *kv;	/* or NULL */
	float *power, *size, *peak;	/* [n] */
	float *s, *each, *inverse;	/* [nscales], [n], [n] */
};

static void
joint_release(struct joint *j)
{
	free(j->tie);
	free(j->power);
	free(j->size);
	free(j->peak);
	free(j->s);
	free(j->each);
	free(j->inverse);
}

static int
out_of_order(struct sq_smooth *k)
{
	return sq_fail(k->f.err, "%s: the tensors of block %ju are not in "
	    "their order", k->f.name,
	    (uintmax_t)k->half.rec[0].slot->layer);
}

/* All that take the input are meant: 1; 0: not all; -1. */
static int
wants(struct sq_smooth *k, const struct joint *j)
{
	size_t i;
	int r, all = 1;

	for (i = 0; i < j->nw; i++) {
		if ((r = sq_filter_wants(&k->f, &j->w[i]->t,
		    j->w[i]->slot)) < 0)
			return -1;
		all &= r;
	}
	return all;
}

/* The statistics of the input, when they are needed. */
static int
find_stats(struct sq_smooth *k, struct joint *j)
{
	const char *name = j->w[0]->t.name;

	j->stats = sq_half_stats(&k->half, name, 0);
	if (j->stats != NULL && j->stats->channels != j->n)
		return sq_fail(k->f.err, "tensor '%s': %zu columns, but "
		    "statistics of %ju channels", name, j->n,
		    (uintmax_t)j->stats->channels);
	if (k->data_free)
		return 0;
	if (j->stats == NULL)
		return sq_fail(k->f.err, "tensor '%s': no statistics before "
		    "it; sq-calibrate makes them", name);
	if (strcmp(j->stats->model, k->f.digest) != 0)
		return sq_fail(k->f.err, "the statistics of '%s' are those of "
		    "another model: %s, not %s", name, j->stats->model,
		    k->f.digest);
	if (j->stats->tokens == 0)
		return sq_fail(k->f.err, "the statistics of '%s' are those of "
		    "no tokens", name);
	return 0;
}

/* How they will be quantized. */
static int
find_rule(struct sq_smooth *k, struct joint *j)
{
	struct sq_qrule *r = &k->scaling.rule;

	*r = sq_filter_rule(&k->f, &j->w[0]->t, j->w[0]->slot);
	if (sq_grid_is_int(r->grid) || r->grid == SQ_FP8_E4M3)
		return 0;
	return sq_fail(k->f.err, "tensor '%s': channels are scaled for "
	    "integers and fp8_e4m3, not for %s", j->w[0]->t.name,
	    sq_grid_name(r->grid));
}

static void
from_stats(struct joint *j, int by_mean)
{
	const struct sq_stats *st = j->stats;
	size_t i;
	float p;

	for (i = 0; i < j->n; i++) {
		p = (st->h != NULL ? st->h[sq_triangle_at(j->n, i, i)] :
		    st->hdiag[i]) / (float)st->tokens;
		j->power[i] = p;
		j->peak[i] = st->min == NULL || st->max == NULL ? 0 :
		    fmaxf(st->max[i], -st->min[i]);
		if (by_mean)
			j->size[i] = st->absmean == NULL ? sqrtf(p) :
			    st->absmean[i];
		else
			j->size[i] = st->max == NULL ? sqrtf(p) : j->peak[i];
	}
}

/* Behind a norm, channels are about as large as its weights. */
static int
from_norm(struct sq_smooth *k, struct joint *j)
{
	struct sq_mat m = { j->size, SQ_F32, 1, j->n, j->n };
	size_t i;

	for (i = 0; i < j->n; i++)
		j->size[i] = 1;
	if (j->norm != NULL && sq_held_rows(j->norm, k->scaling.ctx, 0,
	    &m) < 0)
		return sq_fail(k->f.err, "tensor '%s': no kernel reads it",
		    j->norm->t.name);
	for (i = 0; i < j->n; i++) {
		j->size[i] = fabsf(j->size[i]);
		j->power[i] = j->size[i] * j->size[i];
	}
	return 0;
}

static int
search(struct sq_smooth *k, struct joint *j)
{
	struct sq_scaling_in in = { .n = j->n, .tokens = 1,
	    .power = j->power, .size = j->size, .tie = j->tie,
	    .nscales = j->nscales, .w = j->w, .nw = j->nw };

	j->power = malloc(j->n * sizeof(float));
	j->size = malloc(j->n * sizeof(float));
	j->peak = malloc(j->n * sizeof(float));
	j->s = malloc(j->nscales * sizeof(float));
	j->each = malloc(j->n * sizeof(float));
	j->inverse = malloc(j->n * sizeof(float));
	if (j->power == NULL || j->size == NULL || j->peak == NULL ||
	    j->s == NULL || j->each == NULL || j->inverse == NULL)
		return sq_fail(k->f.err, "out of memory");
	in.power = j->power;
	in.size = j->size;
	if (k->data_free) {
		if (from_norm(k, j) < 0)
			return -1;
	} else {
		from_stats(j, k->by_mean);
		in.h = j->stats->h;
		in.tokens = (double)j->stats->tokens;
		in.peak = j->stats->max == NULL ? NULL : j->peak;
	}
	return sq_scaling_find(&k->scaling, &in, j->s, k->f.err);
}

/* Multiplies the weights, divides what makes their input. */
static int
apply(struct sq_smooth *k, struct joint *j)
{
	size_t i;
	int r = 0;

	for (i = 0; i < j->n; i++) {
		j->each[i] = j->s[j->tie == NULL ? i : j->tie[i]];
		j->inverse[i] = 1 / j->each[i];
	}
	for (i = 0; i < j->nw; i++)
		r |= sq_held_scale(j->w[i], 0, j->each, j->n);
	if (j->stats != NULL)
		sq_stats_scale(j->stats, j->inverse);
	for (i = 0; i < j->nscales; i++)
		j->inverse[i] = 1 / j->s[i];
	if (j->norm != NULL)
		r |= sq_held_scale(j->norm, 0, j->inverse, j->nscales);
	if (j->before != NULL)
		r |= sq_held_scale(j->before, 1, j->inverse, j->nscales);
	if (j->bias != NULL)
		r |= sq_held_scale(j->bias, 0, j->inverse, j->nscales);
	for (i = 0; j->kv != NULL && j->kv->vmin != NULL && i < j->nscales;
	    i++) {
		j->kv->vmin[i] *= j->inverse[i];
		j->kv->vmax[i] *= j->inverse[i];
	}
	return r < 0 ? sq_fail(k->f.err, "out of memory") : 0;
}

static int
do_joint(struct sq_smooth *k, struct joint *j)
{
	struct sq_held *made_by = j->norm != NULL ? j->norm : j->before;
	size_t i;
	int r = 0;

	for (i = 0; i < j->nw; i++)
		if (j->w[i] == NULL)
			r = -1;
	if (r < 0 || made_by == NULL)
		r = out_of_order(k);
	else if ((r = wants(k, j)) > 0) {
		j->n = (size_t)j->w[0]->t.dim[1];
		if (j->tie == NULL)
			j->nscales = j->n;
		if (made_by->t.grid != SQ_DENSE)
			r = sq_fail(k->f.err, "tensor '%s': is quantized "
			    "already", made_by->t.name);
		else if (find_rule(k, j) < 0 || find_stats(k, j) < 0 ||
		    search(k, j) < 0 ||
		    apply(k, j) < 0)
			r = -1;
		else if (k->said != NULL)
			k->said(k, j->w[0]->t.name);
	}
	joint_release(j);
	return r < 0 ? -1 : 0;
}

/* ---- the two halves of a block ---- */

/* Heads of o in groups share a head of v. */
static int
v_to_o(struct sq_smooth *k)
{
	const struct sq_config *c = &k->f.inv.config;
	size_t dim = (size_t)c->head_dim, share, i;
	size_t n = (size_t)c->heads * dim;
	struct joint j = { .before = sq_half_tensor(&k->half, SQ_V, 0),
	    .bias = sq_half_tensor(&k->half, SQ_V, 1),
	    .w = { sq_half_tensor(&k->half, SQ_O, 0) }, .nw = 1,
	    .nscales = (size_t)c->kv_heads * dim };

	share = (size_t)(c->heads / c->kv_heads);
	if ((j.tie = malloc(n * sizeof(*j.tie))) == NULL)
		return sq_fail(k->f.err, "out of memory");
	for (i = 0; i < n; i++)
		j.tie[i] = (uint32_t)(i / dim / share * dim + i % dim);
	if (j.before != NULL)
		j.kv = sq_half_stats(&k->half, j.before->t.name, 1);
	return do_joint(k, &j);
}

static int
attention(struct sq_smooth *k, struct sq_held *norm)
{
	struct joint j = { .norm = norm, .nw = 3, .w = {
	    sq_half_tensor(&k->half, SQ_Q, 0),
	    sq_half_tensor(&k->half, SQ_K, 0),
	    sq_half_tensor(&k->half, SQ_V, 0) } };

	return do_joint(k, &j) < 0 ? -1 : v_to_o(k);
}

static int
mlp(struct sq_smooth *k, struct sq_held *norm)
{
	struct sq_half *b = &k->half;
	struct joint j = { .norm = norm, .nw = 2, .w = {
	    sq_half_tensor(b, SQ_GATE, 0), sq_half_tensor(b, SQ_UP, 0) } };
	struct joint d = { .before = sq_half_tensor(b, SQ_UP, 0),
	    .bias = sq_half_tensor(b, SQ_UP, 1), .nw = 1,
	    .w = { sq_half_tensor(b, SQ_DOWN, 0) } };

	return do_joint(k, &j) < 0 ? -1 : do_joint(k, &d);
}

/* What is held goes out, changed. */
static int
flush(struct sq_filter *f)
{
	struct sq_smooth *k = (struct sq_smooth *)f;
	struct sq_held *a, *m;
	int r;

	if (k->half.n == 0)
		return 0;
	a = sq_half_tensor(&k->half, SQ_ATTN_NORM, 0);
	m = sq_half_tensor(&k->half, SQ_FFN_NORM, 0);
	if (a != NULL && m == NULL)
		r = attention(k, a);
	else if (m != NULL && a == NULL)
		r = mlp(k, m);
	else
		r = out_of_order(k);
	return r < 0 ? -1 : sq_half_put(&k->half, f, k->scaling.ctx,
	    !k->keep);
}

static uint64_t
rows_of(const struct sq_smooth *k, uint64_t rows)
{
	return k->scaling.rows == 0 || k->scaling.rows > rows ? rows :
	    k->scaling.rows;
}

/* Statistics with H, and half a block of 16-bit values beside the search. */
static uint64_t
half_bytes(const struct sq_config *c, int mlp)
{
	uint64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;

	if (mlp)
		return 6 * c->dim * c->ffn + sizeof(float) *
		    (sq_triangle(c->dim) + sq_triangle(c->ffn));
	return 4 * c->dim * (q + kv) + sizeof(float) *
	    (sq_triangle(c->dim) + sq_triangle(q));
}

/* Whether -M will do. */
static int
begin(struct sq_filter *f)
{
	struct sq_smooth *k = (struct sq_smooth *)f;
	const struct sq_config *c = &f->inv.config;
	uint64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
	uint64_t work, need, a, b;

	if (k->memory == 0)
		return 0;
	work = sq_scaling_bytes(rows_of(k, q) + 2 * rows_of(k, kv), c->dim);
	a = sq_scaling_bytes(2 * rows_of(k, c->ffn), c->dim);
	b = sq_scaling_bytes(rows_of(k, c->dim), c->ffn);
	work = work < a ? a : work;
	work = SQ_CHUNKS_FIXED + (work < b ? b : work);
	a = half_bytes(c, 0);
	b = half_bytes(c, 1);
	need = work + (a < b ? b : a);
	if (k->memory < need)
		return sq_fail(f->err, "-M: needs at least %juM",
		    (uintmax_t)(need + 0xfffff) >> 20);
	k->room = k->memory - work;
	return 0;
}

/* What has no place in half a block: the ends of a model, and experts. */
static int
is_outside(const struct sq_smooth *k, const struct sq_slot *s)
{
	if (s == NULL || s->role == SQ_EMBED || s->role == SQ_NORM ||
	    s->role == SQ_HEAD)
		return 1;
	return sq_config_has_experts(&k->f.inv.config, s->layer) &&
	    (s->role == SQ_FFN_NORM || s->role == SQ_ROUTER ||
	    s->role == SQ_GATE || s->role == SQ_UP || s->role == SQ_DOWN);
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_smooth *k = (struct sq_smooth *)f;
	int outside = is_outside(k, slot);

	if ((outside || slot->role == SQ_ATTN_NORM ||
	    slot->role == SQ_FFN_NORM) && flush(f) < 0)
		return -1;
	if (!outside)
		return sq_half_take(&k->half, f, t, slot, k->room);
	if (sq_filter_copy(f) < 0)
		return -1;
	sq_progress_add(f->progress, f->in.length);
	return 0;
}

static int
record(struct sq_filter *f)
{
	struct sq_smooth *k = (struct sq_smooth *)f;

	if (f->in.type == SQ_STATS && k->half.n > 0)
		return sq_half_take(&k->half, f, NULL, NULL, k->room);
	if (f->in.type == SQ_PROVENANCE && flush(f) < 0)
		return -1;
	return sq_filter_copy(f);
}

void
sq_smooth_init(struct sq_smooth *k)
{
	k->f.begin = begin;
	k->f.tensor = tensor;
	k->f.record = record;
	k->f.end = flush;
}

void
sq_smooth_release(struct sq_smooth *k)
{
	sq_half_release(&k->half);
}
