/* lib/base/lapack: what it computes, and the same bits from many threads. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lapack.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kern.h"

#define N	200
#define JOBS	64

static const struct sq_lapack *la;

static void
fill(float *a, size_t n, uint64_t seed)
{
	struct sq_rng r = { seed };
	size_t i;

	for (i = 0; i < n; i++)
		a[i] = (float)(2 * sq_rng_uniform(&r) - 1);
}

START_TEST(opening)
{
	char err[SQ_ERR];

	/* the same kernels again, and others */
	ck_assert_ptr_eq(sq_lapack_open(sq_kern_find("auto", err)->name, err),
	    la);
	ck_assert(strlen(sq_lapack_kernels(la)) > 0);
#if defined(__x86_64__)
	if (strcmp(sq_lapack_kernels(la), "Prescott") != 0)
		ck_assert_ptr_null(sq_lapack_open("ref", err));
#endif
}
END_TEST

START_TEST(products)
{
	static float a[N * N], b[N * N], c[N * N];
	int m = 37, n = 50, k = 91, i, j, l;
	double want;

	fill(a, N * N, 1);
	fill(b, N * N, 2);
	fill(c, N * N, 3);
	sq_sgemm(la, 'N', 'T', m, n, k, 2, a, N, b, N, 0, c, N);
	for (i = 0; i < m; i++)
		for (j = 0; j < n; j++) {
			want = 0;
			for (l = 0; l < k; l++)
				want += 2.0 * a[i + l * N] * b[j + l * N];
			ck_assert_double_eq_tol(c[i + j * N], want, 1e-4);
		}
}
END_TEST

/* A = U^T U, and U^-T applied to A is U. */
START_TEST(factors)
{
	static float g[N * N], a[N * N], u[N * N];
	int i, j;

	fill(g, N * N, 4);
	sq_sgemm(la, 'T', 'N', N, N, N, 1, g, N, g, N, 0, a, N);
	for (i = 0; i < N; i++)
		a[i * N + i] += 1;
	memcpy(u, a, sizeof(u));
	ck_assert_int_eq(sq_spotrf(la, 'U', N, u, N), 0);
	sq_strsm(la, 'L', 'U', 'T', 'N', N, N, 1, u, N, a, N);
	for (i = 0; i < N; i++)
		for (j = i; j < N; j++)
			ck_assert_double_eq_tol(a[i + j * N], u[i + j * N],
			    1e-3);
	a[5 * N + 5] = -1;
	ck_assert_int_eq(sq_spotrf(la, 'U', N, a, N), 6);
}
END_TEST

/* One job: a product, a factor, a solution; its shape goes with its number. */
struct out {
	float c[N * N], u[N * N], x[N * N];
};

static struct out *made;

static void
compute(void *arg, long task, int thread)
{
	static const int sizes[] = { 200, 16, 128, 77, 199, 64, 33, 150 };
	struct out *o = &made[task];
	int i, n = sizes[task % 8], m = sizes[(task / 8) % 8];
	float *a = malloc(sizeof(o->c)), *b = malloc(sizeof(o->c));

	(void)arg;
	(void)thread;
	fill(a, N * N, (uint64_t)task);
	fill(b, N * N, (uint64_t)task + 1000);
	memset(o, 0, sizeof(*o));
	sq_sgemm(la, 'N', 'T', n, m, N, 1, a, N, b, N, 0, o->c, N);
	sq_sgemm(la, 'T', 'N', n, n, N, 1, a, N, a, N, 0, o->u, N);
	for (i = 0; i < n; i++)
		o->u[i * N + i] += 1;
	sq_spotrf(la, 'U', n, o->u, N);
	memcpy(o->x, b, sizeof(o->x));
	sq_strsm(la, 'L', 'U', 'T', 'N', n, m, 1, o->u, N, o->x, N);
	free(a);
	free(b);
}

START_TEST(threads)
{
	struct out *want = malloc(JOBS * sizeof(*want));
	struct sq_pool *pool = sq_pool_new(4);
	int i;

	made = want;
	sq_pool_run(NULL, compute, NULL, JOBS);
	made = malloc(JOBS * sizeof(*made));
	for (i = 0; i < 20; i++) {
		sq_pool_run(pool, compute, NULL, JOBS);
		ck_assert_int_eq(memcmp(made, want, JOBS * sizeof(*made)), 0);
	}
	sq_pool_free(pool);
	free(made);
	free(want);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lapack");
	TCase *t = tcase_create("all");
	char err[SQ_ERR];
	SRunner *sr;
	int failed;

	la = sq_lapack_open(sq_kern_find("auto", err)->name, err);
	if (la == NULL) {
		fprintf(stderr, "t_lapack: %s\n", err);
		return 1;
	}
	tcase_set_timeout(t, 120);
	tcase_add_test(t, opening);
	tcase_add_test(t, products);
	tcase_add_test(t, factors);
	tcase_add_test(t, threads);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
