/*
 * The references of matmul and matmul_int8, and of both with several weights:
 * rows of the weight in float32, as dequantize gives them, and sums in float64
 * in the order of the columns, rounded once.  SQ_PREC_BF16 rounds x to bf16, the
 * weights not at all.  The scale of a row of codes is applied to the sum.
 */
#include "base/half.h"
#include "kernels/quant.h"
#include "kernels/ref/ref.h"

static double
dot(const float *w, const float *x, size_t n, enum sq_prec prec)
{
	double sum = 0;
	size_t i;
	float v;

	for (i = 0; i < n; i++) {
		v = x[i];
		if (prec == SQ_PREC_BF16)
			v = sq_bf16_to_f32(sq_f32_to_bf16(v));
		sum += (double)w[i] * v;
	}
	return sum;
}

static int
allowed(const struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, const struct sq_mat *y)
{
	return x->type == SQ_F32 && y->type == SQ_F32 && x->rows == y->rows &&
	    x->cols == w->cols && y->cols == w->rows &&
	    w->cols <= c->work_size / sizeof(float);
}

int
sq_matmul_ref(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_mat row = { c->work, SQ_F32, 1, w->cols, w->cols };
	size_t o, m;

	if (!allowed(c, w, x, y))
		return SQ_UNSUP;
	for (o = 0; o < w->rows; o++) {
		if (sq_dequantize_ref(c, w, o, &row) != 0)
			return SQ_UNSUP;
		for (m = 0; m < x->rows; m++)
			((float *)y->p)[m * y->stride + o] = (float)dot(row.p,
			    (const float *)x->p + m * x->stride, w->cols, prec);
	}
	return 0;
}

int
sq_matmul_int8_ref(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	struct sq_mat row = { c->work, SQ_F32, 1, w->cols, w->cols };
	const int8_t *codes;
	const float *v = row.p;
	size_t o, m, i;
	double sum;

	if (!sq_matmul_int8_allows(w, x, y) ||
	    w->cols > c->work_size / sizeof(float))
		return SQ_UNSUP;
	for (o = 0; o < w->rows; o++) {
		if (sq_dequantize_ref(c, w, o, &row) != 0)
			return SQ_UNSUP;
		for (m = 0; m < x->rows; m++) {
			codes = (const int8_t *)x->codes + m * x->stride;
			sum = 0;
			for (i = 0; i < w->cols; i++)
				sum += (double)v[i] * codes[i];
			((float *)y->p)[m * y->stride + o] =
			    (float)(sum * x->scale[m]);
		}
	}
	return 0;
}

/* One after the other, with the best kernel of the caller's table. */
int
sq_matmul_each_ref(struct sq_ctx *c, const struct sq_weight *const *w,
    size_t n, const struct sq_mat *x, enum sq_prec prec,
    const struct sq_mat *y)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		r = sq_matmul(c, w[i], x, prec, &y[i]);
	return r;
}

int
sq_matmul_int8_each_ref(struct sq_ctx *c, const struct sq_weight *const *w,
    size_t n, const struct sq_qmat *x, const struct sq_mat *y)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		r = sq_matmul_int8(c, w[i], x, &y[i]);
	return r;
}
