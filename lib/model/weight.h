/* From a tensor's description and payload to what kernels work on. */
#ifndef SQ_MODEL_WEIGHT_H
#define SQ_MODEL_WEIGHT_H

#include "base/tensor.h"
#include "kernels/kern.h"

/*
 * The weight whose payload lies at p, laid out as t says; w points into it.  A
 * vector is a matrix of one row.  A mask is left aside: the values hold its
 * zeros already.  -1 when no kernel knows the grid.
 */
int	 sq_weight_init(struct sq_weight *w, const struct sq_tensor *t,
	    const void *p, char *err);

/* The same from the parts, each with a place of its own. */
int	 sq_weight_init_parts(struct sq_weight *w, const struct sq_tensor *t,
	    const void *const part[SQ_PARTS], char *err);

/* Moves the scales, and what goes with them, on by n groups; whole rows of
 * them where scales have scales. */
void	 sq_weight_skip_groups(struct sq_weight *w, size_t n);

#endif
