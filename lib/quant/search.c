/*
 * The scale of a group for SQ_WEIGHTED: the one that makes
 *
 *	sum over its columns of C_c (w - q)^2
 *
 * least, C being what a column counts (sq_gptq_cost()), as far as trying shows.
 * Each scale that is tried rounds the weights, and with the levels v that come
 * of it a better one is known: the least squares, sum C w v / sum C v^2.  The
 * best of all goes through that again until nothing falls.  A symmetric grid
 * has one level more below zero than above, so scales are tried with either
 * sign.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define LANES	SQ_LANES

#define TRIALS	25		/* factors 1.1, 1.075 ... 0.5 */
#define AGAIN	4		/* times that the best one is improved */
#define SOME	64		/* columns whose sums are float32 */

/* LANES rows of a group. */
struct lanes {
	const struct sq_gptq_work *k;
	size_t first, n;		/* columns */
	const float *w;			/* their weights [n][ROWS] */
	const struct sq_levels *levels;
	double ww[LANES];		/* sum C w^2 */
	float lo[LANES], hi[LANES];	/* least and greatest weight, or 0 */
	/* the best so far */
	double loss[LANES];
	float scale[LANES], zero[LANES];
};

/* -1 when a weight is not finite. */
static int
look(struct lanes *a)
{
	size_t c, l;
	const float *w;
	double h;

	for (c = 0; c < a->n; c++) {
		w = a->w + c * ROWS;
		h = sq_gptq_cost(a->k, a->first + c);
		for (l = 0; l < LANES; l++) {
			if (!isfinite(w[l]))
				return -1;
			a->ww[l] += h * w[l] * w[l];
			a->lo[l] = w[l] < a->lo[l] ? w[l] : a->lo[l];
			a->hi[l] = w[l] > a->hi[l] ? w[l] : a->hi[l];
		}
	}
	return 0;
}

/* The sums of C w v and C v^2 for the levels v that scales s give. */
static void
sums(const struct lanes *a, const float *s, const float *zero,
    double wv[LANES], double vv[LANES])
{
	float divisor[LANES], v[LANES], p[LANES], q[LANES], h;
	uint8_t u[LANES];
	size_t c, l, m;
	const float *w;

	memset(wv, 0, LANES * sizeof(*wv));
	memset(vv, 0, LANES * sizeof(*vv));
	for (l = 0; l < LANES; l++)
		divisor[l] = s[l] == 0 ? INFINITY : s[l];
	for (c = 0; c < a->n; c = m) {
		m = a->n - c < SOME ? a->n : c + SOME;
		memset(p, 0, sizeof(p));
		memset(q, 0, sizeof(q));
		for (; c < m; c++) {
			w = a->w + c * ROWS;
			h = sq_gptq_cost(a->k, a->first + c);
			sq_levels_nearest(a->levels, w, divisor, zero, v, u);
			for (l = 0; l < LANES; l++) {
				p[l] += h * w[l] * v[l];
				q[l] += h * v[l] * v[l];
			}
		}
		for (l = 0; l < LANES; l++) {
			wv[l] += p[l];
			vv[l] += q[l];
		}
	}
}

/* s as it is stored. */
static float
stored(const struct lanes *a, double s)
{
	uint16_t bits;

	return sq_levels_scale(a->k->j->g->rule.grid, s, &bits);
}

static void
keep(struct lanes *a, size_t l, float s, float zero, double wv, double vv)
{
	double loss = a->ww[l] - 2 * (double)s * wv + (double)s * s * vv;

	if (!isfinite(s) || !(loss < a->loss[l]))
		return;
	a->loss[l] = loss;
	a->scale[l] = s;
	a->zero[l] = zero;
}

/* Scales s, and the least squares with the levels that they give. */
static void
try(struct lanes *a, const float *s, const float *zero)
{
	double wv[LANES], vv[LANES];
	size_t l;

	sums(a, s, zero, wv, vv);
	for (l = 0; l < LANES; l++) {
		keep(a, l, s[l], zero[l], wv[l], vv[l]);
		if (vv[l] > 0)
			keep(a, l, stored(a, wv[l] / vv[l]), zero[l],
			    wv[l], vv[l]);
	}
}

static void
try_symmetric(struct lanes *a, double f)
{
	float s[LANES], zero[LANES];
	size_t l;

	for (l = 0; l < LANES; l++) {
		s[l] = stored(a, f * fmax(-(double)a->lo[l], a->hi[l]) /
		    (double)a->levels->reach);
		zero[l] = a->levels->zero;
	}
	try(a, s, zero);
	if (a->k->j->q->scales8 != NULL)
		return;			/* E8M0 has no sign */
	for (l = 0; l < LANES; l++)
		s[l] = -s[l];
	try(a, s, zero);
}

static void
try_asymmetric(struct lanes *a, double f)
{
	float s[LANES], zero[LANES], z, top = a->levels->top;
	size_t l;

	for (l = 0; l < LANES; l++) {
		s[l] = stored(a, f * ((double)a->hi[l] - a->lo[l]) / top);
		z = s[l] == 0 ? (top + 1) / 2 :
		    rintf((float)(-f * a->lo[l]) / s[l]);
		zero[l] = fminf(fmaxf(z, 0), top);
	}
	try(a, s, zero);
}

/* -1 when no scale was finite. */
static int
search_lanes(struct lanes *a)
{
	int symmetric = a->k->j->g->rule.symmetric, i;
	float s[LANES], zero[LANES];
	size_t l;

	if (look(a) < 0)
		return -1;
	for (l = 0; l < LANES; l++)
		a->loss[l] = INFINITY;
	for (l = 0; l < LANES; l++)	/* all zero: any scale will do */
		if (a->lo[l] == 0 && a->hi[l] == 0) {
			a->loss[l] = 0;
			a->scale[l] = stored(a, a->k->j->q->scales8 != NULL);
			a->zero[l] = a->levels->zero;
		}
	for (i = 0; i < TRIALS; i++)
		(symmetric ? try_symmetric : try_asymmetric)(a,
		    1.1 - .025 * i);
	for (i = 0; i < AGAIN; i++) {
		memcpy(s, a->scale, sizeof(s));
		memcpy(zero, a->zero, sizeof(zero));
		try(a, s, zero);
	}
	for (l = 0; l < LANES; l++)
		if (!isfinite(a->loss[l]))
			return -1;
	return 0;
}

int
sq_gptq_search(const struct sq_gptq_work *k, size_t g, const float *w)
{
	const struct sq_gptq_job *j = k->j;
	size_t first = sq_gptq_first(k, g), r, l, at;
	struct lanes a;
	uint16_t bits;

	for (r = 0; r < k->rows; r += LANES) {
		a = (struct lanes){ .k = k, .first = first,
		    .n = sq_gptq_end(k, g) - first, .w = w + r,
		    .levels = &j->levels };
		if (search_lanes(&a) < 0)
			return -1;
		for (l = 0; l < LANES && r + l < k->rows; l++) {
			at = (k->row + r + l) * j->across + g;
			(void)sq_levels_scale(j->g->rule.grid, a.scale[l],
			    &bits);
			if (j->q->scales8 != NULL)
				j->q->scales8[at] = (uint8_t)bits;
			else
				j->q->scales[at] = bits;
			if (j->q->zeros != NULL)
				j->q->zeros[at] = (uint8_t)a.zero[l];
		}
	}
	sq_gptq_load_scales(k, g);
	return 0;
}
