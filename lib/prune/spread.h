/*
 * How much of each tensor goes when they are not equally sensitive: the stream
 * is read twice.  First it goes to a file without a name, and each tensor says
 * what part of its scores the least of its weights make; then the sparsity of
 * each is chosen so that the losses sum up to the least (score.h).
 */
#ifndef SQ_PRUNE_SPREAD_H
#define SQ_PRUNE_SPREAD_H

#include "prune/masking.h"

struct sq_spread {
	size_t n, room;
	char (*name)[SQ_NAME];
	uint64_t *weights;
	float (*curve)[SQ_CURVE + 1];
	double *each;
};

/* Reads all of the filter's input, whose place a copy of it takes: -1 with the
 * reason in the filter's err. */
int	 sq_spread_survey(struct sq_spread *, struct sq_filter *,
	    struct sq_masking *, double sparsity);
void	 sq_spread_release(struct sq_spread *);

/* The sparsity of a tensor; `else_' of one that was not there. */
double	 sq_spread_of(const struct sq_spread *, const char *name,
	    double else_);

#endif
