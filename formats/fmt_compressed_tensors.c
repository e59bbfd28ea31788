/* Packing of compressed-tensors checkpoints; see fmt_compressed_tensors.h. */
#include <string.h>

#include "base/bits.h"
#include "base/grid.h"
#include "formats/fmt_compressed_tensors.h"

int
sq_ct_put_zeros(uint32_t *packed, const uint8_t *zeros, size_t rows,
    size_t groups, int bits, int old, int *worst)
{
	size_t i, g, at, in_word = 32 / (size_t)bits;
	size_t words = old ? sq_ct_old_words(rows, bits) :
	    sq_ct_words(rows, bits);
	unsigned z;

	memset(packed, 0, words * groups * sizeof(*packed));
	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++) {
			z = zeros[i * groups + g];
			if (z >= 1u << bits) {
				*worst = (int)z;
				return -1;
			}
			at = old ? i / in_word * 32 + i % in_word *
			    (size_t)bits : i * (size_t)bits;
			packed[at / 32 * groups + g] |= z << at % 32;
			if (at % 32 + (size_t)bits > 32)
				packed[(at / 32 + 1) * groups + g] |=
				    z >> (32 - at % 32);
		}
	return 0;
}

void
sq_ct_get_zeros(uint8_t *zeros, const uint32_t *packed, size_t rows,
    size_t groups, int bits)
{
	size_t i, g, at;
	uint64_t w;

	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++) {
			at = i * (size_t)bits;
			w = packed[at / 32 * groups + g];
			if (at % 32 + (size_t)bits > 32)
				w |= (uint64_t)packed[(at / 32 + 1) * groups +
				    g] << 32;
			zeros[i * groups + g] = (uint8_t)(w >> at % 32 &
			    ((1u << bits) - 1));
		}
}

void
sq_ct_get_old(uint8_t *codes, const uint32_t *words, size_t stride, size_t n,
    int bits)
{
	size_t i, in_word = 32 / (size_t)bits;

	for (i = 0; i < n; i++)
		sq_bits_put(codes, i, bits, words[i / in_word * stride] >>
		    i % in_word * (size_t)bits & ((1u << bits) - 1));
}

void
sq_ct_put_old(uint32_t *words, const uint8_t *codes, size_t n, int bits)
{
	size_t i, in_word = 32 / (size_t)bits;

	for (i = 0; i < n; i++)
		words[i / in_word] |= sq_bits_get(codes, i, bits) <<
		    i % in_word * (size_t)bits;
}

void
sq_ct_put_bytes(uint8_t *bytes, const uint8_t *codes, size_t rows, size_t cols,
    int bits)
{
	size_t i, j, n = sq_row_bytes(cols, bits);

	for (i = 0; i < rows; i++)
		for (j = 0; j < cols; j++)
			bytes[i * cols + j] = (uint8_t)((int)sq_bits_get(
			    codes + i * n, j, bits) - (1 << (bits - 1)));
}

int
sq_ct_get_bytes(uint8_t *codes, const uint8_t *bytes, size_t rows, size_t cols,
    int bits)
{
	size_t i, j, n = sq_row_bytes(cols, bits);
	int u;

	memset(codes, 0, rows * n);
	for (i = 0; i < rows; i++)
		for (j = 0; j < cols; j++) {
			u = (int8_t)bytes[i * cols + j] + (1 << (bits - 1));
			if (u < 0 || u >= 1 << bits)
				return -1;
			sq_bits_put(codes + i * n, j, bits, (unsigned)u);
		}
	return 0;
}
