/*
 * The references of the gradients of operations on rows.  Sums are taken in
 * float64, row after row, and rounded once.
 */
#include <math.h>

#include "base/pool.h"
#include "kernels/ref/ref.h"
#include "kernels/rows.h"

struct job {
	const struct sq_mat *x, *z, *dy, *a, *b;
	const float *w;			/* weight, or lse */
	float *sum;
	float eps, scale;
};

static void
sum_col(void *arg, long task, int thread)
{
	const struct job *j = arg;
	double sum = j->sum[task];
	size_t i;

	(void)thread;
	for (i = 0; i < j->x->rows; i++)
		sum += sq_row(j->x, i)[task];
	j->sum[task] = (float)sum;
}

int
sq_sum_rows_ref(struct sq_ctx *c, const struct sq_mat *x, float *sum)
{
	struct job j = { .x = x, .sum = sum };

	if (x->type != SQ_F32)
		return SQ_UNSUP;
	sq_pool_run(c->pool, sum_col, &j, (long)x->cols);
	return 0;
}

static double
root(const struct job *j, size_t row)
{
	const float *x = sq_row(j->x, row);
	size_t i, n = j->x->cols;
	double sum = 0;

	for (i = 0; i < n; i++)
		sum += (double)x[i] * x[i];
	return 1 / sqrt(sum / (double)n + j->eps);
}

static void
norm_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->x, (size_t)task);
	const float *dy = sq_row(j->dy, (size_t)task);
	float *dx = sq_row(j->a, (size_t)task);
	size_t i, n = j->x->cols;
	double t = 0, r = root(j, (size_t)task);

	(void)thread;
	for (i = 0; i < n; i++)
		t += (double)dy[i] * j->w[i] * x[i];
	t = t / (double)n * r * r;
	for (i = 0; i < n; i++)
		dx[i] = (float)(r * ((double)dy[i] * j->w[i] - t * x[i]));
}

int
sq_rmsnorm_backward_ref(struct sq_ctx *c, const struct sq_mat *x,
    const float *weight, float eps, const struct sq_mat *dy,
    const struct sq_mat *dx, float *dweight)
{
	struct job j = { .x = x, .w = weight, .eps = eps, .dy = dy, .a = dx };
	double *sum = c->work;
	size_t i, k;
	double r;

	if (!sq_rows_alike(x, dy) || !sq_rows_alike(x, dx) ||
	    (dweight != NULL && (dx->p == dy->p ||
	    x->cols > c->work_size / sizeof(*sum))))
		return SQ_UNSUP;
	sq_pool_run(c->pool, norm_row, &j, (long)x->rows);
	if (dweight == NULL)
		return 0;
	for (k = 0; k < x->cols; k++)
		sum[k] = dweight[k];
	for (i = 0; i < x->rows; i++) {
		r = root(&j, i);
		for (k = 0; k < x->cols; k++)
			sum[k] += r * sq_row(x, i)[k] * sq_row(dy, i)[k];
	}
	for (k = 0; k < x->cols; k++)
		dweight[k] = (float)sum[k];
	return 0;
}

static void
silu_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *gate = sq_row(j->x, (size_t)task);
	const float *up = sq_row(j->z, (size_t)task);
	const float *dy = sq_row(j->dy, (size_t)task);
	float *dgate = sq_row(j->a, (size_t)task);
	float *dup = sq_row(j->b, (size_t)task);
	size_t i;
	double s, g, u, d;

	(void)thread;
	for (i = 0; i < j->x->cols; i++) {
		g = gate[i];
		u = up[i];
		d = dy[i];
		s = 1 / (1 + exp(-g));
		dgate[i] = (float)(d * u * s * (1 + g * (1 - s)));
		dup[i] = (float)(d * g * s);
	}
}

int
sq_silu_mul_backward_ref(struct sq_ctx *c, const struct sq_mat *gate,
    const struct sq_mat *up, const struct sq_mat *dy,
    const struct sq_mat *dgate, const struct sq_mat *dup)
{
	struct job j = { .x = gate, .z = up, .dy = dy, .a = dgate, .b = dup };

	if (!sq_rows_alike(gate, up) || !sq_rows_alike(gate, dy) ||
	    !sq_rows_alike(gate, dgate) || !sq_rows_alike(gate, dup))
		return SQ_UNSUP;
	sq_pool_run(c->pool, silu_row, &j, (long)gate->rows);
	return 0;
}

static void
softmax_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->x, (size_t)task);
	float *y = sq_row(j->a, (size_t)task);
	double lse = j->w[task];
	size_t i;

	(void)thread;
	for (i = 0; i < j->x->cols; i++)
		y[i] = (float)(y[i] + (double)j->scale * exp(x[i] - lse));
}

int
sq_softmax_add_ref(struct sq_ctx *c, const struct sq_mat *x, const float *lse,
    float scale, const struct sq_mat *y)
{
	struct job j = { .x = x, .w = lse, .scale = scale, .a = y };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, softmax_row, &j, (long)x->rows);
	return 0;
}
