/*
 * The scale and the offset of a group of a super-block, judged by the codes
 * that they lead to.
 *
 * Small integers are all that they can be, so those around what they are now
 * are tried: with each, the columns of the group are rounded one after the
 * other, the error of one made good by those that follow, and that which leaves
 * least is taken.  It may be no better scale than others, but happen to round
 * its codes well: that counts as much.
 *
 * That is done when a group's turn comes in GPTQ, where all columns after the
 * group help too; and, while all other groups stay, in the sweeps.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "quant/refine.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_LANES
#define WIDEST	32		/* columns of a group, at most */
#define FAR	4		/* steps of a scale in GPTQ, */
#define NEAR	1		/* and in the sweeps */
#define LESS	.99999f		/* of an error is less, not noise */

/* How errors of its columns, in the order of rounding, are made good: what
 * factor.h says of all columns. */
struct group {
	const struct sq_gptq_work *k;
	size_t g, n;			/* which it is; columns */
	size_t col[WIDEST];		/* of the weight */
	float m[WIDEST][WIDEST];	/* R_ij / R_jj */
	float pivot[WIDEST];		/* R_jj^2 */
};

/* What a group may become. */
struct choice {
	float cost[LANES];
	int s[LANES], m[LANES];		/* integers of scale and offset */
	float q[WIDEST][LANES];
	uint8_t u[WIDEST][LANES];
};

/* LANES rows of it, from row r on. */
struct lanes {
	const struct group *p;
	size_t r;
	float step[LANES], min_step[LANES];
	float w[WIDEST][LANES];		/* where errors count from */
	float t[WIDEST][LANES];		/* what is to be rounded, if w were */
	struct choice now, best;
};

static int
clamp(float v, int lo, int hi)
{
	return v < (float)lo ? lo : v > (float)hi ? hi : (int)rintf(v);
}

/* ---- a choice ---- */

/* Column i of t becomes codes. */
static void
round_column(const struct lanes *a, size_t i, const float *t,
    const float *value, const float *offset, struct choice *c)
{
	const struct sq_gptq_work *k = a->p->k;
	size_t at = a->p->g * ROWS + a->r, l;
	const uint8_t *keep = k->s->keep;
	float x[LANES], divisor[LANES];

	for (l = 0; l < LANES; l++) {
		x[l] = t[l] + offset[l];
		divisor[l] = value[l] == 0 ? INFINITY : value[l];
	}
	sq_levels_nearest(&k->j->levels, x, divisor, k->s->zero + at, c->q[i],
	    c->u[i]);
	for (l = 0; l < LANES; l++)
		c->q[i][l] = c->q[i][l] * value[l] - offset[l];
	if (keep == NULL)
		return;
	keep += a->p->col[i] * ROWS + a->r;
	for (l = 0; l < LANES; l++)
		if (!keep[l]) {
			c->q[i][l] = 0;
			c->u[i][l] = sq_gptq_zero(k, a->p->g, a->r + l);
		}
}

/* t += what the errors e of columns j to j + 3 ask of column i. */
static void
add_four(const struct group *p, size_t i, size_t j,
    float e[restrict WIDEST][LANES], float *restrict t)
{
	float m = p->m[j][i], m1 = p->m[j + 1][i], m2 = p->m[j + 2][i];
	float m3 = p->m[j + 3][i];
	size_t l;

	for (l = 0; l < LANES; l++)
		t[l] += m * e[j][l] + m1 * e[j + 1][l] + (m2 * e[j + 2][l] +
		    m3 * e[j + 3][l]);
}

/* The codes that c's integers lead to, and what they cost. */
static void
weigh(const struct lanes *a, struct choice *c)
{
	const struct group *p = a->p;
	float e[WIDEST][LANES] = { { 0 } }, t[LANES];
	float value[LANES], offset[LANES], d;
	size_t i, j, l;

	for (l = 0; l < LANES; l++) {
		value[l] = a->step[l] * (float)c->s[l];
		offset[l] = a->min_step[l] * (float)c->m[l];
	}
	memset(c->cost, 0, sizeof(c->cost));
	for (i = 0; i < p->n; i++) {
		memcpy(t, a->t[i], sizeof(t));
		for (j = 0; j < i; j += 4)
			add_four(p, i, j, e, t);
		round_column(a, i, t, value, offset, c);
		for (l = 0; l < LANES; l++) {
			d = t[l] - c->q[i][l];
			c->cost[l] += p->pivot[i] * d * d;
			e[i][l] = a->w[i][l] - c->q[i][l];
		}
	}
}

static void
keep_better(size_t n, const struct choice *c, struct choice *best)
{
	size_t l, i;

	for (l = 0; l < LANES; l++) {
		if (!(c->cost[l] < LESS * best->cost[l]))
			continue;
		best->cost[l] = c->cost[l];
		best->s[l] = c->s[l];
		best->m[l] = c->m[l];
		for (i = 0; i < n; i++) {
			best->q[i][l] = c->q[i][l];
			best->u[i][l] = c->u[i][l];
		}
	}
}

/* The scale s steps further, with that sign, and the offset m: beside what
 * keeps the middle of the codes where it is. */
static void
try(struct lanes *a, int sign, int s, int m)
{
	const struct sq_levels *lv = &a->p->k->j->levels;
	struct choice c;
	size_t l;

	for (l = 0; l < LANES; l++) {
		c.s[l] = clamp((float)(sign * (a->now.s[l] + s)), lv->least,
		    lv->most);
		c.m[l] = a->min_step[l] == 0 ? 0 :
		    clamp((float)(a->now.m[l] + m) + (float)s * a->step[l] *
		    lv->top / 2 / a->min_step[l], 0, 63);
	}
	weigh(a, &c);
	keep_better(a->p->n, &c, &a->best);
}

/* What is stored of the rows. */
static void
begin(struct lanes *a)
{
	const struct sq_gptq_work *k = a->p->k;
	const struct sq_dst *q = k->j->q;
	size_t supers = k->f->n / SQ_SUPER, l, row, at, b;

	memset(a->step, 0, sizeof(a->step));
	memset(a->min_step, 0, sizeof(a->min_step));
	memset(&a->now, 0, sizeof(a->now));
	for (l = 0; l < LANES && a->r + l < k->rows; l++) {
		row = k->row + a->r + l;
		at = row * k->j->across + a->p->g;
		b = row * supers + a->p->g * a->p->n / SQ_SUPER;
		a->step[l] = sq_f16_to_f32(q->super[b]);
		a->now.s[l] = k->j->levels.offsets ? q->scales8[at] :
		    (int8_t)q->scales8[at];
		if (!k->j->levels.offsets)
			continue;
		a->min_step[l] = sq_f16_to_f32(q->supermins[b]);
		a->now.m[l] = q->submins[at];
	}
}

static void
store(const struct lanes *a)
{
	const struct sq_gptq_work *k = a->p->k;
	size_t l, at;

	for (l = 0; l < LANES && a->r + l < k->rows; l++) {
		at = (k->row + a->r + l) * k->j->across + a->p->g;
		k->j->q->scales8[at] = (uint8_t)a->best.s[l];
		if (k->j->levels.offsets)
			k->j->q->submins[at] = (uint8_t)a->best.m[l];
	}
}

/* The best of all up to `far' steps away, or what a->now is.  Where there are
 * no offsets, scales go further, and have either sign: on one side of zero
 * there are other levels than on the other. */
static void
search(struct lanes *a, int far)
{
	int s, m;

	a->best = a->now;
	if (a->p->k->j->levels.offsets) {
		for (s = -far; s <= far; s++)
			for (m = -far; m <= far; m++)
				try(a, 1, s, m);
	} else {
		for (s = -2 * far; s <= 2 * far; s++) {
			try(a, 1, s, 0);
			try(a, -1, s, 0);
		}
	}
	store(a);
}

/* ---- in GPTQ ---- */

void
sq_gptq_search_group(const struct sq_gptq_work *k, size_t p, size_t a)
{
	size_t first = p * B + a, n = k->j->g->rule.group_cols, i, j, r;
	struct group x = { .k = k, .g = k->f->col[first] / n, .n = n };
	struct lanes s = { .p = &x };

	for (i = 0; i < n; i++) {
		x.col[i] = k->f->col[first + i];
		x.pivot[i] = (float)k->f->pivot[first + i];
		for (j = i + 1; j < n; j++)
			x.m[i][j] = sq_factor_at(k->f, first + i, p)[a + j];
	}
	for (r = 0; r < k->rows; r += LANES) {
		s.r = r;
		begin(&s);
		for (i = 0; i < LANES; i++)
			s.now.cost[i] = INFINITY;
		for (i = 0; i < n; i++) {
			memcpy(s.w[i], k->s->x + (first + i) * ROWS + r,
			    sizeof(s.w[i]));
			memcpy(s.t[i], k->s->t + (a + i) * ROWS + r,
			    sizeof(s.t[i]));
		}
		search(&s, FAR);
	}
	sq_gptq_load_scales(k, x.g);
}

/* ---- in sweeps ---- */

/* Columns by falling diagonal of H. */
static void
order(const struct sq_refine_unit *u, struct group *x)
{
	size_t i, j, c, first = x->g * x->n - u->a;

	for (i = 0; i < x->n; i++) {
		c = first + i;
		for (j = i; j > 0 && u->square[x->col[j - 1] * (B + 1)] <
		    u->square[c * (B + 1)]; j--)
			x->col[j] = x->col[j - 1];
		x->col[j] = c;
	}
}

/* The part of H that is the group's becomes R. */
static void
factorize(const struct sq_refine_unit *u, struct group *x)
{
	double h[WIDEST][WIDEST];
	size_t i, j, k;

	for (i = 0; i < x->n; i++)
		for (j = 0; j < x->n; j++)
			h[i][j] = u->square[x->col[i] * B + x->col[j]];
	for (k = x->n; k-- > 0;) {
		x->pivot[k] = (float)h[k][k];
		for (i = 0; i < k; i++) {
			x->m[i][k] = (float)(h[i][k] / h[k][k]);
			for (j = 0; j < k; j++)
				h[i][j] -= h[i][k] / h[k][k] * h[k][j];
		}
	}
}

/* The codes as they are, and what the columns want to be: G decides. */
static void
load(const struct sq_refine_unit *u, struct lanes *a)
{
	const struct group *p = a->p;
	float z[WIDEST][LANES], *g;
	size_t i, j, l, at;

	for (i = p->n; i-- > 0;) {
		at = p->col[i] * ROWS + a->r;
		g = u->g + (p->col[i] - u->a) * ROWS + a->r;
		memcpy(z[i], g, sizeof(z[i]));
		memcpy(a->now.u[i], u->k->s->u + at, LANES);
		for (j = i + 1; j < p->n; j++)
			for (l = 0; l < LANES; l++)
				z[i][l] -= p->m[i][j] * z[j][l];
		for (l = 0; l < LANES; l++) {
			a->w[i][l] = a->now.q[i][l] = sq_gptq_value(u->k, p->g,
			    a->r + l, a->now.u[i][l]);
			a->t[i][l] = a->w[i][l] + z[i][l] / p->pivot[i];
			a->now.cost[l] += z[i][l] * z[i][l] / p->pivot[i];
		}
	}
}

/* The codes that were chosen. */
static void
take(const struct sq_refine_unit *u, const struct lanes *a)
{
	const struct group *p = a->p;
	float *moved, d;
	size_t i, l, at;

	for (i = 0; i < p->n; i++) {
		at = p->col[i] * ROWS + a->r;
		moved = u->moved + (p->col[i] - u->a) * ROWS + a->r;
		memcpy(u->k->s->u + at, a->best.u[i], LANES);
		for (l = 0; l < LANES; l++) {
			d = a->now.q[i][l] - a->best.q[i][l];
			moved[l] = d;
			u->x[at + l] += d;
		}
	}
}

void
sq_refine_group(const struct sq_refine_unit *u, size_t g)
{
	struct group x = { .k = u->k, .g = g,
	    .n = u->k->j->g->rule.group_cols };
	struct lanes a = { .p = &x };
	size_t i;

	order(u, &x);
	factorize(u, &x);
	for (i = 0; i < x.n; i++)
		x.col[i] += u->a;
	for (a.r = 0; a.r < ROWS; a.r += LANES) {
		begin(&a);
		load(u, &a);
		search(&a, NEAR);
		take(u, &a);
	}
	sq_gptq_load_scales(u->k, g);
}
