/*
 * Samples that pass a block side by side.  A lane is a forward pass with all
 * that it needs, a context of its own included, so that lanes wait for each
 * other once for each group of samples, not once for each operation.  What is
 * collected does not depend on how many there are.
 */
#ifndef SQ_CALIB_LANES_H
#define SQ_CALIB_LANES_H

#include "calib/collect.h"
#include "calib/pass.h"

struct sq_lanes_how {
	struct sq_ctx *ctx;		/* its threads are shared out */
	const struct sq_model *model;
	struct sq_hidden *hidden;
	enum sq_prec prec;
	int full;			/* H, not its diagonal alone */
	size_t n;			/* lanes */
};

struct sq_lanes {
	struct sq_lanes_how o;
	struct sq_collect sum;		/* of the block that has passed */
	struct sq_lanes_one *lane;	/* [o.n] */
};

/* Bytes of one lane, of the sum, and of what a lane's kernels work with. */
uint64_t sq_lanes_bytes(const struct sq_config *, size_t length, int full,
	    enum sq_prec);

/* The most lanes that samples and threads can use. */
size_t	 sq_lanes_most(const struct sq_ctx *, size_t samples);

/* -1 with the reason; released either way. */
int	 sq_lanes_init(struct sq_lanes *, const struct sq_lanes_how *,
	    char *err);
void	 sq_lanes_release(struct sq_lanes *);

/* The hidden states become the embeddings of the tokens. */
int	 sq_lanes_embed(struct sq_lanes *, const uint32_t *ids, char *err);

/* All samples pass a block, whose weights the model has; then sum is whole. */
int	 sq_lanes_block(struct sq_lanes *, size_t layer, struct sq_progress *,
	    char *err);

#endif
