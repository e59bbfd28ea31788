/* Checks of pair: see checkkern.h. */
#include <math.h>
#include <stdio.h>

#include "tests/kernels/checkkern.h"

#define ROWS	SQ_PAIR_ROWS

/* How far columns may go, and what that costs: some may not. */
static float *
fill(struct checker *k, size_t n, int costs)
{
	float *p = ck_buf(k, n * ROWS * sizeof(*p));
	size_t i;

	for (i = 0; i < n * ROWS; i++) {
		p[i] = (float)ck_uniform(k);
		if (i % 7 == 3)
			p[i] = costs ? INFINITY : 0;
	}
	return p;
}

/* The pairs that ref has found are the best by float64. */
static void
check_best(struct checker *k, const struct sq_moves *m, size_t i,
    const uint32_t *with, const float *h, size_t n, const float *cost,
    const uint32_t *which)
{
	const float *way[2] = { m->up, m->down };
	const float *alone[2] = { m->cost_up, m->cost_down };
	double x, best, found;
	size_t r, j;
	int a, b;

	for (r = 0; r < ROWS; r++) {
		best = found = 0;
		for (j = 0; j < n; j++)
			for (a = 0; a < 2; a++)
				for (b = 0; b < 2; b++) {
					x = (double)alone[a][i * ROWS + r] +
					    alone[b][with[j] * ROWS + r] +
					    (a == b ? 2 : -2) * (double)h[j] *
					    way[a][i * ROWS + r] *
					    way[b][with[j] * ROWS + r];
					best = fmin(best, x);
					if (cost[r] < 0 &&
					    which[r] == 2 * j + (size_t)a &&
					    (a == b) == !(h[j] > 0))
						found = x;
				}
		ck_true(k, fabs(cost[r] - best) < 1e-5 &&
		    fabs(found - best) < 1e-5, "column %zu row %zu: %g, %g "
		    "of %g", i, r, (double)cost[r], found, best);
	}
}

static void
run_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t n)
{
	struct sq_moves m = { fill(k, n, 0), fill(k, n, 0), fill(k, n, 1),
	    fill(k, n, 1) };
	uint32_t *with = ck_buf(k, n * sizeof(*with));
	float *h = ck_buf(k, n * sizeof(*h)), *a, *b;
	char what[80];
	size_t i;
	int t;

	a = ck_buf(k, ROWS * 2 * sizeof(*a));
	b = ck_buf(k, ROWS * 2 * sizeof(*b));
	for (i = 0; i < n; i++) {
		h[i] = (float)ck_normal(k);
		with[i] = (uint32_t)((i * 11 + 5) % n);
	}
	if (n > 2)
		h[n / 2] = 0;
	for (i = 0; i < n; i += 1 + n / 8) {
		snprintf(what, sizeof(what), "%zu of %zu", i, n);
		ref->pair(ck_ref(k, ref), &m, i, with, h, n - i, a,
		    (uint32_t *)a + ROWS);
		check_best(k, &m, i, with, h, n - i, a, (uint32_t *)a + ROWS);
		for (t = 0; t < CK_CTXS; t++)
			if (ck_ret(k, 0, new->pair(ck_ctx(k, new, t), &m, i,
			    with, h, n - i, b, (uint32_t *)b + ROWS), "%s", what))
				ck_same(k, a, b, ROWS * 2 * sizeof(*a), "%s",
				    what);
	}
	ck_done(k);
}

void
check_pair(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t n[] = { 1, 2, 3, 16, 47, 256 };
	size_t i;

	for (i = 0; i < sizeof(n) / sizeof(n[0]); i++)
		run_case(k, ref, new, n[i]);
}
