/*
 * The search for factors of channels; see scaling.h.
 *
 * A number of rows of each weight, evenly spaced, stand for all of them.  They
 * lie one after the other in w; for each try, w s goes to v, its codes, their
 * values back to v, and what they are off, for unscaled inputs, to v as well.
 * The product with H is taken in panels of its rows.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/scaling.h"
#include "quant/sinkhorn.h"

#define PANEL	256		/* rows of H at a time */
#define STEPS	10		/* of a grid from 0 to 1 */
#define REACH	1e4		/* factors are within this of 1 */

struct search {
	struct sq_scaling *k;
	const struct sq_scaling_in *in;
	size_t rows, n, groups;
	float *w, *v, *y;		/* [rows][n] twice, [rows][PANEL] */
	double *weight;			/* [rows]: how many each stands for */
	float *panel;			/* [PANEL][n] */
	double *la, *lw;		/* [nscales] log a, log w */
	float *s, *all;			/* [nscales], [n]: of a try */
	uint8_t *codes, *zeros;
	uint16_t *scales;
	double best;
	float *best_s;			/* the caller's */
};

static void
search_release(struct search *r)
{
	free(r->w);
	free(r->v);
	free(r->y);
	free(r->weight);
	free(r->panel);
	free(r->la);
	free(r->lw);
	free(r->s);
	free(r->all);
	free(r->codes);
	free(r->zeros);
	free(r->scales);
}

uint64_t
sq_scaling_bytes(uint64_t rows, uint64_t n)
{
	/* w, v, codes, at most as many zeros and scales; y; the rest */
	return rows * n * (2 * sizeof(float) + 4) +
	    rows * (PANEL * sizeof(float) + sizeof(double)) +
	    n * (PANEL + 8) * sizeof(float);
}

static size_t
sampled(const struct sq_scaling *k, const struct sq_held *h)
{
	size_t rows = (size_t)h->t.dim[0];

	return k->rows == 0 || k->rows > rows ? rows : k->rows;
}

static int
search_init(struct search *r, struct sq_scaling *k,
    const struct sq_scaling_in *in, char *err)
{
	size_t i, gc = k->rule.group_cols, n = in->n, m = in->nscales;

	memset(r, 0, sizeof(*r));
	r->k = k;
	r->in = in;
	r->n = n;
	gc = gc == 0 || gc > n ? n : gc;
	for (i = 0; i < in->nw; i++)
		r->rows += sampled(k, in->w[i]);
	r->groups = (n + gc - 1) / gc;
	r->w = malloc(r->rows * n * sizeof(float));
	r->v = malloc(r->rows * n * sizeof(float));
	r->y = malloc(r->rows * PANEL * sizeof(float));
	r->weight = malloc(r->rows * sizeof(double));
	r->panel = malloc(PANEL * n * sizeof(float));
	r->la = malloc(m * sizeof(double));
	r->lw = malloc(m * sizeof(double));
	r->s = malloc(m * sizeof(float));
	r->all = malloc(n * sizeof(float));
	r->codes = malloc(r->rows * n);
	r->zeros = malloc(r->rows * r->groups);
	r->scales = malloc(r->rows * r->groups * sizeof(*r->scales));
	if (r->w != NULL && r->v != NULL && r->y != NULL &&
	    r->weight != NULL && r->panel != NULL && r->la != NULL &&
	    r->lw != NULL && r->s != NULL && r->all != NULL &&
	    r->codes != NULL && r->zeros != NULL && r->scales != NULL)
		return 0;
	search_release(r);
	return sq_fail(err, "out of memory");
}

static size_t
factor_of(const struct search *r, size_t channel)
{
	return r->in->tie == NULL ? channel : r->in->tie[channel];
}

static int
load_rows(struct search *r, char *err)
{
	size_t i, j, m, at = 0, all;
	struct sq_mat to = { NULL, SQ_F32, 1, r->n, r->n };

	for (i = 0; i < r->in->nw; i++) {
		all = (size_t)r->in->w[i]->t.dim[0];
		m = sampled(r->k, r->in->w[i]);
		for (j = 0; j < m; j++, at++) {
			to.p = r->w + at * r->n;
			r->weight[at] = (double)all / (double)m;
			if (sq_held_rows(r->in->w[i], r->k->ctx, j * all / m,
			    &to) < 0)
				return sq_fail(err, "tensor '%s': no kernel "
				    "reads it", r->in->w[i]->t.name);
		}
	}
	return 0;
}

/* w of a channel. */
static void
measure_weights(struct search *r)
{
	size_t i, j;

	for (j = 0; j < r->n; j++)
		for (r->all[j] = 0, i = 0; i < r->rows; i++)
			r->all[j] = fmaxf(r->all[j],
			    fabsf(r->w[i * r->n + j]));
}

/* log a and log w of each factor: of tied channels the largest. */
static void
load_logs(struct search *r)
{
	size_t j, f;

	for (f = 0; f < r->in->nscales; f++)
		r->la[f] = r->lw[f] = 0;
	for (j = 0; j < r->n; j++) {
		f = factor_of(r, j);
		r->la[f] = fmax(r->la[f], (double)r->in->size[j]);
		r->lw[f] = fmax(r->lw[f], (double)r->all[j]);
	}
	for (f = 0; f < r->in->nscales; f++) {
		/* a channel that is never used stays as it is */
		if (!(r->la[f] > 0 && r->lw[f] > 0))
			r->la[f] = r->lw[f] = NAN;
		r->la[f] = log(r->la[f]);
		r->lw[f] = log(r->lw[f]);
	}
}

static void
make_scales(struct search *r, double alpha, double beta)
{
	size_t f, j, used = 0;
	double sum = 0, l;

	for (f = 0; f < r->in->nscales; f++)
		if (!isnan(r->la[f])) {
			sum += alpha * r->la[f] - beta * r->lw[f];
			used++;
		}
	for (f = 0; f < r->in->nscales; f++) {
		l = alpha * r->la[f] - beta * r->lw[f] -
		    sum / (double)(used > 0 ? used : 1);
		r->s[f] = isnan(l) ? 1 :
		    (float)fmin(fmax(exp(l), 1 / REACH), REACH);
	}
	for (j = 0; j < r->n; j++)
		r->all[j] = r->s[factor_of(r, j)];
}

/* v = w s, rounded, and what that is off for the input as it was.  -1 when it
 * cannot be quantized. */
static int
round_weights(struct search *r, double *squares)
{
	struct sq_qrule rule = r->k->rule;
	struct sq_mat m = { r->v, SQ_F32, r->rows, r->n, r->n };
	struct sq_qdst q = { r->codes, r->scales,
	    rule.symmetric ? NULL : r->zeros, NULL };
	struct sq_weight back = { .grid = rule.grid, .rows = r->rows,
	    .cols = r->n, .data = r->codes, .group_rows = 1,
	    .scale_type = SQ_F16, .scales = r->scales, .zeros = q.zeros };
	size_t i, j;
	double sum;
	float *v;

	rule.group_rows = 1;
	rule.group_cols = r->groups == 1 ? r->n : rule.group_cols;
	back.group_cols = rule.group_cols;
	for (*squares = 0, i = 0; i < r->rows; i++) {
		v = r->v + i * r->n;
		for (sum = 0, j = 0; j < r->n; j++) {
			v[j] = r->w[i * r->n + j] * r->all[j];
			sum += (double)v[j] * v[j];
		}
		*squares += r->weight[i] * sum;
	}
	if (sq_quantize(r->k->ctx, &m, &rule, &q) != 0 ||
	    sq_dequantize(r->k->ctx, &back, 0, &m) != 0)
		return -1;
	for (i = 0; i < r->rows; i++)
		for (j = 0, v = r->v + i * r->n; j < r->n; j++)
			v[j] = v[j] / r->all[j] - r->w[i * r->n + j];
	return 0;
}

/* Rows p .. p+rows-1 of H, whole. */
static void
load_panel(struct search *r, size_t p, size_t rows)
{
	const float *h = r->in->h;
	size_t i, j, n = r->n;

	for (j = 0; j < p + rows; j++)
		for (i = p > j ? p : j; i < p + rows; i++)
			r->panel[(i - p) * n + j] =
			    h[sq_triangle_at(n, j, i)];
	for (i = p; i < p + rows; i++)
		memcpy(r->panel + (i - p) * n + i,
		    h + sq_triangle_at(n, i, i), (n - i) * sizeof(float));
}

/* tr(X H X^T) / tokens over the rows of x, each with its weight. */
static double
form(struct search *r, const float *x)
{
	struct sq_mat mx = { (void *)(uintptr_t)x, SQ_F32, r->rows, r->n,
	    r->n };
	struct sq_mat y = { r->y, SQ_F32, r->rows, 0, PANEL };
	struct sq_weight h = { .grid = SQ_DENSE, .type = SQ_F32,
	    .cols = r->n, .data = r->panel };
	double sum = 0, row;
	size_t i, j, p;

	if (r->in->h == NULL) {
		for (i = 0; i < r->rows; i++) {
			for (row = 0, j = 0; j < r->n; j++)
				row += (double)x[i * r->n + j] *
				    x[i * r->n + j] * r->in->power[j];
			sum += r->weight[i] * row;
		}
		return sum;
	}
	for (p = 0; p < r->n; p += PANEL) {
		h.rows = y.cols = r->n - p < PANEL ? r->n - p : PANEL;
		load_panel(r, p, h.rows);
		if (sq_matmul(r->k->ctx, &h, &mx, SQ_PREC_F32, &y) != 0)
			return INFINITY;
		for (i = 0; i < r->rows; i++) {
			for (row = 0, j = 0; j < h.rows; j++)
				row += (double)r->y[i * PANEL + j] *
				    x[i * r->n + p + j];
			sum += r->weight[i] * row;
		}
	}
	return sum / r->in->tokens;
}

/* See t in the header: sum of erfc(t / sqrt(2 power / s^2)) = log 2. */
static double
token_peak(const struct search *r)
{
	double lo = 0, hi = 0, t, sum, v;
	size_t j;
	int i;

	for (j = 0; j < r->n; j++)
		hi = fmax(hi, 16 * sqrt((double)r->in->power[j]) /
		    r->all[j]);
	for (i = 0; i < 40; i++) {
		t = (lo + hi) / 2;
		for (sum = 0, j = 0; j < r->n; j++) {
			v = sqrt(2 * (double)r->in->power[j]) / r->all[j];
			if (v > t / 8)
				sum += erfc(t / v);
		}
		if (sum > M_LN2)
			lo = t;
		else
			hi = t;
	}
	return hi;
}

static double
static_peak(const struct search *r)
{
	double most = 0;
	size_t j;

	for (j = 0; j < r->n; j++)
		most = fmax(most, (double)r->in->peak[j] / r->all[j]);
	return most;
}

static double
objective(struct search *r)
{
	double squares, step, error;

	if (round_weights(r, &squares) < 0)
		return INFINITY;
	error = form(r, r->v);
	if (r->k->act == SQ_ACT_NONE)
		return error;
	step = (r->k->act_static && r->in->peak != NULL ? static_peak(r) :
	    token_peak(r)) / sq_act_top(r->k->act);
	return error + step * step / 12 * squares;
}

static void
attempt(struct search *r, double alpha, double beta)
{
	double o;

	make_scales(r, alpha, beta);
	o = objective(r);
	if (!(o < r->best))
		return;
	r->best = o;
	r->k->alpha = alpha;
	r->k->beta = beta;
}

static void
find(struct search *r)
{
	struct sq_scaling *k = r->k;
	double alpha, beta;
	int i;

	attempt(r, 0, 0);
	k->before = r->best;
	for (i = 0; i <= STEPS; i++)
		attempt(r, (double)i / STEPS,
		    k->by_both ? 1 - (double)i / STEPS : 0);
	for (alpha = k->alpha, i = 0; i <= STEPS; i++)
		attempt(r, alpha, (double)i / STEPS);
	for (beta = k->beta, i = 0; i <= 2 * STEPS; i++)
		attempt(r, (double)i / (2 * STEPS), beta);
	k->after = r->best;
	make_scales(r, k->alpha, k->beta);
	memcpy(r->best_s, r->s, r->in->nscales * sizeof(float));
}

int
sq_scaling_find(struct sq_scaling *k, const struct sq_scaling_in *in,
    float *s, char *err)
{
	struct search r;

	if (search_init(&r, k, in, err) < 0)
		return -1;
	r.best = INFINITY;
	r.best_s = s;
	k->alpha = k->beta = 0;
	if (load_rows(&r, err) < 0) {
		search_release(&r);
		return -1;
	}
	if (!k->even)
		measure_weights(&r);
	else if (sq_sinkhorn(r.w, r.rows, r.n, r.all) < 0) {
		search_release(&r);
		return sq_fail(err, "out of memory");
	}
	load_logs(&r);
	k->norm = form(&r, r.w);
	find(&r);
	search_release(&r);
	if (isfinite(k->before) && isfinite(k->norm))
		return 0;
	return sq_fail(err, "tensor '%s': holds infinity, NaN or values too "
	    "large for 16-bit scales", in->w[0]->t.name);
}
