/* The gradient of attention; see attention_grad_vec.h. */
#define RUN	sq_attn_grad_avx512
#include "kernels/x86/attention_grad_vec.h"
#include "kernels/x86/x86.h"

int
sq_attention_backward_avx512(struct sq_ctx *c, const struct sq_attn *a,
    size_t kv_heads, size_t length, const struct sq_attn_grad *g)
{
	return sq_attn_grad_avx512(c, a, kv_heads, length, g,
	    sq_product_avx512, SQ_PREC_F32);
}
