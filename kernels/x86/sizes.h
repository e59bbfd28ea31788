/* Sizes of what the products of the x86 levels are cut into. */
#ifndef SQ_X86_SIZES_H
#define SQ_X86_SIZES_H

#include <stddef.h>

/* Units that n takes. */
static inline size_t
up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit;
}

static inline size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

#endif
