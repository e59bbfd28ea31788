/* Arrays of floats of one type turned into another, scalar. */
#ifndef SQ_BASE_FLOATS_H
#define SQ_BASE_FLOATS_H

#include <stddef.h>

#include "base/dtype.h"

/* Element i: F32, F16, BF16 or F8_E8M0. */
float	 sq_float_get(const void *p, enum sq_dtype, size_t i);

/*
 * n elements to another type (F32, F16 or BF16), to nearest, ties to even: how
 * many of them are other numbers now; infinity and NaN always count.
 */
size_t	 sq_floats_convert(void *to, enum sq_dtype to_type, const void *from,
	    enum sq_dtype from_type, size_t n);

/* x[0 .. n-1], n > 0, to probabilities. */
void	 sq_softmax(float *x, size_t n);

#endif
