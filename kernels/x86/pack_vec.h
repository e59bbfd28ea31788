/*
 * Moves activations and sums between rows, as the caller has them, and the
 * vectors that the products work on; see matmul.h.  Over vec.h.
 */
#ifndef SQ_X86_PACK_VEC_H
#define SQ_X86_PACK_VEC_H

#include <string.h>

#include "kernels/x86/matmul.h"
#include "kernels/x86/vec.h"

#define PACK_VF	(SQ_MM_WIDE / VL)	/* vectors of a unit, at most */

#if VL == 16
SQ_INLINE VF
vf_even(VF a, VF b)
{
	return _mm512_permutex2var_ps(a, _mm512_set_epi32(30, 28, 26, 24, 22,
	    20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0), b);
}

SQ_INLINE VF
vf_odd(VF a, VF b)
{
	return _mm512_permutex2var_ps(a, _mm512_set_epi32(31, 29, 27, 25, 23,
	    21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1), b);
}
#else
SQ_INLINE VF
vf_even(VF a, VF b)
{
	return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(
	    _mm256_shuffle_ps(a, b, 0x88)), 0xd8));
}

SQ_INLINE VF
vf_odd(VF a, VF b)
{
	return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(
	    _mm256_shuffle_ps(a, b, 0xdd)), 0xd8));
}
#endif

/* The elements of n vectors at even places, then those at odd ones. */
SQ_INLINE void
split(VF *v, size_t n)
{
	VF t[PACK_VF];
	size_t i;

	for (i = 0; i < n / 2; i++) {
		t[i] = vf_even(v[2 * i], v[2 * i + 1]);
		t[n / 2 + i] = vf_odd(v[2 * i], v[2 * i + 1]);
	}
	for (i = 0; i < n; i++)
		v[i] = t[i];
}

/* A token's unit of columns from col, in order; 0 where x has none.  To bring
 * together every spread'th column is to split log2(spread) times. */
SQ_INLINE void
x_unit(const struct sq_mm_x *x, const float *row, size_t col, VF *v)
{
	size_t n = x->order->unit / VL, left = x->cols - col, i;
	const float *p = row + col;
	float copy[SQ_MM_WIDE];

	if (left < x->order->unit) {
		memset(copy, 0, sizeof(copy));
		p = memcpy(copy, p, left * sizeof(*p));
	}
	for (i = 0; i < n; i++) {
		v[i] = vf_load(p + i * VL);
		if (x->round)
			v[i] = vf_round_bf16(v[i]);
	}
	for (i = x->order->spread; i > 1; i /= 2)
		split(v, n);
}

/* The same of up to VL tokens; the others are 0. */
SQ_INLINE void
x_units(const struct sq_mm_x *x, size_t col, VF (*v)[PACK_VF])
{
	size_t t;

	for (t = 0; t < x->rows; t++)
		x_unit(x, x->x + t * x->stride, col, v[t]);
	for (; t < VL; t++)
		memset(v[t], 0, sizeof(v[t]));
}

/* VL x VL sums as VL columns of `tokens' rows of y, n of them wanted; each row
 * times its scale if there are any. */
SQ_INLINE void
finish_square(const float *sums, size_t n, size_t tokens, const float *scale,
    float *y, size_t stride)
{
	VF r[VL];
	int j;

	SQ_UNROLL for (j = 0; j < VL; j++)
		r[j] = vf_load(sums + j * VL);
	vf_transpose(r);
	SQ_UNROLL for (j = 0; j < VL; j++) {
		if (scale != NULL)
			r[j] = vf_mul(r[j], vf_set1(scale[j]));
		if (n == VL && tokens == VL)
			vf_store(y + (size_t)j * stride, r[j]);
		else if ((size_t)j < tokens)
			vf_put(y + (size_t)j * stride, r[j], n);
	}
}

SQ_INLINE void
finish_rows(const float *sums, size_t rows, size_t tokens, const float *scale,
    float *y, size_t stride)
{
	float copy[VL] = { 0 };
	size_t i = 0;

	if (tokens < VL && scale != NULL)
		scale = memcpy(copy, scale, tokens * sizeof(*scale));
	if (tokens == VL)
		for (; i + VL <= rows; i += VL)
			finish_square(sums + i * VL, VL, VL, scale, y + i,
			    stride);
	for (; i < rows; i += VL)
		finish_square(sums + i * VL, rows - i < VL ? rows - i : VL,
		    tokens, scale, y + i, stride);
}

static inline void
finish(const float *sums, size_t rows, size_t tokens, float *y, size_t stride)
{
	finish_rows(sums, rows, tokens, NULL, y, stride);
}

static inline void
finish_scaled(const float *sums, size_t rows, size_t tokens,
    const float *scale, float *y, size_t stride)
{
	finish_rows(sums, rows, tokens, scale, y, stride);
}

/* n sums of direct, each VL numbers, to one number each. */
static inline void
total(const float *sums, size_t n, float *out)
{
	size_t i;

	for (i = 0; i < n; i++)
		out[i] = vf_sum(vf_load(sums + i * VL));
}

#endif
