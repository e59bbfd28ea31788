/*
 * A mask from scores: of the weights of a run, a row or a matrix, or of its
 * blocks, those with the greatest scores stay; of equals the first.
 */
#ifndef SQ_PRUNE_SCORE_H
#define SQ_PRUNE_SCORE_H

#include "base/mask.h"

/*
 * Fills the mask, whose pattern, sides and bits are set, from scores
 * [rows][cols], none of them NAN.  sparsity: the part that is dropped, of blocks
 * or unstructured; by_row: each row loses as much.  -1: no memory.
 */
int	 sq_score_mask(struct sq_mask *, const float *score, double sparsity,
	    int by_row, char *err);

/*
 * What is lost by dropping: curve[i] is the sum of the least i / SQ_CURVE of all
 * scores, or the part of the sum of all that it is.
 */
#define SQ_CURVE	64

int	 sq_score_curve(const float *score, size_t n, int part,
	    float curve[SQ_CURVE + 1], char *err);

/*
 * The sparsity of each of n matrices, of so many weights, at which their losses
 * sum up to the least while `sparsity' of all weights is dropped; none is
 * further than `reach' from that.
 */
void	 sq_score_allocate(size_t n, const uint64_t *weights,
	    float (*curve)[SQ_CURVE + 1], double sparsity, double reach,
	    double *each);

#endif
