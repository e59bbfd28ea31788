/* Moments of columns for one level; see moments_loop.h. */
#include "kernels/x86/moments_loop.h"

int
sq_moments_avx2(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_moments *m)
{
	return moments(c, x, m);
}
