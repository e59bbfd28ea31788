/*
 * Short floating-point types; see half.h.  Everything goes through one pair of
 * functions that know a type by its exponent bits, mantissa bits and bias.
 */
#include <math.h>

#include "base/half.h"

/* 2 to the power e, of the normal numbers: ldexp would take most of the time
 * of a conversion. */
static double
power(int e)
{
	uint64_t u = (uint64_t)(e + 1023) << 52;
	double d;

	memcpy(&d, &u, sizeof(d));
	return d;
}

/* A finite x, rounded to m mantissa bits with least exponent emin: the
 * result is a whole multiple of the type's step at x. */
static double
round_to(double x, int m, int emin)
{
	double step;
	int e;

	if (x == 0)
		return x;
	frexp(x, &e);			/* |x| in [2^(e-1), 2^e) */
	if (e - 1 < emin)
		e = emin + 1;
	step = power(e - 1 - m);
	return rint(x / step) * step;	/* exact: a power of two */
}

/* The bits of r, which is representable, without the sign. */
static uint32_t
encode(double r, int m, int emin)
{
	int e;
	double a = fabs(r);

	if (a == 0)
		return 0;
	frexp(a, &e);
	e--;
	if (e < emin)			/* subnormal */
		return (uint32_t)(a * power(m - emin));
	return (uint32_t)(e - emin + 1) << m |
	    ((uint32_t)(a * power(m - e)) - (1u << m));
}

static float
decode(uint32_t bits, int m, int emin)
{
	uint32_t e = bits >> m, f = bits & ((1u << m) - 1);

	if (e == 0)
		return (float)(f * power(emin - m));
	return (float)((f | 1u << m) * power((int)e - 1 + emin - m));
}

uint16_t
sq_f64_to_f16(double x)
{
	uint16_t sign = signbit(x) ? 0x8000 : 0;
	double r;

	if (isnan(x))
		return sign | 0x7e00;
	if (fabs(x) > 1e6)
		return sign | 0x7c00;
	r = round_to(x, 10, -14);
	if (fabs(r) > 65504)
		return sign | 0x7c00;
	return sign | (uint16_t)encode(r, 10, -14);
}

uint16_t
sq_f32_to_f16(float x)
{
	return sq_f64_to_f16(x);
}

float
sq_f16_to_f32(uint16_t h)
{
	float sign = h & 0x8000 ? -1.0f : 1.0f;

	if ((h & 0x7fff) == 0x7c00)
		return sign * INFINITY;
	if ((h & 0x7fff) > 0x7c00)
		return NAN;
	return sign * decode(h & 0x7fff, 10, -14);
}

uint8_t
sq_f32_to_e4m3(float x)
{
	uint8_t sign = signbit(x) ? 0x80 : 0;
	double r;

	if (isnan(x))
		return sign | 0x7f;
	if (fabsf(x) > 448)
		return sign | 0x7e;
	r = round_to(x, 3, -6);
	return sign | (uint8_t)encode(r, 3, -6);
}

float
sq_e4m3_to_f32(uint8_t b)
{
	float sign = b & 0x80 ? -1.0f : 1.0f;

	if ((b & 0x7f) == 0x7f)
		return NAN;
	return sign * decode(b & 0x7f, 3, -6);
}

uint8_t
sq_f32_to_e5m2(float x)
{
	uint8_t sign = signbit(x) ? 0x80 : 0;
	double r;

	if (isnan(x))
		return sign | 0x7e;
	if (fabsf(x) > 1e6f)
		return sign | 0x7c;
	r = round_to(x, 2, -14);
	if (fabs(r) > 57344)
		return sign | 0x7c;
	return sign | (uint8_t)encode(r, 2, -14);
}

float
sq_e5m2_to_f32(uint8_t b)
{
	float sign = b & 0x80 ? -1.0f : 1.0f;

	if ((b & 0x7f) == 0x7c)
		return sign * INFINITY;
	if ((b & 0x7f) > 0x7c)
		return NAN;
	return sign * decode(b & 0x7f, 2, -14);
}

float
sq_e8m0_to_f32(uint8_t e)
{
	return e == 255 ? NAN : ldexpf(1, (int)e - 127);
}
