/*
 * Random layers for the tests of GPTQ, and the library's answer to them.
 */
#ifndef TESTS_GPTQ_CASE_H
#define TESTS_GPTQ_CASE_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/rng.h"
#include "quant/gptq.h"

#define DAMP	0.01

static const struct sq_kern *kern;
static const struct sq_lapack *la;
static char err[SQ_ERR];

/* A layer: weights and H, packed as in a STATS record. */
struct layer {
	size_t n, rows, group, across;
	size_t run;			/* of columns, by activity */
	struct sq_qrule rule;
	enum sq_column_order order;
	double damp;
	int sweeps, refit, pairs;
	float *w, *h;
};

/* What became of it. */
struct result {
	uint8_t *codes, *zeros;
	uint16_t *scales;
	double error, rtn_error, norm, damp, lambda;
	size_t dead, row_bytes;
	uint32_t *col;
};

static inline double
normal(struct sq_rng *r)
{
	double u = sq_rng_uniform(r) + 1e-12, v = sq_rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* Tokens of an autoregressive kind with a spread of magnitudes; dead: every
 * such channel is zero. */
static inline void
make_h(struct layer *l, size_t tokens, size_t dead, struct sq_rng *r)
{
	double *x = malloc(l->n * sizeof(*x)), *spread, *h, common;
	size_t t, i, k, at;

	spread = malloc(l->n * sizeof(*spread));
	h = calloc(l->n * (l->n + 1) / 2, sizeof(*h));
	for (i = 0; i < l->n; i++)
		spread[i] = exp(normal(r));
	for (t = 0; t < tokens; t++) {
		common = normal(r);
		for (i = 0; i < l->n; i++) {
			x[i] = normal(r) + .5 * common;
			if (i > 0)
				x[i] += .7 * x[i - 1];
		}
		for (i = 0; i < l->n; i++)
			x[i] *= dead != 0 && i % dead == 3 ? 0 : spread[i];
		for (at = i = 0; i < l->n; i++)
			for (k = i; k < l->n; k++)
				h[at++] += x[i] * x[k];
	}
	for (i = 0; i < l->n * (l->n + 1) / 2; i++)
		l->h[i] = (float)h[i];
	free(x);
	free(spread);
	free(h);
}

static inline void
layer_init(struct layer *l, size_t n, size_t rows, size_t tokens,
    size_t dead, uint64_t seed)
{
	struct sq_rng r = { seed };
	size_t i;

	memset(l, 0, sizeof(*l));
	l->n = n;
	l->rows = rows;
	l->damp = DAMP;
	l->w = malloc(rows * n * sizeof(*l->w));
	l->h = malloc(n * (n + 1) / 2 * sizeof(*l->h));
	for (i = 0; i < rows * n; i++)
		l->w[i] = (float)(.05 * normal(&r));
	make_h(l, tokens, dead, &r);
}

static inline void
set_rule(struct layer *l, int bits, int symmetric, size_t group,
    enum sq_scale_rule scale, enum sq_column_order order)
{
	l->group = group;
	l->across = (l->n + group - 1) / group;
	l->rule = (struct sq_qrule){ .grid = (enum sq_grid)sq_grid_of_bits(
	    bits), .scale = scale, .symmetric = symmetric, .group_rows = 1,
	    .group_cols = group };
	l->order = order;
}

static inline void
layer_release(struct layer *l)
{
	free(l->w);
	free(l->h);
}

static inline void
result_init(struct result *o, const struct layer *l)
{
	memset(o, 0, sizeof(*o));
	o->row_bytes = sq_row_bytes(l->n, sq_grid_bits(l->rule.grid));
	o->codes = calloc(l->rows, o->row_bytes);
	o->scales = calloc(l->rows * l->across, sizeof(*o->scales));
	if (!l->rule.symmetric)
		o->zeros = calloc(l->rows * l->across, 1);
}

/* Where rows from `row' on go. */
static inline struct sq_dst
result_from(const struct result *o, const struct layer *l, size_t row)
{
	return (struct sq_dst){ .codes = o->codes + row * o->row_bytes,
	    .scales = o->scales + row * l->across,
	    .zeros = o->zeros == NULL ? NULL : o->zeros + row * l->across };
}

static inline void
result_release(struct result *o)
{
	free(o->codes);
	free(o->scales);
	free(o->zeros);
	free(o->col);
}

static inline int
factor_of(struct sq_factor *f, const struct layer *l, struct sq_pool *pool)
{
	size_t i;

	ck_assert_int_eq(sq_factor_init(f, l->n, l->sweeps > 0, err), 0);
	f->run = l->run;
	for (i = 0; i < l->n; i++)
		sq_factor_row(f, i, l->h + i * (2 * l->n - i + 1) / 2);
	return sq_factor_make(f, la, pool, l->order, l->damp, err);
}

/* The library's answer, from the first `split' rows and then the others. */
static inline void
solve(struct result *o, const struct layer *l, int threads, size_t split,
    int want_error)
{
	struct sq_pool *pool = sq_pool_new(threads);
	struct sq_factor f;
	struct sq_ctx ctx;
	struct sq_gptq g = { .ctx = &ctx, .lapack = la, .factor = &f,
	    .order = l->order, .rule = l->rule, .sweeps = l->sweeps,
	    .refit = l->refit, .pairs = l->pairs, .want_error = want_error };
	size_t row, n;

	result_init(o, l);
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, pool), 0);
	ck_assert_msg(factor_of(&f, l, pool) == 0, "%s", err);
	ck_assert_int_eq(sq_gptq_init(&g, threads, err), 0);
	for (row = 0; row < l->rows; row += n) {
		struct sq_mat w = { l->w + row * l->n, SQ_F32, 0, l->n, l->n };
		struct sq_dst q = result_from(o, l, row);

		w.rows = n = row == 0 && split < l->rows ? split :
		    l->rows - row;
		ck_assert_msg(sq_gptq_rows(&g, &w, &q, err) == 0, "%s", err);
	}
	o->error = g.error;
	o->rtn_error = g.rtn_error;
	o->norm = g.norm;
	o->damp = f.damp;
	o->lambda = f.lambda;
	o->dead = f.dead;
	o->col = malloc(l->n * sizeof(*o->col));
	memcpy(o->col, f.col, l->n * sizeof(*o->col));
	sq_gptq_release(&g);
	sq_factor_release(&f);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
}

static inline int
code_at(const struct result *o, const struct layer *l, size_t r, size_t c)
{
	int bits = sq_grid_bits(l->rule.grid), b, u = 0;
	const uint8_t *row = o->codes + r * o->row_bytes;
	size_t at;

	for (b = 0; b < bits; b++) {
		at = c * (size_t)bits + (size_t)b;
		u |= (row[at / 8] >> at % 8 & 1) << b;
	}
	return u;
}

static inline double
h_at(const struct layer *l, size_t i, size_t k)
{
	size_t t;

	if (i > k) {
		t = i;
		i = k;
		k = t;
	}
	return l->h[i * (2 * l->n - i + 1) / 2 + (k - i)];
}

#endif
