/* Rows of packed codes, as sq-stream(5) has them, and one byte each. */
#ifndef SQ_QUANT_CODES_H
#define SQ_QUANT_CODES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "base/grid.h"

static inline void
sq_codes_pack(const uint8_t *u, size_t n, int bits, uint8_t *to)
{
	uint64_t v;
	size_t i, c, m;

	for (c = 0; c < n; c += 8, to += bits) {
		m = n - c < 8 ? n - c : 8;
		for (v = 0, i = 0; i < m; i++)
			v |= (uint64_t)u[c + i] << i * (size_t)bits;
		v = htole64(v);
		memcpy(to, &v, sq_row_bytes(m, bits));
	}
}

static inline void
sq_codes_unpack(const uint8_t *from, size_t n, int bits, uint8_t *u)
{
	uint64_t v;
	size_t i, c, m;

	for (c = 0; c < n; c += 8, from += bits) {
		m = n - c < 8 ? n - c : 8;
		v = 0;
		memcpy(&v, from, sq_row_bytes(m, bits));
		v = le64toh(v);
		for (i = 0; i < m; i++)
			u[c + i] = (uint8_t)(v >> i * (size_t)bits &
			    ((1u << bits) - 1));
	}
}

#endif
