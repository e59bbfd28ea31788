/*
 * The references of the operations on rows of activations.  Sums are taken in
 * float64; what the headers call exact is one float32 operation an element.
 */
#include <math.h>

#include "base/pool.h"
#include "kernels/ref/ref.h"
#include "kernels/rows.h"

struct job {
	const struct sq_mat *a, *b, *y;
	const float *w;			/* weight, bias or angles */
	const uint32_t *pos;
	size_t dim;
	float eps;
};

static void
norm_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->a, (size_t)task);
	float *y = sq_row(j->y, (size_t)task);
	size_t i, n = j->a->cols;
	double sum = 0, r;

	(void)thread;
	for (i = 0; i < n; i++)
		sum += (double)x[i] * x[i];
	r = 1 / sqrt(sum / (double)n + j->eps);
	for (i = 0; i < n; i++)
		y[i] = (float)(x[i] * r * j->w[i]);
}

int
sq_rmsnorm_ref(struct sq_ctx *c, const struct sq_mat *x, const float *weight,
    float eps, const struct sq_mat *y)
{
	struct job j = { .a = x, .y = y, .w = weight, .eps = eps };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, norm_row, &j, (long)x->rows);
	return 0;
}

static void
bias_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	float *x = sq_row(j->y, (size_t)task);
	size_t i;

	(void)thread;
	for (i = 0; i < j->y->cols; i++)
		x[i] += j->w[i];
}

int
sq_add_bias_ref(struct sq_ctx *c, const float *bias, const struct sq_mat *x)
{
	struct job j = { .y = x, .w = bias };

	if (x->type != SQ_F32)
		return SQ_UNSUP;
	sq_pool_run(c->pool, bias_row, &j, (long)x->rows);
	return 0;
}

static void
add_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *a = sq_row(j->a, (size_t)task);
	float *x = sq_row(j->y, (size_t)task);
	size_t i;

	(void)thread;
	for (i = 0; i < j->y->cols; i++)
		x[i] += a[i];
}

int
sq_add_ref(struct sq_ctx *c, const struct sq_mat *y, const struct sq_mat *x)
{
	struct job j = { .a = y, .y = x };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, add_row, &j, (long)x->rows);
	return 0;
}

static void
silu_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *gate = sq_row(j->a, (size_t)task);
	const float *up = sq_row(j->b, (size_t)task);
	float *y = sq_row(j->y, (size_t)task);
	size_t i;

	(void)thread;
	for (i = 0; i < j->a->cols; i++)
		y[i] = (float)(gate[i] / (1 + exp(-(double)gate[i])) * up[i]);
}

int
sq_silu_mul_ref(struct sq_ctx *c, const struct sq_mat *gate,
    const struct sq_mat *up, const struct sq_mat *y)
{
	struct job j = { .a = gate, .b = up, .y = y };

	if (!sq_rows_alike(gate, up) || !sq_rows_alike(gate, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, silu_row, &j, (long)gate->rows);
	return 0;
}

static void
rope_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	float *x = sq_row(j->y, (size_t)task);
	const float *cosine = j->w + j->pos[task] * j->dim;
	const float *sine = cosine + j->dim / 2;
	size_t head, i, half = j->dim / 2;
	float a, b;

	(void)thread;
	for (head = 0; head < j->y->cols / j->dim; head++, x += j->dim)
		for (i = 0; i < half; i++) {
			a = x[i];
			b = x[half + i];
			x[i] = a * cosine[i] - b * sine[i];
			x[half + i] = b * cosine[i] + a * sine[i];
		}
}

int
sq_rope_ref(struct sq_ctx *c, const float *angles, const uint32_t *pos,
    size_t dim, const struct sq_mat *x)
{
	struct job j = { .y = x, .w = angles, .pos = pos, .dim = dim };

	if (!sq_rope_allows(x, dim))
		return SQ_UNSUP;
	sq_pool_run(c->pool, rope_row, &j, (long)x->rows);
	return 0;
}

/* One run of n elements: n is a power of two. */
static void
hadamard_run(float *x, size_t n)
{
	size_t step, i, j;
	float a, b, f = (float)(1 / sqrt((double)n));

	for (step = 1; step < n; step *= 2)
		for (i = 0; i < n; i += 2 * step)
			for (j = i; j < i + step; j++) {
				a = x[j];
				b = x[j + step];
				x[j] = a + b;
				x[j + step] = a - b;
			}
	for (i = 0; i < n; i++)
		x[i] *= f;
}

static void
hadamard_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	float *x = sq_row(j->y, (size_t)task);
	size_t i;

	(void)thread;
	for (i = 0; i < j->y->cols; i += j->dim)
		hadamard_run(x + i, j->dim);
}

int
sq_hadamard_ref(struct sq_ctx *c, size_t dim, const struct sq_mat *x)
{
	struct job j = { .y = x, .dim = dim & (~dim + 1) };

	if (!sq_hadamard_allows(x, dim))
		return SQ_UNSUP;
	sq_pool_run(c->pool, hadamard_row, &j, (long)x->rows);
	return 0;
}
