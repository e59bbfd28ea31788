/*
 * A row of a weight while it is rounded to integers: the arithmetic of
 * weighted_scales, round_columns, move_columns and move_pairs, the same on
 * every level, devices included, which compile it as it stands and without
 * contraction of products and sums.
 *
 * A row's scratch, such as t and g, has `step' values from one column to the
 * next: devices keep those of many rows side by side.
 */
#ifndef SQ_KERNELS_ROUNDING_H
#define SQ_KERNELS_ROUNDING_H

#include <math.h>

#include "kernels/kern.h"

#if defined(__CUDACC__) || defined(__HIPCC__)
#define SQ_ANYWHERE	static inline __host__ __device__
#define SQ_ALONE	__restrict__
#else
#define SQ_ANYWHERE	static inline
#define SQ_ALONE	restrict
#endif

/* Loads in flight. */
#if defined(__CUDA_ARCH__) || defined(__HIP_DEVICE_COMPILE__)
#define SQ_UNROLLED	_Pragma("unroll 8")
#else
#define SQ_UNROLLED
#endif

/* Adding and taking away this rounds to an integer, ties to even. */
#define SQ_ROUND_MAGIC	12582912.f	/* 1.5 * 2^23 */

/* Scales that are tried: factors 1.1, 1.075 ... 0.5; how often the best is
 * improved; columns whose sums are float32. */
#define SQ_SCALE_TRIALS	25
#define SQ_SCALE_AGAIN	4
#define SQ_SCALE_SOME	64

#define SQ_PARTNER_BINS	1024

/* One row. */
struct sq_round_row {
	uint32_t group_cols;
	int shift;			/* it is 2^shift, or this is -1 */
	float top;			/* the greatest code */
	const float *w;
	float *x;
	uint8_t *codes;
	float *scales, *zeros;
};

/* A column's group. */
struct sq_round_group {
	float top, scale, zero;
};

SQ_ANYWHERE size_t
sq_round_groups(const struct sq_rounding *s)
{
	return (s->cols + s->group_cols - 1) / s->group_cols;
}

SQ_ANYWHERE struct sq_round_row
sq_round_row(const struct sq_rounding *s, size_t r)
{
	struct sq_round_row a;
	size_t at = r * s->cols, g = r * sq_round_groups(s);

	a.group_cols = (uint32_t)s->group_cols;
	for (a.shift = 0; a.group_cols >> a.shift > 1; a.shift++)
		;
	if (a.group_cols != 1u << a.shift)
		a.shift = -1;
	a.top = (float)((1 << s->bits) - 1);
	a.w = s->w + at;
	a.x = s->x + at;
	a.codes = s->codes + at;
	a.scales = s->scales + g;
	a.zeros = s->zeros + g;
	return a;
}

SQ_ANYWHERE uint32_t
sq_round_group_of(const struct sq_round_row *a, size_t c)
{
	return a->shift >= 0 ? (uint32_t)c >> a->shift :
	    (uint32_t)c / a->group_cols;
}

SQ_ANYWHERE struct sq_round_group
sq_round_group(const struct sq_round_row *a, size_t c)
{
	uint32_t i = sq_round_group_of(a, c);
	struct sq_round_group g;

	g.top = a->top;
	g.scale = a->scales[i];
	g.zero = a->zeros[i];
	return g;
}

/* The level nearest to t: its number, and its code; ties go to the even one. */
SQ_ANYWHERE float
sq_round_number(struct sq_round_group g, float t, uint8_t *u)
{
	float lo = -g.zero, hi = g.top - g.zero, v;

	v = t / (g.scale == 0 ? INFINITY : g.scale);
	v = v > lo ? v : lo;
	v = v < hi ? v : hi;
	v = (v + SQ_ROUND_MAGIC) - SQ_ROUND_MAGIC;
	*u = (uint8_t)(int)(v + g.zero);
	return v;
}

/* What code u is worth. */
SQ_ANYWHERE float
sq_round_worth(struct sq_round_group g, uint8_t u)
{
	return ((float)u - g.zero) * g.scale;
}

/* s as F16 holds it, to the nearest, ties to even; infinity beyond that. */
SQ_ANYWHERE float
sq_round_f16(double s)
{
	double unit, v;
	int e;

	if (!(fabs(s) <= 65536) || s == 0)
		return s == 0 ? 0 : s > 0 ? INFINITY : s < 0 ? -INFINITY : NAN;
	e = ilogb(s);
	unit = ldexp(1.5, 52 - 10 + (e < -14 ? -14 : e));
	v = (s + unit) - unit;
	return v > 65504 ? INFINITY : v < -65504 ? -INFINITY : (float)v;
}

/* ---- scales by weight ---- */

struct sq_scale_search {
	const float *w, *cost;
	size_t n;
	float top;
	double ww;			/* sum cost w^2 */
	float lo, hi;			/* least and greatest weight, or 0 */
	/* the best so far */
	double loss;
	float scale, zero;
};

SQ_ANYWHERE void
sq_scale_keep(struct sq_scale_search *a, float s, float zero, double wv,
    double vv)
{
	double loss = a->ww - 2 * (double)s * wv + (double)s * s * vv;

	if (!isfinite(s) || !(loss < a->loss))
		return;
	a->loss = loss;
	a->scale = s;
	a->zero = zero;
}

/* Scale s, and the least squares with the levels that it gives: with the sums
 * of cost w v and cost v^2. */
SQ_ANYWHERE void
sq_scale_try(struct sq_scale_search *a, float s, float zero)
{
	struct sq_round_group g = { a->top, s, zero };
	double wv = 0, vv = 0;
	float p, q, v, h;
	size_t c = 0, m;
	uint8_t u;

	while (c < a->n) {
		m = a->n - c < SQ_SCALE_SOME ? a->n : c + SQ_SCALE_SOME;
		for (p = q = 0; c < m; c++) {
			h = a->cost[c];
			v = sq_round_number(g, a->w[c], &u);
			p += h * a->w[c] * v;
			q += h * v * v;
		}
		wv += p;
		vv += q;
	}
	sq_scale_keep(a, s, zero, wv, vv);
	if (vv > 0)
		sq_scale_keep(a, sq_round_f16(wv / vv), zero, wv, vv);
}

SQ_ANYWHERE void
sq_scale_factor(struct sq_scale_search *a, double f, int symmetric)
{
	float s, z, middle = (a->top + 1) / 2;

	if (symmetric) {
		s = sq_round_f16(f * fmax(-(double)a->lo, (double)a->hi) /
		    (double)(middle - .5f));
		sq_scale_try(a, s, middle);
		sq_scale_try(a, -s, middle);
		return;
	}
	s = sq_round_f16(f * ((double)a->hi - a->lo) / a->top);
	z = s == 0 ? middle : rintf((float)(-f * a->lo) / s);
	sq_scale_try(a, s, fminf(fmaxf(z, 0), a->top));
}

/* 0 when a weight is not finite. */
SQ_ANYWHERE int
sq_scale_look(struct sq_scale_search *a)
{
	size_t c;
	float w;

	a->ww = 0;
	a->lo = a->hi = 0;
	for (c = 0; c < a->n; c++) {
		w = a->w[c];
		if (!isfinite(w))
			return 0;
		a->ww += (double)a->cost[c] * w * w;
		a->lo = w < a->lo ? w : a->lo;
		a->hi = w > a->hi ? w : a->hi;
	}
	return 1;
}

/*
 * The scale that makes sum cost (w - q)^2 over n columns least, as far as
 * trying shows: each one that is tried gives levels v, and these a better one,
 * sum cost w v / sum cost v^2; the best of all goes through that again.  A
 * symmetric grid's may be negative.  0 when none is finite.
 */
SQ_ANYWHERE int
sq_weighted_scale(const float *w, const float *cost, size_t n, float top,
    int symmetric, float *scale, float *zero)
{
	struct sq_scale_search a;
	int i;

	a.w = w;
	a.cost = cost;
	a.n = n;
	a.top = top;
	a.loss = INFINITY;
	a.scale = 0;
	a.zero = (top + 1) / 2;
	if (!sq_scale_look(&a))
		return 0;
	if (a.lo == 0 && a.hi == 0)
		a.loss = 0;
	for (i = 0; i < SQ_SCALE_TRIALS; i++)
		sq_scale_factor(&a, 1.1 - .025 * i, symmetric);
	for (i = 0; i < SQ_SCALE_AGAIN; i++)
		sq_scale_try(&a, a.scale, a.zero);
	*scale = a.scale;
	*zero = a.zero;
	return isfinite(a.loss);
}

/* ---- columns ---- */

/* Rounds column c, whose weight is to be t more: what is left of it. */
SQ_ANYWHERE float
sq_round_column(const struct sq_round_row *a, size_t c, float t)
{
	struct sq_round_group g = sq_round_group(a, c);
	uint8_t u;
	float x;

	x = a->w[c] - sq_round_number(g, a->w[c] + t, &u) * g.scale;
	a->codes[c] = u;
	a->x[c] = x;
	return x;
}

/* t += m x, n of them. */
SQ_ANYWHERE void
sq_round_tell(float *SQ_ALONE t, size_t step, const float *SQ_ALONE m,
    float x, size_t n)
{
	size_t k;

	SQ_UNROLLED
	for (k = 0; k < n; k++)
		t[k * step] += m[k] * x;
}

/* round_columns of a row: t is used up. */
SQ_ANYWHERE void
sq_round_columns_row(const struct sq_round_row *a, const uint32_t *col,
    size_t n, float *t, size_t step, const float *m, size_t stride, float *e)
{
	size_t i;
	float x;

	for (i = 0; i < n; i++, m += stride) {
		e[i] = x = sq_round_column(a, col[i], t[i * step]);
		sq_round_tell(t + (i + 1) * step, step, m + i + 1, x,
		    n - 1 - i);
	}
}

/* y = v H, SQ_ABREAST columns at a time: n of them, of which v has m, the first
 * being `from'. */
#define SQ_ABREAST	8

SQ_ANYWHERE void
sq_move_project(const float *SQ_ALONE h, size_t stride, size_t n, size_t from,
    const float *SQ_ALONE v, size_t m, float *SQ_ALONE y, size_t step)
{
	size_t k, i;
	int j;

	for (k = 0; k < n; k += SQ_ABREAST) {
		float sum[SQ_ABREAST] = { 0 };
		const float *row[SQ_ABREAST];

		for (j = 0; j < SQ_ABREAST; j++)
			row[j] = h + (k + (size_t)j < n ? k + (size_t)j :
			    n - 1) * stride + from;
		SQ_UNROLLED
		for (i = 0; i < m; i++)
			for (j = 0; j < SQ_ABREAST; j++)
				sum[j] += v[i * step] * row[j][i];
		for (j = 0; j < SQ_ABREAST; j++)
			if (k + (size_t)j < n)
				y[(k + (size_t)j) * step] = sum[j];
	}
}

/* The scale of the m columns from `from' on, of the n from `first' on. */
SQ_ANYWHERE void
sq_move_scale(const struct sq_round_row *a, size_t first, size_t from,
    size_t m, const float *h, size_t stride, size_t n, float *g, float *v,
    float *y, size_t step)
{
	size_t c = first + from, i;
	struct sq_round_group group = sq_round_group(a, c);
	double gv = 0, vv = 0, d;
	float by, to;

	for (i = 0; i < m; i++)
		v[i * step] = (float)a->codes[c + i] - group.zero;
	sq_move_project(h, stride, n, from, v, m, y, step);
	for (i = 0; i < m; i++) {
		gv += (double)g[(from + i) * step] * v[i * step];
		vv += (double)y[(from + i) * step] * v[i * step];
	}
	if (!(vv > 0) || group.scale == 0)
		return;
	to = sq_round_f16(group.scale + gv / vv);
	d = (double)to - group.scale;
	if (!isfinite(to) || to == 0 || !(d * (2 * gv - d * vv) > 0))
		return;
	by = (float)d;
	a->scales[c / a->group_cols] = to;
	for (i = 0; i < m; i++)
		a->x[c + i] -= by * v[i * step];
	SQ_UNROLLED
	for (i = 0; i < n; i++)
		g[i * step] -= by * y[i * step];
}

/* The codes: each to where the error is least, and g follows. */
SQ_ANYWHERE void
sq_move_codes(const struct sq_round_row *a, size_t first, const float *h,
    size_t stride, size_t n, float *g, size_t step)
{
	struct sq_round_group group;
	size_t i;
	float now, d;
	uint8_t u;

	for (i = 0; i < n; i++, h += stride) {
		group = sq_round_group(a, first + i);
		now = sq_round_worth(group, a->codes[first + i]);
		d = now - sq_round_number(group, now + g[i * step] / h[i],
		    &u) * group.scale;
		if (u == a->codes[first + i])
			continue;
		a->codes[first + i] = u;
		a->x[first + i] += d;
		sq_round_tell(g, step, h, d, n);
	}
}

/* move_columns of a row, once; v and y are scratch as g is. */
SQ_ANYWHERE void
sq_move_columns_row(const struct sq_round_row *a, size_t first,
    const float *h, size_t stride, size_t n, float *g, float *v, float *y,
    size_t step, int refit)
{
	size_t i, m;

	for (i = 0; refit && i < n; i += m) {
		m = n - i < a->group_cols ? n - i : a->group_cols;
		sq_move_scale(a, first, i, m, h, stride, n, g, v, y, step);
	}
	sq_move_codes(a, first, h, stride, n, g, step);
}

/* ---- pairs ---- */

/* What a column can do: go up or down by `way', to the next level, and what that
 * costs alone; INFINITY where there is none. */
struct sq_pair_reach {
	float way, cost[2];
};

/* A scale may be negative: then codes go the other way. */
SQ_ANYWHERE struct sq_pair_reach
sq_pair_reach(float top, float scale, uint8_t u, float g, float h)
{
	struct sq_pair_reach r;
	int more = u < top && scale != 0, less = u > 0 && scale != 0;

	r.way = fabsf(scale);
	r.cost[0] = (scale > 0 ? more : less) ? r.way * (r.way * h - 2 * g) :
	    INFINITY;
	r.cost[1] = (scale > 0 ? less : more) ? r.way * (r.way * h + 2 * g) :
	    INFINITY;
	return r;
}

/* Column i going up, or down, and its partner, for which H has h. */
SQ_ANYWHERE float
sq_pair_cost(const struct sq_pair_reach *i, const struct sq_pair_reach *with,
    float h, int down)
{
	float cost = (h > 0) == down ? with->cost[0] : with->cost[1];

	return i->cost[down] + cost - 2 * fabsf(h) * i->way * with->way;
}

/* Code u goes up, or down: how much more it is worth. */
SQ_ANYWHERE float
sq_pair_move(struct sq_round_group g, uint8_t *u, int down)
{
	uint8_t to = (uint8_t)(*u + ((g.scale > 0) == down ? -1 : 1));
	float d = sq_round_worth(g, to) - sq_round_worth(g, *u);

	*u = to;
	return d;
}

/* In which bin the partner j of column i falls. */
SQ_ANYWHERE int
sq_partner_bin(float h, float hii, float hjj)
{
	double score = fabs((double)h) / sqrt((double)hii * hjj);

	return (int)fmin(score * SQ_PARTNER_BINS, SQ_PARTNER_BINS - 1.);
}

/* ---- what the operations allow ---- */

static inline int
sq_rounding_allows(const struct sq_rounding *s)
{
	return s->bits >= 2 && s->bits <= 8 && s->group_cols > 0 &&
	    s->group_cols <= SQ_ROUND_COLS;
}

static inline int
sq_rounding_mat(const struct sq_mat *m, size_t rows, size_t cols)
{
	return m->type == SQ_F32 && m->rows == rows && m->cols == cols;
}

static inline int
sq_reflect_allows(const struct sq_mat *x, size_t col, const struct sq_mat *y)
{
	return sq_rounding_mat(x, col + x->cols, x->cols) &&
	    sq_rounding_mat(y, y->cols, y->cols) && x->rows <= y->rows;
}

static inline int
sq_round_columns_allows(const struct sq_rounding *s, size_t n,
    const struct sq_mat *t, const struct sq_mat *m, const struct sq_mat *e)
{
	return sq_rounding_allows(s) && n <= SQ_ROUND_COLS &&
	    sq_rounding_mat(t, s->rows, n) && sq_rounding_mat(m, n, n) &&
	    sq_rounding_mat(e, s->rows, n);
}

static inline int
sq_move_columns_allows(const struct sq_rounding *s, size_t first,
    const struct sq_mat *h, const struct sq_mat *g)
{
	return sq_rounding_allows(s) && h->cols <= SQ_ROUND_COLS &&
	    sq_rounding_mat(h, h->cols, h->cols) &&
	    sq_rounding_mat(g, s->rows, h->cols) &&
	    first % s->group_cols == 0 && first + h->cols <= s->cols &&
	    (h->cols % s->group_cols == 0 || first + h->cols == s->cols);
}

#endif
