/*
 * What the masks of a model have in common, told from their bytes as they pass:
 * how much they drop, and whether each run of 4 or 8 weights loses half.
 */
#ifndef SQ_MODEL_MASK_SEEN_H
#define SQ_MODEL_MASK_SEEN_H

#include "base/tensor.h"
#include "schema/profile.h"

struct sq_mask_seen {
	uint64_t weights, kept;		/* of the tensors that have masks */
	int more_of_4, more_of_8;	/* some run keeps more than half */
	int tensors, in_blocks;		/* how many; that drop whole blocks */
};

/* Bytes of a mask (sq-stream(5)): rows are padded with zeros. */
void	 sq_mask_seen_add(struct sq_mask_seen *, const unsigned char *p,
	    size_t n);

/* A tensor with a mask has come. */
void	 sq_mask_seen_tensor(struct sq_mask_seen *, const struct sq_tensor *);

enum sq_sparsity sq_mask_pattern(const struct sq_mask_seen *);
double	 sq_mask_ratio(const struct sq_mask_seen *);	/* of zeros */

#endif
