/*
 * The product of few tokens, as in a step of decoding, with integers in groups;
 * step_run.h.
 *
 * Tokens are rounded to 16 bits with a scale for each block of 128 columns, and
 * cut in two bytes, x = 256 hi + lo; codes of 8 bits are lo.  As many rows of the
 * weight as a vector has lanes are done together; the sums of the products of a
 * group's columns, of hi and of lo each, are exact.  With AMX they go on apart,
 * else (step_vnni.h, step_avx2.c) both are one integer.  Then
 *
 *	part = scale of group 0 times its sum, + scale of group 1 times ..
 *	acc += scale of x in the block times part
 *
 * in float32, whose order is the same whether a token is alone (with AMX:
 * step_one.h) or not (step_many.h): so are its results, to the bit.
 */
#ifndef SQ_X86_STEP_H
#define SQ_X86_STEP_H

#include <string.h>

#include "kernels/x86/codes.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/values.h"

#define BLOCK	SQ_MM_WIDE
#define ROWS	VL			/* of a strip */
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
 * A strip: rows that are far apart, so that memory is read in ROWS streams,
 * each one in order, which the processor foresees.  They are behind one another
 * in the strips that follow.
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

#endif
