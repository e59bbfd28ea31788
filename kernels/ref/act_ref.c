/* The references of quantize_act and dequantize_act, row by row. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "kernels/ref/ref.h"
#include "kernels/rows.h"

struct job {
	const struct sq_mat *x;
	const struct sq_act *a;
	const struct sq_qmat *q;
};

static float
row_scale(const float *x, size_t n, enum sq_act_kind kind)
{
	float most = 0;
	size_t i;

	for (i = 0; i < n; i++)
		if (fabsf(x[i]) > most)
			most = fabsf(x[i]);
	return most / sq_act_top(kind);
}

static uint8_t
code(float v, enum sq_act_kind kind)
{
	if (kind == SQ_ACT_FP8)
		return sq_f32_to_e4m3(v);
	v = v < -128 ? -128 : v > 127 ? 127 : v;
	return (uint8_t)(int8_t)lrintf(v);
}

static void
quantize_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->x, (size_t)task);
	uint8_t *u = j->q->codes + (size_t)task * j->q->stride;
	float s = j->a->scale;
	size_t i;

	(void)thread;
	if (s == 0)
		s = row_scale(x, j->x->cols, j->a->kind);
	j->q->scale[task] = s;
	for (i = 0; i < j->x->cols; i++)
		u[i] = s == 0 ? 0 : code(x[i] / s, j->a->kind);
}

int
sq_quantize_act_ref(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_act *a, const struct sq_qmat *q)
{
	struct job j = { x, a, q };

	if (!sq_act_allows(x, a->kind, q))
		return SQ_UNSUP;
	sq_pool_run(c->pool, quantize_row, &j, (long)x->rows);
	return 0;
}

static void
dequantize_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const uint8_t *u = j->q->codes + (size_t)task * j->q->stride;
	float *y = sq_row(j->x, (size_t)task), s = j->q->scale[task];
	size_t i;

	(void)thread;
	for (i = 0; i < j->q->cols; i++)
		y[i] = (j->q->kind == SQ_ACT_FP8 ? sq_e4m3_to_f32(u[i]) :
		    (float)(int8_t)u[i]) * s;
}

int
sq_dequantize_act_ref(struct sq_ctx *c, const struct sq_qmat *q,
    const struct sq_mat *y)
{
	struct job j = { .x = y, .q = q };

	if (!sq_act_allows(y, q->kind, q))
		return SQ_UNSUP;
	sq_pool_run(c->pool, dequantize_row, &j, (long)y->rows);
	return 0;
}
