/* Two columns that move together; see ops.def. */
#include <math.h>

#include "kernels/ref/ref.h"

int
sq_pair_ref(struct sq_ctx *c, const struct sq_moves *m, size_t i,
    const uint32_t *with, const float *h, size_t n, float *cost,
    uint32_t *which)
{
	const float *way[2] = { m->up, m->down };
	const float *alone[2] = { m->cost_up, m->cost_down };
	size_t r, j, a, b;
	float x;
	int k, other;

	(void)c;
	for (r = 0; r < SQ_PAIR_ROWS; r++) {
		cost[r] = 0;
		which[r] = 0;
		a = i * SQ_PAIR_ROWS + r;
		for (j = 0; j < n; j++)
			for (k = 0; k < 2; k++) {
				other = h[j] > 0 ? !k : k;
				b = with[j] * (size_t)SQ_PAIR_ROWS + r;
				x = 2 * fabsf(h[j]) * way[k][a];
				x = alone[k][a] + alone[other][b] -
				    x * way[other][b];
				if (x < cost[r]) {
					cost[r] = x;
					which[r] = (uint32_t)(2 * j) +
					    (uint32_t)k;
				}
			}
	}
	return 0;
}
