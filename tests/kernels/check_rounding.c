/*
 * Checks of the operations of GPTQ: see checkkern.h.  What a kernel does with
 * ties would change all that follows, so that all but factor and row_forms are
 * the same bits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/rounding.h"
#include "tests/kernels/checkkern.h"

/* H of n correlated channels, damped. */
static struct sq_mat
make_h(struct checker *k, size_t n)
{
	float *h = ck_buf(k, n * n * sizeof(*h));
	double *sum = calloc(n * n, sizeof(*sum));
	double *x = malloc(n * sizeof(*x)), *spread = malloc(n * sizeof(*x));
	size_t t, i, j;

	for (i = 0; i < n; i++)
		spread[i] = exp(ck_normal(k));
	for (t = 0; t < 2 * n; t++) {
		for (i = 0; i < n; i++)
			x[i] = ck_normal(k) + (i > 0 ? .7 * x[i - 1] : 0);
		for (i = 0; i < n; i++)
			for (j = 0; j < n; j++)
				sum[i * n + j] += x[i] * x[j] * spread[i] *
				    spread[j];
	}
	for (i = 0; i < n * n; i++)
		h[i] = (float)(sum[i] + (i % (n + 1) == 0 ? .01 * (double)n :
		    0));
	free(sum);
	free(x);
	free(spread);
	return (struct sq_mat){ h, SQ_F32, n, n, n };
}

/* A copy that an operation may change. */
static void *
copy(struct checker *k, const void *p, size_t n)
{
	return memcpy(ck_buf(k, n), p, n);
}

static struct sq_mat
normal(struct checker *k, size_t rows, size_t cols)
{
	float *p = ck_buf(k, rows * cols * sizeof(*p));

	ck_fill(k, p, SQ_F32, rows * cols, CK_NORMAL);
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

static struct sq_mat
fresh(struct checker *k, size_t rows, size_t cols)
{
	return (struct sq_mat){ ck_buf(k, rows * cols * sizeof(float)), SQ_F32,
	    rows, cols, cols };
}

static struct sq_mat
copy_mat(struct checker *k, const struct sq_mat *m)
{
	struct sq_mat c = *m;

	c.p = copy(k, m->p, m->rows * m->cols * sizeof(float));
	return c;
}

/* Weights with codes and scales that could be theirs. */
static struct sq_rounding
make(struct checker *k, size_t rows, size_t cols, size_t group, int bits,
    int symmetric)
{
	struct sq_rounding s = { rows, cols, group, bits, symmetric, NULL, NULL,
	    NULL, NULL, NULL };
	size_t n = rows * cols, g = rows * sq_round_groups(&s), i;
	struct sq_mat w = normal(k, rows, cols);

	s.w = w.p;
	s.x = ck_buf(k, n * sizeof(float));
	s.codes = ck_buf(k, n);
	s.scales = ck_buf(k, g * sizeof(float));
	s.zeros = ck_buf(k, g * sizeof(float));
	for (i = 0; i < g; i++) {
		s.scales[i] = sq_round_f16((.5 + ck_uniform(k)) / (1 << bits) *
		    (symmetric && i % 3 == 0 ? -4 : 4));
		s.zeros[i] = (float)(symmetric ? 1 << (bits - 1) :
		    (int)ck_range(k, 0, (1u << bits) - 1));
	}
	for (i = 0; i < n; i++) {
		struct sq_round_row a = sq_round_row(&s, i / cols);

		sq_round_column(&a, i % cols, (float)(.3 * ck_normal(k)));
	}
	return s;
}

static struct sq_rounding
copy_of(struct checker *k, const struct sq_rounding *s)
{
	struct sq_rounding c = *s;
	size_t n = s->rows * s->cols, g = s->rows * sq_round_groups(s);

	c.x = copy(k, s->x, n * sizeof(float));
	c.codes = copy(k, s->codes, n);
	c.scales = copy(k, s->scales, g * sizeof(float));
	c.zeros = copy(k, s->zeros, g * sizeof(float));
	return c;
}

static void
same(struct checker *k, const struct sq_rounding *a,
    const struct sq_rounding *b, const char *what)
{
	size_t n = a->rows * a->cols, g = a->rows * sq_round_groups(a);

	ck_same(k, a->codes, b->codes, n, "codes, %s", what);
	ck_same(k, a->scales, b->scales, g * sizeof(float), "scales, %s", what);
	ck_same(k, a->zeros, b->zeros, g * sizeof(float), "zeros, %s", what);
	ck_same(k, a->x, b->x, n * sizeof(float), "errors, %s", what);
}

static void
same_mat(struct checker *k, const struct sq_mat *a, const struct sq_mat *b,
    const char *what)
{
	ck_same(k, a->p, b->p, a->rows * a->cols * sizeof(float), "%s", what);
}

struct shape {
	size_t rows, cols, group;
	int bits, symmetric;
};

static const struct shape shapes[] = {
	{ 1, 16, 16, 4, 1 }, { 40, 300, 128, 4, 1 }, { 33, 257, 32, 3, 0 },
	{ 70, 128, 96, 8, 1 }, { 5, 131, 1, 2, 0 }
};

#define EACH_SHAPE(s)	(s) = shapes; (s) < shapes +			\
	sizeof(shapes) / sizeof(shapes[0]); (s)++

static void
name(const struct shape *s, char text[80])
{
	snprintf(text, 80, "%zux%zu in groups of %zu, %d bits", s->rows,
	    s->cols, s->group, s->bits);
}

void
check_reflect(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t col[] = { 0, 1, 37, 256 }, n[] = { 1, 20, 300 };
	struct sq_mat x, a, b;
	size_t i, j;
	int t;

	for (i = 0; i < 4; i++)
		for (j = 0; j < 3; j++) {
			x = normal(k, col[i] + n[j], n[j]);
			a = fresh(k, col[i] + n[j] + 3, col[i] + n[j] + 3);
			b = copy_mat(k, &a);
			ref->reflect(ck_ref(k, ref), &x, col[i], &a);
			for (t = 0; t < CK_CTXS; t++)
				if (ck_ret(k, 0, new->reflect(ck_ctx(k, new, t),
				    &x, col[i], &b), "%zu from %zu", n[j],
				    col[i]))
					same_mat(k, &a, &b, "reflected");
			ck_done(k);
		}
}

/* R R^T, and not how it was found. */
static void
check_product_of(struct checker *k, const struct sq_mat *h,
    const uint32_t *col, const float *more, const struct sq_mat *r,
    const float *pivot)
{
	size_t n = h->cols, i, j, m;
	const float *p = r->p;
	double sum, want, worst = 0, mag;

	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++) {
			for (sum = 0, m = i > j ? i : j; m < n; m++)
				sum += (double)p[i * n + m] * p[j * n + m] *
				    pivot[m];
			want = ((float *)h->p)[col[i] * n + col[j]] +
			    (double)(i == j ? more[col[i]] : 0);
			mag = sqrt((double)((float *)h->p)[col[i] * (n + 1)] *
			    ((float *)h->p)[col[j] * (n + 1)]);
			worst = fmax(worst, fabs(sum - want) / mag);
			if (j < i)
				ck_true(k, p[i * n + j] == 0, "below the "
				    "diagonal, %zu %zu", i, j);
		}
	ck_true(k, worst < k->bound, "of %zu columns: off by %g", n, worst);
}

void
check_factor(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t n[] = { 1, 2, 33, 200 };
	struct sq_mat h, r;
	uint32_t *col;
	float *more, *pivot;
	size_t i, j;
	int t;

	(void)ref;
	for (i = 0; i < 4; i++) {
		h = make_h(k, n[i]);
		r = fresh(k, n[i], n[i]);
		col = ck_buf(k, n[i] * sizeof(*col));
		more = ck_buf(k, n[i] * sizeof(*more));
		pivot = ck_buf(k, n[i] * sizeof(*pivot));
		for (j = 0; j < n[i]; j++) {
			col[j] = (uint32_t)((j * 7 + 3) % n[i]);
			more[j] = (float)ck_uniform(k);
		}
		for (t = 0; t < CK_CTXS; t++)
			if (ck_ret(k, 0, new->factor(ck_ctx(k, new, t), &h, col,
			    more, &r, pivot), "%zu columns", n[i]))
				check_product_of(k, &h, col, more, &r, pivot);
		((float *)h.p)[0] = -1000;
		more[0] = 0;
		if (new->factor(ck_ctx(k, new, 0), &h, col, more, &r,
		    pivot) == 0) {
			for (j = 0; j < n[i] && pivot[j] > 0; j++)
				;
			ck_true(k, j < n[i], "a factor of what has none");
		}
		ck_done(k);
	}
}

void
check_partners(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t n[] = { 1, 3, 130, 700 }, most[] = { 1, 16, 256 };
	uint32_t *a, *b;
	struct sq_mat h;
	size_t i, j, all;
	int t;

	for (i = 0; i < 4; i++)
		for (j = 0; j < 3; j++) {
			h = make_h(k, n[i]);
			all = n[i] * most[j];
			a = ck_buf(k, 2 * all * sizeof(*a));
			b = ck_buf(k, 2 * all * sizeof(*b));
			ref->partners(ck_ref(k, ref), &h, most[j], a,
			    (float *)a + all);
			for (t = 0; t < CK_CTXS; t++)
				if (ck_ret(k, 0, new->partners(ck_ctx(k, new,
				    t), &h, most[j], b, (float *)b + all),
				    "%zu of %zu", most[j], n[i]))
					ck_same(k, a, b, 2 * all * sizeof(*a),
					    "%zu of %zu", most[j], n[i]);
			ck_done(k);
		}
}

void
check_weighted_scales(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	const struct shape *s;
	struct sq_rounding a, b;
	char what[80];
	float *cost;
	size_t i;
	int t, r;

	for (EACH_SHAPE(s)) {
		name(s, what);
		a = make(k, s->rows, s->cols, s->group, s->bits, s->symmetric);
		cost = ck_buf(k, s->cols * sizeof(*cost));
		for (i = 0; i < s->cols; i++)
			cost[i] = (float)exp(ck_normal(k));
		for (i = 0; i < s->group && s->rows > 1; i++)
			((float *)(uintptr_t)a.w)[s->cols + i] = 0;
		b = copy_of(k, &a);
		r = ref->weighted_scales(ck_ref(k, ref), &a, cost);
		for (t = 0; t < CK_CTXS; t++)
			if (ck_ret(k, r, new->weighted_scales(ck_ctx(k, new,
			    t), &b, cost), "%s", what))
				same(k, &a, &b, what);
		((float *)(uintptr_t)a.w)[s->cols - 1] = NAN;
		ck_true(k, new->weighted_scales(ck_ctx(k, new, 0), &b,
		    cost) != 0, "a weight that is no number, %s", what);
		ck_done(k);
	}
}

void
check_round_columns(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	const struct shape *s;
	struct sq_rounding a, b;
	struct sq_mat t, m, e, f;
	uint32_t *col;
	char what[80];
	size_t n, i;
	int i_ctx;

	for (EACH_SHAPE(s)) {
		name(s, what);
		a = make(k, s->rows, s->cols, s->group, s->bits, s->symmetric);
		b = copy_of(k, &a);
		n = s->cols < SQ_ROUND_COLS ? s->cols : SQ_ROUND_COLS;
		t = normal(k, s->rows, n);
		m = normal(k, n, n);
		e = fresh(k, s->rows, n);
		f = copy_mat(k, &e);
		for (i = 0; i < n * n; i++)
			((float *)m.p)[i] *= .1f;
		col = ck_buf(k, n * sizeof(*col));
		for (i = 0; i < n; i++)
			col[i] = (uint32_t)((i * 11 + 5) % s->cols);
		ref->round_columns(ck_ref(k, ref), &a, col, n, &t, &m, &e);
		for (i_ctx = 0; i_ctx < CK_CTXS; i_ctx++)
			if (ck_ret(k, 0, new->round_columns(ck_ctx(k, new,
			    i_ctx), &b, col, n, &t, &m, &f), "%s", what)) {
				same(k, &a, &b, what);
				same_mat(k, &e, &f, what);
			}
		ck_done(k);
	}
}

/* g = x H, of n columns from `first' on; and tr(x H x^T) of the others' g. */
static struct sq_mat
product_of(struct checker *k, const struct sq_rounding *s,
    const struct sq_mat *h, size_t first, size_t n)
{
	struct sq_mat g = fresh(k, s->rows, n);
	size_t r, i, j;
	double sum;

	for (r = 0; r < s->rows; r++)
		for (j = 0; j < n; j++) {
			for (sum = 0, i = 0; i < s->cols; i++)
				sum += (double)s->x[r * s->cols + i] *
				    ((float *)h->p)[i * s->cols + first + j];
			((float *)g.p)[r * n + j] = (float)sum;
		}
	return g;
}

static double
error_of(struct checker *k, const struct sq_rounding *s,
    const struct sq_mat *h)
{
	struct sq_mat g = product_of(k, s, h, 0, s->cols);
	double sum = 0;
	size_t i;

	for (i = 0; i < s->rows * s->cols; i++)
		sum += (double)s->x[i] * ((float *)g.p)[i];
	return sum;
}

void
check_move_columns(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	const struct shape *s;
	struct sq_rounding a, b;
	struct sq_mat h, part, g, f;
	double before;
	size_t n, first;
	char what[80];
	int t;

	for (EACH_SHAPE(s)) {
		name(s, what);
		n = SQ_ROUND_COLS / s->group * s->group;
		first = s->cols > n ? n : 0;
		n = s->cols - first < n ? s->cols - first : n;
		h = make_h(k, s->cols);
		part = (struct sq_mat){ (float *)h.p + first * (s->cols + 1),
		    SQ_F32, n, n, s->cols };
		for (t = 0; t < CK_CTXS; t++) {
			a = make(k, s->rows, s->cols, s->group, s->bits,
			    s->symmetric);
			b = copy_of(k, &a);
			g = product_of(k, &a, &h, first, n);
			f = copy_mat(k, &g);
			before = error_of(k, &a, &h);
			ref->move_columns(ck_ref(k, ref), &a, first, &part, &g,
			    t != 1, 2);
			ck_true(k, error_of(k, &a, &h) < before,
			    "the error of %s has not fallen", what);
			if (ck_ret(k, 0, new->move_columns(ck_ctx(k, new, t),
			    &b, first, &part, &f, t != 1, 2), "%s", what)) {
				same(k, &a, &b, what);
				same_mat(k, &g, &f, what);
			}
		}
		ck_done(k);
	}
}

void
check_move_pairs(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	const struct shape *s;
	struct sq_rounding a, b;
	struct sq_mat h, g, f;
	uint32_t *with;
	float *has;
	double before;
	size_t most;
	char what[80];
	int t;

	for (EACH_SHAPE(s))
		for (t = 0; t < CK_CTXS; t++) {
			name(s, what);
			most = t == 0 ? 256 : 24;
			h = make_h(k, s->cols);
			a = make(k, s->rows, s->cols, s->group, s->bits,
			    s->symmetric);
			b = copy_of(k, &a);
			g = product_of(k, &a, &h, 0, s->cols);
			f = copy_mat(k, &g);
			with = ck_buf(k, s->cols * most * sizeof(*with));
			has = ck_buf(k, s->cols * most * sizeof(*has));
			ref->partners(ck_ref(k, ref), &h, most, with, has);
			before = error_of(k, &a, &h);
			ref->move_pairs(ck_ref(k, ref), &a, &h, most, with, has,
			    &g);
			ck_true(k, error_of(k, &a, &h) <= before,
			    "the error of %s has grown", what);
			if (ck_ret(k, 0, new->move_pairs(ck_ctx(k, new, t), &b,
			    &h, most, with, has, &f), "%s", what)) {
				same(k, &a, &b, what);
				same_mat(k, &g, &f, what);
			}
			ck_done(k);
		}
}

void
check_row_forms(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t n[] = { 1, 100, 5000 };
	struct sq_mat x, g, less;
	double a[7], b[7], mag;
	size_t i, r, j;
	int t;

	for (i = 0; i < 3; i++) {
		x = normal(k, 7, n[i]);
		g = normal(k, 7, n[i]);
		less = normal(k, 1, n[i]);
		ref->row_forms(ck_ref(k, ref), &x, &g, less.p, a);
		for (t = 0; t < CK_CTXS; t++) {
			if (!ck_ret(k, 0, new->row_forms(ck_ctx(k, new, t), &x,
			    &g, less.p, b), "%zu columns", n[i]))
				continue;
			for (r = 0; r < 7; r++) {
				for (mag = 0, j = 0; j < n[i]; j++)
					mag += fabs((double)((float *)x.p)
					    [r * n[i] + j]);
				ck_true(k, fabs(a[r] - b[r]) <= k->bound * mag,
				    "%g, not %g", b[r], a[r]);
			}
		}
		ck_done(k);
	}
}
