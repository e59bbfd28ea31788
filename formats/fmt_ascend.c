/* Packing of AscendV1 checkpoints; see fmt_ascend.h. */
#include <string.h>

#include "base/bits.h"
#include "base/grid.h"
#include "formats/fmt_ascend.h"

void
sq_ascend_put_pairs(uint8_t *bytes, const uint8_t *codes, size_t rows,
    size_t cols)
{
	size_t r, j, n = sq_row_bytes(cols, 4);
	const uint8_t *low;

	for (r = 0; r < rows / 2; r++) {
		low = codes + 2 * r * n;
		for (j = 0; j < cols; j++)
			bytes[r * cols + j] = (uint8_t)(
			    (sq_bits_get(low, j, 4) ^ 8) |
			    (sq_bits_get(low + n, j, 4) ^ 8) << 4);
	}
}

void
sq_ascend_get_pairs(uint8_t *codes, const uint8_t *bytes, size_t rows,
    size_t cols)
{
	size_t r, j, n = sq_row_bytes(cols, 4);
	uint8_t *low;

	memset(codes, 0, rows * n);
	for (r = 0; r < rows / 2; r++) {
		low = codes + 2 * r * n;
		for (j = 0; j < cols; j++) {
			sq_bits_put(low, j, 4, (bytes[r * cols + j] & 15) ^ 8);
			sq_bits_put(low + n, j, 4,
			    bytes[r * cols + j] >> 4 ^ 8);
		}
	}
}

void
sq_ascend_scale_bias(float *bias, const uint8_t *codes, const float *scales,
    size_t rows, size_t cols, size_t n)
{
	size_t r, k, j, part = cols / n, bytes = sq_row_bytes(cols, 4);
	int sum;

	for (r = 0; r < rows; r++)
		for (k = 0; k < n; k++) {
			sum = 0;
			for (j = k * part; j < (k + 1) * part; j++)
				sum += (int)sq_bits_get(codes + r * bytes, j,
				    4) - 8;
			bias[r * n + k] = 8.0f * (float)sum * scales[r];
		}
}

void
sq_ascend_row_sums(int32_t *sums, const uint8_t *codes, size_t rows,
    size_t cols)
{
	size_t r, j;

	for (r = 0; r < rows; r++) {
		sums[r] = 0;
		for (j = 0; j < cols; j++)
			sums[r] += codes[r * cols + j] - 128;
	}
}
