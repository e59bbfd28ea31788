/* Sparse products of many tokens in bf16 on AMX tiles; see sparse.h. */
#include "kernels/x86/sparse.h"
#include "kernels/x86/x86.h"

int
sq_sparse_matmul_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	const struct sq_mm_level tiles = sq_mm_amx();

	/* few tokens wait for memory, not for products */
	if (prec != SQ_PREC_BF16 || c->batch == SQ_BATCH_STEP ||
	    (c->batch == SQ_BATCH_AUTO && x->rows <= sq_mm_avx512bf16.few))
		return sq_sparse_matmul_avx512bf16(c, w, x, prec, y);
	return sq_sp_run(&sq_sp_avx512, &tiles, c, w, x, prec, y);
}
