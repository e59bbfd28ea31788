/*
 * Rotations of many vectors at a time: the rows of a matrix, its columns, both
 * sides of H.
 */
#ifndef SQ_QUANT_TURN_H
#define SQ_QUANT_TURN_H

#include "formats/fmt_stats.h"
#include "quant/rotation.h"

struct sq_pool;

/* A vector of count runs, run i turned by r[i / share]. */
struct sq_turn {
	const struct sq_rotation *r;
	size_t count, share;
};

/* w [rows][cols]: each row, or each column, as a row vector x becomes x Q; a
 * row is first multiplied by scale [cols], unless that is NULL.  -1: no
 * memory. */
int	 sq_turn_rows(const struct sq_turn *, float *w, size_t rows,
	    size_t cols, const float *scale, struct sq_pool *);
int	 sq_turn_cols(const struct sq_turn *, float *w, size_t rows,
	    size_t cols, struct sq_pool *);

/*
 * Statistics of x become those of diag(scale) x turned: H and the mean; what
 * else there is of linear layers goes.  scale NULL: all ones.
 */
int	 sq_turn_stats(const struct sq_turn *, struct sq_stats *,
	    const float *scale, struct sq_pool *);

#endif
