/*
 * rmsnorm, add_bias, add, silu_mul and rope over the vectors of vec.h.  The
 * file of a level defines LEVEL(op), the name of its function, and includes
 * this.  All are bound by memory, so a task takes rows enough to be worth
 * waking a thread for.
 */
#include <math.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define TASK	16384		/* elements of a task, at least */

struct job {
	void (*row)(const struct job *, size_t row);
	size_t rows, step;		/* in all, of a task */
	const struct sq_mat *a, *b, *y;
	const float *w;			/* weight, bias, angles or lse */
	const uint32_t *pos;
	size_t dim;
	float eps;			/* or scale */
	const struct sq_mat *dy, *z;	/* of gradients */
	float *root, *sum;
};

static void
do_rows(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t i = (size_t)task * j->step;
	size_t end = j->rows - i < j->step ? j->rows : i + j->step;

	(void)thread;
	for (; i < end; i++)
		j->row(j, i);
}

static int
run(struct sq_ctx *c, struct job *j,
    void (*row)(const struct job *, size_t))
{
	j->row = row;
	j->rows = j->y->rows;
	j->step = TASK / (j->y->cols + 1) + 1;
	sq_pool_run(c->pool, do_rows, j,
	    (long)((j->rows + j->step - 1) / j->step));
	return 0;
}

static float
sum_squares(const float *x, size_t n)
{
	VF a, s[4] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
	size_t i, k;

	for (i = 0; i + 4 * VL <= n; i += 4 * VL)
		for (k = 0; k < 4; k++) {
			a = vf_load(x + i + k * VL);
			s[k] = vf_fma(a, a, s[k]);
		}
	for (; i < n; i += VL) {
		a = vf_get(x + i, n - i);
		s[0] = vf_fma(a, a, s[0]);
	}
	return vf_sum(vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
}

static void
norm_row(const struct job *j, size_t row)
{
	const float *x = sq_row(j->a, row);
	float *y = sq_row(j->y, row);
	size_t i, n = j->a->cols;
	VF a, r = vf_set1(1 / sqrtf(sum_squares(x, n) / (float)n + j->eps));

	for (i = 0; i < n; i += VL) {
		a = vf_mul(vf_get(x + i, n - i), r);
		vf_put(y + i, vf_mul(a, vf_get(j->w + i, n - i)), n - i);
	}
}

int
LEVEL(rmsnorm)(struct sq_ctx *c, const struct sq_mat *x, const float *weight,
    float eps, const struct sq_mat *y)
{
	struct job j = { .a = x, .y = y, .w = weight, .eps = eps };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	return run(c, &j, norm_row);
}

static void
sum_rows(float *x, const float *y, size_t n)
{
	size_t i;

	for (i = 0; i < n; i += VL)
		vf_put(x + i, vf_add(vf_get(x + i, n - i),
		    vf_get(y + i, n - i)), n - i);
}

static void
bias_row(const struct job *j, size_t row)
{
	sum_rows(sq_row(j->y, row), j->w, j->y->cols);
}

int
LEVEL(add_bias)(struct sq_ctx *c, const float *bias, const struct sq_mat *x)
{
	struct job j = { .y = x, .w = bias };

	if (x->type != SQ_F32)
		return SQ_UNSUP;
	return run(c, &j, bias_row);
}

static void
add_row(const struct job *j, size_t row)
{
	sum_rows(sq_row(j->y, row), sq_row(j->a, row), j->y->cols);
}

int
LEVEL(add)(struct sq_ctx *c, const struct sq_mat *y, const struct sq_mat *x)
{
	struct job j = { .a = y, .y = x };

	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	return run(c, &j, add_row);
}

SQ_INLINE VF
silu(VF v)
{
	return vf_div(v, vf_add(vf_set1(1), vf_exp(vf_sub(vf_zero(), v))));
}

static void
silu_row(const struct job *j, size_t row)
{
	const float *gate = sq_row(j->a, row), *up = sq_row(j->b, row);
	float *y = sq_row(j->y, row);
	size_t i, n = j->y->cols;

	for (i = 0; i < n; i += VL)
		vf_put(y + i, vf_mul(silu(vf_get(gate + i, n - i)),
		    vf_get(up + i, n - i)), n - i);
}

int
LEVEL(silu_mul)(struct sq_ctx *c, const struct sq_mat *gate,
    const struct sq_mat *up, const struct sq_mat *y)
{
	struct job j = { .a = gate, .b = up, .y = y };

	if (!sq_rows_alike(gate, up) || !sq_rows_alike(gate, y))
		return SQ_UNSUP;
	return run(c, &j, silu_row);
}

static void
rope_head(float *x, const float *angles, size_t half)
{
	VF a, b, co, si;
	size_t i, n;

	for (i = 0; i < half; i += VL) {
		n = half - i;
		a = vf_get(x + i, n);
		b = vf_get(x + half + i, n);
		co = vf_get(angles + i, n);
		si = vf_get(angles + half + i, n);
		vf_put(x + i, vf_fms(a, co, vf_mul(b, si)), n);
		vf_put(x + half + i, vf_fma(b, co, vf_mul(a, si)), n);
	}
}

static void
rope_row(const struct job *j, size_t row)
{
	const float *angles = j->w + j->pos[row] * j->dim;
	float *x = sq_row(j->y, row);
	size_t i;

	for (i = 0; i < j->y->cols; i += j->dim)
		rope_head(x + i, angles, j->dim / 2);
}

int
LEVEL(rope)(struct sq_ctx *c, const float *angles, const uint32_t *pos,
    size_t dim, const struct sq_mat *x)
{
	struct job j = { .y = x, .w = angles, .pos = pos, .dim = dim };

	if (!sq_rope_allows(x, dim))
		return SQ_UNSUP;
	return run(c, &j, rope_row);
}

/* Lane by lane x + y, where y is its partner `step' lanes away; y - x in the
 * upper one of the two. */
SQ_INLINE VF
butterfly(VF x, size_t step)
{
	static const float sign[4][16] = {
		{ 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1 },
		{ 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1 },
		{ 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1 },
		{ 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1 },
	};

#if VL == 16
	if (step == 1)
		return vf_fma(x, vf_load(sign[0]), _mm512_permute_ps(x, 0xb1));
	if (step == 2)
		return vf_fma(x, vf_load(sign[1]), _mm512_permute_ps(x, 0x4e));
	if (step == 4)
		return vf_fma(x, vf_load(sign[2]), _mm512_shuffle_f32x4(x, x,
		    0xb1));
	return vf_fma(x, vf_load(sign[3]), _mm512_shuffle_f32x4(x, x, 0x4e));
#else
	if (step == 1)
		return vf_fma(x, vf_load(sign[0]), _mm256_permute_ps(x, 0xb1));
	if (step == 2)
		return vf_fma(x, vf_load(sign[1]), _mm256_permute_ps(x, 0x4e));
	return vf_fma(x, vf_load(sign[2]), _mm256_permute2f128_ps(x, x, 1));
#endif
}

/* n elements, a power of two and at least a vector. */
static void
hadamard_run(float *x, size_t n)
{
	VF a, b, f = vf_set1((float)(1 / sqrt((double)n)));
	size_t step, i, j;

	for (i = 0; i < n; i += VL) {
		a = vf_mul(vf_load(x + i), f);
		SQ_UNROLL for (step = 1; step < VL; step *= 2)
			a = butterfly(a, step);
		vf_store(x + i, a);
	}
	for (step = VL; step < n; step *= 2)
		for (i = 0; i < n; i += 2 * step)
			for (j = i; j < i + step; j += VL) {
				a = vf_load(x + j);
				b = vf_load(x + j + step);
				vf_store(x + j, vf_add(a, b));
				vf_store(x + j + step, vf_sub(a, b));
			}
}

static void
hadamard_row(const struct job *j, size_t row)
{
	float *x = sq_row(j->y, row);
	size_t i;

	for (i = 0; i < j->y->cols; i += j->dim)
		hadamard_run(x + i, j->dim);
}

int
LEVEL(hadamard)(struct sq_ctx *c, size_t dim, const struct sq_mat *x)
{
	struct job j = { .y = x, .dim = dim & (~dim + 1) };

	if (!sq_hadamard_allows(x, dim) || j.dim < VL)
		return SQ_UNSUP;
	return run(c, &j, hadamard_row);
}
