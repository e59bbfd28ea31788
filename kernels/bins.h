/* The bins of the histogram of magnitudes: sq-stream(5), STATS. */
#ifndef SQ_KERNELS_BINS_H
#define SQ_KERNELS_BINS_H

#include <stdint.h>
#include <string.h>

#define SQ_BINS		256

/* Mantissas of 2^(1/4), 2^(1/2) and 2^(3/4), rounded up: the least floats that
 * are not below these. */
#define SQ_QUARTER1	0x1837f1u
#define SQ_QUARTER2	0x3504f4u
#define SQ_QUARTER3	0x5744fdu

/* Four bins to an octave, by exponent and mantissa: no logarithm. */
static inline unsigned
sq_bin(float x)
{
	uint32_t u, m;
	int e;

	memcpy(&u, &x, sizeof(u));
	e = (int)(u >> 23 & 0xff) - 127 + 32;
	m = u & 0x7fffff;
	if (e < 0)
		return 0;
	e = 4 * e + 1 + (m >= SQ_QUARTER1) + (m >= SQ_QUARTER2) +
	    (m >= SQ_QUARTER3);
	return e > SQ_BINS - 1 ? SQ_BINS - 1 : (unsigned)e;
}

#endif
