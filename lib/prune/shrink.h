/*
 * A linear layer with less of its input: which columns of its weight go, and
 * what the others become, so that the output changes least.
 *
 * Columns go in units: a channel of the MLP, all heads of a group.  With what
 * is kept at its best, which is W H[:,K] H[K,K]^-1, to drop a unit u costs
 *
 *	tr(W_u ((H^-1)_uu)^-1 W_u^T),	the inverse that of what is kept.
 *
 * The units of the least cost go, a part in each of some rounds, for the cost
 * of one depends on what is left of the others.
 */
#ifndef SQ_PRUNE_SHRINK_H
#define SQ_PRUNE_SHRINK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/lapack.h"

#define SQ_SHRINK_ROUNDS	4

struct sq_shrink {
	const struct sq_lapack *lapack;
	double damp;			/* the part of H's mean diagonal */
	size_t n, unit;			/* columns; of a unit */
	size_t rows;
	const float *h;			/* packed upper triangle, n channels */
	const float *w;			/* [rows][n] */
	size_t keep;			/* units */
	/* results, the caller's to free */
	uint32_t *unit_kept;		/* [keep], rising */
	float *kept;			/* [rows][keep * unit] */
	double error, alone, norm;	/* tr(E H E^T), of dropping alone, of
					   all */
};

int	 sq_shrink(struct sq_shrink *, char *err);
void	 sq_shrink_release(struct sq_shrink *);

/* Bytes that it takes beside w and h. */
uint64_t sq_shrink_bytes(size_t n, size_t rows);

#endif
