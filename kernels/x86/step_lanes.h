/*
 * Lanes of AVX-512's registers brought together, for step_vnni.h and step_one.h:
 * 16 rows have sums of four lanes each, or of more.
 */
#ifndef SQ_X86_STEP_LANES_H
#define SQ_X86_STEP_LANES_H

#include "kernels/x86/step.h"

/* The four sums of four lanes each of a, b, c and d: together, four times. */
SQ_INLINE VI
sum_lanes(VI a, VI b, VI c, VI d)
{
	VI ab = vi_add(_mm512_unpacklo_epi32(a, b),
	    _mm512_unpackhi_epi32(a, b));
	VI cd = vi_add(_mm512_unpacklo_epi32(c, d),
	    _mm512_unpackhi_epi32(c, d));

	return vi_add(_mm512_unpacklo_epi64(ab, cd),
	    _mm512_unpackhi_epi64(ab, cd));
}

/* Lanes 00000000 11111111 and 22222222 33333333 as those of 4 bits. */
SQ_INLINE VI
in_fours(VI a, VI b)
{
	return vi_add(_mm512_shuffle_i64x2(a, b, 0x88),
	    _mm512_shuffle_i64x2(a, b, 0xdd));
}

/* Sums of four rows each, by group and row, to those of groups. */
SQ_INLINE void
by_group(const VI four[4], VI sum[SLOTS], const int groups)
{
	VI a = _mm512_shuffle_i32x4(four[0], four[1], 0x44);
	VI b = _mm512_shuffle_i32x4(four[2], four[3], 0x44);
	VI c = _mm512_shuffle_i32x4(four[0], four[1], 0xee);
	VI d = _mm512_shuffle_i32x4(four[2], four[3], 0xee);

	if (groups == 1) {
		a = vi_add(a, c);
		b = vi_add(b, d);
	}
	sum[0] = _mm512_shuffle_i32x4(a, b, 0x88);
	sum[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
	if (groups > 1) {
		sum[2] = _mm512_shuffle_i32x4(c, d, 0x88);
		sum[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
	}
	if (groups == 2)
		sum[2] = vi_add(sum[2], sum[3]);
	if (groups <= 2)
		sum[0] = vi_add(sum[0], sum[1]);
	if (groups == 2)
		sum[1] = sum[2];
}

#endif
