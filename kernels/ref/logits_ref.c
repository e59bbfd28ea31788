/* The references of nll, kl and its gradient: float64 throughout, rounded once. */
#include <math.h>

#include "base/pool.h"
#include "kernels/ref/ref.h"
#include "kernels/rows.h"

struct job {
	const struct sq_mat *a, *b;
	const uint32_t *target;
	float *out, scale;
	uint32_t *top;
	const struct sq_mat *y;
};

/* The first of the greatest. */
static size_t
greatest(const float *x, size_t n)
{
	size_t i, best = 0;

	for (i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

static double
log_sum_exp(const float *x, size_t n)
{
	double max = x[greatest(x, n)], sum = 0;
	size_t i;

	for (i = 0; i < n; i++)
		sum += exp(x[i] - max);
	return max + log(sum);
}

static void
nll_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->a, (size_t)task);
	size_t n = j->a->cols;
	double t = 0;

	(void)thread;
	if (j->target != NULL)
		t = x[j->target[task]];
	if (j->out != NULL)
		j->out[task] = (float)(log_sum_exp(x, n) - t);
	if (j->top != NULL)
		j->top[task] = (uint32_t)greatest(x, n);
}

int
sq_nll_ref(struct sq_ctx *c, const struct sq_mat *logits,
    const uint32_t *target, float *nll, uint32_t *top)
{
	struct job j = { .a = logits, .target = target, .out = nll,
	    .top = top };

	if (!sq_nll_allows(logits, target))
		return SQ_UNSUP;
	sq_pool_run(c->pool, nll_row, &j, (long)logits->rows);
	return 0;
}

/* A column whose p is 0 in float32 adds nothing: 0 log 0 = 0.  Rounding must
 * not make the sum negative. */
static void
kl_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *r = sq_row(j->a, (size_t)task);
	const float *x = sq_row(j->b, (size_t)task);
	size_t i, n = j->a->cols;
	double lr = log_sum_exp(r, n), lx = log_sum_exp(x, n), p, sum = 0;

	(void)thread;
	for (i = 0; i < n; i++) {
		p = exp(r[i] - lr);
		if ((float)p > 0)
			sum += p * ((r[i] - lr) - (x[i] - lx));
	}
	j->out[task] = sum < 0 ? 0 : (float)sum;
}

int
sq_kl_ref(struct sq_ctx *c, const struct sq_mat *ref, const struct sq_mat *x,
    float *kl)
{
	struct job j = { .a = ref, .b = x, .out = kl };

	if (!sq_rows_alike(ref, x) || ref->cols == 0)
		return SQ_UNSUP;
	sq_pool_run(c->pool, kl_row, &j, (long)ref->rows);
	return 0;
}

static void
kl_back_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *r = sq_row(j->a, (size_t)task);
	const float *x = sq_row(j->b, (size_t)task);
	float *y = sq_row(j->y, (size_t)task);
	size_t i, n = j->a->cols;
	double lr = log_sum_exp(r, n), lx = log_sum_exp(x, n);

	(void)thread;
	for (i = 0; i < n; i++)
		y[i] = (float)((double)j->scale * (exp(x[i] - lx) -
		    exp(r[i] - lr)));
}

int
sq_kl_backward_ref(struct sq_ctx *c, const struct sq_mat *ref,
    const struct sq_mat *x, float scale, const struct sq_mat *dx)
{
	struct job j = { .a = ref, .b = x, .y = dx, .scale = scale };

	if (!sq_rows_alike(ref, x) || !sq_rows_alike(ref, dx) ||
	    ref->cols == 0)
		return SQ_UNSUP;
	sq_pool_run(c->pool, kl_back_row, &j, (long)ref->rows);
	return 0;
}
