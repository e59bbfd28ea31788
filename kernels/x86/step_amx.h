/* The product of few tokens with VNNI and AMX: see step.h. */
#ifndef SQ_X86_STEP_AMX_H
#define SQ_X86_STEP_AMX_H

#include "kernels/kern.h"

#define SQ_STEP_TOKENS	16	/* it is for, at most */

/* Does it take such a weight? */
int	 sq_step_allows(const struct sq_weight *);

/* y = x W^T, x rounded to 16 bits in blocks of 128 columns; SQ_UNSUP where the
 * workspace is too small.  A token's result does not depend on the others. */
int	 sq_step_matmul(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);

/* The same of rows quantized to int8, exactly. */
int	 sq_step_matmul_int8(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_qmat *x, const struct sq_mat *y);

#endif
