/* quantize for AVX2; see quantize_vec.h. */
#include "kernels/x86/quantize_vec.h"

int
sq_quantize_avx2(struct sq_ctx *c, const struct sq_mat *w,
    const struct sq_qrule *rule, const struct sq_qdst *q)
{
	return quantize(c, w, rule, q);
}
