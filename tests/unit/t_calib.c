/*
 * Calibration: H against a float64 sum, samples of a text, statistics of a
 * block against what the activations say.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "base/rng.h"
#include "calib/collect.h"
#include "calib/hidden.h"
#include "model/config.h"

#define CHANNELS	300
#define LENGTH		96

static float x[LENGTH][CHANNELS];

static void
fill_x(void)
{
	struct sq_rng r = { 7 };
	int i, j;

	for (i = 0; i < LENGTH; i++)
		for (j = 0; j < CHANNELS; j++)
			x[i][j] = (float)((sq_rng_uniform(&r) - .3) *
			    (1 + j % 5));
}

/* Feeds x in pieces of `step' rows, twice, and hands back H. */
static float *
gram(enum sq_prec prec, int threads, size_t step)
{
	struct sq_pool *pool = sq_pool_new(threads);
	struct sq_gram g;
	struct sq_ctx ctx;
	struct sq_mat m;
	char err[SQ_ERR];
	size_t at, n, bytes = sq_triangle(CHANNELS) * sizeof(float);
	float *h = malloc(bytes);
	int turn;

	ck_assert(sq_ctx_init(&ctx, sq_kern_find("auto", err), pool) == 0);
	ck_assert(sq_gram_init(&g, &ctx, CHANNELS, LENGTH, prec, err) == 0);
	for (turn = 0; turn < 2; turn++) {
		for (at = 0; at < LENGTH; at += n) {
			n = LENGTH - at < step ? LENGTH - at : step;
			m = (struct sq_mat){ x[at], SQ_F32, n, CHANNELS,
			    CHANNELS };
			ck_assert(sq_gram_take(&g, &m, err) == 0);
		}
		ck_assert(sq_gram_add(&g, err) == 0);
	}
	memcpy(h, g.h, bytes);
	sq_gram_release(&g);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
	return h;
}

START_TEST(h_is_the_sum)
{
	enum sq_prec prec = _i ? SQ_PREC_BF16 : SQ_PREC_F32;
	double want, mag, a, b, bound = _i ? 1e-4 : 1e-5;
	float *h = (fill_x(), gram(prec, 2, 40));
	size_t i, j, t;

	for (i = 0; i < CHANNELS; i++)
		for (j = i; j < CHANNELS; j++) {
			want = mag = 0;
			for (t = 0; t < LENGTH; t++) {
				a = x[t][i];
				b = x[t][j];
				if (_i) {
					a = sq_bf16_to_f32(
					    sq_f32_to_bf16(x[t][i]));
					b = sq_bf16_to_f32(
					    sq_f32_to_bf16(x[t][j]));
				}
				want += 2 * a * b;
				mag += 2 * fabs(a * b);
			}
			ck_assert_double_le(fabs(h[sq_triangle_at(CHANNELS, i,
			    j)] - want), bound * mag);
		}
	free(h);
}
END_TEST

START_TEST(h_is_the_same_bits)
{
	float *a = (fill_x(), gram(SQ_PREC_BF16, 1, LENGTH));
	float *b = gram(SQ_PREC_BF16, 3, 17);

	ck_assert(memcmp(a, b, sq_triangle(CHANNELS) * sizeof(*a)) == 0);
	free(a);
	free(b);
}
END_TEST

/* Pieces, the last one first, with a sample that has no tokens among them. */
START_TEST(pieces_make_the_same_h)
{
	enum { C = 1200, T = 24 };
	static float w[2 * T * C];
	struct sq_gram g, s[3];
	const struct sq_gram *sample[3] = { &s[0], &s[1], &s[2] };
	struct sq_gram_space space;
	struct sq_ctx ctx;
	struct sq_rng r = { 3 };
	struct sq_mat m = { NULL, SQ_F32, T, C, C };
	float *h = calloc(sq_triangle(C), sizeof(*h));
	char err[SQ_ERR];
	size_t i;

	for (i = 0; i < 2 * T * C; i++)
		w[i] = (float)(sq_rng_uniform(&r) - .4);
	ck_assert(sq_ctx_init(&ctx, sq_kern_find("auto", err), NULL) == 0);
	ck_assert(sq_gram_init(&g, &ctx, C, T, SQ_PREC_BF16, err) == 0);
	ck_assert(sq_gram_space_init(&space, &ctx, err) == 0);
	for (i = 0; i < 3; i++) {
		ck_assert(sq_gram_init_sample(&s[i], &ctx, C, T, SQ_PREC_BF16,
		    err) == 0);
		if (i == 1)
			continue;
		m.p = w + i / 2 * T * C;
		ck_assert(sq_gram_take(&s[i], &m, err) == 0);
		ck_assert(sq_gram_lay(&s[i], err) == 0);
		ck_assert(sq_gram_take(&g, &m, err) == 0);
		ck_assert(sq_gram_add(&g, err) == 0);
	}
	ck_assert_uint_gt(sq_gram_pieces(C), 3);
	for (i = sq_gram_pieces(C); i-- > 0;)
		ck_assert(sq_gram_piece(h, sample, 3, i, &space, err) == 0);
	ck_assert(memcmp(h, g.h, sq_triangle(C) * sizeof(*h)) == 0);
	for (i = 0; i < 3; i++)
		sq_gram_release(&s[i]);
	sq_gram_space_release(&space);
	sq_gram_release(&g);
	sq_ctx_release(&ctx);
	free(h);
}
END_TEST

/* Memory that says it is a device's: samples make one H, which is then fetched,
 * and anew. */
START_TEST(device_makes_the_same_h)
{
	float *want = (fill_x(), gram(SQ_PREC_BF16, 1, LENGTH)), *h;
	size_t n = sq_triangle(CHANNELS), i, turn;
	struct sq_mat m = { x, SQ_F32, LENGTH, CHANNELS, CHANNELS };
	char err[SQ_ERR];
	struct sq_kern kern = *sq_kern_find("auto", err);
	struct sq_mem mem = *kern.mem;
	struct sq_gram g;
	const struct sq_gram *sample = &g;
	struct sq_gram_space space = { NULL, NULL };
	struct sq_ctx ctx;

	mem.device = 1;
	kern.mem = &mem;
	h = calloc(n, sizeof(*h));
	ck_assert(sq_ctx_init(&ctx, &kern, NULL) == 0);
	ck_assert(sq_gram_init_sample(&g, &ctx, CHANNELS, LENGTH, SQ_PREC_BF16,
	    err) == 0);
	for (turn = 0; turn < 4; turn++) {
		ck_assert(sq_gram_take(&g, &m, err) == 0);
		ck_assert(sq_gram_take(&g, &m, err) < 0);
		ck_assert(sq_gram_piece(h, &sample, 1, 0, &space, err) ==
		    0);
		sq_gram_end(&g);
		if (turn % 2 == 0)
			continue;
		ck_assert(sq_gram_fetch(&g, h, err) == 0);
		for (i = 0; i < n; i++)
			ck_assert_double_le(fabs(h[i] - want[i]),
			    1e-5 * (fabs(want[i]) + LENGTH));
		memset(h, 0, n * sizeof(*h));
	}
	sq_gram_release(&g);
	sq_ctx_release(&ctx);
	free(want);
	free(h);
}
END_TEST

START_TEST(a_sample_has_its_length)
{
	struct sq_gram g;
	struct sq_ctx ctx;
	struct sq_mat m = { x, SQ_F32, LENGTH, CHANNELS, CHANNELS };
	char err[SQ_ERR];

	ck_assert(sq_ctx_init(&ctx, sq_kern_find("ref", err), NULL) == 0);
	ck_assert(sq_gram_init(&g, &ctx, CHANNELS, LENGTH, SQ_PREC_F32,
	    err) == 0);
	ck_assert(sq_gram_add(&g, err) < 0);
	ck_assert(sq_gram_take(&g, &m, err) == 0);
	ck_assert(sq_gram_take(&g, &m, err) < 0);
	sq_gram_release(&g);
	sq_ctx_release(&ctx);
}
END_TEST

/* One input of a block with 32 channels, in both modes. */
START_TEST(moments_of_a_block)
{
	struct sq_config c = { .dim = 32, .layers = 1, .heads = 2,
	    .kv_heads = 1, .head_dim = 16, .ffn = 48 };
	struct sq_mat m = { x, SQ_F32, LENGTH, 32, CHANNELS };
	struct sq_mat kv = { x, SQ_F32, LENGTH, 16, CHANNELS };
	struct sq_collect k;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	double sum, square;
	uint64_t count;
	size_t t;
	int b;

	fill_x();
	ck_assert(sq_ctx_init(&ctx, sq_kern_find("auto", err), NULL) == 0);
	ck_assert(sq_collect_init(&k, &ctx, &c, LENGTH, 0, SQ_PREC_F32,
	    err) == 0);
	ck_assert(sq_collect_tap(&k, SQ_Q, 0, &m) == 0);
	ck_assert(sq_collect_tap(&k, SQ_K, 0, &kv) == 0);
	ck_assert(sq_collect_sample(&k, LENGTH, err) == 0);
	sq_collect_finish(&k);
	sum = square = 0;
	for (t = 0; t < LENGTH; t++) {
		sum += x[t][3];
		square += (double)x[t][3] * x[t][3];
		ck_assert(k.in[SQ_IN_QKV].stats.min[3] <= x[t][3]);
		ck_assert(k.in[SQ_IN_QKV].stats.max[3] >= x[t][3]);
		ck_assert(k.kv.kmax[5] >= x[t][5]);
	}
	ck_assert_double_eq_tol(k.in[SQ_IN_QKV].stats.mean[3], sum / LENGTH,
	    1e-6);
	ck_assert_double_eq_tol(k.in[SQ_IN_QKV].stats.hdiag[3], square,
	    1e-4 * square);
	for (b = 0, count = 0; b < SQ_HIST; b++)
		count += k.in[SQ_IN_QKV].stats.hist[b];
	ck_assert_uint_eq(count, 32 * LENGTH);
	ck_assert_uint_eq(k.in[SQ_IN_QKV].stats.tokens, LENGTH);
	sq_collect_release(&k);
	sq_ctx_release(&ctx);
}
END_TEST

START_TEST(hidden_that_fit)
{
	ck_assert_int_eq(sq_hidden_spills(100, 50, 150), 0);
	ck_assert_int_eq(sq_hidden_spills(101, 50, 150), 1);
	ck_assert_int_eq(sq_hidden_spills(SQ_HIDDEN_CALM, 1 << 30, 0), 0);
	ck_assert_int_eq(sq_hidden_spills(SQ_HIDDEN_CALM + 1, 0, 0), 1);
}
END_TEST

START_TEST(hidden_in_a_file)
{
	struct sq_hidden h;
	char err[SQ_ERR];
	float *p;
	size_t i;

	ck_assert((_i == 2 ? sq_hidden_init_far(&h, 3, 8, 4, &sq_mem_host) :
	    sq_hidden_init(&h, 3, 8, 4, _i, err)) == 0);
	for (i = 0; i < 3; i++) {
		p = sq_hidden_get(&h, i, err);
		ck_assert_ptr_nonnull(p);
		p[31] = (float)i;
		ck_assert(sq_hidden_put(&h, i, err) == 0);
	}
	for (i = 3; i-- > 0; )
		ck_assert_float_eq(sq_hidden_get(&h, i, err)[31], (float)i);
	sq_hidden_release(&h);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("calib");
	TCase *tc = tcase_create("statistics");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, h_is_the_sum, 0, 2);
	tcase_add_test(tc, h_is_the_same_bits);
	tcase_add_test(tc, pieces_make_the_same_h);
	tcase_add_test(tc, device_makes_the_same_h);
	tcase_add_test(tc, a_sample_has_its_length);
	tcase_add_test(tc, moments_of_a_block);
	tcase_add_test(tc, hidden_that_fit);
	tcase_add_loop_test(tc, hidden_in_a_file, 0, 3);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
