/* Samples on their way through a model, block by block. */
#ifndef SQ_CALIB_PASS_H
#define SQ_CALIB_PASS_H

#include "base/progress.h"
#include "calib/hidden.h"
#include "model/lane.h"

/* What a block does with f->x: sq_forward_block(), or a part of it. */
typedef int sq_pass_fn(struct sq_forward *, size_t layer,
	    const struct sq_feed *, size_t nfeeds, char *err);

struct sq_pass {
	struct sq_lane *lane;
	struct sq_hidden *hidden;
	size_t layer;
	sq_pass_fn *fn;
	int keep;			/* hidden states become what comes out;
					   else fn leaves f->x as it is */
	struct sq_progress *progress;	/* counts tokens, or NULL */
};

/* The hidden states of all samples become the embeddings of the tokens. */
int	 sq_pass_embed(const struct sq_pass *, const uint32_t *ids, char *err);

/* Sample i passes the block at work. */
int	 sq_pass_sample(const struct sq_pass *, size_t i, char *err);

#endif
