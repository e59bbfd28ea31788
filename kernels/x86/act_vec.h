/*
 * quantize_act and dequantize_act over the vectors of vec.h.  The file of a
 * level defines LEVEL(op), the name of its function, and includes this.
 */
#include <math.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/x86.h"

struct job {
	const struct sq_mat *x;
	const struct sq_act *a;
	const struct sq_qmat *q;
};

SQ_INLINE VF
magnitude(VF a)
{
	return vf_bits(vi_and(vi_bits(a), vi_set1(0x7fffffff)));
}

static float
greatest(const float *x, size_t n)
{
	VF m = vf_zero();
	size_t i;

	for (i = 0; i < n; i += VL)
		m = vf_max(magnitude(vf_get(x + i, n - i)), m);
	return vf_greatest(m);
}

SQ_INLINE VI
int8_code(VF v)
{
	v = vf_min(vf_max(v, vf_set1(-128)), vf_set1(127));
	return vi_and(vi_from_f(v), vi_set1(255));
}

/* VB values. */
SQ_INLINE void
encode(const float *x, VF s, int fp8, uint8_t *u)
{
	VI k[4];
	VF v;
	int i;

	for (i = 0; i < 4; i++) {
		v = vf_div(vf_load(x + i * VL), s);
		k[i] = fp8 ? vi_to_e4m3(v) : int8_code(v);
	}
	vi_store_bytes(u, k[0], k[1], k[2], k[3]);
}

SQ_INLINE void
encode_row(const float *x, size_t n, float s, int fp8, uint8_t *u)
{
	float rest[VB] = { 0 };
	uint8_t codes[VB];
	VF d = vf_set1(s);
	size_t i;

	for (i = 0; i + VB <= n; i += VB)
		encode(x + i, d, fp8, u + i);
	if (i == n)
		return;
	memcpy(rest, x + i, (n - i) * sizeof(float));
	encode(rest, d, fp8, codes);
	memcpy(u + i, codes, n - i);
}

static void
quantize_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const float *x = sq_row(j->x, (size_t)task);
	uint8_t *u = j->q->codes + (size_t)task * j->q->stride;
	size_t n = j->x->cols;
	float s = j->a->scale;

	(void)thread;
	if (s == 0)
		s = greatest(x, n) / sq_act_top(j->a->kind);
	j->q->scale[task] = s;
	if (s == 0)
		memset(u, 0, n);
	else if (j->a->kind == SQ_ACT_FP8)
		encode_row(x, n, s, 1, u);
	else
		encode_row(x, n, s, 0, u);
}

int
LEVEL(quantize_act)(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_act *a, const struct sq_qmat *q)
{
	struct job j = { x, a, q };

	if (!sq_act_allows(x, a->kind, q))
		return SQ_UNSUP;
	sq_pool_run(c->pool, quantize_row, &j, (long)x->rows);
	return 0;
}

SQ_INLINE VF
value(const uint8_t *u, int fp8)
{
	VI k;

	if (fp8)
		return vf_from_e4m3(u);
	k = vi_from_u8(u);	/* 128 .. 255 stand for -128 .. -1 */
	k = vi_sub(k, vi_shl(vi_and(k, vi_set1(128)), 1));
	return vf_from_i(k);
}

SQ_INLINE void
decode_row(const uint8_t *u, size_t n, float s, int fp8, float *y)
{
	VF d = vf_set1(s);
	uint8_t rest[VL] = { 0 };
	size_t i;

	for (i = 0; i + VL <= n; i += VL)
		vf_store(y + i, vf_mul(value(u + i, fp8), d));
	if (i == n)
		return;
	memcpy(rest, u + i, n - i);
	vf_store_n(y + i, vf_mul(value(rest, fp8), d), n - i);
}

static void
dequantize_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const uint8_t *u = j->q->codes + (size_t)task * j->q->stride;
	float *y = sq_row(j->x, (size_t)task), s = j->q->scale[task];

	(void)thread;
	if (j->q->kind == SQ_ACT_FP8)
		decode_row(u, j->q->cols, s, 1, y);
	else
		decode_row(u, j->q->cols, s, 0, y);
}

int
LEVEL(dequantize_act)(struct sq_ctx *c, const struct sq_qmat *q,
    const struct sq_mat *y)
{
	struct job j = { .x = y, .q = q };

	if (!sq_act_allows(y, q->kind, q))
		return SQ_UNSUP;
	sq_pool_run(c->pool, dequantize_row, &j, (long)y->rows);
	return 0;
}
