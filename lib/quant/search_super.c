/*
 * The scales of a super-block: 256 columns whose groups have small integers for
 * scales, and for offsets in some grids, in steps that the super-block gives.
 *
 * What is made least is sum C_c (w - q)^2.  First each group finds a scale and
 * an offset of its own by least squares from many beginnings.  Then steps are
 * tried that reach the greatest of them, or not quite; each group takes the
 * integers, among those next to its own, that leave least.  With the codes that
 * come of it the steps themselves are fitted once more.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define GROUPS	16		/* of a super-block, at most */
#define WIDEST	32		/* columns of a group, at most */
#define BEGINS	20		/* scales that a group begins with */
#define STEPS	7		/* steps that are tried */
#define AGAIN	2

/* A row of a super-block. */
struct row {
	const struct sq_levels *lv;
	size_t groups, cols;
	float w[SQ_SUPER], h[SQ_SUPER];
	double s[GROUPS], m[GROUPS];	/* what groups want */
};

/* What it gets. */
struct fit {
	float step, min_step;
	int s[GROUPS], m[GROUPS];
	double loss;
};

/* What w becomes with scale s and offset m: numbers of one group. */
static void
numbers(const struct row *a, const float *w, float s, float m, float *v)
{
	float t[SQ_LANES], divisor[SQ_LANES], zero[SQ_LANES];
	uint8_t u[SQ_LANES];
	size_t i, l;

	for (l = 0; l < SQ_LANES; l++) {
		divisor[l] = s == 0 ? INFINITY : s;
		zero[l] = a->lv->zero;
	}
	for (i = 0; i < a->cols; i += SQ_LANES) {
		for (l = 0; l < SQ_LANES; l++)
			t[l] = w[i + l] + m;
		sq_levels_nearest(a->lv, t, divisor, zero, v + i, u);
	}
}

/* sum H (w - q)^2 of group g. */
static double
loss_of(const struct row *a, size_t g, float s, float m)
{
	const float *w = a->w + g * a->cols, *h = a->h + g * a->cols;
	float v[WIDEST], sum[SQ_LANES] = { 0 }, d;
	double all = 0;
	size_t i, l;

	numbers(a, w, s, m, v);
	for (i = 0; i < a->cols; i += SQ_LANES)
		for (l = 0; l < SQ_LANES; l++) {
			d = w[i + l] - (v[i + l] * s - m);
			sum[l] += h[i + l] * d * d;
		}
	for (l = 0; l < SQ_LANES; l++)
		all += sum[l];
	return all;
}

/* The best scale and offset for the numbers that s and m give. */
static void
least_squares(const struct row *a, size_t g, double *s, double *m)
{
	const float *w = a->w + g * a->cols, *h = a->h + g * a->cols;
	double n = 0, v1 = 0, v2 = 0, w1 = 0, wv = 0, det;
	float v[WIDEST];
	size_t i;

	numbers(a, w, (float)*s, (float)*m, v);
	for (i = 0; i < a->cols; i++) {
		n += h[i];
		v1 += (double)h[i] * v[i];
		v2 += (double)h[i] * v[i] * v[i];
		w1 += (double)h[i] * w[i];
		wv += (double)h[i] * v[i] * w[i];
	}
	det = n * v2 - v1 * v1;
	if (a->lv->offsets && det > 1e-9 * n * v2) {
		*s = (n * wv - v1 * w1) / det;
		*m = -(v2 * w1 - v1 * wv) / det;
	}
	if (!a->lv->offsets || *m < 0 || *s < 0) {
		*m = 0;
		if (v2 > 0)
			*s = wv / v2;
	}
}

static void
want(struct row *a, size_t g)
{
	double lo = 0, hi = 0, best, e, s, m, range, f;
	size_t i;
	int k, way;

	for (i = g * a->cols; i < (g + 1) * a->cols; i++) {
		lo = fmin(lo, a->w[i]);
		hi = fmax(hi, a->w[i]);
	}
	a->s[g] = a->m[g] = 0;
	best = loss_of(a, g, 0, 0);
	range = a->lv->offsets ? (hi - lo) / a->lv->top :
	    fmax(-lo, hi) / a->lv->reach;
	for (k = 0; range > 0 && k < BEGINS; k++) {
		f = 1.1 - .03 * k;
		for (way = 1; way >= (a->lv->offsets ? 1 : -1); way -= 2) {
			s = way * f * range;
			m = a->lv->offsets ? -f * lo : 0;
			least_squares(a, g, &s, &m);
			e = loss_of(a, g, (float)s, (float)m);
			if (e < best) {
				best = e;
				a->s[g] = s;
				a->m[g] = m;
			}
		}
	}
}

static int
clamp(double v, int lo, int hi)
{
	return v < lo ? lo : v > hi ? hi : (int)rint(v);
}

/* The integers of group g for the steps: those next to what it wants. */
static double
choose(const struct row *a, size_t g, struct fit *f)
{
	int s0, m0, s, m, i, k, span = a->lv->offsets ? 1 : 0;
	double e, best = INFINITY;

	s0 = f->step == 0 ? 0 : clamp(a->s[g] / f->step, a->lv->least, a->lv->most);
	m0 = f->min_step == 0 ? 0 : clamp(a->m[g] / f->min_step, 0, 63);
	for (i = -1; i <= 1; i++)
		for (k = -span; k <= span; k++) {
			s = clamp(s0 + i, a->lv->least, a->lv->most);
			m = clamp(m0 + k, 0, 63);
			e = loss_of(a, g, f->step * (float)s,
			    f->min_step * (float)m);
			if (e < best) {
				best = e;
				f->s[g] = s;
				f->m[g] = m;
			}
		}
	return best;
}

static float
as_f16(double x)
{
	return sq_f16_to_f32(sq_f64_to_f16(x));
}

/* All groups with steps; kept when it is better. */
static void
try_steps(const struct row *a, double step, double min_step, struct fit *best)
{
	struct fit f = { .step = as_f16(step), .min_step = as_f16(min_step) };
	size_t g;

	if (!isfinite(f.step) || !isfinite(f.min_step))
		return;
	for (g = 0; g < a->groups; g++)
		f.loss += choose(a, g, &f);
	if (f.loss < best->loss)
		*best = f;
}

/* The steps that fit the codes best: least squares over the super-block. */
static void
fit_steps(const struct row *a, const struct fit *f, double *step,
    double *min_step)
{
	double ss = 0, sm = 0, mm = 0, ws = 0, wm = 0, x, y, h, det;
	float v[WIDEST];
	size_t i, g;

	for (i = 0; i < SQ_SUPER; i++) {
		g = i / a->cols;
		if (i % a->cols == 0)
			numbers(a, a->w + i, f->step * (float)f->s[g],
			    f->min_step * (float)f->m[g], v);
		h = a->h[i];
		x = f->s[g] * (double)v[i % a->cols];
		y = -f->m[g];
		ss += h * x * x;
		sm += h * x * y;
		mm += h * y * y;
		ws += h * a->w[i] * x;
		wm += h * a->w[i] * y;
	}
	*step = ss > 0 ? ws / ss : f->step;
	*min_step = f->min_step;
	det = ss * mm - sm * sm;
	if (mm > 0 && det > 1e-9 * ss * mm) {
		*step = (mm * ws - sm * wm) / det;
		*min_step = (ss * wm - sm * ws) / det;
	}
}

static int
search_row(struct row *a, struct fit *best)
{
	double s = 0, m = 0, step, min_step, f;
	size_t g;
	int i;

	for (g = 0; g < a->groups; g++) {
		want(a, g);
		s = fmax(s, fabs(a->s[g]));
		m = fmax(m, a->m[g]);
	}
	*best = (struct fit){ .loss = INFINITY };
	for (i = 0; i < STEPS; i++) {
		f = 1.02 - .02 * i;
		try_steps(a, f * s / a->lv->most, f * m / 63, best);
		if (a->lv->least < 0)
			try_steps(a, -f * s / -a->lv->least, 0, best);
		else
			try_steps(a, f * s / a->lv->most, m / 63, best);
	}
	for (i = 0; i < AGAIN && isfinite(best->loss); i++) {
		fit_steps(a, best, &step, &min_step);
		try_steps(a, step, fmax(min_step, 0), best);
	}
	return isfinite(best->loss) ? 0 : -1;
}

static void
store(const struct sq_gptq_work *k, size_t r, size_t b, const struct row *a,
    const struct fit *f)
{
	const struct sq_dst *q = k->j->q;
	size_t super = (k->row + r) * (k->f->n / SQ_SUPER) + b, g;
	size_t at = (k->row + r) * k->j->across + b * a->groups;

	q->super[super] = sq_f32_to_f16(f->step);
	if (a->lv->offsets)
		q->supermins[super] = sq_f32_to_f16(f->min_step);
	for (g = 0; g < a->groups; g++) {
		q->scales8[at + g] = (uint8_t)f->s[g];
		if (a->lv->offsets)
			q->submins[at + g] = (uint8_t)f->m[g];
	}
}

int
sq_gptq_search_super(const struct sq_gptq_work *k, size_t b, const float *w)
{
	struct row a = { .lv = &k->j->levels };
	struct fit f;
	size_t r, i;

	a.cols = k->j->g->rule.group_cols;
	a.groups = SQ_SUPER / a.cols;
	for (i = 0; i < SQ_SUPER; i++)
		a.h[i] = sq_gptq_cost(k, b * SQ_SUPER + i);
	for (r = 0; r < k->rows; r++) {
		for (i = 0; i < SQ_SUPER; i++) {
			a.w[i] = w[i * ROWS + r];
			if (!isfinite(a.w[i]))
				return -1;
		}
		if (search_row(&a, &f) < 0)
			return -1;
		store(k, r, b, &a, &f);
	}
	for (i = 0; i < a.groups; i++)
		sq_gptq_load_scales(k, b * a.groups + i);
	return 0;
}
