/* The gradient of attention, its products in bf16. */
#include "kernels/x86/attention_grad.h"
#include "kernels/x86/x86.h"

int
sq_attention_backward_amx(struct sq_ctx *c, const struct sq_attn *a,
    size_t kv_heads, size_t length, const struct sq_attn_grad *g)
{
	if (a->prec != SQ_PREC_BF16)
		return sq_attention_backward_avx512(c, a, kv_heads, length, g);
	return sq_attn_grad_avx512(c, a, kv_heads, length, g,
	    sq_product_amx, SQ_PREC_BF16);
}
