/* Sparse products of many tokens in bf16; see sparse.h. */
#include "kernels/x86/sparse.h"
#include "kernels/x86/x86.h"

int
sq_sparse_matmul_avx512bf16(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_sp_level lv = sq_sp_avx512;

	lv.floats = &sq_mm_avx512bf16;
	lv.ints = &sq_sp_int_avx512bf16;
	lv.few_ints = &sq_sp_few_int_avx512bf16;
	lv.matmul = sq_matmul_avx512bf16;
	return sq_sp_run(&lv, prec == SQ_PREC_BF16 ? &sq_mm_avx512bf16 :
	    &sq_mm_avx512, c, w, x, prec, y);
}
