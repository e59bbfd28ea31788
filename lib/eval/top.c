/* The likeliest tokens of rows of logits; see top.h. */
#include <stdlib.h>

#include "base/pool.h"
#include "eval/top.h"

struct job {
	const float *x;
	size_t cols, stride;
	uint32_t *ids;
};

/* best is in order; a column enters before those that are less. */
static void
top_row(void *arg, long row, int thread)
{
	const struct job *j = arg;
	const float *x = j->x + (size_t)row * j->stride;
	uint32_t *id = j->ids + (size_t)row * SQ_TOP;
	float best[SQ_TOP];
	size_t i, k, n = 0;

	(void)thread;
	for (i = 0; i < j->cols; i++) {
		if (n == SQ_TOP && !(x[i] > best[SQ_TOP - 1]))
			continue;
		k = n < SQ_TOP ? n++ : SQ_TOP - 1;
		for (; k > 0 && x[i] > best[k - 1]; k--) {
			best[k] = best[k - 1];
			id[k] = id[k - 1];
		}
		best[k] = x[i];
		id[k] = (uint32_t)i;
	}
}

int
sq_top(struct sq_ctx *c, const struct sq_mat *logits, uint32_t *ids)
{
	const struct sq_mem *mem = c->kern->mem;
	size_t n = logits->rows * logits->stride * sizeof(float);
	struct job j = { logits->p, logits->cols, logits->stride, ids };
	float *copy = NULL;

	if (logits->cols < SQ_TOP)
		return -1;
	if (mem->device) {
		if ((copy = malloc(n)) == NULL ||
		    mem->get(copy, logits->p, n) < 0) {
			free(copy);
			return -1;
		}
		j.x = copy;
	}
	sq_pool_run(c->pool, top_row, &j, (long)logits->rows);
	free(copy);
	return 0;
}

size_t
sq_top_common(const uint32_t a[SQ_TOP], const uint32_t b[SQ_TOP])
{
	size_t i, k, n = 0;

	for (i = 0; i < SQ_TOP; i++)
		for (k = 0; k < SQ_TOP; k++)
			n += a[i] == b[k];
	return n;
}
