/*
 * The product of two matrices with vdpbf16ps, which takes pairs; see
 * product_vec.h.
 */
#include <immintrin.h>

#define PRODUCT_DOT(sum, a, b)	_mm512_dpbf16_ps(sum, (__m512bh)(a),	\
				    (__m512bh)(b))
#define PRODUCT_PAIRS(a, b)	((__m512i)_mm512_cvtne2ps_pbh(b, a))
#define PRODUCT_MIX(p)		_mm512_permutexvar_epi16(		\
	_mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26,	\
	10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2,	\
	17, 1, 16, 0), p)

#include "kernels/x86/product_vec.h"
#include "kernels/x86/x86.h"

const struct sq_pr_level sq_pr_avx512bf16 = {
	.deep = 256, .square = square, .f32 = block_f32, .bf16 = block_bf16
};

int
sq_product_avx512bf16(struct sq_ctx *c, const struct sq_operand *a,
    const struct sq_operand *b, enum sq_prec prec, int add,
    const struct sq_mat *y)
{
	return sq_pr_run(&sq_pr_avx512bf16, c, a, b, prec, add, y);
}
