/* dequantize and embed for AVX-512; see dequantize_vec.h. */
#include "kernels/x86/dequantize_vec.h"

int
sq_dequantize_avx512(struct sq_ctx *c, const struct sq_weight *w, size_t row,
    const struct sq_mat *out)
{
	return dequantize(c, w, row, out);
}

int
sq_embed_avx512(struct sq_ctx *c, const struct sq_weight *w,
    const uint32_t *ids, const struct sq_mat *y)
{
	return embed(c, w, ids, y);
}
