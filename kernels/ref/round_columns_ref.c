/* The references of weighted_scales, round_columns, move_columns and
 * move_pairs: row after row, with the arithmetic of rounding.h. */
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/rounding.h"
#include "kernels/rows.h"

#define MOST	SQ_ROUND_COLS

int
sq_weighted_scales_ref(struct sq_ctx *c, const struct sq_rounding *s,
    const float *cost)
{
	size_t r, g, at, n;
	int bad = 0;

	(void)c;
	if (!sq_rounding_allows(s))
		return SQ_UNSUP;
	for (r = 0; r < s->rows; r++) {
		struct sq_round_row a = sq_round_row(s, r);

		for (g = at = 0; at < s->cols; g++, at += n) {
			n = s->cols - at < s->group_cols ? s->cols - at :
			    s->group_cols;
			bad |= !sq_weighted_scale(a.w + at, cost + at, n,
			    a.top, s->symmetric, &a.scales[g], &a.zeros[g]);
		}
	}
	return bad ? -1 : 0;
}

int
sq_round_columns_ref(struct sq_ctx *c, const struct sq_rounding *s,
    const uint32_t *col, size_t n, const struct sq_mat *t,
    const struct sq_mat *m, const struct sq_mat *e)
{
	float own[MOST];
	size_t r;

	(void)c;
	if (!sq_round_columns_allows(s, n, t, m, e))
		return SQ_UNSUP;
	for (r = 0; r < s->rows; r++) {
		struct sq_round_row a = sq_round_row(s, r);

		memcpy(own, sq_row(t, r), n * sizeof(*own));
		sq_round_columns_row(&a, col, n, own, 1, m->p, m->stride,
		    sq_row(e, r));
	}
	return 0;
}

int
sq_move_columns_ref(struct sq_ctx *c, const struct sq_rounding *s,
    size_t first, const struct sq_mat *h, const struct sq_mat *g, int refit,
    int passes)
{
	float v[MOST], y[MOST];
	size_t r;
	int pass;

	(void)c;
	if (!sq_move_columns_allows(s, first, h, g))
		return SQ_UNSUP;
	for (r = 0; r < s->rows; r++) {
		struct sq_round_row a = sq_round_row(s, r);

		for (pass = 0; pass < passes; pass++)
			sq_move_columns_row(&a, first, h->p, h->stride,
			    h->cols, sq_row(g, r), v, y, 1, refit);
	}
	return 0;
}

/* ---- pairs ---- */

struct pairs {
	const struct sq_mat *h;
	struct sq_round_row a;
	float *g;
};

static struct sq_pair_reach
reach(const struct pairs *p, size_t i)
{
	return sq_pair_reach(p->a.top, p->a.scales[sq_round_group_of(&p->a,
	    i)], p->a.codes[i], p->g[i], sq_row(p->h, i)[i]);
}

static void
move(const struct pairs *p, size_t i, int down)
{
	float d = sq_pair_move(sq_round_group(&p->a, i), &p->a.codes[i], down);
	const float *h = sq_row(p->h, i);
	size_t k;

	p->a.x[i] -= d;
	for (k = 0; k < p->h->cols; k++)
		p->g[k] -= h[k] * d;
}

static void
try_column(const struct pairs *p, size_t i, const uint32_t *with,
    const float *has, size_t n)
{
	struct sq_pair_reach a = reach(p, i), b;
	size_t k, best = 0;
	float cost, least = 0;
	int down;

	for (k = 0; k < n; k++) {
		b = reach(p, with[k]);
		for (down = 0; down < 2; down++) {
			cost = sq_pair_cost(&a, &b, has[k], down);
			if (cost < least) {
				least = cost;
				best = 2 * k + (size_t)down;
			}
		}
	}
	if (!(least < 0))
		return;
	k = best / 2;
	down = (int)(best % 2);
	move(p, i, down);
	move(p, with[k], has[k] > 0 ? !down : down);
}

int
sq_move_pairs_ref(struct sq_ctx *c, const struct sq_rounding *s,
    const struct sq_mat *h, size_t most, const uint32_t *with,
    const float *has, const struct sq_mat *g)
{
	size_t r, i, n = s->cols, m;

	(void)c;
	if (!sq_rounding_allows(s) || !sq_rounding_mat(h, n, n) ||
	    !sq_rounding_mat(g, s->rows, n))
		return SQ_UNSUP;
	for (r = 0; r < s->rows; r++) {
		struct pairs p = { h, sq_round_row(s, r), sq_row(g, r) };

		for (i = 0; i + 1 < n; i++) {
			m = n - 1 - i < most ? n - 1 - i : most;
			try_column(&p, i, with + i * most, has + i * most, m);
		}
	}
	return 0;
}
