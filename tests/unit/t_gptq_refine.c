/*
 * lib/quant/search and refine, on random layers whose inputs are correlated.
 *
 * All that is judged is computed here in float64 from codes and scales: the
 * error, what moving one code or one scale would change, coordinate descent
 * that goes its own way, and scales found by trying very many.
 */
#include <stdio.h>

#include "tests/unit/gptq_case.h"

/* The codes of a result as numbers. */
struct state {
	const struct layer *l;
	double lambda;			/* added to H's diagonal */
	double *u;			/* [rows][n] */
	double *s, *z;			/* [rows][across] */
};

static void
state_init(struct state *a, const struct layer *l, const struct result *o)
{
	size_t r, c, g, at;
	int bits = sq_grid_bits(l->rule.grid);

	a->l = l;
	a->lambda = o->lambda;
	a->u = malloc(l->rows * l->n * sizeof(double));
	a->s = malloc(l->rows * l->across * sizeof(double));
	a->z = malloc(l->rows * l->across * sizeof(double));
	for (r = 0; r < l->rows; r++) {
		for (c = 0; c < l->n; c++)
			a->u[r * l->n + c] = code_at(o, l, r, c);
		for (g = 0; g < l->across; g++) {
			at = r * l->across + g;
			a->s[at] = sq_f16_to_f32(o->scales[at]);
			a->z[at] = o->zeros != NULL ? o->zeros[at] :
			    1 << (bits - 1);
		}
	}
}

static void
state_release(struct state *a)
{
	free(a->u);
	free(a->s);
	free(a->z);
}

static double
damped(const struct state *a, size_t i, size_t k)
{
	return h_at(a->l, i, k) + (i == k ? a->lambda : 0);
}

/* e = w - q of a row, g = e H; the row's error. */
static double
row_error(const struct state *a, size_t r, double *e, double *g)
{
	const struct layer *l = a->l;
	double sum = 0;
	size_t i, k, at;

	for (i = 0; i < l->n; i++) {
		at = r * l->across + i / l->group;
		e[i] = l->w[r * l->n + i] -
		    (a->u[r * l->n + i] - a->z[at]) * a->s[at];
	}
	for (i = 0; i < l->n; i++) {
		g[i] = 0;
		for (k = 0; k < l->n; k++)
			g[i] += e[k] * damped(a, k, i);
		sum += g[i] * e[i];
	}
	return sum;
}

static double
error_of(const struct state *a)
{
	double *e = malloc(a->l->n * sizeof(*e)), sum = 0;
	double *g = malloc(a->l->n * sizeof(*g));
	size_t r;

	for (r = 0; r < a->l->rows; r++)
		sum += row_error(a, r, e, g);
	free(e);
	free(g);
	return sum;
}

static double
solved(const struct layer *l, struct result *o)
{
	struct state a;
	double e;

	solve(o, l, 1, l->rows, 1);
	state_init(&a, l, o);
	e = error_of(&a);
	state_release(&a);
	return e;
}

static const struct {
	size_t n, rows, tokens, dead;
	int bits, symmetric;
	size_t group;
	enum sq_scale_rule scale;
} cases[] = {
	{ 96, 24, 400, 0, 4, 1, 32, SQ_WEIGHTED },
	{ 128, 18, 300, 9, 3, 0, 128, SQ_MSE },
	{ 200, 18, 400, 0, 4, 1, 128, SQ_WEIGHTED },
	{ 192, 12, 400, 0, 3, 0, 96, SQ_WEIGHTED },
	{ 224, 17, 500, 7, 4, 1, 224, SQ_MSE },
	{ 530, 5, 600, 0, 3, 1, 512, SQ_WEIGHTED },
	{ 40, 9, 100, 0, 2, 0, 1, SQ_ABSMAX },
};

#define NCASES	((int)(sizeof(cases) / sizeof(cases[0])))

static void
case_init(struct layer *l, int i)
{
	layer_init(l, cases[i].n, cases[i].rows, cases[i].tokens,
	    cases[i].dead, (uint64_t)i);
	set_rule(l, cases[i].bits, cases[i].symmetric, cases[i].group,
	    cases[i].scale, SQ_ACT);
}

/* Every step leaves less error than the one before it, and says how much. */
START_TEST(falls)
{
	static const struct { int sweeps, refit, pairs; } step[] = {
		{ 0, 0, 0 }, { 1, 0, 0 }, { 6, 0, 0 }, { 6, 1, 0 }, { 6, 1, 1 }
	};
	double e, last = INFINITY, plain;
	struct state a;
	struct layer l;
	struct result o;
	size_t i;

	case_init(&l, _i);
	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		l.sweeps = step[i].sweeps;
		l.refit = step[i].refit;
		l.pairs = step[i].pairs;
		e = solved(&l, &o);
		/* groups of one weight have the best scale already */
		if (cases[_i].group > 1)
			ck_assert_msg(e < last * (i == 2 ? 1 + 1e-6 : .9999),
			    "step %zu: %g after %g", i, e, last);
		else
			ck_assert_double_le(e, last * (1 + 1e-6));
		last = e;
		state_init(&a, &l, &o);
		a.lambda = 0;
		plain = error_of(&a);
		ck_assert_double_eq_tol(o.error / plain, 1, 2e-3);
		state_release(&a);
		result_release(&o);
	}
	layer_release(&l);
}
END_TEST

/* After many sweeps no code is left whose move would make it better. */
START_TEST(nothing_left)
{
	struct state a;
	struct layer l;
	struct result o;
	double *e, *g, all, d, gain, top, s;
	size_t r, i;
	int way;

	case_init(&l, _i);
	l.sweeps = 60;
	solve(&o, &l, 1, l.rows, 0);
	state_init(&a, &l, &o);
	e = malloc(l.n * sizeof(*e));
	g = malloc(l.n * sizeof(*g));
	top = (1 << cases[_i].bits) - 1;
	for (r = 0; r < l.rows; r++) {
		all = row_error(&a, r, e, g);
		for (i = 0; i < l.n; i++)
			for (way = -1; way <= 1; way += 2) {
				if (a.u[r * l.n + i] + way < 0 ||
				    a.u[r * l.n + i] + way > top)
					continue;
				s = a.s[r * l.across + i / l.group];
				d = -way * s;	/* of e */
				gain = -2 * d * g[i] - d * d * damped(&a, i,
				    i);
				ck_assert_msg(gain < 1e-4 * all, "row %zu "
				    "column %zu: %g of %g", r, i, gain, all);
			}
	}
	free(e);
	free(g);
	state_release(&a);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* Coordinate descent in float64, column by column. */
static void
descend(struct state *a, int sweeps)
{
	const struct layer *l = a->l;
	double *e = malloc(l->n * sizeof(*e)), *g = malloc(l->n * sizeof(*g));
	double top = (1 << sq_grid_bits(l->rule.grid)) - 1, s, u, d;
	size_t r, i, k;
	int sweep;

	for (r = 0; r < l->rows; r++) {
		(void)row_error(a, r, e, g);
		for (sweep = 0; sweep < sweeps; sweep++)
			for (i = 0; i < l->n; i++) {
				s = a->s[r * l->across + i / l->group];
				if (s == 0)
					continue;
				u = a->u[r * l->n + i] + rint(g[i] /
				    damped(a, i, i) / s);
				u = fmin(fmax(u, 0), top);
				d = (a->u[r * l->n + i] - u) * s;
				a->u[r * l->n + i] = u;
				for (k = 0; k < l->n; k++)
					g[k] += d * damped(a, i, k);
			}
	}
	free(e);
	free(g);
}

START_TEST(as_far_as_the_reference)
{
	struct state a;
	struct layer l;
	struct result start, o;
	double ours;

	case_init(&l, _i);
	solve(&start, &l, 1, l.rows, 0);
	state_init(&a, &l, &start);
	descend(&a, 40);
	l.sweeps = 20;
	ours = solved(&l, &o);
	ck_assert_double_le(ours, 1.02 * error_of(&a));
	state_release(&a);
	result_release(&start);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* With the codes that came out, each scale is the best one, up to its own
 * rounding. */
START_TEST(best_scales)
{
	struct state a;
	struct layer l;
	struct result o;
	double *e, *g, *v, gv, vv, best, s;
	size_t r, i, k, first, end, b;

	case_init(&l, _i);
	l.sweeps = 60;
	l.refit = 1;
	solve(&o, &l, 1, l.rows, 0);
	state_init(&a, &l, &o);
	e = malloc(l.n * sizeof(*e));
	g = malloc(l.n * sizeof(*g));
	v = malloc(l.n * sizeof(*v));
	for (r = 0; r < l.rows; r++)
		for (b = 0; b < l.across; b++) {
			(void)row_error(&a, r, e, g);
			first = b * l.group;
			end = first + l.group < l.n ? first + l.group : l.n;
			s = a.s[r * l.across + b];
			gv = vv = 0;
			for (i = first; i < end; i++) {
				v[i] = a.u[r * l.n + i] -
				    a.z[r * l.across + b];
				gv += g[i] * v[i];
			}
			for (i = first; i < end; i++)
				for (k = first; k < end; k++)
					vv += v[i] * v[k] * damped(&a, i, k);
			if (vv == 0 || s == 0)
				continue;
			best = s + gv / vv;
			ck_assert_msg(fabs(best - s) <= 2e-3 * fabs(s),
			    "row %zu group %zu: %g, not %g", r, b, s, best);
		}
	free(e);
	free(g);
	free(v);
	state_release(&a);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* sum H w^2 of what a scale leaves of group b of row r. */
static double
weighted(const struct state *a, size_t r, size_t b, double s, double z)
{
	const struct layer *l = a->l;
	double top = (1 << sq_grid_bits(l->rule.grid)) - 1, sum = 0, u, w;
	size_t i;

	for (i = b * l->group; i < l->n && i < (b + 1) * l->group; i++) {
		w = l->w[r * l->n + i];
		u = s == 0 ? z : fmin(fmax(rint(w / s) + z, 0), top);
		w -= (u - z) * s;
		sum += w * w * damped(a, i, i);
	}
	return sum;
}

/* The scales of SQ_WEIGHTED leave hardly more than the best of very many, and
 * less than those of the other rules. */
START_TEST(weighted_scales)
{
	double ours = 0, best, all = 0, mse = 0, s, e, most;
	struct state a, m;
	struct layer l;
	struct result o, p;
	size_t r, b, i, at;
	int k;

	case_init(&l, _i);
	l.rule.scale = SQ_WEIGHTED;
	solve(&o, &l, 1, l.rows, 0);
	state_init(&a, &l, &o);
	l.rule.scale = SQ_MSE;
	solve(&p, &l, 1, l.rows, 0);
	state_init(&m, &l, &p);
	for (r = 0; r < l.rows; r++)
		for (b = 0; b < l.across; b++) {
			at = r * l.across + b;
			ours += weighted(&a, r, b, a.s[at], a.z[at]);
			mse += weighted(&m, r, b, m.s[at], m.z[at]);
			best = INFINITY;
			most = 0;
			for (i = b * l.group; i < l.n &&
			    i < (b + 1) * l.group; i++)
				most = fmax(most, fabs(l.w[r * l.n + i]));
			for (k = -1200; k <= 1200; k++) {
				s = k / 1000. * most /
				    ((1 << (cases[_i].bits - 1)) - .5);
				e = weighted(&a, r, b, s, a.z[at]);
				best = fmin(best, e);
			}
			all += best;
		}
	ck_assert_double_le(ours, mse * (cases[_i].group > 1 ? .999 : 1.001));
	if (cases[_i].symmetric)
		ck_assert_double_le(ours, 1.03 * all);
	state_release(&a);
	state_release(&m);
	result_release(&o);
	result_release(&p);
	layer_release(&l);
}
END_TEST

/* The same bits for any number of threads, in one call or two. */
START_TEST(threads)
{
	struct layer l;
	struct result a, b;
	int t;

	layer_init(&l, 190, 600, 400, 0, 11);
	set_rule(&l, 4, _i, _i ? 64 : 190, SQ_WEIGHTED, SQ_ACT);
	l.sweeps = 2;
	l.refit = 1;
	solve(&a, &l, 1, l.rows, 1);
	for (t = 1; t <= 3; t++) {
		solve(&b, &l, t, t == 2 ? l.rows : SQ_GPTQ_ROWS, t != 3);
		ck_assert_int_eq(memcmp(a.codes, b.codes,
		    l.rows * a.row_bytes), 0);
		ck_assert_int_eq(memcmp(a.scales, b.scales,
		    l.rows * l.across * 2), 0);
		if (t == 2)
			ck_assert(a.error == b.error);
		result_release(&b);
	}
	result_release(&a);
	layer_release(&l);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gptq_refine");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	kern = sq_kern_find("auto", err);
	if (kern == NULL || (la = sq_lapack_open(kern->name, err)) == NULL) {
		fprintf(stderr, "t_gptq_refine: %s\n", err);
		return 1;
	}
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, falls, 0, NCASES);
	tcase_add_loop_test(t, nothing_left, 0, NCASES);
	tcase_add_loop_test(t, as_far_as_the_reference, 0, NCASES);
	tcase_add_loop_test(t, best_scales, 0, NCASES);
	tcase_add_loop_test(t, weighted_scales, 0, NCASES);
	tcase_add_loop_test(t, threads, 0, 2);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
