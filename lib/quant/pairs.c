/*
 * Pairs of codes that move together: what sweeps, which move one at a time,
 * leave behind.  Where two channels are alike, an error in one can be taken
 * back by the other, though either move alone would make things worse.
 *
 * A code moves to the next level up or down.  Column after column, for 16 rows
 * at once, the best of its partners is found (the operation `pair'); where both
 * together lower tr(E H E^T) they move, and E H and what columns cost is known
 * anew for their row.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_PAIR_ROWS
#define MOST	SQ_PARTNERS
#define BINS	1024		/* of scores between 0 and 1 */

/* ---- partners ---- */

/* What H has for column i and those from the same panel on. */
static void
read_row(const struct sq_factor *f, size_t i, float *row)
{
	size_t q, n;

	for (q = i / B; q * B < f->n; q++) {
		n = f->n - q * B < B ? f->n - q * B : B;
		memcpy(row + q * B, sq_factor_h(f, i, q), n * sizeof(*row));
	}
}

/* Partners of column i: fewer than MOST where no more columns follow. */
static size_t
partners(const struct sq_factor *f, size_t i)
{
	return f->n - 1 - i < MOST ? f->n - 1 - i : MOST;
}

/* The columns after i that go most with it, of those alike the first. */
static void
find(const struct sq_factor *f, size_t i, const float *row, uint16_t *bin,
    uint32_t *with, float *h)
{
	uint32_t count[BINS] = { 0 };
	size_t j, n = 0, above = 0;
	double score;
	int cut, pass;

	for (j = i + 1; j < f->n; j++) {
		score = fabs((double)row[j]) / sqrt((double)
		    sq_factor_weight(f, i) * sq_factor_weight(f, j));
		bin[j] = (uint16_t)fmin(score * BINS, BINS - 1);
		count[bin[j]]++;
	}
	for (cut = BINS - 1; cut > 0 && above + count[cut] < MOST; cut--)
		above += count[cut];
	for (pass = 0; pass < 2; pass++)
		for (j = i + 1; j < f->n && n < partners(f, i); j++)
			if (pass == 0 ? bin[j] > cut : bin[j] == cut) {
				with[n] = (uint32_t)j;
				h[n++] = row[j];
			}
}

int
sq_gptq_find_partners(struct sq_gptq *g)
{
	const struct sq_factor *f = g->factor;
	float *row = malloc(f->n * (sizeof(*row) + sizeof(uint16_t)));
	size_t i;

	g->partner = malloc(f->n * MOST * sizeof(*g->partner));
	g->partner_h = malloc(f->n * MOST * sizeof(*g->partner_h));
	if (row == NULL || g->partner == NULL || g->partner_h == NULL) {
		free(row);
		return -1;
	}
	for (i = 0; i < f->n; i++) {
		read_row(f, i, row);
		find(f, i, row, (uint16_t *)(void *)(row + f->n), g->partner +
		    i * MOST, g->partner_h + i * MOST);
	}
	free(row);
	return 0;
}

/* ---- moves ---- */

struct work {
	const struct sq_gptq_work *k;
	float *g;		/* [n][LANES]: E H of columns still to come */
	float *up, *down, *cost_up, *cost_down;	/* [n][LANES] */
	float *less;		/* [n]: what moves take from E H of a row */
};

/* How far the next level above or below, `to', is away, or 0. */
static float
away(const struct work *w, size_t c, size_t r, const uint8_t *to)
{
	size_t g = c / w->k->j->g->rule.group_cols;
	uint8_t u = w->k->s->u[c * ROWS + r];

	if (to[u] == u)
		return 0;
	return sq_gptq_value(w->k, g, r, to[u]) -
	    sq_gptq_value(w->k, g, r, u);
}

/* What that costs in the l-th of the lanes. */
static void
weigh(const struct work *w, size_t c, size_t l)
{
	float h = sq_factor_weight(w->k->f, c), up, down, g;
	size_t at = c * LANES + l;

	g = w->g[at];
	up = w->up[at];
	down = w->down[at];
	w->cost_up[at] = up > 0 ? up * (up * h - 2 * g) : INFINITY;
	w->cost_down[at] = down > 0 ? down * (down * h + 2 * g) : INFINITY;
}

/* How far column c may go. */
static void
reach(const struct work *w, size_t c, size_t r, size_t l)
{
	const struct sq_levels *v = &w->k->j->levels;
	const struct sq_gptq_tile *s = w->k->s;
	float a = away(w, c, r, v->above), b = away(w, c, r, v->below);
	size_t at = c * LANES + l;
	float up, down;

	/* a scale may be negative */
	up = a > 0 ? a : b > 0 ? b : 0;
	down = a < 0 ? -a : b < 0 ? -b : 0;
	if (s->keep != NULL && !s->keep[c * ROWS + r])
		up = down = 0;
	w->up[at] = up;
	w->down[at] = down;
}

/* Weight c of a row is d more: what that takes from E H of columns first and
 * on. */
static void
add_row(const struct sq_factor *f, size_t c, float d, size_t first, float *less)
{
	size_t p = c / B, q, i, end;
	const float *h;

	for (i = first; i < p * B; i++)
		less[i] += sq_factor_h(f, i, p)[c - p * B] * d;
	for (q = p; q * B < f->n; q++) {
		h = sq_factor_h(f, c, q);
		i = first > q * B ? first : q * B;
		end = f->n < (q + 1) * B ? f->n : (q + 1) * B;
		for (; i < end; i++)
			less[i] += h[i - q * B] * d;
	}
	if (c >= first)
		less[c] += sq_factor_ridge(f, c) * d;
}

/* To the next level: how much more the weight is now, its error less. */
static float
move(const struct work *w, size_t c, size_t r, int down)
{
	const struct sq_levels *v = &w->k->j->levels;
	uint8_t *u = w->k->s->u + c * ROWS + r;
	float d = away(w, c, r, v->above);
	int above = down ? d < 0 : d > 0;

	if (!above)
		d = away(w, c, r, v->below);
	*u = above ? v->above[*u] : v->below[*u];
	w->k->s->x[c * ROWS + r] -= d;
	return d;
}

/* Column c of row r, the l-th of the lanes, moves, and o after it: columns
 * after c know.  Those before it have had their turn, and so has c. */
static void
move_both(const struct work *w, size_t c, int down, size_t o, int o_down,
    size_t r, size_t l)
{
	const struct sq_factor *f = w->k->f;
	size_t i;

	memset(w->less + c + 1, 0, (f->n - c - 1) * sizeof(*w->less));
	add_row(f, c, move(w, c, r, down), c + 1, w->less);
	add_row(f, o, move(w, o, r, o_down), c + 1, w->less);
	reach(w, o, r, l);
	for (i = c + 1; i < f->n; i++) {
		w->g[i * LANES + l] -= w->less[i];
		weigh(w, i, l);
	}
}

/* Column c and the best of its partners. */
static int
try_column(const struct work *w, size_t c, size_t r)
{
	const struct sq_gptq *g = w->k->j->g;
	const struct sq_moves m = { w->up, w->down, w->cost_up, w->cost_down };
	const uint32_t *with = g->partner + c * MOST;
	const float *h = g->partner_h + c * MOST;
	float cost[LANES];
	uint32_t which[LANES], k;
	size_t l;
	int down;

	if (sq_pair(&w->k->s->ctx, &m, c, with, h, partners(w->k->f, c),
	    cost, which) != 0)
		return -1;
	for (l = 0; l < LANES; l++) {
		k = which[l] / 2;
		down = which[l] % 2;
		if (!(cost[l] < 0))
			continue;
		move_both(w, c, down, with[k], h[k] > 0 ? !down : down, r + l,
		    l);
	}
	return 0;
}

int
sq_gptq_pairs(const struct sq_gptq_work *k)
{
	size_t n = k->f->n, r, c, l, part = n * LANES;
	float *p = k->s->moves;
	struct work w = { k, p, p + part, p + 2 * part, p + 3 * part,
	    p + 4 * part, p + 5 * part };

	for (r = 0; r < k->rows; r += LANES) {
		for (c = 0; c < n; c++) {
			memcpy(w.g + c * LANES, k->s->all_g + c * ROWS + r,
			    LANES * sizeof(*w.g));
			for (l = 0; l < LANES; l++) {
				reach(&w, c, r + l, l);
				weigh(&w, c, l);
			}
		}
		for (c = 0; c + 1 < n; c++)
			if (try_column(&w, c, r) < 0)
				return -1;
	}
	return 0;
}
