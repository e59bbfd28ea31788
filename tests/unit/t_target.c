/*
 * lib/quant/target against float64: the solution by Gauss and Jordan, and the
 * strength by what is left on the tokens that were held out, token by token.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "formats/fmt_stats.h"
#include "kernels/kern.h"
#include "quant/target.h"

#define DAMP	0.01

static const struct sq_lapack *la;
static char err[SQ_ERR];

static const struct {
	size_t n, rows, learn, held;
	double noise;
} cases[] = {
	{ 40, 9, 300, 100, .2 },
	{ 64, 130, 200, 60, .05 },
	{ 100, 70, 110, 50, .3 },	/* hardly more tokens than channels */
	{ 30, 5, 20, 40, .3 },		/* fewer */
	{ 48, 20, 300, 100, 0 },
};

#define NCASES	((int)(sizeof(cases) / sizeof(cases[0])))

/* The tokens: x as it was, y as it became, [tokens][n]. */
struct tokens {
	size_t n, count;
	double *x, *y;
	float *h, *d;			/* as the library takes them */
};

static double
normal(struct sq_rng *r)
{
	double u = sq_rng_uniform(r) + 1e-12, v = sq_rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static void
tokens_init(struct tokens *t, size_t n, size_t count, double noise,
    struct sq_rng *r)
{
	double common, away, *h, *d;
	size_t i, k, c, at;

	*t = (struct tokens){ n, count, malloc(n * count * sizeof(double)),
	    malloc(n * count * sizeof(double)), NULL, NULL };
	t->h = malloc(sq_triangle(n) * sizeof(float));
	t->d = malloc(n * n * sizeof(float));
	h = calloc(n * n, sizeof(double));
	d = calloc(n * n, sizeof(double));
	for (i = 0; i < count; i++) {
		common = normal(r);
		away = normal(r);
		for (c = 0; c < n; c++) {
			t->x[i * n + c] = normal(r) + common;
			t->y[i * n + c] = t->x[i * n + c] + noise * (away +
			    .5 * normal(r) + .3 * t->x[i * n + (c * 7) %
			    (c + 1)]);
		}
		for (c = 0; c < n; c++)
			for (k = 0; k < n; k++) {
				h[c * n + k] += t->y[i * n + c] *
				    t->y[i * n + k];
				d[c * n + k] += (t->x[i * n + c] -
				    t->y[i * n + c]) * t->y[i * n + k];
			}
	}
	for (at = c = 0; c < n; c++)
		for (k = c; k < n; k++)
			t->h[at++] = (float)h[c * n + k];
	for (i = 0; i < n * n; i++)
		t->d[i] = (float)d[i];
	free(h);
	free(d);
}

static void
tokens_release(struct tokens *t)
{
	free(t->x);
	free(t->y);
	free(t->h);
	free(t->d);
}

/* D (H + damping)^-1. */
static double *
reference(const struct tokens *t)
{
	size_t n = t->n, i, k, j;
	double *a = malloc(n * n * sizeof(*a)), *m, mean = 0, p;

	m = malloc(n * n * sizeof(*m));
	for (i = 0; i < n; i++)
		for (k = i; k < n; k++)
			a[i * n + k] = a[k * n + i] =
			    t->h[sq_triangle_at(n, i, k)];
	for (i = 0; i < n; i++)
		mean += a[i * n + i] / (double)n;
	for (i = 0; i < n * n; i++)
		m[i] = t->d[i];
	for (i = 0; i < n; i++)
		a[i * n + i] += DAMP * mean;
	for (i = 0; i < n; i++) {	/* columns of m, as a becomes 1 */
		p = 1 / a[i * n + i];
		for (k = 0; k < n; k++) {
			a[k * n + i] *= p;
			m[k * n + i] *= p;
		}
		for (j = 0; j < n; j++) {
			if (j == i)
				continue;
			p = a[i * n + j];
			for (k = 0; k < n; k++) {
				a[k * n + j] -= p * a[k * n + i];
				m[k * n + j] -= p * m[k * n + i];
			}
		}
	}
	free(a);
	return m;
}

/* sum |W x - (W + a W M) y|^2 over the tokens. */
static double
left(const struct tokens *t, const float *w, size_t rows, const double *m,
    double a)
{
	size_t n = t->n, i, r, c, k;
	double *to = malloc(n * sizeof(*to)), sum = 0, e;

	for (r = 0; r < rows; r++) {
		for (c = 0; c < n; c++) {
			to[c] = w[r * n + c];
			for (k = 0; k < n; k++)
				to[c] += a * w[r * n + k] * m[k * n + c];
		}
		for (i = 0; i < t->count; i++) {
			e = 0;
			for (c = 0; c < n; c++)
				e += w[r * n + c] * t->x[i * n + c] -
				    to[c] * t->y[i * n + c];
			sum += e * e;
		}
	}
	free(to);
	return sum;
}

START_TEST(against_float64)
{
	struct sq_rng r = { (uint64_t)_i };
	size_t n = cases[_i].n, rows = cases[_i].rows, i, k;
	struct tokens learn, held;
	struct sq_target t = { .lapack = la, .n = n, .damp = DAMP };
	float *w = malloc(rows * n * sizeof(*w)), *v;
	double *m, a, e, most = 0, off = 0, sum;

	tokens_init(&learn, n, cases[_i].learn, cases[_i].noise, &r);
	tokens_init(&held, n, cases[_i].held, cases[_i].noise, &r);
	for (i = 0; i < rows * n; i++)
		w[i] = (float)normal(&r);
	m = reference(&learn);
	t.square = malloc(n * n * sizeof(float));
	t.d = learn.d;
	ck_assert_msg(sq_target_solve(&t, learn.h, err) == 0, "%s", err);
	for (i = 0; i < n * n; i++) {
		most = fmax(most, fabs(m[i]));
		off = fmax(off, fabs(m[i] - t.d[i]));
	}
	ck_assert_double_le(off, 1e-3 * most + 1e-12);

	/* the best strength, in two pieces */
	sq_target_hold(&t, held.h);
	i = rows / 2;
	ck_assert_int_eq(sq_target_weigh(&t, held.d, w, i, err), 0);
	ck_assert_int_eq(sq_target_weigh(&t, held.d, w + i * n, rows - i,
	    err), 0);
	a = sq_target_strength(&t);
	ck_assert(a >= 0 && a <= 1);
	e = left(&held, w, rows, m, a);
	if (cases[_i].noise > 0)
		ck_assert_double_lt(e, left(&held, w, rows, m, 0));
	for (k = 0; k <= 20; k++)
		ck_assert_double_le(e, (1 + 1e-3) * left(&held, w, rows, m,
		    (double)k / 20));

	v = malloc(rows * n * sizeof(*v));
	memcpy(v, w, rows * n * sizeof(*v));
	ck_assert_int_eq(sq_target_apply(&t, a, v, rows, err), 0);
	for (i = 0; i < rows * n; i++) {
		sum = w[i];
		for (k = 0; k < n; k++)
			sum += a * w[i / n * n + k] * m[k * n + i % n];
		ck_assert_double_eq_tol(v[i], sum, 1e-3);
	}
	free(m);
	free(v);
	free(w);
	free(t.square);
	tokens_release(&learn);
	tokens_release(&held);
}
END_TEST

/* The same bits with threads. */
START_TEST(threads)
{
	struct sq_rng r = { 5 };
	size_t n = 100, rows = 200, i;
	struct tokens learn, held;
	float *w[2];
	double a[2];
	int t;

	for (t = 0; t < 2; t++) {
		struct sq_pool *pool = sq_pool_new(1 + 2 * t);
		struct sq_target g = { .lapack = la, .n = n, .damp = DAMP,
		    .pool = pool };

		r.state = 5;
		tokens_init(&learn, n, 300, .2, &r);
		tokens_init(&held, n, 100, .2, &r);
		w[t] = malloc(rows * n * sizeof(float));
		for (i = 0; i < rows * n; i++)
			w[t][i] = (float)normal(&r);
		g.square = malloc(n * n * sizeof(float));
		g.d = learn.d;
		ck_assert_int_eq(sq_target_solve(&g, learn.h, err), 0);
		sq_target_hold(&g, held.h);
		ck_assert_int_eq(sq_target_weigh(&g, held.d, w[t], rows, err),
		    0);
		a[t] = sq_target_strength(&g);
		ck_assert_int_eq(sq_target_apply(&g, a[t], w[t], rows, err),
		    0);
		free(g.square);
		tokens_release(&learn);
		tokens_release(&held);
		sq_pool_free(pool);
	}
	ck_assert(a[0] == a[1]);
	ck_assert_int_eq(memcmp(w[0], w[1], rows * n * sizeof(float)), 0);
	free(w[0]);
	free(w[1]);
}
END_TEST

START_TEST(nothing_to_learn_from)
{
	float h[3] = { 0, 0, 0 }, d[4] = { 0 }, s[4], w[2] = { 1, 2 };
	struct sq_target t = { .lapack = la, .n = 2, .damp = DAMP,
	    .square = s, .d = d };

	ck_assert_int_eq(sq_target_solve(&t, h, err), 0);
	sq_target_hold(&t, h);
	ck_assert_int_eq(sq_target_weigh(&t, d, w, 1, err), 0);
	ck_assert_double_eq(sq_target_strength(&t), 0);
	h[0] = NAN;
	ck_assert_int_lt(sq_target_solve(&t, h, err), 0);
	h[0] = 1;
	h[1] = 100;
	h[2] = 1;
	ck_assert_int_lt(sq_target_solve(&t, h, err), 0);
}
END_TEST

int
main(void)
{
	const struct sq_kern *kern = sq_kern_find("auto", err);
	Suite *s = suite_create("target");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	if (kern == NULL || (la = sq_lapack_open(kern->name, err)) == NULL) {
		fprintf(stderr, "t_target: %s\n", err);
		return 1;
	}
	tcase_add_loop_test(t, against_float64, 0, NCASES);
	tcase_add_test(t, threads);
	tcase_add_test(t, nothing_to_learn_from);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
