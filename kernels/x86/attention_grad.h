/*
 * attention_backward on x86-64: the loops of attention_grad_vec.h, once for
 * AVX2 and once for AVX-512, over the matrix product of any level.
 */
#ifndef SQ_X86_ATTENTION_GRAD_H
#define SQ_X86_ATTENTION_GRAD_H

#include "kernels/kern.h"

typedef int sq_product_fn(struct sq_ctx *, const struct sq_operand *a,
	    const struct sq_operand *b, enum sq_prec, int add,
	    const struct sq_mat *y);

int	 sq_attn_grad_avx2(struct sq_ctx *, const struct sq_attn *,
	    size_t kv_heads, size_t length, const struct sq_attn_grad *,
	    sq_product_fn *, enum sq_prec);
int	 sq_attn_grad_avx512(struct sq_ctx *, const struct sq_attn *,
	    size_t kv_heads, size_t length, const struct sq_attn_grad *,
	    sq_product_fn *, enum sq_prec);

#endif
