/*
 * Sweeps over the codes of a tile: coordinate descent on tr(E H E^T).
 *
 * With G = E H, the best that a weight can become while all others stay is
 * q + G_c / H_cc; its code moves to the level nearest to that, and G follows.
 * Between such passes the scales of groups move: with the levels v of a group,
 * its best scale is s + v G / (v H v), rounded as it is stored, and taken only
 * if the error falls.  Nothing ever makes the error greater, but for rounding.
 *
 * A unit is at most 256 columns, whole groups where they are no larger.  Its G
 * is one product of all errors with H, and stays in memory while the unit is
 * passed PASSES times.  A pass goes down to 16 columns, which are done one by
 * one, with products in between, as in gptq.c.  Larger groups get their scales
 * after a sweep.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_LANES
#define LEAF	16
#define PASSES	2

/* The unit at work: columns a to b, of which all below count from a. */
struct unit {
	const struct sq_gptq_work *k;
	size_t a, b;
	float *x;			/* errors */
	float *g;			/* G, as it is now */
	float *before;			/* G, as it was before the pass */
	float *moved;			/* x now less x then */
	float *v;			/* levels of a group */
	float *square;			/* [B][B]: H here, damped */
};

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
most(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void
gemm(const struct sq_gptq_work *k, size_t n, size_t m, const float *a,
    char trans, const float *h, float *to)
{
	sq_sgemm(k->j->g->lapack, 'N', trans, ROWS, (int)n, (int)m, 1, a,
	    ROWS, h, B, 1, to, ROWS);
}

/* to += from H[i0..i1, c0..c1]; from and to begin there.  What H has above its
 * diagonal comes from the panel of the columns, the rest from those of the
 * rows. */
static void
product(const struct sq_gptq_work *k, const float *from, size_t i0, size_t i1,
    float *to, size_t c0, size_t c1)
{
	const struct sq_factor *f = k->f;
	size_t p, q, a, b, i, e;

	for (q = c0 / B; q * B < c1; q++) {
		a = most(c0, q * B);
		b = least(c1, (q + 1) * B);
		e = least(i1, (q + 1) * B);
		if (i0 < e)
			gemm(k, b - a, e - i0, from, 'T',
			    sq_factor_h(f, i0, q) + (a - q * B),
			    to + (a - c0) * ROWS);
		for (p = q + 1; p * B < i1; p++) {
			i = most(i0, p * B);
			e = least(i1, (p + 1) * B);
			if (i < e)
				gemm(k, b - a, e - i, from + (i - i0) * ROWS,
				    'N', sq_factor_h(f, a, p) + (i - p * B),
				    to + (a - c0) * ROWS);
		}
	}
}

static float
h_at(const struct sq_factor *f, size_t i, size_t c)
{
	size_t p = most(i, c) / B;

	if (i / B == c / B || i < c)
		return sq_factor_h(f, i, p)[c - p * B];
	return sq_factor_h(f, c, p)[i - p * B];
}

/* What is added to the diagonal, that channels be no freer than in GPTQ. */
static float
ridge(const struct sq_factor *f, size_t c)
{
	return sq_factor_weight(f, c) - f->diagonal[c];
}

/* += its part of a product, for the columns of the unit. */
static void
add_ridge(const struct unit *u, const float *x)
{
	size_t c, r, n = u->b - u->a;
	float d, *g = u->g;

	for (c = 0; c < n; c++, x += ROWS, g += ROWS) {
		d = ridge(u->k->f, u->a + c);
		for (r = 0; r < ROWS; r++)
			g[r] += d * x[r];
	}
}

/* G of the unit, and H there. */
static void
enter(struct unit *u)
{
	const struct sq_factor *f = u->k->f;
	size_t n = u->b - u->a, i, c;

	memset(u->g, 0, n * ROWS * sizeof(float));
	product(u->k, u->x, 0, f->n, u->g, u->a, u->b);
	for (i = 0; i < n; i++) {
		for (c = 0; c < n; c++)
			u->square[i * B + c] = h_at(f, u->a + i, u->a + c);
		u->square[i * B + i] += ridge(f, u->a + i);
	}
	add_ridge(u, u->x + u->a * ROWS);
}

/* ---- codes ---- */

/* One column of LANES rows; 0 when nothing moved. */
static int
move_lanes(const struct unit *u, size_t c, size_t r)
{
	const struct sq_gptq_tile *s = u->k->s;
	size_t at = (u->a + c) * ROWS + r;
	size_t g = (u->a + c) / u->k->j->g->rule.group_cols * ROWS + r, l;
	const float *value = s->value + g, *zero = s->zero + g;
	float *x = s->x + at, *moved = u->moved + c * ROWS + r;
	const float *grad = u->g + c * ROWS + r;
	float h = u->square[c * B + c], t[LANES], v[LANES], any = 0, d;
	uint8_t *code = s->u + at;

	for (l = 0; l < LANES; l++)
		t[l] = ((float)code[l] - zero[l]) * value[l] + grad[l] / h;
	sq_nearest_lanes(v, t, s->divisor + g, zero,
	    (float)((1 << u->k->j->bits) - 1));
	for (l = 0; l < LANES; l++) {
		d = ((float)code[l] - zero[l]) * value[l] - v[l] * value[l];
		code[l] = (uint8_t)(int)(v[l] + zero[l]);
		x[l] += d;
		moved[l] = d;
		any += d * d;
	}
	return any > 0;
}

static void
leaf(const struct unit *u, size_t a, size_t b)
{
	size_t r, c, i, l;
	const float *d;
	float h, *g;

	for (r = 0; r < ROWS; r += LANES)
		for (c = a; c < b; c++) {
			if (!move_lanes(u, c, r))
				continue;
			d = u->moved + c * ROWS + r;
			for (i = c + 1; i < b; i++) {
				h = u->square[c * B + i];
				g = u->g + i * ROWS + r;
				for (l = 0; l < LANES; l++)
					g[l] += h * d[l];
			}
		}
}

/* Columns a to b of the unit: to those after them, the movement of the first
 * half is told by a product. */
static void
descend(const struct unit *u, size_t a, size_t b)
{
	size_t half;

	if (b - a <= LEAF) {
		leaf(u, a, b);
		return;
	}
	for (half = LEAF; 2 * half < b - a; half *= 2)
		;
	descend(u, a, a + half);
	gemm(u->k, b - a - half, half, u->moved + a * ROWS, 'T',
	    u->square + a * B + a + half, u->g + (a + half) * ROWS);
	descend(u, a + half, b);
}

/* ---- scales ---- */

/* Levels of columns first to first + n. */
static void
levels(const struct sq_gptq_work *k, size_t first, size_t n, float *v)
{
	const struct sq_gptq_tile *s = k->s;
	size_t c, r, g;

	for (c = 0; c < n; c++, v += ROWS) {
		g = (first + c) / k->j->g->rule.group_cols * ROWS;
		for (r = 0; r < ROWS; r++)
			v[r] = (float)s->u[(first + c) * ROWS + r] -
			    s->zero[g + r];
	}
}

/* += a b, column by column. */
static void
dot(double sum[ROWS], const float *a, const float *b, size_t n)
{
	size_t c, r;

	for (c = 0; c < n; c++, a += ROWS, b += ROWS)
		for (r = 0; r < ROWS; r++)
			sum[r] += (double)a[r] * b[r];
}

/* Stores the scales of group g that are better: step, how far they move. */
static void
take_scales(const struct sq_gptq_work *k, size_t g, const double gv[ROWS],
    const double vv[ROWS], float step[ROWS])
{
	const struct sq_gptq_job *j = k->j;
	const float *value = k->s->value + g * ROWS;
	uint16_t h;
	double d;
	size_t r;

	memset(step, 0, ROWS * sizeof(*step));
	for (r = 0; r < k->rows; r++) {
		if (!(vv[r] > 0) || value[r] == 0)
			continue;
		h = sq_f64_to_f16(value[r] + gv[r] / vv[r]);
		d = (double)sq_f16_to_f32(h) - value[r];
		if (!isfinite(d) || (h & 0x7fff) == 0 ||
		    !(d * (2 * gv[r] - d * vv[r]) > 0))
			continue;
		step[r] = (float)d;
		j->q->scales[(k->row + r) * j->across + g] = h;
	}
	sq_gptq_load_scales(k, g);
}

/* a -= step b, column by column. */
static void
take_away(float *restrict a, const float *restrict step,
    const float *restrict b, size_t n)
{
	size_t c, r;

	for (c = 0; c < n; c++, a += ROWS, b += ROWS)
		for (r = 0; r < ROWS; r++)
			a[r] -= step[r] * b[r];
}

/* A group within the unit, whose G follows. */
static void
fit_group(const struct unit *u, size_t g)
{
	const struct sq_gptq_work *k = u->k;
	size_t first = sq_gptq_first(k, g), a = first - u->a;
	size_t n = sq_gptq_end(k, g) - first, all = u->b - u->a;
	double gv[ROWS] = { 0 }, vv[ROWS] = { 0 };
	float step[ROWS], *y = u->moved;

	levels(k, first, n, u->v);
	memset(y, 0, all * ROWS * sizeof(float));
	gemm(k, all, n, u->v, 'T', u->square + a * B, y);
	dot(gv, u->g + a * ROWS, u->v, n);
	dot(vv, y + a * ROWS, u->v, n);
	take_scales(k, g, gv, vv, step);
	take_away(u->x + first * ROWS, step, u->v, n);
	take_away(u->g, step, y, all);
}

/* A group of more columns than a unit: v G and v H v piece by piece. */
static void
fit_large(struct unit *u, size_t g)
{
	const struct sq_gptq_work *k = u->k;
	size_t first = sq_gptq_first(k, g), end = sq_gptq_end(k, g), i, n;
	double gv[ROWS] = { 0 }, vv[ROWS] = { 0 };
	float step[ROWS];

	for (u->a = first; u->a < end; u->a = u->b) {
		u->b = least(end, u->a + B);
		enter(u);
		levels(k, u->a, u->b - u->a, u->v);
		dot(gv, u->g, u->v, u->b - u->a);
		memset(u->g, 0, (u->b - u->a) * ROWS * sizeof(float));
		for (i = first; i < end; i += n) {
			n = least(B, end - i);
			levels(k, i, n, u->moved);
			product(k, u->moved, i, i + n, u->g, u->a, u->b);
		}
		add_ridge(u, u->v);
		dot(vv, u->g, u->v, u->b - u->a);
	}
	take_scales(k, g, gv, vv, step);
	for (i = first; i < end; i += n) {
		n = least(B, end - i);
		levels(k, i, n, u->v);
		take_away(u->x + i * ROWS, step, u->v, n);
	}
}

/* ---- all of it ---- */

static void
pass_unit(struct unit *u)
{
	const struct sq_gptq *g = u->k->j->g;
	size_t cols = g->rule.group_cols, n = u->b - u->a, i;
	size_t bytes = n * ROWS * sizeof(float);
	int pass;

	enter(u);
	for (pass = 0; pass < PASSES; pass++) {
		for (i = u->a / cols; g->refit && cols <= B &&
		    sq_gptq_first(u->k, i) < u->b; i++)
			fit_group(u, i);
		memcpy(u->before, u->g, bytes);
		descend(u, 0, n);
		memcpy(u->g, u->before, bytes);
		gemm(u->k, n, n, u->moved, 'T', u->square, u->g);
	}
}

/* tr(E H E^T): the squares that the ridge adds are not the weight's fault. */
static double
form(struct unit *u, size_t step)
{
	double sum[ROWS] = { 0 }, all = 0, d, x;
	size_t c, r;

	for (u->a = 0; u->a < u->k->f->n; u->a = u->b) {
		u->b = least(u->a + step, u->k->f->n);
		enter(u);
		dot(sum, u->g, u->x + u->a * ROWS, u->b - u->a);
		for (c = u->a; c < u->b; c++) {
			d = ridge(u->k->f, c);
			for (r = 0; r < ROWS; r++) {
				x = u->x[c * ROWS + r];
				sum[r] -= d * x * x;
			}
		}
	}
	for (r = 0; r < ROWS; r++)
		all += sum[r];
	return all;
}

void
sq_gptq_refine(const struct sq_gptq_work *k, double *error)
{
	const struct sq_gptq *g = k->j->g;
	struct sq_gptq_tile *s = k->s;
	size_t n = k->f->n, cols = g->rule.group_cols, i;
	size_t step = cols <= B ? B / cols * cols : B;
	struct unit u = { .k = k, .x = s->x, .g = s->t, .before = s->saved_t,
	    .moved = s->saved_x, .v = s->fit, .square = s->square };
	int sweep;

	for (sweep = 0; sweep < g->sweeps; sweep++) {
		for (u.a = 0; u.a < n; u.a = u.b) {
			u.b = least(u.a + step, n);
			pass_unit(&u);
		}
		for (i = 0; g->refit && cols > B && i < k->j->across; i++)
			fit_large(&u, i);
	}
	if (error != NULL)
		*error = form(&u, step);
}
