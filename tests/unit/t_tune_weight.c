/* Weights that are learned: the gradient of scales against differences in
 * float64, and that steps make a loss smaller, with scales of either sign. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "base/pool.h"
#include "base/rng.h"
#include "quant/codes.h"
#include "quant/tune_weight.h"

#define ROWS	3
#define COLS	40
#define GROUP	16
#define ACROSS	3
#define BITS	3

static float dense[ROWS][COLS];
static uint8_t codes[ROWS][COLS], packed[ROWS][COLS * BITS / 8];
static uint16_t scales[ROWS][ACROSS];

/* Loss by w: sum of v (w - want)^2. */
static double
want(size_t i)
{
	return (double)dense[i / COLS][i % COLS] * 1.05 + 0.01;
}

static double
by(size_t i)
{
	return 1 + (double)(i % 7);
}

static void
make(struct sq_tune_weight *t, struct sq_pool *pool,
    struct sq_tune_file *file)
{
	struct sq_qrule rule = { .grid = SQ_INT3, .symmetric = 1,
	    .group_rows = 1, .group_cols = GROUP };
	struct sq_qdst q = { .codes = packed[0], .scales = scales[0] };
	struct sq_mat m = { dense, SQ_F32, ROWS, COLS, COLS };
	struct sq_rng rng = { 5 };
	char err[SQ_ERR];
	size_t i, c;
	float s;

	for (i = 0; i < ROWS; i++) {
		for (c = 0; c < ACROSS; c++)
			scales[i][c] = sq_f32_to_f16(c == 1 ? -0.1f : 0.12f);
		for (c = 0; c < COLS; c++) {
			dense[i][c] = (float)sq_rng_uniform(&rng) - 0.5f;
			s = sq_f16_to_f32(scales[i][c / GROUP]);
			codes[i][c] = (uint8_t)fminf(7, fmaxf(0,
			    rintf(dense[i][c] / s) + 4));
		}
		sq_codes_pack(codes[i], COLS, BITS, packed[i]);
	}
	ck_assert_int_eq(sq_tune_weight_init(t, pool, file, &m, &rule, &q,
	    0.48f, err), 0);
	sq_tune_weight_apply(t);
}

static double
loss(const struct sq_tune_weight *t)
{
	double sum = 0, d;
	size_t i;

	for (i = 0; i < ROWS * COLS; i++) {
		d = (double)t->w[i] - want(i);
		sum += by(i) * d * d;
	}
	return sum;
}

static void
gradient(struct sq_tune_weight *t)
{
	size_t i;

	for (i = 0; i < ROWS * COLS; i++)
		t->g[i] = (float)(2 * by(i) * ((double)t->w[i] - want(i)));
}

/* The loss with the scale of one group multiplied. */
static double
scaled(const struct sq_tune_weight *t, size_t group, double f)
{
	double sum = 0, d;
	size_t i;

	for (i = 0; i < ROWS * COLS; i++) {
		d = (double)t->w[i] * (i / COLS * ACROSS + i % COLS / GROUP ==
		    group ? f : 1) - want(i);
		sum += by(i) * d * d;
	}
	return sum;
}

START_TEST(begins_as_quantized)
{
	struct sq_pool *pool = sq_pool_new(1);
	struct sq_tune_weight t;
	size_t i;

	make(&t, pool, NULL);
	for (i = 0; i < ROWS * COLS; i++)
		ck_assert(t.w[i] == sq_f16_to_f32(scales[i / COLS]
		    [i % COLS / GROUP]) * ((float)codes[i / COLS][i % COLS] -
		    4));
	sq_tune_weight_release(&t);
	sq_pool_free(pool);
}
END_TEST

START_TEST(scale_gradient)
{
	struct sq_pool *pool = sq_pool_new(1);
	struct sq_tune_weight t;
	const double h = 1e-5;
	double d;
	size_t g;

	make(&t, pool, NULL);
	gradient(&t);
	for (g = 0; g < ROWS * ACROSS; g++) {
		d = (scaled(&t, g, exp(h)) - scaled(&t, g, exp(-h))) /
		    (2 * h);
		ck_assert_double_eq_tol((double)sq_tune_weight_by_scale(&t,
		    g), d, 1e-5 * (1 + fabs(d)));
	}
	sq_tune_weight_release(&t);
	sq_pool_free(pool);
}
END_TEST

/* The same in a file, of which it has a few rows at a time. */
START_TEST(steps_in_a_file)
{
	struct sq_pool *pool = sq_pool_new(2);
	struct sq_tune_rate rate = { 0, 0.01f, 0.003f };
	struct sq_tune_file file = { 0 };
	float w[ROWS * COLS];
	struct sq_mat m = { w, SQ_F32, ROWS, COLS, COLS };
	struct sq_ctx c = { .pool = pool };
	struct sq_tune_weight t, f;
	struct sq_weight now;
	char err[SQ_ERR];

	c.kern = sq_kern_find("ref", err);
	make(&t, pool, NULL);
	make(&f, pool, &file);
	now = sq_tune_weight_now(&f);
	ck_assert_ptr_null(f.u.mem);
	f.u.some = 2;
	for (rate.step = 1; rate.step <= 20; rate.step++) {
		gradient(&t);
		memcpy(f.g, t.g, sizeof(w));
		sq_tune_weight_step(&t, &rate);
		sq_tune_weight_step(&f, &rate);
		ck_assert_int_eq(sq_dequantize(&c, &now, 0, &m), 0);
		ck_assert_mem_eq(t.w, w, sizeof(w));
	}
	ck_assert_int_eq(sq_tune_file_check(&file, err), 0);
	ck_assert_int_eq(ftruncate(file.fd, 0), 0);
	sq_tune_weight_apply(&f);
	ck_assert_int_eq(sq_tune_file_check(&file, err), -1);
	sq_tune_weight_release(&t);
	sq_tune_weight_release(&f);
	sq_tune_file_release(&file);
	sq_pool_free(pool);
}
END_TEST

START_TEST(steps_learn)
{
	struct sq_pool *pool = sq_pool_new(2);
	struct sq_qdst q = { .codes = packed[0], .scales = scales[0] };
	struct sq_tune_rate rate = { 0, 0.01f, 0.003f };
	struct sq_tune_weight t;
	uint8_t now[COLS];
	double first;
	size_t i, c, turned = 0;

	make(&t, pool, NULL);
	first = loss(&t);
	for (rate.step = 1; rate.step <= 60; rate.step++) {
		gradient(&t);
		sq_tune_weight_step(&t, &rate);
	}
	ck_assert_double_lt(loss(&t), 0.8 * first);
	sq_tune_weight_note(&t);
	sq_tune_weight_noted(&t, &q);
	for (i = 0; i < ROWS; i++) {
		sq_codes_unpack(packed[i], COLS, BITS, now);
		for (c = 0; c < COLS; c++) {
			turned += now[c] != codes[i][c];
			ck_assert(t.w[i * COLS + c] == sq_f16_to_f32(
			    scales[i][c / GROUP]) * ((float)now[c] - 4));
		}
	}
	ck_assert_uint_gt(turned, 0);
	sq_tune_weight_release(&t);
	sq_pool_free(pool);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tune_weight");
	TCase *c = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(c, begins_as_quantized);
	tcase_add_test(c, scale_gradient);
	tcase_add_test(c, steps_in_a_file);
	tcase_add_test(c, steps_learn);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
