/* Which experts a token goes to; see experts.h. */
#include <math.h>
#include <string.h>

#include "base/floats.h"
#include "model/experts.h"

/* The greatest, again and again; what was taken is no longer there. */
static void
take_greatest(float *s, size_t n, uint32_t *expert, float *weight, size_t k)
{
	size_t i, j, best;

	for (j = 0; j < k; j++) {
		for (best = 0, i = 1; i < n; i++)
			if (s[i] > s[best])
				best = i;
		expert[j] = (uint32_t)best;
		weight[j] = s[best];
		s[best] = -1;
	}
}

void
sq_experts_choose(const struct sq_config *c, const struct sq_mat *scores,
    const struct sq_choice *to)
{
	size_t row, j, k = to->chosen;
	float *s, *w, sum;

	for (row = 0; row < scores->rows; row++) {
		s = (float *)scores->p + row * scores->stride;
		w = to->weight + row * k;
		sq_softmax(s, scores->cols);
		take_greatest(s, scores->cols, to->expert + row * k, w, k);
		for (sum = 0, j = 0; j < k; j++)
			sum += w[j];
		for (j = 0; c->renormalize && j < k; j++)
			w[j] /= sum;
	}
}

size_t
sq_experts_gather(const struct sq_choice *to, uint32_t e,
    const struct sq_mat *x, float *y, uint32_t *row, float *weight)
{
	size_t i, j, n = 0;

	for (i = 0; i < x->rows; i++)
		for (j = 0; j < to->chosen; j++) {
			if (to->expert[i * to->chosen + j] != e)
				continue;
			row[n] = (uint32_t)i;
			weight[n] = to->weight[i * to->chosen + j];
			memcpy(y + n * x->cols, (float *)x->p + i * x->stride,
			    x->cols * sizeof(*y));
			n++;
		}
	return n;
}

void
sq_experts_scatter(const struct sq_mat *y, const float *x, size_t n,
    const uint32_t *row, const float *weight)
{
	size_t i, j;
	float *to;

	for (i = 0; i < n; i++, x += y->cols) {
		to = (float *)y->p + row[i] * y->stride;
		for (j = 0; j < y->cols; j++)
			to[j] += weight[i] * x[j];
	}
}
