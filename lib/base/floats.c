/* Floats of one type to another; see floats.h. */
#include <math.h>

#include "base/floats.h"
#include "base/half.h"

float
sq_float_get(const void *p, enum sq_dtype type, size_t i)
{
	switch (type) {
	case SQ_F16:
		return sq_f16_to_f32(((const uint16_t *)p)[i]);
	case SQ_BF16:
		return sq_bf16_to_f32(((const uint16_t *)p)[i]);
	case SQ_F8_E8M0:
		return sq_e8m0_to_f32(((const uint8_t *)p)[i]);
	default:
		return ((const float *)p)[i];
	}
}

static void
put(void *p, enum sq_dtype type, size_t i, float v)
{
	switch (type) {
	case SQ_F16:
		((uint16_t *)p)[i] = sq_f32_to_f16(v);
		break;
	case SQ_BF16:
		((uint16_t *)p)[i] = sq_f32_to_bf16(v);
		break;
	default:
		((float *)p)[i] = v;
	}
}

size_t
sq_floats_convert(void *to, enum sq_dtype to_type, const void *from,
    enum sq_dtype from_type, size_t n)
{
	size_t i, other = 0;
	float v, w;

	for (i = 0; i < n; i++) {
		v = sq_float_get(from, from_type, i);
		put(to, to_type, i, v);
		w = sq_float_get(to, to_type, i);
		other += !isfinite(w) || w != v;
	}
	return other;
}

void
sq_softmax(float *x, size_t n)
{
	float max = x[0], sum = 0;
	size_t i;

	for (i = 1; i < n; i++)
		max = x[i] > max ? x[i] : max;
	for (i = 0; i < n; i++)
		sum += x[i] = expf(x[i] - max);
	for (i = 0; i < n; i++)
		x[i] /= sum;
}
