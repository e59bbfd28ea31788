/*
 * lib/base/half: every pattern of the short types, and rounding against a
 * search among all their values: the nearest one, on a tie the one whose
 * pattern is even.  The search knows the types only by their value formula.
 */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/half.h"

#define RANDOM	200000

static float from_bf16(unsigned u) { return sq_bf16_to_f32((uint16_t)u); }
static float from_f16(unsigned u) { return sq_f16_to_f32((uint16_t)u); }
static float from_e4m3(unsigned u) { return sq_e4m3_to_f32((uint8_t)u); }
static float from_e5m2(unsigned u) { return sq_e5m2_to_f32((uint8_t)u); }
static unsigned to_bf16(float f) { return sq_f32_to_bf16(f); }
static unsigned to_f16(float f) { return sq_f32_to_f16(f); }
static unsigned to_e4m3(float f) { return sq_f32_to_e4m3(f); }
static unsigned to_e5m2(float f) { return sq_f32_to_e5m2(f); }

/* Finite magnitudes have patterns 0 .. last; IEEE types go on with infinity
 * and NaN, E4M3 has one NaN and saturates. */
static const struct type {
	const char *name;
	int bits, mantissa, bias;
	unsigned last;
	int ieee;
	float (*from)(unsigned);
	unsigned (*to)(float);
} types[] = {
	{ "bf16", 16, 7, 127, 0x7f7f, 1, from_bf16, to_bf16 },
	{ "f16", 16, 10, 15, 0x7bff, 1, from_f16, to_f16 },
	{ "e4m3", 8, 3, 7, 0x7e, 0, from_e4m3, to_e4m3 },
	{ "e5m2", 8, 2, 15, 0x7b, 1, from_e5m2, to_e5m2 },
};

#define NTYPES	((int)(sizeof(types) / sizeof(types[0])))

static uint64_t state = 1;

static uint64_t
next(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* The magnitude of a finite pattern; one more than the last one is the value
 * that would come next, if there were more exponents. */
static double
magnitude(const struct type *t, unsigned u)
{
	unsigned e = u >> t->mantissa, m = u & ((1u << t->mantissa) - 1);
	double f = m / (double)(1u << t->mantissa);

	if (e == 0)
		return f * pow(2, 1 - t->bias);
	return (1 + f) * pow(2, (int)e - t->bias);
}

/* The pattern that x must get. */
static unsigned
nearest(const struct type *t, double x)
{
	unsigned lo = 0, hi = t->last + 1, mid, sign;
	double a = fabs(x), below, above;

	sign = signbit(x) ? 1u << (t->bits - 1) : 0;
	if (a >= magnitude(t, t->last + 1))
		return sign | (t->ieee ? t->last + 1 : t->last);
	while (hi - lo > 1) {		/* lo <= a < hi */
		mid = (lo + hi) / 2;
		if (magnitude(t, mid) <= a)
			lo = mid;
		else
			hi = mid;
	}
	below = a - magnitude(t, lo);
	above = magnitude(t, hi) - a;
	if (above < below || (above == below && hi % 2 == 0))
		lo = hi;
	if (lo > t->last && !t->ieee)
		lo = t->last;
	return sign | lo;
}

static void
rounds(const struct type *t, float x)
{
	unsigned want = nearest(t, x), got = t->to(x);

	ck_assert_msg(got == want, "%s of %a is %#x, expected %#x", t->name,
	    (double)x, got, want);
}

START_TEST(patterns)
{
	const struct type *t = &types[_i];
	unsigned u, a, sign = 1u << (t->bits - 1);
	float f;

	for (u = 0; u < 1u << t->bits; u++) {
		a = u & (sign - 1);
		f = t->from(u);
		if (a <= t->last) {
			ck_assert(fabs((double)f) == magnitude(t, a));
			ck_assert((signbit(f) != 0) == ((u & sign) != 0));
			ck_assert_uint_eq(t->to(f), u);
		} else if (t->ieee && a == t->last + 1) {
			ck_assert(isinf(f));
			ck_assert((f < 0) == ((u & sign) != 0));
			ck_assert_uint_eq(t->to(f), u);
		} else {
			ck_assert(isnan(f));
			ck_assert(isnan(t->from(t->to(f))));
		}
	}
}
END_TEST

/* Between every two neighbours: the middle and the floats beside it. */
START_TEST(ties)
{
	const struct type *t = &types[_i];
	unsigned u;
	float mid;

	for (u = 0; u <= t->last; u++) {
		mid = (float)((magnitude(t, u) + magnitude(t, u + 1)) / 2);
		rounds(t, mid);
		rounds(t, -mid);
		rounds(t, nextafterf(mid, 0));
		rounds(t, nextafterf(mid, INFINITY));
		rounds(t, nextafterf(-mid, 0));
		rounds(t, nextafterf(-mid, -INFINITY));
	}
}
END_TEST

/* Any float, and floats within the type's range. */
START_TEST(randoms)
{
	const struct type *t = &types[_i];
	double most = magnitude(t, t->last);
	float f;
	int i;

	for (i = 0; i < RANDOM; i++) {
		f = sq_bits_f32((uint32_t)next());
		if (!isnan(f) && !isinf(f))
			rounds(t, f);
		f = (float)(most * pow(2, -(double)(next() % 40)) *
		    ((double)(next() >> 11) * 0x1p-53));
		rounds(t, i & 1 ? f : -f);
	}
}
END_TEST

START_TEST(beyond)
{
	ck_assert_uint_eq(sq_f32_to_f16(INFINITY), 0x7c00);
	ck_assert_uint_eq(sq_f32_to_f16(65519.996f), 0x7bff);
	ck_assert_uint_eq(sq_f32_to_f16(65520), 0x7c00);
	ck_assert_uint_eq(sq_f64_to_f16(-1e300), 0xfc00);
	ck_assert_uint_eq(sq_f32_to_bf16(-INFINITY), 0xff80);
	ck_assert_uint_eq(sq_f32_to_bf16(3.4e38f), 0x7f80);
	ck_assert_uint_eq(sq_f32_to_e5m2(INFINITY), 0x7c);
	ck_assert_uint_eq(sq_f32_to_e5m2(1e30f), 0x7c);
	ck_assert_uint_eq(sq_f32_to_e4m3(INFINITY), 0x7e);
	ck_assert_uint_eq(sq_f32_to_e4m3(-1e30f), 0xfe);
	ck_assert_uint_eq(sq_f32_to_e4m3(464), 0x7e);
	ck_assert(isnan(sq_f16_to_f32(sq_f64_to_f16(NAN))));
	ck_assert(isnan(sq_f16_to_f32(sq_f32_to_f16(NAN))));
	ck_assert(isnan(sq_bf16_to_f32(sq_f32_to_bf16(NAN))));
	ck_assert(isnan(sq_e4m3_to_f32(sq_f32_to_e4m3(NAN))));
	ck_assert(isnan(sq_e5m2_to_f32(sq_f32_to_e5m2(NAN))));
	/* a NaN whose payload lies below what bf16 keeps */
	ck_assert(isnan(sq_bf16_to_f32(sq_f32_to_bf16(
	    sq_bits_f32(0x7f800001)))));
}
END_TEST

/* A double just beside the middle of two F16: by way of float32 it would
 * become the middle first, and then even. */
START_TEST(one_rounding)
{
	const struct type *t = &types[1];
	unsigned u;
	double mid, x;
	int side;

	for (u = 0; u < t->last; u++) {
		mid = (magnitude(t, u) + magnitude(t, u + 1)) / 2;
		for (side = -1; side <= 1; side++) {
			x = mid * (1 + side * 0x1p-50);
			ck_assert_uint_eq(sq_f64_to_f16(x), side < 0 ? u :
			    side > 0 ? u + 1 : u + u % 2);
			ck_assert_uint_eq(sq_f64_to_f16(-x), 0x8000 |
			    sq_f64_to_f16(x));
		}
	}
}
END_TEST

START_TEST(exponents)
{
	int e;

	for (e = 0; e < 255; e++)
		ck_assert(sq_e8m0_to_f32((uint8_t)e) == pow(2, e - 127));
	ck_assert(isnan(sq_e8m0_to_f32(255)));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("half");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, patterns, 0, NTYPES);
	tcase_add_loop_test(tc, ties, 0, NTYPES);
	tcase_add_loop_test(tc, randoms, 0, NTYPES);
	tcase_add_test(tc, beyond);
	tcase_add_test(tc, one_rounding);
	tcase_add_test(tc, exponents);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
