/*
 * Sweeps over the codes of a tile: coordinate descent on tr(E H E^T).  Weights
 * of no grid move to what is best for them; what a mask drops stays zero, but
 * before a run moves, it may drop another one in its place.
 *
 * With G = E H, the best that a weight can become while all others stay is
 * q + G_c / H_cc; its code moves to the level nearest to that, and G follows.
 * Between such passes the scales of groups move: with the levels v of a group,
 * its best scale is s + v G / (v H v), rounded as it is stored, and taken only
 * if the error falls; those of super-blocks are integers, tried together with
 * their codes (search_group.c).  Nothing ever makes the error greater, but for
 * rounding.
 *
 * A unit is at most 256 columns, whole groups where they are no larger.  Its G
 * is one product of all errors with H, and stays in memory while the unit is
 * passed PASSES times.  A pass goes down to 16 columns, which are done one by
 * one, with products in between, as in gptq.c.  Larger groups get their scales
 * after a sweep.  Then pairs of codes move (pairs.c).
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/refine.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_LANES
#define LEAF	16
#define PASSES	2

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

/* += its part of a product, for the columns of the unit. */
static void
add_ridge(const struct sq_refine_unit *u, const float *x)
{
	size_t c, r, n = u->b - u->a;
	float d, *g = u->g;

	for (c = 0; c < n; c++, x += ROWS, g += ROWS) {
		d = sq_factor_ridge(u->k->f, u->a + c);
		for (r = 0; r < ROWS; r++)
			g[r] += d * x[r];
	}
}

/* G of the unit. */
static void
gradient(struct sq_refine_unit *u)
{
	memset(u->g, 0, (u->b - u->a) * ROWS * sizeof(float));
	product(u->k, u->x, 0, u->k->f->n, u->g, u->a, u->b);
	add_ridge(u, u->x + u->a * ROWS);
}

/* That, and H there. */
static void
enter(struct sq_refine_unit *u)
{
	const struct sq_factor *f = u->k->f;
	size_t n = u->b - u->a, i, c;

	gradient(u);
	for (i = 0; i < n; i++) {
		for (c = 0; c < n; c++)
			u->square[i * B + c] = h_at(f, u->a + i, u->a + c);
		u->square[i * B + i] += sq_factor_ridge(f, u->a + i);
	}
}

/* ---- codes ---- */

/* One column of LANES rows, and by how much; 0 when nothing moved. */
static int
move_lanes(const struct sq_refine_unit *u, size_t c, size_t r, float d[LANES])
{
	const struct sq_gptq_tile *s = u->k->s;
	size_t at = (u->a + c) * ROWS + r;
	size_t g = (u->a + c) / u->k->j->g->rule.group_cols, l;
	float *x = s->x + at, *moved = u->moved + c * ROWS + r;
	const float *grad = u->g + c * ROWS + r;
	float h = u->square[c * B + c], t[LANES], now[LANES], q[LANES];
	float any = 0;
	uint8_t *code = s->u + at, was[LANES];

	memcpy(was, code, sizeof(was));
	for (l = 0; l < LANES; l++) {
		now[l] = s->q != NULL ? s->q[at + l] :
		    sq_gptq_value(u->k, g, r + l, code[l]);
		t[l] = now[l] + grad[l] / h;
	}
	if (s->q != NULL)
		memcpy(q, t, sizeof(q));
	else
		sq_gptq_nearest(u->k, g, r, t, code, q);
	for (l = 0; s->keep != NULL && l < LANES; l++)
		if (!s->keep[at + l]) {
			q[l] = now[l];
			code[l] = was[l];
		}
	if (s->q != NULL)
		memcpy(s->q + at, q, sizeof(q));
	for (l = 0; l < LANES; l++) {
		d[l] = now[l] - q[l];
		x[l] += d[l];
		moved[l] += d[l];
		any += d[l] * d[l];
	}
	return any > 0;
}

/* LANES rows of G of columns c to b, once column i has moved by d. */
static void
tell(const struct sq_refine_unit *u, size_t i, size_t c, size_t b, size_t r,
    const float d[LANES])
{
	const float *square = u->square + i * B;
	float *g, h;
	size_t l;

	for (; c < b; c++) {
		h = square[c];
		g = u->g + c * ROWS + r;
		for (l = 0; l < LANES; l++)
			g[l] += h * d[l];
	}
}

static void
leaf(const struct sq_refine_unit *u, size_t a, size_t b)
{
	const struct sq_sparse *swap = &u->k->j->g->swap;
	size_t run = swap->kind == SQ_MASK_RUNS ? swap->m :
	    swap->kind == SQ_MASK_ANY ? b - a : 0;
	float d[LANES];
	size_t r, c;

	for (r = 0; r < ROWS; r += LANES)
		for (c = a; c < b; c++) {
			if (run > 0 && (c - a) % run == 0)
				sq_refine_exchange(u, c, least(b, c + run), b,
				    r);
			if (move_lanes(u, c, r, d))
				tell(u, c, c + 1, b, r, d);
		}
}

/* Columns a to b of the unit: to those after them, the movement of the first
 * half is told by a product. */
static void
descend(const struct sq_refine_unit *u, size_t a, size_t b)
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
	const float *number = k->j->levels.number;
	size_t c, r, g;

	for (c = 0; c < n; c++, v += ROWS) {
		g = (first + c) / k->j->g->rule.group_cols * ROWS;
		for (r = 0; r < ROWS; r++)
			v[r] = number[s->u[(first + c) * ROWS + r]] -
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
	size_t r, at;

	memset(step, 0, ROWS * sizeof(*step));
	for (r = 0; r < k->rows; r++) {
		if (!(vv[r] > 0) || value[r] == 0)
			continue;
		d = (double)sq_levels_scale(j->g->rule.grid,
		    value[r] + gv[r] / vv[r], &h) - value[r];
		if (d == -value[r] || !(d * (2 * gv[r] - d * vv[r]) > 0))
			continue;	/* NAN is not, either */
		step[r] = (float)d;
		at = (k->row + r) * j->across + g;
		if (j->q->scales8 != NULL)
			j->q->scales8[at] = (uint8_t)h;
		else
			j->q->scales[at] = h;
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

/* v, n columns from a on, that the errors could take on: gv = v G, vv = v H v,
 * and v H stays in u->moved. */
static void
project(const struct sq_refine_unit *u, size_t a, size_t n, double gv[ROWS],
    double vv[ROWS])
{
	size_t all = u->b - u->a;
	float *y = u->moved;

	memset(gv, 0, ROWS * sizeof(*gv));
	memset(vv, 0, ROWS * sizeof(*vv));
	memset(y, 0, all * ROWS * sizeof(float));
	gemm(u->k, all, n, u->v, 'T', u->square + a * B, y);
	dot(gv, u->g + a * ROWS, u->v, n);
	dot(vv, y + a * ROWS, u->v, n);
}

/* The errors take on step v less, and G follows. */
static void
follow(const struct sq_refine_unit *u, size_t a, size_t n,
    const float step[ROWS])
{
	take_away(u->x + (u->a + a) * ROWS, step, u->v, n);
	take_away(u->g, step, u->moved, u->b - u->a);
}

/* A group within the unit. */
static void
fit_group(const struct sq_refine_unit *u, size_t g)
{
	const struct sq_gptq_work *k = u->k;
	size_t first = sq_gptq_first(k, g), n = sq_gptq_end(k, g) - first;
	double gv[ROWS], vv[ROWS];
	float step[ROWS];

	levels(k, first, n, u->v);
	project(u, first - u->a, n, gv, vv);
	take_scales(k, g, gv, vv, step);
	follow(u, first - u->a, n, step);
}

/* ---- scales of super-blocks ---- */

/* What is refitted: a scale or offset that all its rows have. */
struct knob {
	size_t at, stride;		/* the tile's first row's; to the next */
	uint8_t *code;			/* of a group, in steps */
	int sign;			/* the code has one */
	uint16_t *step;			/* F16, of the super-block */
	size_t step_at, step_stride;
};

static int
code_of(const struct knob *n, size_t r)
{
	uint8_t c = n->code[n->at + r * n->stride];

	return n->sign ? (int8_t)c : c;
}

static float
step_of(const struct knob *n, size_t r)
{
	return sq_f16_to_f32(n->step[n->step_at + r * n->step_stride]);
}

/* That of group g, offsets: its offset. */
static struct knob
knob(const struct sq_gptq_work *k, size_t g, int offsets)
{
	const struct sq_dst *q = k->j->q;
	size_t supers = k->f->n / SQ_SUPER, in = k->j->across / supers;
	struct knob n = { k->row * k->j->across + g, k->j->across,
	    offsets ? q->submins : q->scales8, !k->j->levels.offsets,
	    offsets ? q->supermins : q->super, k->row * supers + g / in,
	    supers };

	return n;
}

/* Moves the steps of a super-block; v is what one step is worth. */
static void
turn_steps(const struct sq_gptq_work *k, const struct knob *n,
    const double gv[ROWS], const double vv[ROWS], float step[ROWS])
{
	uint16_t h;
	size_t r;
	double d;

	memset(step, 0, ROWS * sizeof(*step));
	for (r = 0; r < k->rows; r++) {
		if (!(vv[r] > 0) || step_of(n, r) == 0)
			continue;
		h = sq_f64_to_f16(step_of(n, r) + gv[r] / vv[r]);
		d = (double)sq_f16_to_f32(h) - step_of(n, r);
		if (!isfinite(d) || (h & 0x7fff) == 0 ||
		    !(d * (2 * gv[r] - d * vv[r]) > 0))
			continue;
		step[r] = (float)d;
		n->step[n->step_at + r * n->step_stride] = h;
	}
}

/* Numbers of a group's codes, or -1 for its offset. */
static void
numbers(const struct sq_gptq_work *k, size_t g, int offsets, float *v)
{
	size_t first = sq_gptq_first(k, g), n = sq_gptq_end(k, g) - first, i;

	if (!offsets)
		levels(k, first, n, v);
	for (i = 0; offsets && i < n * ROWS; i++)
		v[i] = -1;
}

/* What a step is. */
static void
fit_steps(const struct sq_refine_unit *u, int offsets)
{
	const struct sq_gptq_work *k = u->k;
	size_t cols = k->j->g->rule.group_cols, g0 = u->a / cols, i, c, r;
	size_t groups = SQ_SUPER / cols;
	double gv[ROWS], vv[ROWS];
	float step[ROWS], *v;
	struct knob n = knob(k, g0, offsets);

	for (i = 0; i < groups; i++) {
		n = knob(k, g0 + i, offsets);
		v = u->v + i * cols * ROWS;
		numbers(k, g0 + i, offsets, v);
		for (c = 0; c < cols; c++, v += ROWS)
			for (r = 0; r < k->rows; r++)
				v[r] *= (float)code_of(&n, r);
	}
	project(u, 0, SQ_SUPER, gv, vv);
	turn_steps(k, &n, gv, vv, step);
	follow(u, 0, SQ_SUPER, step);
	for (i = 0; i < groups; i++)
		sq_gptq_load_scales(k, g0 + i);
}

/* A group of more columns than a unit: v G and v H v piece by piece. */
static void
fit_large(struct sq_refine_unit *u, size_t g)
{
	const struct sq_gptq_work *k = u->k;
	size_t first = sq_gptq_first(k, g), end = sq_gptq_end(k, g), i, n;
	double gv[ROWS] = { 0 }, vv[ROWS] = { 0 };
	float step[ROWS];

	for (u->a = first; u->a < end; u->a = u->b) {
		u->b = least(end, u->a + B);
		gradient(u);
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

/* The groups of a super-block, then their steps. */
static void
fit_super(const struct sq_refine_unit *u)
{
	size_t cols = u->k->j->g->rule.group_cols, i;

	for (i = 0; i < SQ_SUPER; i += cols) {
		sq_refine_group(u, (u->a + i) / cols);
		gemm(u->k, SQ_SUPER, cols, u->moved + i * ROWS, 'T',
		    u->square + i * B, u->g);
	}
	fit_steps(u, 0);
	if (u->k->j->levels.offsets)
		fit_steps(u, 1);
}

/* The scales of a unit. */
static void
fit(const struct sq_refine_unit *u)
{
	size_t cols = u->k->j->g->rule.group_cols, i;

	if (u->k->j->levels.super) {
		fit_super(u);
		return;
	}
	for (i = u->a / cols; cols <= B && sq_gptq_first(u->k, i) < u->b; i++)
		fit_group(u, i);
}

static void
pass_unit(struct sq_refine_unit *u)
{
	const struct sq_gptq *g = u->k->j->g;
	size_t n = u->b - u->a;
	size_t bytes = n * ROWS * sizeof(float);
	int pass;

	enter(u);
	for (pass = 0; pass < PASSES; pass++) {
		if (g->refit)
			fit(u);
		memcpy(u->before, u->g, bytes);
		memset(u->moved, 0, bytes);
		descend(u, 0, n);
		memcpy(u->g, u->before, bytes);
		gemm(u->k, n, n, u->moved, 'T', u->square, u->g);
	}
}

/* Units that follow each other, of step columns but for the last. */
static int
next_unit(struct sq_refine_unit *u, size_t step)
{
	u->a = u->b;
	u->b = least(u->a + step, u->k->f->n);
	return u->a < u->k->f->n;
}

static int
pass_pairs(struct sq_refine_unit *u, size_t step)
{
	for (u->b = 0; next_unit(u, step);) {
		gradient(u);
		memcpy(u->k->s->all_g + u->a * ROWS, u->g, (u->b - u->a) *
		    ROWS * sizeof(float));
	}
	return sq_gptq_pairs(u->k);
}

/* tr(E H E^T): the squares that the ridge adds are not the weight's fault. */
static double
form(struct sq_refine_unit *u, size_t step)
{
	double sum[ROWS] = { 0 }, all = 0, d, x;
	size_t c, r;

	for (u->b = 0; next_unit(u, step);) {
		gradient(u);
		dot(sum, u->g, u->x + u->a * ROWS, u->b - u->a);
		for (c = u->a; c < u->b; c++) {
			d = sq_factor_ridge(u->k->f, c);
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

int
sq_gptq_refine(const struct sq_gptq_work *k, double *error)
{
	const struct sq_gptq *g = k->j->g;
	struct sq_gptq_tile *s = k->s;
	size_t cols = g->rule.group_cols, i;
	size_t step = cols <= B ? B / cols * cols : B;
	struct sq_refine_unit u = { .k = k, .x = s->x, .g = s->t, .before = s->saved_t,
	    .moved = s->saved_x, .v = s->fit, .square = s->square };
	int sweep;

	for (sweep = 0; sweep < g->sweeps; sweep++) {
		for (u.b = 0; next_unit(&u, step);)
			pass_unit(&u);
		for (i = 0; g->refit && cols > B && i < k->j->across; i++)
			fit_large(&u, i);
		if (g->partner != NULL && pass_pairs(&u, step) < 0)
			return -1;
	}
	if (error != NULL)
		*error = form(&u, step);
	return 0;
}
