/*
 * Grids: the sets of values that a quantized weight can take.  sq-stream(5)
 * defines them; this is the one table of their names and code widths.
 */
#ifndef SQ_BASE_GRID_H
#define SQ_BASE_GRID_H

#include <stddef.h>
#include <stdint.h>

enum sq_grid {
	SQ_DENSE,
	SQ_INT2, SQ_INT3, SQ_INT4, SQ_INT5, SQ_INT6, SQ_INT8,
	SQ_UINT4M, SQ_UINT5M,
	SQ_FP8_E4M3, SQ_FP8_E5M2, SQ_FP4, SQ_MXFP4,
	SQ_IQ4_NL, SQ_Q4_K, SQ_Q5_K, SQ_Q6_K, SQ_IQ4_XS,
	SQ_GRIDS
};

const char *sq_grid_name(enum sq_grid);
int	 sq_grid_bits(enum sq_grid);		/* bits of a code; 0: dense */
int	 sq_grid_find(const char *name);	/* -1 when there is none */
int	 sq_grid_is_int(enum sq_grid);		/* int2 ... int8 */
int	 sq_grid_of_bits(int bits);		/* intN, or -1 */

/* The values of the codes of iq4_nl and iq4_xs; twice those of fp4 and mxfp4. */
extern const int8_t sq_iq4_table[16], sq_fp4_table[16];

/* Those that have a zero in every group. */
static inline int
sq_grid_has_zero(enum sq_grid g)
{
	return g <= SQ_INT8 || (g >= SQ_FP8_E4M3 && g <= SQ_MXFP4) ||
	    g == SQ_Q6_K;
}

/* The super-block grids of GGUF: 256 columns share scales of their scales. */
static inline int
sq_grid_is_super(enum sq_grid g)
{
	return g >= SQ_Q4_K && g <= SQ_IQ4_XS;
}

/* Those among them that have offsets. */
static inline int
sq_grid_has_submins(enum sq_grid g)
{
	return g == SQ_Q4_K || g == SQ_Q5_K;
}

/* Bytes of a row of n codes of b bits: rows are padded to full bytes. */
static inline size_t
sq_row_bytes(size_t n, int b)
{
	return (n * (size_t)b + 7) / 8;
}

#endif
