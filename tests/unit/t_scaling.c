/*
 * lib/quant/scaling and sinkhorn against float64: on a random layer whose
 * inputs are correlated, the objective of the factors that were found, and of
 * none, is computed anew from its definition.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "base/rng.h"
#include "quant/act_scale.h"
#include "quant/scaling.h"
#include "quant/sinkhorn.h"

#define N	96
#define ROWS	40
#define TOKENS	400
#define GROUP	32

static const struct sq_kern *kern;
static char err[SQ_ERR];
static float w[ROWS * N], h[N * (N + 1) / 2], power[N], size[N], peak[N];
static double full[N][N];

static double
normal(struct sq_rng *r)
{
	double u = sq_rng_uniform(r) + 1e-12, v = sq_rng_uniform(r);

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static void
make_layer(uint64_t seed)
{
	struct sq_rng r = { seed };
	double x[N], spread[N];
	size_t t, i, j, at;

	memset(full, 0, sizeof(full));
	memset(peak, 0, sizeof(peak));
	for (i = 0; i < ROWS * N; i++)
		w[i] = (float)(.05 * normal(&r) * exp(.3 * normal(&r)));
	for (i = 0; i < N; i++)
		spread[i] = exp(normal(&r));
	for (t = 0; t < TOKENS; t++) {
		for (i = 0; i < N; i++)
			x[i] = normal(&r) + (i > 0 ? .7 * x[i - 1] /
			    spread[i - 1] : 0);
		for (i = 0; i < N; i++) {
			x[i] *= spread[i];
			peak[i] = fmaxf(peak[i], fabsf((float)x[i]));
		}
		for (i = 0; i < N; i++)
			for (j = 0; j < N; j++)
				full[i][j] += x[i] * x[j];
	}
	for (at = i = 0; i < N; i++) {
		power[i] = (float)(full[i][i] / TOKENS);
		size[i] = peak[i];
		for (j = i; j < N; j++) {
			h[at] = (float)full[i][j];
			full[i][j] = full[j][i] = h[at++];
		}
	}
}

/* The middle of the distribution of a token's largest magnitude. */
static double
median_peak(const double v[N])
{
	double t, sum;
	size_t i;

	for (t = 1e-2;; t *= 1.0002) {
		for (sum = i = 0; i < N; i++)
			sum += erfc(t / sqrt(2 * v[i]));
		if (sum <= log(2))
			return t;
	}
}

/* Symmetric integers by the largest magnitude, groups of GROUP. */
static double
reference(const struct sq_scaling *k, const float s[N])
{
	int half = 1 << (sq_grid_bits(k->rule.grid) - 1);
	double e[N], sum = 0, squares = 0, v[N], most, step, q, top = 0;
	size_t r, g, i, j;

	for (r = 0; r < ROWS; r++) {
		for (g = 0; g < N; g += GROUP) {
			for (most = 0, i = g; i < g + GROUP; i++)
				most = fmax(most, fabsf(w[r * N + i] * s[i]));
			step = sq_f16_to_f32(sq_f32_to_f16((float)(most /
			    (half - .5))));
			for (i = g; i < g + GROUP; i++) {
				q = rint(w[r * N + i] * s[i] / (float)step);
				q = fmin(fmax(q, -half), half - 1) * step;
				e[i] = q / s[i] - w[r * N + i];
				squares += pow((double)w[r * N + i] * s[i], 2);
			}
		}
		for (i = 0; i < N; i++)
			for (j = 0; j < N; j++)
				sum += e[i] * full[i][j] * e[j];
	}
	sum /= TOKENS;
	if (k->act == SQ_ACT_NONE)
		return sum;
	for (i = 0; i < N; i++) {
		v[i] = power[i] / (double)s[i] / s[i];
		top = fmax(top, peak[i] / s[i]);
	}
	if (!k->act_static)
		top = median_peak(v);
	return sum + top * top / 127 / 127 / 12 * squares;
}

static void
find(struct sq_scaling *k, float *s, int threads, const uint32_t *tie,
    size_t nscales)
{
	struct sq_pool *pool = sq_pool_new(threads);
	struct sq_held held = { .t = { .name = "w", .type = SQ_F32,
	    .ndim = 2, .dim = { ROWS, N } }, .data = (unsigned char *)w };
	struct sq_held *all[1] = { &held };
	struct sq_scaling_in in = { .n = N, .h = h, .tokens = TOKENS,
	    .power = power, .size = size, .peak = peak, .tie = tie,
	    .nscales = nscales, .w = all, .nw = 1 };
	struct sq_ctx ctx;

	sq_tensor_layout(&held.t, SQ_F16, 0);
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, pool), 0);
	k->ctx = &ctx;
	ck_assert_msg(sq_scaling_find(k, &in, s, err) == 0, "%s", err);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
}

static struct sq_scaling
options(enum sq_grid grid, enum sq_act_kind act, int is_static)
{
	return (struct sq_scaling){ .act = act, .act_static = is_static,
	    .by_both = act != SQ_ACT_NONE, .rule = { .grid = grid,
	    .symmetric = 1, .group_cols = GROUP } };
}

static void
close_to(double got, double want, const char *what)
{
	ck_assert_msg(fabs(got - want) <= 1e-3 * want, "%s: %.6e, not %.6e",
	    what, got, want);
}

START_TEST(objective)
{
	struct sq_scaling k = _i < 2 ? options(SQ_INT4, SQ_ACT_NONE, 0) :
	    options(SQ_INT8, SQ_ACT_INT8, _i % 2);
	float s[N], one[N];
	size_t i;

	make_layer((uint64_t)_i + 1);
	find(&k, s, 1, NULL, N);
	for (i = 0; i < N; i++)
		one[i] = 1;
	close_to(k.before, reference(&k, one), "unscaled");
	close_to(k.after, reference(&k, s), "scaled");
	ck_assert_msg(k.after < .95 * k.before, "%g is hardly less than %g",
	    k.after, k.before);
	ck_assert(k.after < k.norm);
}
END_TEST

START_TEST(threads)
{
	struct sq_scaling a = options(SQ_INT4, SQ_ACT_NONE, 0), b = a;
	float s[N], t[N];

	make_layer(7);
	find(&a, s, 1, NULL, N);
	find(&b, t, 3, NULL, N);
	ck_assert_mem_eq(s, t, sizeof(s));
	ck_assert(a.after == b.after);
}
END_TEST

/* Channels that share a factor get the same. */
START_TEST(tied)
{
	struct sq_scaling k = options(SQ_INT8, SQ_ACT_INT8, 0);
	float s[N / 3], all[N];
	uint32_t tie[N];
	size_t i;

	make_layer(9);
	for (i = 0; i < N; i++)
		tie[i] = (uint32_t)(i % (N / 3));
	find(&k, s, 2, tie, N / 3);
	for (i = 0; i < N; i++)
		all[i] = s[tie[i]];
	close_to(k.after, reference(&k, all), "tied");
	ck_assert(k.after < k.before);
}
END_TEST

/* A channel that is never used keeps its size, and costs nothing. */
START_TEST(dead)
{
	struct sq_scaling k = options(SQ_INT8, SQ_ACT_INT8, 0);
	float s[N];

	make_layer(11);
	size[5] = power[5] = peak[5] = 0;
	find(&k, s, 1, NULL, N);
	ck_assert(s[5] == 1);
	make_layer(11);
	w[3] = INFINITY;
	{
		struct sq_held held = { .t = { .name = "w", .type = SQ_F32,
		    .ndim = 2, .dim = { ROWS, N } },
		    .data = (unsigned char *)w };
		struct sq_held *all[1] = { &held };
		struct sq_scaling_in in = { .n = N, .h = h, .tokens = TOKENS,
		    .power = power, .size = size, .peak = peak,
		    .nscales = N, .w = all, .nw = 1 };
		struct sq_ctx ctx;

		sq_tensor_layout(&held.t, SQ_F16, 0);
		ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
		k.ctx = &ctx;
		ck_assert_int_eq(sq_scaling_find(&k, &in, s, err), -1);
		ck_assert(strstr(err, "infinity") != NULL);
		sq_ctx_release(&ctx);
	}
}
END_TEST

/* diag(r) m diag(c) with m of one size gives c back, up to a factor. */
START_TEST(evened)
{
	struct sq_rng r = { 5 };
	float c[N], got[N];
	double ratio = 0;
	size_t i, j;

	for (j = 0; j < N; j++)
		c[j] = (float)exp(normal(&r));
	for (i = 0; i < ROWS; i++)
		for (j = 0; j < N; j++)
			w[i * N + j] = (float)(exp((double)(i % 5)) * c[j] *
			    ((i + j) % 2 ? 1 : -1));
	c[4] = 0;
	for (i = 0; i < ROWS; i++)
		w[i * N + 4] = 0;
	ck_assert_int_eq(sq_sinkhorn(w, ROWS, N, got), 0);
	ck_assert(got[4] == 0);
	for (j = 0; j < N; j++) {
		if (j == 4)
			continue;
		if (ratio == 0)
			ratio = got[j] / c[j];
		close_to(got[j], ratio * c[j], "column");
	}
}
END_TEST

/* The step that rounds samples best is near the one from their histogram. */
START_TEST(static_scale)
{
	static uint64_t hist[SQ_HIST];
	static double x[20000];
	struct sq_rng r = { 3 };
	float lo[1] = { 0 }, hi[1] = { 0 };
	struct sq_stats s = { .channels = 1, .min = lo, .max = hi };
	double best = INFINITY, e, step, q, got = 0, at;
	size_t i;
	int t, bin;

	memset(hist, 0, sizeof(hist));
	for (i = 0; i < 20000; i++) {
		x[i] = normal(&r) * exp(.7 * normal(&r));
		lo[0] = fminf(lo[0], (float)x[i]);
		hi[0] = fmaxf(hi[0], (float)x[i]);
		bin = (int)floor((log2(fabs(x[i])) + 32) * 4) + 1;
		hist[bin < 0 ? 0 : bin]++;
	}
	at = fmax(-lo[0], hi[0]) / 127;
	ck_assert_float_eq_tol(sq_act_static_scale(&s, SQ_ACT_INT8),
	    (float)at, 1e-6f);
	ck_assert_float_eq_tol(sq_act_static_scale(&s, SQ_ACT_FP8),
	    (float)(at * 127 / 448), 1e-6f);
	s.hist = hist;
	for (t = 0; t <= 51; t++) {
		step = t == 51 ? sq_act_static_scale(&s, SQ_ACT_INT8) :
		    at * (1 - .01 * t);
		for (e = 0, i = 0; i < 20000; i++) {
			q = fmin(fmax(rint(x[i] / step), -127), 127) * step;
			e += (x[i] - q) * (x[i] - q);
		}
		if (t == 51)
			got = e;
		else if (e < best)
			best = e;
	}
	ck_assert_msg(got < 1.1 * best, "%g, best is %g", got, best);
}
END_TEST

static Suite *
suite(void)
{
	Suite *s = suite_create("scaling");
	TCase *c = tcase_create("scaling");

	tcase_add_loop_test(c, objective, 0, 4);
	tcase_add_test(c, threads);
	tcase_add_test(c, tied);
	tcase_add_test(c, dead);
	tcase_add_test(c, evened);
	tcase_add_test(c, static_scale);
	suite_add_tcase(s, c);
	return s;
}

int
main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	if ((kern = sq_kern_find("auto", err)) == NULL)
		return 1;
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
