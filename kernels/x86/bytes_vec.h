/* Columns of a token as 16-bit integers, each in two bytes. */
#ifndef SQ_X86_BYTES_VEC_H
#define SQ_X86_BYTES_VEC_H

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/vec.h"

#define SQ_BYTES_GREATEST	32639	/* 127 * 256 + 127 */

#if VL == 16
#define vi_sra(a, n)	_mm512_srai_epi32(a, n)
#else
#define vi_sra(a, n)	_mm256_srai_epi32(a, n)
#endif

/* The low bytes of VL integers, each a byte. */
SQ_INLINE void
vi_store_each(int8_t *p, VI a)
{
#if VL == 16
	_mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(a));
#else
	a = vi_packs(a, a);
	a = _mm256_packs_epi16(a, a);
	_mm_storel_epi64((void *)p, _mm_unpacklo_epi32(
	    _mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)));
#endif
}

/*
 * x = 256 hi + lo, of n columns; the others up to `width' are 0.  The scale,
 * which is returned, is such that the greatest magnitude is GREATEST, 2^-126 at
 * least: less is taken for 0; NaN where something is not finite.
 */
SQ_INLINE float
sq_bytes_cut(const float *x, size_t n, int8_t *hi, int8_t *lo,
    const size_t width)
{
	const VI any = vi_set1(0x7fffffff);
	VI most = vi_set1(0), q, low;
	VF v[128 / VL];
	uint32_t top;
	float s;
	size_t i;

	for (i = 0; i < width / VL; i++) {
		v[i] = i * VL >= n ? vf_zero() : n - i * VL >= VL ?
		    vf_load(x + i * VL) : vf_load_n(x + i * VL, n - i * VL);
		most = vi_maxu(most, vi_and(vi_bits(v[i]), any));
	}
	top = vi_reduce_maxu(most);
	s = sq_bits_f32(top) / SQ_BYTES_GREATEST;
	s = s < 0x1p-126f ? 0x1p-126f : s;
	for (i = 0; i < width / VL; i++) {
		q = top >= 0x7f800000 ? vi_set1(0) :
		    vi_from_f(vf_mul(v[i], vf_set1(1 / s)));
		low = vi_sra(vi_shl(q, 24), 24);
		vi_store_each(lo + i * VL, low);
		vi_store_each(hi + i * VL, vi_sra(vi_sub(q, low), 8));
	}
	return top >= 0x7f800000 ? NAN : s;
}

/* a += u x, four bytes of a lane, in the register where a is; u without sign,
 * x with one. */
#define sq_bytes_add(a, u, x)						\
	__asm__("vpdpbusd %2, %1, %0" : "+v"(a) : "v"(u), "v"(x))

#endif
