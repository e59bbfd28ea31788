/* The product of few tokens with AVX2, VNNI and AMX: see step.h. */
#ifndef SQ_X86_FEW_H
#define SQ_X86_FEW_H

#include "kernels/kern.h"

#define SQ_FEW_TOKENS	16		/* it is for, at most */

/* Does it take such a weight? */
int	 sq_few_allows(const struct sq_weight *);

/* y = x W^T, x rounded to 16 bits in blocks of 128 columns; SQ_UNSUP where the
 * workspace is too small, and with AVX2 but for int4.  A token's result does not
 * depend on the others. */
int	 sq_few_avx2(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);
int	 sq_few_vnni(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);
int	 sq_few_amx(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, const struct sq_mat *y);

/* The same of rows quantized to int8, exactly. */
int	 sq_few_avx2_int8(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_qmat *x, const struct sq_mat *y);
int	 sq_few_vnni_int8(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_qmat *x, const struct sq_mat *y);
int	 sq_few_amx_int8(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_qmat *x, const struct sq_mat *y);

#endif
