/* Tokens that the teacher might have written; see redraw.h. */
#include <math.h>

#include "base/pool.h"
#include "base/rng.h"
#include "distill/redraw.h"

struct job {
	const struct sq_redraw *how;
	const struct sq_mat *logits;
	const float *lse;
	size_t row;
	uint32_t *next;
};

/* Where the sum of the probabilities passes u; the last token, should they
 * add up to less. */
static uint32_t
draw(const float *logits, float lse, size_t vocab, double u)
{
	double sum = 0;
	size_t i;

	for (i = 0; i + 1 < vocab; i++) {
		sum += (double)expf(logits[i] - lse);
		if (sum > u)
			break;
	}
	return (uint32_t)i;
}

static void
do_row(void *arg, long i, int thread)
{
	const struct job *j = arg;
	struct sq_rng rng = { j->how->seed };
	const float *logits = (const float *)j->logits->p +
	    (size_t)i * j->logits->stride;

	(void)thread;
	rng.state = sq_rng_next(&rng) + j->row + (uint64_t)i;
	if (sq_rng_uniform(&rng) < j->how->part)
		j->next[i] = draw(logits, j->lse[i], j->logits->cols,
		    sq_rng_uniform(&rng));
}

void
sq_redraw(const struct sq_redraw *how, struct sq_pool *pool,
    const struct sq_mat *logits, const float *lse, size_t row,
    uint32_t *next)
{
	struct job j = { how, logits, lse, row, next };

	sq_pool_run(pool, do_row, &j, (long)logits->rows);
}
