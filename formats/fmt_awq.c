/* Packing of AWQ checkpoints; see fmt_awq.h. */
#include <string.h>

#include "formats/fmt_awq.h"

/* Where output 8c + i lies in a word, in bits. */
static const int place[8] = { 0, 16, 4, 20, 8, 24, 12, 28 };

void
sq_awq_put_codes(uint32_t *qweight, const uint8_t *codes, size_t rows,
    size_t cols)
{
	size_t c, i, j, across = rows / 8;
	const uint8_t *row;
	uint32_t *w;

	memset(qweight, 0, cols * across * sizeof(*qweight));
	for (c = 0; c < across; c++)
		for (i = 0; i < 8; i++) {
			row = codes + (8 * c + i) * (cols / 2);
			w = qweight + c;
			for (j = 0; j < cols; j += 2, w += 2 * across) {
				w[0] |= (uint32_t)(row[j / 2] & 15) << place[i];
				w[across] |= (uint32_t)(row[j / 2] >> 4) <<
				    place[i];
			}
		}
}

void
sq_awq_get_codes(uint8_t *codes, const uint32_t *qweight, size_t rows,
    size_t cols)
{
	size_t c, i, j, across = rows / 8;
	const uint32_t *w;
	uint8_t *row;

	for (c = 0; c < across; c++)
		for (i = 0; i < 8; i++) {
			row = codes + (8 * c + i) * (cols / 2);
			w = qweight + c;
			for (j = 0; j < cols; j += 2, w += 2 * across)
				row[j / 2] = (uint8_t)((w[0] >> place[i] & 15) |
				    (w[across] >> place[i] & 15) << 4);
		}
}

int
sq_awq_put_zeros(uint32_t *qzeros, const uint8_t *zeros, size_t rows,
    size_t groups, int *worst)
{
	size_t i, g, across = rows / 8;
	unsigned z;

	memset(qzeros, 0, groups * across * sizeof(*qzeros));
	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++) {
			z = zeros == NULL ? 8 : zeros[i * groups + g];
			if (z > 15) {
				*worst = (int)z;
				return -1;
			}
			qzeros[g * across + i / 8] |= z << place[i % 8];
		}
	return 0;
}

void
sq_awq_get_zeros(uint8_t *zeros, const uint32_t *qzeros, size_t rows,
    size_t groups)
{
	size_t i, g, across = rows / 8;

	for (i = 0; i < rows; i++)
		for (g = 0; g < groups; g++)
			zeros[i * groups + g] = (uint8_t)(qzeros[g * across +
			    i / 8] >> place[i % 8] & 15);
}
