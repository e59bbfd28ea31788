/*
 * Two columns that move together, over the vectors of vec.h for all levels.  No
 * product is fused with a sum, so all levels agree.
 *
 * What is best when column i goes up, and when it goes down, is found apart, so
 * that neither waits for the other; all of it stays in registers.
 */
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define ROWS	SQ_PAIR_ROWS
#define PARTS	(ROWS / VL)		/* vectors of the rows */

/* The best so far for VL rows: with the at-th of the partners. */
struct best {
	VF cost, at;
};

SQ_INLINE void
weigh(struct best *e, VF alone, VF way, VF h, const float *other,
    const float *other_way, VF at)
{
	VF x = vf_sub(vf_add(alone, vf_load(other)), vf_mul(vf_mul(h, way),
	    vf_load(other_way)));

	e->at = vf_where_less(at, e->at, x, e->cost);
	e->cost = vf_where_less(x, e->cost, x, e->cost);
}

/* Of both ways the better one, of equals the first. */
SQ_INLINE void
choose(const struct best *up, const struct best *down, float *cost,
    uint32_t *which)
{
	float a[VL], b[VL], at_a[VL], at_b[VL];
	int r, k;

	vf_store(a, up->cost);
	vf_store(b, down->cost);
	vf_store(at_a, up->at);
	vf_store(at_b, down->at);
	for (r = 0; r < VL; r++) {
		k = b[r] < a[r] || (b[r] == a[r] && at_b[r] < at_a[r]);
		cost[r] = k ? b[r] : a[r];
		which[r] = 2 * (uint32_t)(k ? at_b[r] : at_a[r]) + (uint32_t)k;
	}
}

static int
pair(const struct sq_moves *m, size_t i, const uint32_t *with, const float *h,
    size_t n, float *cost, uint32_t *which)
{
	/* by a number: no branch foresees the signs of h */
	const float *way[2] = { m->up, m->down };
	const float *alone[2] = { m->cost_up, m->cost_down };
	struct best up[PARTS], down[PARTS];
	VF at = vf_zero(), h2;
	size_t j, p, own, to;
	int apart;

	for (p = 0; p < PARTS; p++)
		up[p].cost = up[p].at = down[p].cost = down[p].at = vf_zero();
	for (j = 0; j < n; j++, at = vf_add(at, vf_set1(1))) {
		h2 = vf_set1(2 * __builtin_fabsf(h[j]));
		apart = h[j] > 0;
		SQ_UNROLL for (p = 0; p < PARTS; p++) {
			own = i * ROWS + p * VL;
			to = with[j] * (size_t)ROWS + p * VL;
			weigh(&up[p], vf_load(alone[0] + own),
			    vf_load(way[0] + own), h2, alone[apart] + to,
			    way[apart] + to, at);
			weigh(&down[p], vf_load(alone[1] + own),
			    vf_load(way[1] + own), h2, alone[!apart] + to,
			    way[!apart] + to, at);
		}
	}
	for (p = 0; p < PARTS; p++)
		choose(&up[p], &down[p], cost + p * VL, which + p * VL);
	return 0;
}
