/*
 * The mask of a tile of GPTQ: read, chosen, written.
 *
 * With t what the columns before them ask for, and each other where they stay,
 * to drop a column is to leave t of it as the error there, whose square counts
 * R_kk^2; to round it leaves less.  What is lost by dropping rather than
 * rounding orders the weights of a run, or of a span of 128 columns and all
 * rows of the tile; the greatest stay, of equals the first.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LANES	SQ_LANES
#define SPAN	128		/* columns of an unstructured choice */

int
sq_gptq_chooses(const struct sq_sparse *p, size_t n)
{
	return p->kind == SQ_MASK_ANY || (p->kind == SQ_MASK_RUNS &&
	    (p->m & (p->m - 1)) == 0 && n % p->m == 0);
}

size_t
sq_gptq_mask_span(const struct sq_gptq *g)
{
	switch (g->choose.kind) {
	case SQ_MASK_ANY:
		return SPAN;
	case SQ_MASK_RUNS:
		return g->choose.m;
	default:
		return 0;
	}
}

static uint8_t *
row_of(const struct sq_gptq_work *k, size_t r)
{
	return k->j->q->mask + (k->row + r) * sq_row_bytes(k->f->n, 1);
}

void
sq_gptq_mask_load(const struct sq_gptq_work *k)
{
	uint8_t *keep = k->s->keep;
	const uint8_t *bits;
	size_t r, c;

	memset(keep, 1, k->f->n * ROWS);
	for (r = 0; k->j->g->masked && r < k->rows; r++) {
		bits = row_of(k, r);
		for (c = 0; c < k->f->n; c++)
			keep[c * ROWS + r] = bits[c / 8] >> c % 8 & 1;
	}
}

void
sq_gptq_mask_store(const struct sq_gptq_work *k)
{
	uint8_t *bits;
	size_t r, c;

	for (r = 0; r < k->rows; r++) {
		bits = row_of(k, r);
		memset(bits, 0, sq_row_bytes(k->f->n, 1));
		for (c = 0; c < k->f->n; c++)
			bits[c / 8] |= (uint8_t)(k->s->keep[c * ROWS + r] <<
			    c % 8);
	}
}

/* What dropping LANES rows of column c of the panel costs. */
static void
cost_lanes(const struct sq_gptq_work *k, size_t p, size_t c, size_t r,
    int rounded, float *cost)
{
	const struct sq_gptq_tile *s = k->s;
	const float *t = s->t + c * ROWS + r;
	size_t col = k->f->col[p * B + c];
	float pivot = (float)k->f->pivot[p * B + c], q[LANES], d;
	uint8_t u[LANES];
	size_t l;

	memcpy(q, t, sizeof(q));
	if (rounded && s->q == NULL)
		sq_gptq_nearest(k, col / k->j->g->rule.group_cols, r, t, u, q);
	for (l = 0; l < LANES; l++) {
		d = t[l] - q[l];
		cost[l] = pivot * (t[l] * t[l] - d * d);
	}
}

/* Where the costs of column c of the span are, which begins at a. */
static float *
costs(const struct sq_gptq_work *k, size_t c)
{
	return k->s->fit + c * ROWS;
}

static void
set_keep(const struct sq_gptq_work *k, size_t p, size_t c, size_t r, int keep)
{
	k->s->keep[k->f->col[p * B + c] * ROWS + r] = (uint8_t)keep;
}

/* The n columns of a run that row r keeps. */
static void
choose_run(const struct sq_gptq_work *k, size_t p, size_t a, size_t m,
    size_t n, size_t r)
{
	uint64_t kept = 0;
	size_t i, best;

	for (; n > 0; n--) {
		for (i = 0, best = m; i < m; i++)
			if (!(kept >> i & 1) && (best == m ||
			    costs(k, i)[r] > costs(k, best)[r]))
				best = i;
		kept |= (uint64_t)1 << best;
	}
	for (i = 0; i < m; i++)
		set_keep(k, p, a + i, r, (int)(kept >> i & 1));
}

/* The n-th greatest of v, counted from 0, which changes places. */
static float
nth(float *v, size_t size, size_t n)
{
	size_t lo = 0, hi = size - 1, i, j;
	float pivot, x;

	while (lo < hi) {
		pivot = v[lo + (hi - lo) / 2];
		for (i = lo, j = hi; i <= j;) {
			while (v[i] > pivot)
				i++;
			while (v[j] < pivot)
				j--;
			if (i > j)
				break;
			x = v[i];
			v[i++] = v[j];
			v[j] = x;
			if (j-- == 0)
				break;
		}
		if (n <= j && j < hi)
			hi = j;
		else if (n >= i)
			lo = i;
		else
			break;
	}
	return v[n];
}

/* The part of the span that is kept: all rows of the tile compete. */
static void
choose_any(const struct sq_gptq_work *k, size_t p, size_t a, size_t b)
{
	size_t n = b - a, all = n * k->rows, c, r, above = 0, equal;
	size_t keep = (size_t)rint((1 - k->j->g->sparsity) * (double)all);
	float *list = k->s->square, bar;

	for (c = 0; c < n; c++)
		memcpy(list + c * k->rows, costs(k, c),
		    k->rows * sizeof(*list));
	bar = keep == 0 ? INFINITY : nth(list, all, keep - 1);
	for (c = 0; c < n; c++)
		for (r = 0; r < k->rows; r++)
			above += costs(k, c)[r] > bar;
	equal = keep - above;
	for (c = 0; c < n; c++)
		for (r = 0; r < k->rows; r++) {
			int is = costs(k, c)[r] > bar;

			if (!is && equal > 0 && costs(k, c)[r] == bar) {
				is = 1;
				equal--;
			}
			set_keep(k, p, a + c, r, is);
		}
}

void
sq_gptq_mask_choose(const struct sq_gptq_work *k, size_t p, size_t a,
    size_t b, int rounded)
{
	const struct sq_sparse *s = &k->j->g->choose;
	size_t c, r;

	for (c = a; c < b; c++)
		for (r = 0; r < ROWS; r += LANES)
			cost_lanes(k, p, c, r, rounded, costs(k, c - a) + r);
	if (s->kind == SQ_MASK_ANY) {
		choose_any(k, p, a, b);
		return;
	}
	for (r = 0; r < k->rows; r++)
		choose_run(k, p, a, b - a, s->n, r);
}
