/*
 * Codes of b bits in a little-endian bit string, as rows of codes are in
 * sq-stream(5): code i is at bits b*i to b*i+b-1, where bit k is bit k mod 8 of
 * byte k / 8.
 */
#ifndef SQ_BASE_BITS_H
#define SQ_BASE_BITS_H

#include <stddef.h>
#include <stdint.h>

static inline unsigned
sq_bits_get(const uint8_t *p, size_t i, int b)
{
	size_t at = i * (size_t)b, shift = at % 8;
	unsigned v = p[at / 8];

	if (shift + (size_t)b > 8)
		v |= (unsigned)p[at / 8 + 1] << 8;
	return v >> shift & ((1u << b) - 1);
}

/* Into bits that are zero. */
static inline void
sq_bits_put(uint8_t *p, size_t i, int b, unsigned v)
{
	size_t at = i * (size_t)b, shift = at % 8;

	v <<= shift;
	p[at / 8] |= (uint8_t)v;
	if (shift + (size_t)b > 8)
		p[at / 8 + 1] |= (uint8_t)(v >> 8);
}

#endif
