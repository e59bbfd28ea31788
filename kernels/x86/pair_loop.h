/*
 * Two columns that move together, once for all vector levels: plain loops over
 * the rows, which the compiler turns into the vectors that the including file's
 * flags allow.  No product is fused with a sum, so all levels agree.
 */
#include <string.h>

#include "kernels/x86/x86.h"

#define ROWS	SQ_PAIR_ROWS

/* The best so far.  Column i goes up in the first of two, and down in the
 * second. */
struct best {
	float cost[ROWS];
	uint32_t which[ROWS];
};

static inline void
weigh(struct best *e, const float *alone, const float *way, float h,
    const float *other, const float *other_way, uint32_t which)
{
	float x[ROWS];
	int r;

	for (r = 0; r < ROWS; r++)
		x[r] = alone[r] + other[r] - h * way[r] * other_way[r];
	for (r = 0; r < ROWS; r++) {
		e->which[r] = x[r] < e->cost[r] ? which : e->which[r];
		e->cost[r] = x[r] < e->cost[r] ? x[r] : e->cost[r];
	}
}

static int
pair(const struct sq_moves *m, size_t i, const uint32_t *with, const float *h,
    size_t n, float *cost, uint32_t *which)
{
	const float *up = m->up + i * ROWS, *down = m->down + i * ROWS;
	const float *alone_up = m->cost_up + i * ROWS;
	const float *alone_down = m->cost_down + i * ROWS;
	struct best e;
	size_t j, at;
	int apart;

	memset(&e, 0, sizeof(e));
	for (j = 0; j < n; j++) {
		at = with[j] * (size_t)ROWS;
		apart = h[j] > 0;
		weigh(&e, alone_up, up, 2 * __builtin_fabsf(h[j]),
		    (apart ? m->cost_down : m->cost_up) + at,
		    (apart ? m->down : m->up) + at, (uint32_t)(2 * j));
		weigh(&e, alone_down, down, 2 * __builtin_fabsf(h[j]),
		    (apart ? m->cost_up : m->cost_down) + at,
		    (apart ? m->up : m->down) + at, (uint32_t)(2 * j) + 1);
	}
	memcpy(cost, e.cost, sizeof(e.cost));
	memcpy(which, e.which, sizeof(e.which));
	return 0;
}
