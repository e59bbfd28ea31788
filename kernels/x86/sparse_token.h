/* Columns of a token as 16-bit integers, for sparse products; over vec.h. */
#ifndef SQ_X86_SPARSE_TOKEN_H
#define SQ_X86_SPARSE_TOKEN_H

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/sparse.h"
#include "kernels/x86/values.h"

/* cols columns of a token as pairs of 16 bits, and their scale: the greatest
 * magnitude becomes 32767.  Not finite: NaN. */
SQ_INLINE float
token(const float *x, size_t have, size_t cols, VI *pairs)
{
	float copy[SQ_SP_NM] = { 0 };
	VI most = vi_set1(0);
	VF v[SQ_SP_NM / VL], by;
	uint32_t top;
	size_t i;
	float s;

	memcpy(copy, x, have * sizeof(*x));
	for (i = 0; i < cols / VL; i++) {
		v[i] = vf_load(copy + i * VL);
		most = vi_maxu(most, vi_and(vi_bits(v[i]),
		    vi_set1(0x7fffffff)));
	}
	top = vi_reduce_maxu(most);
	if (top >= 0x7f800000)
		return NAN;
	s = sq_bits_f32(top) / 32767;
	s = s < 0x1p-126f ? 0x1p-126f : s;
	by = vf_set1(1 / s);
	for (i = 0; i < cols / VL; i += 2)
		pairs[i / 2] = vi_narrow(vi_from_f(vf_mul(v[i], by)),
		    vi_from_f(vf_mul(v[i + 1], by)));
	return s;
}

#endif
