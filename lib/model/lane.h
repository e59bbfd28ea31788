/* The forward pass for one sequence at a time, with a cache of its own. */
#ifndef SQ_MODEL_LANE_H
#define SQ_MODEL_LANE_H

#include "model/forward.h"

#define SQ_LANE_ROWS	512		/* tokens that pass at a time, at most */

struct sq_lane {
	struct sq_forward f;
	struct sq_kvcache cache;
	struct sq_kvseq seq;
	size_t rows;			/* of a batch */
};

/*
 * tokens: the longest sequence; layers: those of the cache, which may be 1 for
 * passing one block after the other.  -1 with the reason; either way it is
 * released by sq_lane_release(), which is harmless on all zeros.
 */
int	 sq_lane_init(struct sq_lane *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, size_t tokens, size_t layers,
	    char *err);

/* The same with a precision of the cache; NULL: what goes with prec. */
int	 sq_lane_init_kv(struct sq_lane *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, const struct sq_kv_policy *,
	    size_t tokens, size_t layers, char *err);
void	 sq_lane_release(struct sq_lane *);

/* Bytes of its context's workspace that kernels use, at most: a weight that they
 * lay out, and the tokens of a batch. */
uint64_t sq_lane_work(const struct sq_config *);

#endif
