/*
 * The product of few tokens, as in a step of decoding, with integers in groups,
 * for processors that have VNNI; step_run.h.
 *
 * Tokens are rounded to 16 bits with a scale for each block of 128 columns, and
 * cut in two bytes, x = 256 hi + lo; codes of 8 bits are lo.  16 rows of the
 * weight are done together; the sums of the products of a group's columns, of
 * hi and of lo each, are exact.  With VNNI alone (step_vnni.h) both are one
 * integer, else (AMX) they go on apart.  Then
 *
 *	part = scale of group 0 times its sum, + scale of group 1 times ..
 *	acc += scale of x in the block times part
 *
 * in float32, whose order is the same whether a token is alone (step_one.h) or
 * not (step_many.h): so are its results, to the bit.
 */
#ifndef SQ_X86_STEP_H
#define SQ_X86_STEP_H

#include <string.h>

#include "kernels/x86/codes.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/values.h"

#define BLOCK	SQ_MM_WIDE
#define ROWS	16			/* of a strip */
#define TOKENS	8			/* together, at most */
#define CHUNK	16			/* blocks whose scales are at hand, at most */
#define SLOTS	(BLOCK / SQ_MM_UNIT)	/* groups of a block, at most */
#define AHEAD	512			/* bytes that a row is fetched ahead */

/* A block of one token: codes in the order of the weight's bytes. */
struct one {
	int8_t hi[2][64], lo[2][64];
	int32_t hi_start[SLOTS], lo_start[SLOTS];
	float hi_sum[SLOTS], lo_sum[SLOTS];
	float hi_scale, lo_scale, none[14];
};

#define AT_HAND	(CHUNK * SLOTS + VL)	/* groups whose scales are, at most */

/* Of a strip and a chunk of columns: by group, or by row where that is asked
 * for. */
struct scales {
	union {
		float scale[AT_HAND][ROWS];
		float row_scale[ROWS][AT_HAND];
	};
	union {				/* -z, where they differ */
		float zero[AT_HAND][ROWS];
		float row_zero[ROWS][AT_HAND];
	};
};

/*
 * A strip: rows that are far apart, so that memory is read in 16 streams, each
 * one in order, which the processor foresees.  They are behind one another in
 * the strips that follow.
 */
struct strip {
	const uint8_t *row[ROWS];
	size_t group[ROWS];		/* the first of each row */
	size_t at;			/* where its columns start, bytes */
	size_t ahead;			/* bytes from there to what is fetched */
	const struct scales *scales;
	size_t groups;			/* whose scales are there */
	size_t left, run;		/* blocks with the first scale; with
					   each, where groups are long */
};

/* A row's block is wanted soon. */
SQ_INLINE void
fetch(const uint8_t *p, const int bits)
{
	_mm_prefetch((const char *)p, _MM_HINT_T0);
	if (bits > 4)
		_mm_prefetch((const char *)p + 64, _MM_HINT_T0);
}

/* The group of the block that follows. */
SQ_INLINE size_t
next_group(size_t g, size_t *left, const struct strip *s, const int groups)
{
	if (groups > 1)
		return g + (size_t)groups;
	if (--*left > 0)
		return g;
	*left = s->run;
	return g + 1;
}

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
