/* The likeliest tokens of rows of logits. */
#ifndef SQ_EVAL_TOP_H
#define SQ_EVAL_TOP_H

#include "kernels/kern.h"

#define SQ_TOP	5

/*
 * ids[row * SQ_TOP ..]: the columns of the greatest logits, greatest first, of
 * equals the first.  logits lie in the host's memory or in that of the context's
 * device.  -1 where they cannot be fetched, or there are fewer columns.
 */
int	 sq_top(struct sq_ctx *, const struct sq_mat *logits, uint32_t *ids);

/* How many of a's columns are among b's. */
size_t	 sq_top_common(const uint32_t a[SQ_TOP], const uint32_t b[SQ_TOP]);

#endif
