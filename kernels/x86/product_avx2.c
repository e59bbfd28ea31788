/* The product of two matrices in float32; see product_vec.h. */
#include "kernels/x86/product_vec.h"
#include "kernels/x86/x86.h"

const struct sq_pr_level sq_pr_avx2 = {
	.deep = 256, .split = 1, .square = square, .f32 = block_f32,
	.bf16 = block_bf16
};

int
sq_product_avx2(struct sq_ctx *c, const struct sq_operand *a,
    const struct sq_operand *b, enum sq_prec prec, int add,
    const struct sq_mat *y)
{
	return sq_pr_run(&sq_pr_avx2, c, a, b, prec, add, y);
}

int
sq_panels_avx2(struct sq_ctx *c, const struct sq_operand *b,
    const struct sq_mat *to)
{
	return sq_pr_panels(&sq_pr_avx2, c, b, to);
}
