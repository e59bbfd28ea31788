/*
 * A tile of GPTQ at work: what gptq.c, search.c and refine.c share.
 *
 * A tile is 256 rows of a weight and belongs to one thread.  It lies transposed,
 * so that what happens to a column happens to all its rows at once: an array of
 * columns is [columns][SQ_GPTQ_ROWS].
 */
#ifndef SQ_QUANT_GPTQ_TILE_H
#define SQ_QUANT_GPTQ_TILE_H

#include <stdatomic.h>

#include "quant/gptq.h"

#define SQ_LANES	16		/* rows that are done at a time */

/* Adding and taking away this rounds to an integer, ties to even. */
#define SQ_MAGIC	0x1.8p23f

struct sq_gptq_tile {
	struct sq_ctx ctx;		/* of this thread alone */
	void *memory;			/* of all that follows */
	float *x;			/* [n]: weights, then errors */
	float *t;			/* [SQ_PANEL] */
	float *rows;			/* [16][n], row by row */
	float *divisor, *value, *zero;	/* [groups] */
	uint8_t *u;			/* [n], by column of the weight */
	float *saved_x, *saved_t;	/* [SQ_PANEL] */
	float *fit;			/* [SQ_PANEL] */
	float *square;			/* [SQ_PANEL][SQ_PANEL]: of H */
	uint8_t *codes;			/* [rows][SQ_PANEL] */
};

/* One call of sq_gptq_rows(). */
struct sq_gptq_job {
	struct sq_gptq *g;
	const struct sq_mat *w;
	const struct sq_qdst *q;
	int bits;
	size_t across;			/* groups in a row */
	size_t refit;			/* columns of a group that finds its
					   scale when its turn comes, or 0 */
	double *sums;			/* [tiles][3] */
	atomic_int bad;
};

/* One tile of it. */
struct sq_gptq_work {
	struct sq_gptq_job *j;
	struct sq_gptq_tile *s;
	const struct sq_factor *f;
	size_t row, rows;
	int whole;			/* nothing is rounded: a trial */
	double error[SQ_LANES];
};

/* Scales and zero points of group g as the columns want them, from those that
 * are stored. */
void	 sq_gptq_load_scales(const struct sq_gptq_work *, size_t g);

/*
 * The scale of group g for SQ_WEIGHTED, from its weights w [columns]; stored and
 * loaded.  -1 when one overflows F16 or a weight is not finite.
 */
int	 sq_gptq_search(const struct sq_gptq_work *, size_t g, const float *w);

/*
 * Sweeps over the codes, and the scales between them, as g->sweeps and g->refit
 * say; x are the errors, columns as they are.  error: of what came out, or
 * NULL.
 */
void	 sq_gptq_refine(const struct sq_gptq_work *, double *error);

/* Columns of group g. */
static inline size_t
sq_gptq_first(const struct sq_gptq_work *k, size_t g)
{
	return g * k->j->g->rule.group_cols;
}

static inline size_t
sq_gptq_end(const struct sq_gptq_work *k, size_t g)
{
	size_t e = (g + 1) * k->j->g->rule.group_cols;

	return e < k->f->n ? e : k->f->n;
}

/* The levels nearest to t, before the scale: integers from -zero to top -
 * zero, ties to even. */
static inline void
sq_nearest_lanes(float *restrict v, const float *restrict t,
    const float *restrict divisor, const float *restrict zero, float top)
{
	float x, lo, hi;
	int l;

	for (l = 0; l < SQ_LANES; l++) {
		lo = -zero[l];
		hi = top - zero[l];
		x = t[l] / divisor[l];
		x = x > lo ? x : lo;
		x = x < hi ? x : hi;
		v[l] = (x + SQ_MAGIC) - SQ_MAGIC;
	}
}

#endif
