/*
 * The scale and zero point of a group of weights, for AVX2 and AVX-512, the
 * same bits as ref: by the range of the group, or by the least sum of squares.
 *
 * The sum of squares of SQ_MSE has to follow the columns, so the lanes of a
 * register are factors, not columns.
 */
#ifndef SQ_X86_SCALES_VEC_H
#define SQ_X86_SCALES_VEC_H

#include <math.h>

#include "base/half.h"
#include "kernels/quant.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/values.h"

#define FACTORS		48	/* those of SQ_MSE in whole registers */
#define OVERFLOW	0x7c00	/* a scale as F16 that is this or above */

#if defined(__AVX512F__)

#define VD			__m512d
#define vd_zero()		_mm512_setzero_pd()
#define vd_set1(a)		_mm512_set1_pd(a)
#define vd_load(p)		_mm512_loadu_pd(p)
#define vd_store(p, a)		_mm512_storeu_pd(p, a)
#define vd_add(a, b)		_mm512_add_pd(a, b)
#define vd_sub(a, b)		_mm512_sub_pd(a, b)
#define vd_mul(a, b)		_mm512_mul_pd(a, b)
#define vd_fnma(a, b, c)	_mm512_fnmadd_pd(a, b, c)	/* c - ab */
#define vd_low(a)							\
	_mm512_cvtps_pd(_mm512_castps512_ps256(a))
#define vd_high(a)							\
	_mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1))
#define vd_low_i(a)							\
	_mm512_cvtepi32_pd(_mm512_castsi512_si256(a))
#define vd_high_i(a)							\
	_mm512_cvtepi32_pd(_mm512_extracti32x8_epi32(a, 1))

#else

#define VD			__m256d
#define vd_zero()		_mm256_setzero_pd()
#define vd_set1(a)		_mm256_set1_pd(a)
#define vd_load(p)		_mm256_loadu_pd(p)
#define vd_store(p, a)		_mm256_storeu_pd(p, a)
#define vd_add(a, b)		_mm256_add_pd(a, b)
#define vd_sub(a, b)		_mm256_sub_pd(a, b)
#define vd_mul(a, b)		_mm256_mul_pd(a, b)
#define vd_fnma(a, b, c)	_mm256_fnmadd_pd(a, b, c)
#define vd_low(a)							\
	_mm256_cvtps_pd(_mm256_castps256_ps128(a))
#define vd_high(a)							\
	_mm256_cvtps_pd(_mm256_extractf128_ps(a, 1))
#define vd_low_i(a)							\
	_mm256_cvtepi32_pd(_mm256_castsi256_si128(a))
#define vd_high_i(a)							\
	_mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1))

#endif

#define VDL	(VL / 2)

/* What is quantized to. */
struct target {
	int bits, top;			/* of a code; the greatest code */
	int fp8, symmetric, mse;
};

struct range {
	float lo, hi;			/* symmetric: 0 and max|w| */
	int bad;			/* something is not finite */
};

/* What a group's codes mean. */
struct unit {
	uint16_t scale;			/* s as F16 */
	float s;
	int z;
};

/* The units of all factors, as the loops over them want them. */
struct tries {
	float d[FACTORS];		/* s, or infinity for 0 */
	int32_t lo[FACTORS], hi[FACTORS];	/* least, greatest u - z */
	double s[FACTORS];
	struct unit unit[FACTORS];
};

SQ_INLINE struct range
take_as(const void *p, const enum sq_dtype type, size_t at, size_t n,
    int symmetric, float *w)
{
	VF v, lo = vf_zero(), hi = vf_zero();
	VI most = vi_set1(0);
	struct range r = { 0, 0, 0 };
	uint32_t m;
	size_t i;

	for (i = 0; i < n; i += VL) {
		v = vf_take(p, type, at + i, n - i);
		vf_store(w + i, v);
		most = vi_maxu(most, vi_and(vi_bits(v),
		    vi_set1(0x7fffffff)));
		if (!symmetric) {
			lo = vf_min(lo, v);
			hi = vf_max(hi, v);
		}
	}
	m = vi_reduce_maxu(most);
	r.bad = m >= 0x7f800000;
	r.hi = sq_bits_f32(m);
	if (!symmetric) {
		r.lo = vf_reduce_min(lo);
		r.hi = vf_greatest(hi) + 0.0f;	/* no -0 */
	}
	return r;
}

/* Converts n weights of row i to w, whose last register may run over, and
 * takes their range. */
static struct range
take(const struct sq_mat *m, size_t i, size_t c, size_t n, int symmetric,
    float *w)
{
	size_t at = i * m->stride + c;

	if (m->type == SQ_F32)
		return take_as(m->p, SQ_F32, at, n, symmetric, w);
	if (m->type == SQ_F16)
		return take_as(m->p, SQ_F16, at, n, symmetric, w);
	return take_as(m->p, SQ_BF16, at, n, symmetric, w);
}

SQ_INLINE void
widen(struct range *r, const struct range *by)
{
	r->lo = by->lo < r->lo ? by->lo : r->lo;
	r->hi = by->hi > r->hi ? by->hi : r->hi;
	r->bad |= by->bad;
}

/* x >= 0 to F16 with one rounding: to float32 rounded to odd, which is wide
 * enough for the second rounding to see everything. */
SQ_INLINE uint16_t
to_f16(double x)
{
	float f = (float)x;
	uint32_t u = sq_f32_bits(f);

	if (f != x)
		u = (u - (f > x)) | 1;
	return _cvtss_sh(sq_bits_f32(u), _MM_FROUND_TO_NEAREST_INT);
}

/* The scale of a symmetric grid before rounding, for factor 1. */
SQ_INLINE double
symmetric_scale(const struct target *g, const struct range *r)
{
	return r->hi / (g->fp8 ? 448 : (double)g->top / 2);
}

SQ_INLINE struct unit
make_unit(const struct target *g, const struct range *r, double scale,
    double f)
{
	struct unit t;

	if (g->symmetric)
		t.scale = to_f16(f * scale);
	else
		t.scale = to_f16((f * r->hi - f * r->lo) / g->top);
	t.s = _cvtsh_ss(t.scale);
	t.z = 1 << (g->bits - 1);
	if (!g->symmetric && t.s != 0) {
		t.z = _mm_cvt_ss2si(_mm_set_ss((float)-(f * r->lo) / t.s));
		t.z = t.z > g->top ? g->top : t.z;
	}
	return t;
}

/* The unit of SQ_ABSMAX; -1 when the range or the scale is bad. */
static int
absmax_unit(const struct target *g, const struct range *r, struct unit *t)
{
	if (r->bad)
		return -1;
	*t = make_unit(g, r, symmetric_scale(g, r), 1);
	return t->scale < OVERFLOW ? 0 : -1;
}

/* The units of SQ_MSE; -1 likewise. */
static int
make_tries(const struct target *g, const struct range *r, struct tries *t)
{
	double scale = symmetric_scale(g, r);
	struct unit *u;
	int i;

	if (r->bad)
		return -1;
	for (i = 0; i < FACTORS; i++) {
		u = &t->unit[i];
		*u = make_unit(g, r, scale, sq_mse_factor(i));
		t->d[i] = u->s == 0 ? INFINITY : u->s;
		t->s[i] = u->s;
		t->lo[i] = -u->z;
		t->hi[i] = g->top - u->z;
	}
	return t->unit[0].scale < OVERFLOW ? 0 : -1;
}

/* Adds the squares of n weights to the sums of factors at .. at+VL-1. */
static void
sum_int(const float *w, size_t n, const struct tries *t, int at, double *sum)
{
	VF d = vf_load(t->d + at);
	VI lo = vi_load(t->lo + at), hi = vi_load(t->hi + at), k;
	VD s0 = vd_load(t->s + at), s1 = vd_load(t->s + at + VDL);
	VD a0 = vd_load(sum + at), a1 = vd_load(sum + at + VDL), x, e0, e1;
	size_t i;

	for (i = 0; i < n; i++) {
		k = vi_from_f(vf_div(vf_set1(w[i]), d));
		k = vi_min(vi_max(k, lo), hi);
		x = vd_set1(w[i]);
		e0 = vd_fnma(vd_low_i(k), s0, x);
		e1 = vd_fnma(vd_high_i(k), s1, x);
		a0 = vd_add(a0, vd_mul(e0, e0));
		a1 = vd_add(a1, vd_mul(e1, e1));
	}
	vd_store(sum + at, a0);
	vd_store(sum + at + VDL, a1);
}

/* The same for fp8, with magnitudes: the grid is symmetric. */
static void
sum_fp8(const float *w, size_t n, const struct tries *t, int at, double *sum)
{
	VF d = vf_load(t->d + at), k;
	VD s0 = vd_load(t->s + at), s1 = vd_load(t->s + at + VDL);
	VD a0 = vd_load(sum + at), a1 = vd_load(sum + at + VDL), x, e0, e1;
	size_t i;

	for (i = 0; i < n; i++) {
		k = vf_round_e4m3(vf_div(vf_set1(w[i]), d));
		x = vd_set1(fabs((double)w[i]));
		e0 = vd_fnma(vd_low(k), s0, x);
		e1 = vd_fnma(vd_high(k), s1, x);
		a0 = vd_add(a0, vd_mul(e0, e0));
		a1 = vd_add(a1, vd_mul(e1, e1));
	}
	vd_store(sum + at, a0);
	vd_store(sum + at + VDL, a1);
}

static void
add_squares(const struct target *g, const float *w, size_t n,
    const struct tries *t, int at, double *sum)
{
	if (g->fp8)
		sum_fp8(w, n, t, at, sum);
	else
		sum_int(w, n, t, at, sum);
}

/* The first of the least sums. */
static struct unit
best_try(const struct tries *t, const double *sum)
{
	int i, best = 0;

	for (i = 1; i < SQ_MSE_FACTORS; i++)
		if (sum[i] < sum[best])
			best = i;
	return t->unit[best];
}

/* The unit of SQ_MSE for a group that lies in w; -1 when it is bad. */
static int
mse_unit(const struct target *g, const struct range *r, const float *w,
    size_t n, struct unit *best)
{
	double sum[FACTORS] = { 0 };
	struct tries t;
	int at;

	if (make_tries(g, r, &t) < 0)
		return -1;
	for (at = 0; at < FACTORS; at += VL)
		add_squares(g, w, n, &t, at, sum);
	*best = best_try(&t, sum);
	return 0;
}

#endif
