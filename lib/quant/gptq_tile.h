/*
 * A tile of GPTQ at work: what gptq.c, search.c and refine.c share.
 *
 * A tile is 128 rows of a weight and belongs to one thread.  It lies transposed,
 * so that what happens to a column happens to all its rows at once: an array of
 * columns is [columns][SQ_GPTQ_ROWS].
 */
#ifndef SQ_QUANT_GPTQ_TILE_H
#define SQ_QUANT_GPTQ_TILE_H

#include <stdatomic.h>

#include "quant/gptq.h"

struct sq_gptq_tile {
	struct sq_ctx ctx;		/* of this thread alone */
	void *memory;			/* of all that follows */
	float *x;			/* [n]: weights, then errors */
	float *t;			/* [SQ_PANEL] */
	float *rows;			/* [16][n], row by row */
	float *divisor, *value, *zero;	/* [groups] */
	float *offset;			/* [groups], of grids that have them */
	uint8_t *u;			/* [n], by column of the weight */
	float *saved_x, *saved_t;	/* [SQ_PANEL] */
	float *fit;			/* [SQ_PANEL] */
	float *square;			/* [SQ_PANEL][SQ_PANEL]: of H */
	uint8_t *codes;			/* [rows][SQ_PANEL] */
	uint8_t *keep;			/* [n], by column of the weight; NULL:
					   no mask */
	float *q;			/* [n], the same: values of no grid */
	float *all_g;			/* [n]: E H of all columns; NULL: no
					   pairs */
	float *moves;			/* [5][n][SQ_PAIR_ROWS], [n]: pairs.c */
};

/* One call of sq_gptq_rows(). */
struct sq_gptq_job {
	struct sq_gptq *g;
	const struct sq_mat *w;
	const struct sq_dst *q;
	struct sq_levels levels;	/* of the grid */
	int bits;
	size_t across;			/* groups in a row */
	size_t refit;			/* columns of a group that finds its
					   scale when its turn comes, or 0 */
	size_t tiles;
	double *sums;			/* [tiles][3] */
	atomic_size_t next;		/* tile */
	atomic_int bad;
};

/* One tile of it. */
struct sq_gptq_work {
	struct sq_gptq_job *j;
	struct sq_gptq_tile *s;
	const struct sq_factor *f;
	size_t row, rows;
	int whole;			/* nothing is rounded: a trial */
	size_t open;			/* columns whose mask is chosen together
					   when their turn comes, or 0 */
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

/* The same for super-block b of a grid that has them. */
int	 sq_gptq_search_super(const struct sq_gptq_work *, size_t b,
	    const float *w);

/* In the place of a group of it, columns a and on of panel p, whose turn has
 * come: t are its weights; stored and loaded. */
void	 sq_gptq_search_group(const struct sq_gptq_work *, size_t p, size_t a);

/*
 * Sweeps over the codes, and the scales between them, as g->sweeps, g->refit
 * and g->pairs say; x are the errors, columns as they are.  error: of what came
 * out, or NULL.  -1: no kernel.
 */
int	 sq_gptq_refine(const struct sq_gptq_work *, double *error);

/*
 * Pairs of codes.  Each column's partners are the SQ_PARTNERS of those after it
 * with which it goes most: found once for a factor, with what H has for them,
 * in g->partner and partner_h.  -1: no memory.  Then they move, all_g being
 * E H; -1: no kernel.
 */
#define SQ_PARTNERS	128

int	 sq_gptq_find_partners(struct sq_gptq *);
int	 sq_gptq_pairs(const struct sq_gptq_work *);

/* The mask of the tile: as given, or nothing dropped; and as it has become. */
void	 sq_gptq_mask_load(const struct sq_gptq_work *);
void	 sq_gptq_mask_store(const struct sq_gptq_work *);

/* Columns that are chosen together, or 0; then the choice for columns a to b of
 * panel p, whose weights are in t.  rounded: their scales are known. */
size_t	 sq_gptq_mask_span(const struct sq_gptq *);
void	 sq_gptq_mask_choose(const struct sq_gptq_work *, size_t p, size_t a,
	    size_t b, int rounded);

/* The code of zero in group g of row r. */
static inline uint8_t
sq_gptq_zero(const struct sq_gptq_work *k, size_t g, size_t r)
{
	return k->j->levels.kind == SQ_STEPS ?
	    (uint8_t)k->s->zero[g * SQ_GPTQ_ROWS + r] : 0;
}

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

/* What column c counts in the search for a scale. */
static inline float
sq_gptq_cost(const struct sq_gptq_work *k, size_t c)
{
	return k->j->g->nearest ? sq_factor_weight(k->f, c) :
	    sq_factor_cost(k->f, c);
}

/* SQ_LANES weights t of group g, from row r of the tile on: the nearest levels'
 * codes u, and what these are worth. */
static inline void
sq_gptq_nearest(const struct sq_gptq_work *k, size_t g, size_t r,
    const float *t, uint8_t *u, float *q)
{
	const struct sq_gptq_tile *s = k->s;
	size_t at = g * SQ_GPTQ_ROWS + r;
	const float *offset = s->offset + at;
	float x[SQ_LANES];
	int l;

	if (k->j->levels.offsets) {
		for (l = 0; l < SQ_LANES; l++)
			x[l] = t[l] + offset[l];
		t = x;
	}
	sq_levels_nearest(&k->j->levels, t, s->divisor + at, s->zero + at, q,
	    u);
	for (l = 0; l < SQ_LANES; l++)
		q[l] *= s->value[at + l];
	for (l = 0; k->j->levels.offsets && l < SQ_LANES; l++)
		q[l] -= offset[l];
}

/* What code u of row r in group g is worth. */
static inline float
sq_gptq_value(const struct sq_gptq_work *k, size_t g, size_t r, uint8_t u)
{
	const struct sq_gptq_tile *s = k->s;
	size_t at = g * SQ_GPTQ_ROWS + r;
	float q = (k->j->levels.number[u] - s->zero[at]) * s->value[at];

	return k->j->levels.offsets ? q - s->offset[at] : q;
}

#endif
