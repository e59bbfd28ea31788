/* The product of few tokens with AVX2, VNNI and AMX: see step.h. */
#ifndef SQ_X86_FEW_H
#define SQ_X86_FEW_H

#include "kernels/kern.h"

#define SQ_FEW_TOKENS	16		/* it is for, at most */
#define SQ_FEW_WEIGHTS	4		/* and weights */

/* y[i] = x w[i]^T, of weights that are alike; q, rows quantized to int8, instead
 * of x, or NULL. */
struct sq_few {
	const struct sq_weight *const *w;
	size_t n;
	const struct sq_mat *x;
	const struct sq_qmat *q;
	const struct sq_mat *y;		/* [n] */
};

/* Does it take such a weight? */
int	 sq_few_allows(const struct sq_weight *);

/* Whether weights are: of one grid, in groups of as many columns. */
int	 sq_few_alike(const struct sq_weight *const *, size_t n);

/* x is rounded to 16 bits in blocks of 128 columns, codes are taken as they are.
 * SQ_UNSUP where the workspace is too small, and with AVX2 but for int4.  A
 * token's result does not depend on the others, nor on other weights. */
int	 sq_few_avx2(struct sq_ctx *, const struct sq_few *);
int	 sq_few_vnni(struct sq_ctx *, const struct sq_few *);
int	 sq_few_amx(struct sq_ctx *, const struct sq_few *);

#endif
