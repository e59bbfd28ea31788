/*
 * Scales that a half-precision number cannot hold: an engine that computes with
 * F16 turns them into infinity or zero, and then answers nonsense.
 */
#ifndef SQ_MODEL_SCALE_RANGE_H
#define SQ_MODEL_SCALE_RANGE_H

#include "model/source.h"

/* How many of n values of that type, which is F32, BF16 or another one that has
 * none, are beyond F16. */
uint64_t sq_beyond_f16(enum sq_dtype, const void *values, size_t n);

/* The same for the scales of a tensor of an opened model; none when it is not
 * quantized.  -1 with the reason. */
int	 sq_scales_beyond_f16(const struct sq_source *,
	    const struct sq_source_tensor *, uint64_t *n, char *err);

#endif
