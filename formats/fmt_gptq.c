/* Packing of GPTQ checkpoints; see fmt_gptq.h. */
#include <string.h>

#include "base/bits.h"
#include "formats/fmt_gptq.h"

#define TILE	32		/* both sides of a tile stay in the cache */

#define TRANSPOSE(to, from, rows, n) do {				\
	size_t i0, j0, i, j;						\
									\
	for (i0 = 0; i0 < (rows); i0 += TILE)				\
		for (j0 = 0; j0 < (n); j0 += TILE)			\
			for (j = j0; j < (n) && j < j0 + TILE; j++)	\
				for (i = i0; i < (rows) &&		\
				    i < i0 + TILE; i++)			\
					(to)[j * (rows) + i] =		\
					    (from)[i * (n) + j];	\
} while (0)

void
sq_gptq_transpose(uint32_t *to, const uint32_t *from, size_t rows, size_t n)
{
	TRANSPOSE(to, from, rows, n);
}

void
sq_gptq_transpose16(uint16_t *to, const uint16_t *from, size_t rows, size_t n)
{
	TRANSPOSE(to, from, rows, n);
}

int
sq_gptq_put_zeros(uint32_t *qzeros, const uint8_t *zeros, size_t rows,
    size_t groups, int bits, int less, int *worst)
{
	size_t i, g, words = rows * (size_t)bits / 32;
	int z;

	memset(qzeros, 0, groups * words * sizeof(*qzeros));
	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++) {
			z = zeros == NULL ? 1 << (bits - 1) :
			    zeros[i * groups + g];
			if (z < less || z >= 1 << bits) {
				*worst = z;
				return -1;
			}
			sq_bits_put((uint8_t *)(qzeros + g * words), i, bits,
			    (unsigned)(z - less));
		}
	return 0;
}

static int
stored_zero(const uint32_t *qzeros, size_t words, size_t g, size_t i, int bits)
{
	return (int)sq_bits_get((const uint8_t *)(qzeros + g * words), i,
	    bits);
}

int
sq_gptq_get_zeros(uint8_t *zeros, const uint32_t *qzeros, size_t rows,
    size_t groups, int bits, int less)
{
	size_t i, g, words = rows * (size_t)bits / 32;
	int z, bad = 0;

	for (g = 0; g < groups; g++)
		for (i = 0; i < rows; i++) {
			z = stored_zero(qzeros, words, g, i, bits) + less;
			zeros[i * groups + g] = (uint8_t)z;
			bad |= z >> bits;
		}
	return -bad;
}

int
sq_gptq_is_symmetric(const uint32_t *qzeros, size_t rows, size_t groups,
    int bits, int less)
{
	size_t i, g, words = rows * (size_t)bits / 32;

	for (g = 0; g < groups; g++)
		for (i = 0; i < rows; i++)
			if (stored_zero(qzeros, words, g, i, bits) + less !=
			    1 << (bits - 1))
				return 0;
	return 1;
}
