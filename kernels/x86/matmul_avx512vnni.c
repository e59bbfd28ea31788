/* The matrix products with VNNI: of few tokens (few.h), and of many. */
#include "kernels/quant.h"
#include "kernels/x86/few.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/x86.h"

int
sq_matmul_avx512vnni(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	const struct sq_few one = { &w, 1, x, NULL, y };
	struct sq_mm_level level = sq_mm_int_avx512vnni;

	if (prec != SQ_PREC_BF16 || !sq_mm_allows(w, x, y) ||
	    !sq_few_allows(w))
		return sq_matmul_avx512(c, w, x, prec, y);
	level.few = SQ_FEW_TOKENS;
	return sq_mm_is_few(&level, c, x->rows) ? sq_few_vnni(c, &one) :
	    sq_mm_run(&level, c, w, x, prec, y);
}

int
sq_matmul_int8_avx512vnni(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	const struct sq_few one = { &w, 1, NULL, x, y };
	struct sq_mm_level level = sq_mm_byte_avx512vnni;

	level.few = SQ_FEW_TOKENS;
	if (sq_matmul_int8_allows(w, x, y) && sq_few_allows(w) &&
	    sq_mm_is_few(&level, c, x->rows))
		return sq_few_vnni(c, &one);
	return sq_mm_run_int8(&sq_mm_byte_avx512vnni, &sq_mm_avx512, c, w, x,
	    y);
}
