/*
 * Conversions between float32 and the short floating-point types, scalar and
 * exact: to a short type rounds to nearest, ties to even.
 *
 * Overflow: f16, bf16 and E5M2 go to infinity as IEEE 754 says; E4M3 (no
 * infinity; OCP 8-bit floating point, 2023) saturates to 448, as quantizers
 * want.  NaN stays NaN, quiet.
 */
#ifndef SQ_BASE_HALF_H
#define SQ_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t
sq_f32_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

static inline float
sq_bits_f32(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static inline float
sq_bf16_to_f32(uint16_t h)
{
	return sq_bits_f32((uint32_t)h << 16);
}

static inline uint16_t
sq_f32_to_bf16(float f)
{
	uint32_t u = sq_f32_bits(f);

	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float	 sq_f16_to_f32(uint16_t);
uint16_t sq_f32_to_f16(float);
uint16_t sq_f64_to_f16(double);		/* one rounding, not two */
float	 sq_e4m3_to_f32(uint8_t);
uint8_t	 sq_f32_to_e4m3(float);
float	 sq_e5m2_to_f32(uint8_t);
uint8_t	 sq_f32_to_e5m2(float);
float	 sq_e8m0_to_f32(uint8_t);	/* 2^(e-127); 255 is NaN */

#endif
