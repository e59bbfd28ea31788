/* Sparse products of few tokens with VNNI: see sparse_step.h. */
#ifndef SQ_X86_SPARSE_STEP_AMX_H
#define SQ_X86_SPARSE_STEP_AMX_H

#include "kernels/kern.h"

/* Does it take such a weight? */
int	 sq_sp_step_allows(const struct sq_weight *);

/* y = x W^T, x rounded to 16 bits in windows of 64 or 128 columns; SQ_UNSUP
 * where the workspace is too small.  A token's result does not depend on the
 * others. */
int	 sq_sp_step(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);

#endif
