/* Two columns that move together, for one level; see pair_loop.h. */
#include "kernels/x86/pair_loop.h"

int
sq_pair_avx512(struct sq_ctx *c, const struct sq_moves *m, size_t i,
    const uint32_t *with, const float *h, size_t n, float *cost,
    uint32_t *which)
{
	(void)c;
	return pair(m, i, with, h, n, cost, which);
}
