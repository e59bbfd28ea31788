/* One value of an array of F32, F16 or BF16, in the reference kernels. */
#ifndef SQ_KERNELS_REF_VALUE_H
#define SQ_KERNELS_REF_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/half.h"

static inline float
sq_value(const void *p, enum sq_dtype type, size_t i)
{
	if (type == SQ_F32)
		return ((const float *)p)[i];
	if (type == SQ_F16)
		return sq_f16_to_f32(((const uint16_t *)p)[i]);
	return sq_bf16_to_f32(((const uint16_t *)p)[i]);
}

/* Stores v, rounded to the type. */
static inline void
sq_value_put(void *p, enum sq_dtype type, size_t i, float v)
{
	if (type == SQ_F32)
		((float *)p)[i] = v;
	else if (type == SQ_F16)
		((uint16_t *)p)[i] = sq_f32_to_f16(v);
	else
		((uint16_t *)p)[i] = sq_f32_to_bf16(v);
}

#endif
