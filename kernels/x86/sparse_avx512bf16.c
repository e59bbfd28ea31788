/* Sparse products of many tokens in bf16; see sparse.h. */
#include "kernels/x86/sparse.h"
#include "kernels/x86/x86.h"

int
sq_sparse_matmul_avx512bf16(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	return sq_sp_run(&sq_sp_avx512, prec == SQ_PREC_BF16 ?
	    &sq_mm_avx512bf16 : &sq_mm_avx512, c, w, x, prec, y);
}
