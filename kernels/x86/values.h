/*
 * Values of F32, F16 or BF16 in memory as float32 in registers, and back with
 * one rounding, whatever is left of a row; see vec.h.  With a constant type
 * the choice is made by the compiler.
 */
#ifndef SQ_X86_VALUES_H
#define SQ_X86_VALUES_H

#include <string.h>

#include "base/dtype.h"
#include "base/half.h"
#include "kernels/x86/vec.h"

/* Value i. */
SQ_INLINE float
sq_scalar(const void *p, enum sq_dtype type, size_t i)
{
	if (type == SQ_F32)
		return ((const float *)p)[i];
	if (type == SQ_F16)
		return _cvtsh_ss(((const uint16_t *)p)[i]);
	return sq_bf16_to_f32(((const uint16_t *)p)[i]);
}

SQ_INLINE VF
vf_from_short(const uint16_t *p, enum sq_dtype type)
{
	return type == SQ_F16 ? vf_f16(p) : vf_bf16(p);
}

/* Values i .. i+VL-1, or the first n of them and 0. */
SQ_INLINE VF
vf_take(const void *p, enum sq_dtype type, size_t i, size_t n)
{
	uint16_t part[VL] = { 0 };

	if (type == SQ_F32)
		return vf_get((const float *)p + i, n);
	if (n >= VL)
		return vf_from_short((const uint16_t *)p + i, type);
	memcpy(part, (const uint16_t *)p + i, n * sizeof(part[0]));
	return vf_from_short(part, type);
}

SQ_INLINE void
vf_to_short(uint16_t *p, enum sq_dtype type, VF v)
{
	if (type == SQ_F16)
		vf_put_f16(p, v);
	else
		vf_put_bf16(p, v);
}

/* Stores values i .. i+VL-1, or the first n of them. */
SQ_INLINE void
vf_give(void *p, enum sq_dtype type, size_t i, VF v, size_t n)
{
	uint16_t part[VL];

	if (type == SQ_F32) {
		vf_put((float *)p + i, v, n);
	} else if (n >= VL) {
		vf_to_short((uint16_t *)p + i, type, v);
	} else {
		vf_to_short(part, type, v);
		memcpy((uint16_t *)p + i, part, n * sizeof(part[0]));
	}
}

#endif
