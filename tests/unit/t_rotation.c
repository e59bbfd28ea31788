/*
 * lib/quant/rotation and turn: the matrices are orthogonal, of one magnitude
 * where they should be, and statistics turn as the definition in float64 has
 * it.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/rng.h"
#include "quant/turn.h"

static char err[SQ_ERR];

/* Q, row by row: what becomes of the unit vectors. */
static double *
matrix(const struct sq_rotation *t)
{
	double *q = calloc(t->n * t->n, sizeof(*q));
	double *work = malloc(t->n * sizeof(*work));
	size_t i;

	ck_assert(q != NULL && work != NULL);
	for (i = 0; i < t->n; i++) {
		q[i * t->n + i] = 1;
		sq_rotation_apply(t, q + i * t->n, work);
	}
	free(work);
	return q;
}

static const struct {
	size_t n, m;
	int hadamard;
} sizes[] = {
	{ 1, 1, 1 }, { 2, 1, 1 }, { 64, 1, 1 }, { 128, 1, 1 },
	{ 12, 12, 1 }, { 96, 12, 1 }, { 48, 12, 1 }, { 40, 20, 1 },
	{ 80, 20, 1 }, { 28, 28, 1 }, { 112, 28, 1 }, { 36, 36, 1 },
	{ 88, 44, 1 }, { 52, 13, 0 }, { 6, 3, 0 }, { 7, 7, 0 },
	{ 92, 23, 0 }, { 15, 15, 0 },
};

START_TEST(orthogonal)
{
	size_t n = sizes[_i].n, i, j, k;
	struct sq_rotation t;
	double *q, dot;

	ck_assert_msg(sq_rotation_init(&t, n, 5, err) == 0, "%s", err);
	ck_assert_uint_eq(t.m, sizes[_i].m);
	ck_assert_int_eq(t.hadamard, sizes[_i].hadamard);
	q = matrix(&t);
	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++) {
			for (dot = 0, k = 0; k < n; k++)
				dot += q[i * n + k] * q[j * n + k];
			ck_assert_msg(fabs(dot - (i == j)) < 1e-12,
			    "%zu: rows %zu and %zu: %g", n, i, j, dot);
			if (t.hadamard)
				ck_assert_double_eq_tol(fabs(q[i * n + j]),
				    1 / sqrt((double)n), 1e-12);
		}
	free(q);
	sq_rotation_release(&t);
}
END_TEST

START_TEST(seeds)
{
	struct sq_rotation a, b, c;
	double *qa, *qb, *qc;

	ck_assert_int_eq(sq_rotation_init(&a, 48, 1, err), 0);
	ck_assert_int_eq(sq_rotation_init(&b, 48, 1, err), 0);
	ck_assert_int_eq(sq_rotation_init(&c, 48, 2, err), 0);
	qa = matrix(&a);
	qb = matrix(&b);
	qc = matrix(&c);
	ck_assert_mem_eq(qa, qb, 48 * 48 * sizeof(double));
	ck_assert(memcmp(qa, qc, 48 * 48 * sizeof(double)) != 0);
	free(qa);
	free(qb);
	free(qc);
	sq_rotation_release(&a);
	sq_rotation_release(&b);
	sq_rotation_release(&c);
	ck_assert_int_eq(sq_rotation_init(&a, 2 * 5003, 1, err), -1);
}
END_TEST

#define N	24
#define HEADS	4
#define D	6

/* H and the mean of fresh samples, turned one by one, are the turned ones. */
static void
statistics(const struct sq_turn *t, const float *scale, int threads)
{
	struct sq_pool *pool = sq_pool_new(threads);
	static double x[N], y[N], work[N], h[N][N], want[N][N], mean[N];
	struct sq_stats s = { .channels = N, .tokens = 300 };
	struct sq_rng r = { 9 };
	double norm = 0;
	size_t i, j, k, at, m = t->r->n;

	memset(h, 0, sizeof(h));
	memset(want, 0, sizeof(want));
	memset(mean, 0, sizeof(mean));
	s.min = malloc(N * sizeof(float));
	s.hist = malloc(SQ_HIST * sizeof(*s.hist));
	s.mean = calloc(N, sizeof(float));
	s.h = malloc(sq_triangle(N) * sizeof(float));
	for (k = 0; k < 300; k++) {
		for (i = 0; i < N; i++) {
			x[i] = sq_rng_uniform(&r) - .3 + (i > 0 ? x[i - 1] / 2
			    : 0);
			s.mean[i] += (float)(x[i] / 300);
			y[i] = x[i] * (scale == NULL ? 1 : (double)scale[i]);
		}
		for (i = 0; i < t->count; i++)
			sq_rotation_apply(&t->r[i / t->share], y + i * m,
			    work);
		for (i = 0; i < N; i++) {
			mean[i] += y[i] / 300;
			for (j = 0; j < N; j++) {
				h[i][j] += x[i] * x[j];
				want[i][j] += y[i] * y[j];
			}
		}
	}
	for (at = i = 0; i < N; i++)
		for (j = i; j < N; j++)
			s.h[at++] = (float)h[i][j];
	ck_assert_int_eq(sq_turn_stats(t, &s, scale, pool), 0);
	ck_assert(s.min == NULL && s.hist == NULL && s.rescaled);
	for (i = 0; i < N; i++)
		norm = fmax(norm, want[i][i]);
	for (at = i = 0; i < N; i++) {
		ck_assert_double_eq_tol(s.mean[i], mean[i], 1e-5);
		for (j = i; j < N; j++, at++)
			ck_assert_double_eq_tol(s.h[at], want[i][j],
			    2e-6 * norm);
	}
	sq_stats_release(&s);
	sq_pool_free(pool);
}

START_TEST(stats)
{
	struct sq_rotation q, r[HEADS / 2];
	struct sq_turn all = { &q, 1, 1 }, heads = { r, HEADS, 2 };
	float scale[N];
	size_t i;

	for (i = 0; i < N; i++)
		scale[i] = i == 3 ? 0 : 1.0f / (float)(1 + i % 4);
	ck_assert_int_eq(sq_rotation_init(&q, N, 1, err), 0);
	ck_assert_int_eq(sq_rotation_init(&r[0], D, 2, err), 0);
	ck_assert_int_eq(sq_rotation_init(&r[1], D, 3, err), 0);
	statistics(&all, scale, 1);
	statistics(&all, NULL, 3);
	statistics(&heads, NULL, 2);
	sq_rotation_release(&q);
	sq_rotation_release(&r[0]);
	sq_rotation_release(&r[1]);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("rotation");
	TCase *c = tcase_create("rotation");

	tcase_add_loop_test(c, orthogonal, 0,
	    (int)(sizeof(sizes) / sizeof(sizes[0])));
	tcase_add_test(c, seeds);
	tcase_add_test(c, stats);
	suite_add_tcase(s, c);
	return s;
}

int
main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
