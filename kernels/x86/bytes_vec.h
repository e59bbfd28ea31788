/* Columns of a token as 16-bit integers, each in two bytes, for VNNI. */
#ifndef SQ_X86_BYTES_VEC_H
#define SQ_X86_BYTES_VEC_H

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/vec.h"

#define SQ_BYTES_GREATEST	32639	/* 127 * 256 + 127 */

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
	VF v[8];
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
		low = _mm512_srai_epi32(vi_shl(q, 24), 24);
		_mm_storeu_si128((void *)(lo + i * VL),
		    _mm512_cvtepi32_epi8(low));
		_mm_storeu_si128((void *)(hi + i * VL), _mm512_cvtepi32_epi8(
		    _mm512_srai_epi32(vi_sub(q, low), 8)));
	}
	return top >= 0x7f800000 ? NAN : s;
}

/* a += u x, four bytes of a lane, in the register where a is; u without sign,
 * x with one. */
#define sq_bytes_add(a, u, x)						\
	__asm__("vpdpbusd %2, %1, %0" : "+v"(a) : "v"(u), "v"(x))

#endif
