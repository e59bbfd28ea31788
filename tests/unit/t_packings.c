/*
 * How the formats of other engines lay out codes and zero points: words that
 * were computed elsewhere from the formats' descriptions, and on random codes
 * the formula of each, bit by bit.  Then their configurations.
 */
#include <check.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/floats.h"
#include "base/grid.h"
#include "base/half.h"
#include "formats/fmt_ascend.h"
#include "formats/fmt_awq.h"
#include "formats/fmt_compressed_tensors.h"
#include "formats/fmt_gptq.h"
#include "model/config_text.h"

#define ROWS	64
#define COLS	96

static uint8_t u[ROWS][COLS];		/* codes, one in a byte */
static uint8_t codes[ROWS * COLS];	/* as in a stream */

/* Codes that are all over the range, the ends included. */
static void
fill(size_t rows, size_t cols, int bits)
{
	size_t i, j, n = sq_row_bytes(cols, bits);

	memset(codes, 0, sizeof(codes));
	for (i = 0; i < rows; i++)
		for (j = 0; j < cols; j++) {
			u[i][j] = (uint8_t)((unsigned)rand() >> 8 &
			    ((1u << bits) - 1));
			if ((i + j) % 11 == 0)
				u[i][j] = j % 2 == 0 ? 0 :
				    (uint8_t)((1 << bits) - 1);
			sq_bits_put(codes + i * n, j, bits, u[i][j]);
		}
}

static void
fill_pattern(void)
{
	size_t i, j;

	memset(codes, 0, sizeof(codes));
	for (i = 0; i < 8; i++)
		for (j = 0; j < 32; j++) {
			u[i][j] = (uint8_t)((3 * i + 5 * j + j * j % 7) & 15);
			sq_bits_put(codes + i * 16, j, 4, u[i][j]);
		}
}

START_TEST(words_4)
{
	static const uint32_t row[] = { 0x3fd61e60, 0xc6209419, 0x7f953c74,
	    0xda2c86fa };
	uint32_t w[32 * 8];

	fill_pattern();
	ck_assert(memcmp(codes, row, sizeof(row)) == 0);
	memcpy(w, codes + 16, 4);
	ck_assert_uint_eq(w[0], 0x62094193);
	sq_gptq_transpose(w, (const uint32_t *)codes, 8, 4);
	ck_assert_uint_eq(w[0], 0x3fd61e60);
	ck_assert_uint_eq(w[1], 0x62094193);
	sq_awq_put_codes(w, codes, 8, 32);
	ck_assert_uint_eq(w[0], 0x5f932c60);
	ck_assert_uint_eq(w[1], 0xb5f982c6);
}
END_TEST

START_TEST(words_3)
{
	static const uint32_t now[] = { 0x88fac688, 0xc688fac6, 0xfac688fa };
	static const uint32_t old[] = { 0x08fac688, 0x1a23eb1a, 0x2c688fac,
	    0x0000003e };
	uint8_t p[16] = { 0 }, q[16] = { 0 };
	size_t i;

	for (i = 0; i < 32; i++)
		sq_bits_put(p, i, 3, i % 8);
	ck_assert(memcmp(p, now, sizeof(now)) == 0);
	ck_assert_uint_eq(sq_ct_words(32, 3), 3);
	ck_assert_uint_eq(sq_ct_old_words(32, 3), 4);
	sq_ct_get_old(q, old, 1, 32, 3);
	ck_assert(memcmp(p, q, sizeof(p)) == 0);
}
END_TEST

/* Bit i of a string of words. */
static unsigned
bit(const uint32_t *w, size_t stride, size_t i)
{
	return w[i / 32 * stride] >> i % 32 & 1;
}

static unsigned
number(const uint32_t *w, size_t stride, size_t i, int bits)
{
	unsigned v = 0;
	int b;

	for (b = 0; b < bits; b++)
		v |= bit(w, stride, i * (size_t)bits + (size_t)b) << b;
	return v;
}

START_TEST(gptq)
{
	static const int widths[] = { 2, 3, 4, 8 };
	static uint32_t w[ROWS * COLS], back[ROWS * COLS];
	int bits = widths[_i];
	size_t words = COLS * (size_t)bits / 32, i, j;

	fill(ROWS, COLS, bits);
	sq_gptq_transpose(w, (const uint32_t *)codes, ROWS, words);
	for (i = 0; i < ROWS; i++)
		for (j = 0; j < COLS; j++)
			ck_assert_uint_eq(number(w + i, ROWS, j, bits),
			    u[i][j]);
	sq_gptq_transpose(back, w, words, ROWS);
	ck_assert(memcmp(back, codes, ROWS * words * 4) == 0);
}
END_TEST

START_TEST(awq)
{
	static const int order[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };
	static uint32_t w[COLS * ROWS / 8];
	static uint8_t back[sizeof(codes)];
	size_t i, c;
	int k;

	fill(ROWS, COLS, 4);
	sq_awq_put_codes(w, codes, ROWS, COLS);
	for (i = 0; i < COLS; i++)
		for (c = 0; c < ROWS / 8; c++)
			for (k = 0; k < 8; k++)
				ck_assert_uint_eq(w[i * (ROWS / 8) + c] >>
				    4 * k & 15, u[8 * c + (size_t)order[k]][i]);
	sq_awq_get_codes(back, w, ROWS, COLS);
	ck_assert(memcmp(back, codes, sizeof(codes)) == 0);
}
END_TEST

/* Zero points [ROWS][3]. */
START_TEST(zeros)
{
	static const int widths[] = { 2, 3, 4, 8 };
	static uint32_t w[ROWS * 3];
	int bits = widths[_i], less, worst, max = (1 << bits) - 1;
	uint8_t z[ROWS * 3], back[ROWS * 3];
	size_t i, g;

	for (less = 0; less < 2; less++) {
		for (i = 0; i < sizeof(z); i++)
			z[i] = (uint8_t)(less + rand() % (max + 1 - less));
		z[0] = (uint8_t)less;
		z[1] = (uint8_t)max;
		ck_assert_int_eq(sq_gptq_put_zeros(w, z, ROWS, 3, bits, less,
		    &worst), 0);
		for (i = 0; i < ROWS; i++)
			for (g = 0; g < 3; g++)
				ck_assert_uint_eq(number(w + g * ROWS *
				    (size_t)bits / 32, 1, i, bits) +
				    (unsigned)less, z[i * 3 + g]);
		ck_assert_int_eq(sq_gptq_get_zeros(back, w, ROWS, 3, bits,
		    less), 0);
		ck_assert(memcmp(z, back, sizeof(z)) == 0);
		ck_assert(!sq_gptq_is_symmetric(w, ROWS, 3, bits, less));
		sq_gptq_put_zeros(w, NULL, ROWS, 3, bits, less, &worst);
		ck_assert(sq_gptq_is_symmetric(w, ROWS, 3, bits, less));
	}
	ck_assert_uint_eq(bits == 4 ? w[0] : 0x77777777, 0x77777777);
	z[5] = 0;
	ck_assert_int_eq(sq_gptq_put_zeros(w, z, ROWS, 3, bits, 1, &worst),
	    -1);
	ck_assert_int_eq(worst, 0);
}
END_TEST

START_TEST(zeros_of_awq)
{
	static const int order[8] = { 0, 2, 4, 6, 1, 3, 5, 7 };
	uint8_t z[ROWS * 3], back[ROWS * 3];
	uint32_t w[ROWS / 8 * 3];
	size_t i, g;
	int k, worst;

	for (i = 0; i < sizeof(z); i++)
		z[i] = (uint8_t)(rand() % 16);
	ck_assert_int_eq(sq_awq_put_zeros(w, z, ROWS, 3, &worst), 0);
	for (g = 0; g < 3; g++)
		for (i = 0; i < ROWS / 8; i++)
			for (k = 0; k < 8; k++)
				ck_assert_uint_eq(w[g * (ROWS / 8) + i] >>
				    4 * k & 15, z[(8 * i + (size_t)order[k]) *
				    3 + g]);
	sq_awq_get_zeros(back, w, ROWS, 3);
	ck_assert(memcmp(z, back, sizeof(z)) == 0);
	z[7] = 16;
	ck_assert_int_eq(sq_awq_put_zeros(w, z, ROWS, 3, &worst), -1);
	ck_assert_int_eq(worst, 16);
}
END_TEST

START_TEST(zeros_of_ct)
{
	int bits = _i, worst;
	uint8_t z[37 * 3], back[37 * 3];
	uint32_t w[37 * 3];
	size_t i, g;

	for (i = 0; i < sizeof(z); i++)
		z[i] = (uint8_t)(rand() % (1 << bits));
	ck_assert_int_eq(sq_ct_put_zeros(w, z, 37, 3, bits, 0, &worst), 0);
	for (i = 0; i < 37; i++)
		for (g = 0; g < 3; g++)
			ck_assert_uint_eq(number(w + g, 3, i, bits),
			    z[i * 3 + g]);
	sq_ct_get_zeros(back, w, 37, 3, bits);
	ck_assert(memcmp(z, back, sizeof(z)) == 0);
	if (bits < 8) {
		z[2] = (uint8_t)(1 << bits);
		ck_assert_int_eq(sq_ct_put_zeros(w, z, 37, 3, bits, 0, &worst),
		    -1);
	}
}
END_TEST

START_TEST(bytes)
{
	static uint8_t b[ROWS * COLS], back[ROWS * COLS];
	int bits = _i == 0 ? 4 : 8;
	size_t i, j;

	fill(ROWS, COLS - 1, bits);
	sq_ct_put_bytes(b, codes, ROWS, COLS - 1, bits);
	for (i = 0; i < ROWS; i++)
		for (j = 0; j < COLS - 1; j++)
			ck_assert_int_eq((int8_t)b[i * (COLS - 1) + j],
			    u[i][j] - (1 << (bits - 1)));
	ck_assert_int_eq(sq_ct_get_bytes(back, b, ROWS, COLS - 1, bits), 0);
	ck_assert(memcmp(back, codes, ROWS * sq_row_bytes(COLS - 1,
	    bits)) == 0);
	b[3] = 8;
	ck_assert_int_eq(sq_ct_get_bytes(back, b, ROWS, COLS - 1, bits),
	    bits == 4 ? -1 : 0);
}
END_TEST

START_TEST(pairs)
{
	static uint8_t b[ROWS * COLS], back[ROWS * COLS];
	float scales[ROWS], sums[ROWS * 16];
	size_t i, j, k;
	int sum, q;

	fill(ROWS, COLS, 4);
	sq_ascend_put_pairs(b, codes, ROWS, COLS);
	for (i = 0; i < ROWS; i++)
		for (j = 0; j < COLS; j++) {
			q = b[i / 2 * COLS + j] >> (i % 2 == 0 ? 0 : 4) & 15;
			q = q < 8 ? q : q - 16;
			ck_assert_int_eq(q, u[i][j] - 8);
		}
	sq_ascend_get_pairs(back, b, ROWS, COLS);
	ck_assert(memcmp(back, codes, ROWS * COLS / 2) == 0);
	for (i = 0; i < ROWS; i++)
		scales[i] = 0.25f * (float)(i + 1);
	sq_ascend_scale_bias(sums, codes, scales, ROWS, COLS, 16);
	for (i = 0; i < ROWS; i++)
		for (k = 0; k < 16; k++) {
			for (sum = 0, j = 6 * k; j < 6 * k + 6; j++)
				sum += u[i][j] - 8;
			ck_assert(sums[i * 16 + k] == 8 * (float)sum *
			    scales[i]);
		}
}
END_TEST

START_TEST(floats)
{
	float f[4] = { 1.5f, 1 + 1.0f / 4096, 70000, 0 };
	uint16_t h[4], b[4];
	uint8_t e[2] = { 127, 130 };

	ck_assert_uint_eq(sq_floats_convert(h, SQ_F16, f, SQ_F32, 4), 2);
	ck_assert_uint_eq(sq_floats_convert(b, SQ_BF16, f, SQ_F32, 4), 2);
	ck_assert(sq_float_get(h, SQ_F16, 0) == 1.5f);
	ck_assert(sq_float_get(b, SQ_BF16, 1) == 1);
	ck_assert_uint_eq(sq_floats_convert(f, SQ_F32, e, SQ_F8_E8M0, 2), 0);
	ck_assert(f[0] == 1 && f[1] == 8);
}
END_TEST

/* ---- configurations ---- */

static void
is_text(char *text, size_t n, const char *want)
{
	ck_assert_ptr_nonnull(text);
	ck_assert_str_eq(text, want);
	ck_assert_uint_eq(n, strlen(want));
	free(text);
}

START_TEST(config_text)
{
	static const char a[] = "{ \"x\": 1e-05,\n  \"q\": {\"}\": [1, \"\\\"},"
	    "\"]},\n  \"y\": {\"q\": 2}\n}";
	static const char last[] = "{\"x\": {}, \"q\": \"}\" }\n";
	char *t;
	size_t n;

	t = sq_config_text_without(a, sizeof(a) - 1, "q", &n);
	is_text(t, n, "{ \"x\": 1e-05,\n  \"y\": {\"q\": 2}\n}");
	t = sq_config_text_without(a, sizeof(a) - 1, "z", &n);
	is_text(t, n, a);
	t = sq_config_text_without(last, sizeof(last) - 1, "q", &n);
	is_text(t, n, "{\"x\": {}}\n");
	t = sq_config_text_set(last, sizeof(last) - 1, "x", json_true(), &n);
	is_text(t, n, "{\"q\": \"}\",\n  \"x\": true\n}\n");
	t = sq_config_text_set("{}", 2, "x", json_pack("{s:[i]}", "k", 1), &n);
	is_text(t, n, "{\n  \"x\": {\n    \"k\": [\n      1\n    ]\n  }\n}\n");
}
END_TEST

START_TEST(ct_targets)
{
	json_t *c = json_pack("{s:{s:{s:[s],s:{s:i}},s:{s:[s],s:{s:i}},"
	    "s:{s:[s],s:{s:i}},s:{s:[s],s:{s:i}}}}", "config_groups",
	    "a", "targets", "Linear", "weights", "num_bits", 4,
	    "b", "targets", "re:.*down", "weights", "num_bits", 8,
	    "c", "targets", "m.0.down", "weights", "num_bits", 3,
	    "d", "targets", "re:own", "weights", "num_bits", 2);
	struct sq_ct_scheme s;
	char err[512];

	ck_assert_int_eq(sq_ct_find(&s, c, "m.0.up", err), 1);
	ck_assert_int_eq(s.bits, 4);
	ck_assert_int_eq(sq_ct_find(&s, c, "m.1.down_proj", err), 1);
	ck_assert_int_eq(s.bits, 8);
	ck_assert_int_eq(sq_ct_find(&s, c, "m.0.down", err), 1);
	ck_assert_int_eq(s.bits, 3);
	json_decref(c);
	c = json_pack("{s:{s:{s:[s],s:{s:i}}}}", "config_groups", "a",
	    "targets", "re:(a*)*b(", "weights", "num_bits", 4);
	ck_assert_int_eq(sq_ct_find(&s, c, "x", err), -1);
	json_decref(c);
	c = json_pack("{s:{s:{s:[s],s:{s:i}}}}", "config_groups", "a",
	    "targets", "re:(x+x+)+(y|z)", "weights", "num_bits", 4);
	ck_assert_int_eq(sq_ct_find(&s, c, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	    err), -1);
	json_decref(c);
}
END_TEST

/* What is written is understood again. */
START_TEST(ct_schemes)
{
	struct sq_ct_scheme s = { SQ_CT_INT, 8, 1, SQ_CT_CHANNEL, 0,
	    SQ_CT_ACT_INT8, 1 }, t;
	json_t *c = sq_ct_config_json(json_pack("{s:o}", "group_0",
	    sq_ct_group_json(&s, json_pack("[s]", "Linear"))), json_array(),
	    "int-quantized", 1);
	char err[512];

	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(sq_ct_find(&t, c, "any", err), 1);
	ck_assert_int_eq(t.bits, 8);
	ck_assert_int_eq(t.act, SQ_CT_ACT_INT8);
	ck_assert_int_eq(t.act_static, 1);
	json_decref(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("packings");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, words_4);
	tcase_add_test(tc, words_3);
	tcase_add_loop_test(tc, gptq, 0, 4);
	tcase_add_test(tc, awq);
	tcase_add_loop_test(tc, zeros, 0, 4);
	tcase_add_test(tc, zeros_of_awq);
	tcase_add_loop_test(tc, zeros_of_ct, 2, 9);
	tcase_add_loop_test(tc, bytes, 0, 2);
	tcase_add_test(tc, pairs);
	tcase_add_test(tc, floats);
	tcase_add_test(tc, config_text);
	tcase_add_test(tc, ct_targets);
	tcase_add_test(tc, ct_schemes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
