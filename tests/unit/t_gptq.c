/*
 * lib/quant/factor and gptq against the textbook: GPTQ in float64 with the
 * inverse of the H that remains, column by column, on random layers whose
 * inputs are correlated.
 *
 * The reference takes our codes as it goes, so that each code is judged by
 * itself: it must be the nearest to the reference's weight, or as near to a tie
 * as float32 comes.  A second run of it goes its own way; the two objectives
 * must agree.
 */
#include <stdio.h>

#include "tests/unit/gptq_case.h"

#define NOISE	1e-3		/* of a step: how near to a tie is a tie */

/* ---- the reference ---- */

struct textbook {
	const struct layer *l;
	uint32_t *col;
	double *inverse;	/* of H, in order; [n][n] */
	double *w;		/* [rows][n], in order */
	double *scale, *zero;	/* [rows][across] */
	size_t wrong, judged;	/* codes that are not the nearest */
	double worst;		/* how far from a tie one of them was */
};

/* a to its inverse: Gauss and Jordan. */
static void
invert(double *a, size_t n)
{
	size_t i, j, k;
	double p;

	for (i = 0; i < n; i++) {
		p = 1 / a[i * n + i];
		a[i * n + i] = 1;
		for (k = 0; k < n; k++)
			a[i * n + k] *= p;
		for (j = 0; j < n; j++) {
			if (j == i)
				continue;
			p = a[j * n + i];
			a[j * n + i] = 0;
			for (k = 0; k < n; k++)
				a[j * n + k] -= p * a[i * n + k];
		}
	}
}

static void
textbook_init(struct textbook *b, const struct layer *l,
    const struct result *o)
{
	size_t n = l->n, i, k;
	double mean = 0;

	memset(b, 0, sizeof(*b));
	b->l = l;
	b->col = o->col;
	b->inverse = malloc(n * n * sizeof(double));
	b->w = malloc(l->rows * n * sizeof(double));
	b->scale = calloc(l->rows * l->across, sizeof(double));
	b->zero = calloc(l->rows * l->across, sizeof(double));
	for (i = 0; i < n; i++)
		mean += h_at(l, i, i) / (double)n;
	for (i = 0; i < n; i++)
		for (k = 0; k < n; k++)
			b->inverse[i * n + k] = h_at(l, o->col[i],
			    o->col[k]) + (i == k ? o->damp * mean : 0);
	invert(b->inverse, n);
	for (i = 0; i < l->rows; i++)
		for (k = 0; k < n; k++)
			b->w[i * n + k] = l->w[i * n + o->col[k]];
}

static void
textbook_release(struct textbook *b)
{
	free(b->inverse);
	free(b->w);
	free(b->scale);
	free(b->zero);
}

/* Scales of group g of all rows, from columns c .. c+m-1 of w. */
static void
find_scales(struct textbook *b, size_t g, const float *w, size_t m)
{
	const struct layer *l = b->l;
	struct sq_ctx ctx;
	struct sq_mat mat = { (void *)(uintptr_t)w, SQ_F32, l->rows, m, m };
	struct sq_qrule rule = l->rule;
	struct sq_qdst q = { .codes = malloc(l->rows * m),
	    .scales = malloc(l->rows * 2),
	    .zeros = l->rule.symmetric ? NULL : malloc(l->rows) };
	size_t r;

	rule.group_cols = m;
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
	ck_assert_int_eq(sq_quantize(&ctx, &mat, &rule, &q), 0);
	for (r = 0; r < l->rows; r++) {
		b->scale[r * l->across + g] = sq_f16_to_f32(q.scales[r]);
		b->zero[r * l->across + g] = q.zeros == NULL ?
		    1 << (sq_grid_bits(rule.grid) - 1) : q.zeros[r];
	}
	free(q.codes);
	free(q.scales);
	free(q.zeros);
	sq_ctx_release(&ctx);
}

/* Group g: from the weights as they were, or in natural order as they are. */
static void
group_scales(struct textbook *b, size_t g)
{
	const struct layer *l = b->l;
	size_t first = g * l->group, m, r, c;
	float *w;

	m = l->n - first < l->group ? l->n - first : l->group;
	w = malloc(l->rows * m * sizeof(*w));
	for (r = 0; r < l->rows; r++)
		for (c = 0; c < m; c++)
			w[r * m + c] = l->order == SQ_NATURAL ?
			    (float)b->w[r * l->n + first + c] :
			    l->w[r * l->n + first + c];
	find_scales(b, g, w, m);
	free(w);
}

/* The code of weight w, from a scale and a zero point. */
static double
nearest(const struct layer *l, double w, double s, double z)
{
	double u, top = (1 << sq_grid_bits(l->rule.grid)) - 1;

	u = s == 0 ? z : rint(w / s) + z;
	return u < 0 ? 0 : u > top ? top : u;
}

static void
judge(struct textbook *b, double w, double s, double z, double u)
{
	double want = nearest(b->l, w, s, z), off;

	b->judged++;
	if (u == want)
		return;
	b->wrong++;
	off = fabs(fabs(w / s - (u - z)) - .5);
	if (off > b->worst)
		b->worst = off;
}

/* Column i of row r gets q: the weights after it make it good. */
static void
settle(struct textbook *b, size_t i, size_t r, double q)
{
	size_t n = b->l->n, k;
	double *w = b->w + r * n, *h = b->inverse + i * n;
	double e = (w[i] - q) / h[i];

	w[i] = q;
	for (k = i + 1; k < n; k++)
		w[k] -= e * h[k];
}

static void
remove_channel(struct textbook *b, size_t i)
{
	size_t n = b->l->n, j, k;
	double *h = b->inverse + i * n, *row, p;

	for (j = i + 1; j < n; j++) {
		row = b->inverse + j * n;
		p = row[i] / h[i];
		for (k = i + 1; k < n; k++)
			row[k] -= p * h[k];
	}
}

/* All columns.  With o, its codes and scales are taken and judged. */
static void
run_textbook(struct textbook *b, const struct result *o)
{
	const struct layer *l = b->l;
	size_t i, r, g, at;
	double u, s, z;

	for (g = 0; g < l->across && l->order == SQ_ACT; g++)
		group_scales(b, g);
	for (i = 0; i < l->n; i++) {
		g = b->col[i] / l->group;
		if (l->order == SQ_NATURAL && i % l->group == 0)
			group_scales(b, g);
		for (r = 0; r < l->rows; r++) {
			at = r * l->across + g;
			s = o == NULL ? b->scale[at] :
			    sq_f16_to_f32(o->scales[at]);
			z = o != NULL && o->zeros != NULL ? o->zeros[at] :
			    b->zero[at];
			u = nearest(l, b->w[r * l->n + i], s, z);
			if (o != NULL) {
				u = code_at(o, l, r, b->col[i]);
				judge(b, b->w[r * l->n + i], s, z, u);
			}
			settle(b, i, r, (u - z) * s);
		}
		remove_channel(b, i);
	}
}

/* tr(E H E^T) of what a textbook run made of w; tr(W H W^T) without one. */
static double
objective(const struct layer *l, const struct textbook *b)
{
	double *e = malloc(l->n * sizeof(*e)), sum = 0, dot;
	size_t r, i, k, c;

	for (r = 0; r < l->rows; r++) {
		for (i = 0; i < l->n; i++) {
			c = b == NULL ? i : b->col[i];
			e[c] = l->w[r * l->n + c] - (b == NULL ? 0 :
			    b->w[r * l->n + i]);
		}
		for (i = 0; i < l->n; i++) {
			dot = 0;
			for (k = 0; k < l->n; k++)
				dot += h_at(l, i, k) * e[k];
			sum += e[i] * dot;
		}
	}
	free(e);
	return sum;
}

/* ---- tests ---- */

static const struct {
	size_t n, rows, tokens, dead;
	int bits, symmetric;
	size_t group;
	enum sq_scale_rule scale;
	enum sq_column_order order;
} cases[] = {
	{ 64, 32, 500, 0, 4, 1, 32, SQ_MSE, SQ_ACT },
	{ 64, 17, 300, 0, 4, 0, 16, SQ_ABSMAX, SQ_NATURAL },
	{ 100, 32, 500, 0, 3, 1, 32, SQ_MSE, SQ_NATURAL },
	{ 128, 48, 400, 9, 4, 0, 128, SQ_MSE, SQ_ACT },
	{ 192, 16, 300, 0, 2, 0, 64, SQ_ABSMAX, SQ_ACT },
	{ 256, 40, 700, 0, 4, 1, 128, SQ_ABSMAX, SQ_NATURAL },
	{ 256, 20, 90, 0, 4, 1, 128, SQ_MSE, SQ_ACT },	/* singular */
	{ 250, 20, 500, 7, 8, 1, 250, SQ_ABSMAX, SQ_ACT },
	{ 300, 24, 600, 0, 3, 0, 128, SQ_MSE, SQ_ACT },
	{ 330, 24, 600, 11, 5, 1, 32, SQ_ABSMAX, SQ_NATURAL },
	{ 520, 10, 900, 0, 6, 1, 520, SQ_MSE, SQ_ACT },
	{ 130, 12, 300, 0, 4, 1, 1, SQ_ABSMAX, SQ_ACT },
	{ 257, 257, 600, 0, 4, 0, 32, SQ_MSE, SQ_NATURAL },
	{ 17, 9, 60, 0, 3, 1, 16, SQ_ABSMAX, SQ_NATURAL },
	{ 1, 3, 60, 0, 4, 1, 1, SQ_MSE, SQ_ACT },
};

#define NCASES	((int)(sizeof(cases) / sizeof(cases[0])))

static void
case_init(struct layer *l, int i)
{
	layer_init(l, cases[i].n, cases[i].rows, cases[i].tokens,
	    cases[i].dead, (uint64_t)i);
	set_rule(l, cases[i].bits, cases[i].symmetric, cases[i].group,
	    cases[i].scale, cases[i].order);
}

START_TEST(against_the_textbook)
{
	struct textbook b, own;
	struct layer l;
	struct result o;
	double e;
	size_t i;

	case_init(&l, _i);
	solve(&o, &l, 1, l.rows, 1);
	ck_assert_double_eq_tol(o.damp, DAMP, 1e-9);
	ck_assert_int_eq((long)o.dead, cases[_i].dead == 0 ? 0 :
	    (long)((l.n - 4) / cases[_i].dead + 1));
	for (i = 1; l.order == SQ_ACT && i < l.n; i++)
		ck_assert(h_at(&l, o.col[i - 1], o.col[i - 1]) >=
		    h_at(&l, o.col[i], o.col[i]));
	textbook_init(&b, &l, &o);
	run_textbook(&b, &o);
	textbook_init(&own, &l, &o);
	run_textbook(&own, NULL);
	ck_assert_msg(b.worst < NOISE && b.wrong * 1000 <= b.judged,
	    "%zu of %zu codes are wrong, one by %g", b.wrong, b.judged,
	    b.worst);
	e = objective(&l, &b);
	ck_assert_double_eq_tol(o.error / e, 1, 1e-4);
	ck_assert_double_eq_tol(objective(&l, &own) / e, 1, 1e-3);
	ck_assert_double_eq_tol(o.norm / objective(&l, NULL), 1, 1e-4);
	ck_assert_double_le(o.error, o.rtn_error * (1 + 1e-6));
	textbook_release(&b);
	textbook_release(&own);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* Rounding to nearest: its error as the library tells it. */
START_TEST(error_of_rounding)
{
	struct textbook b;
	struct layer l;
	struct result o;
	size_t r, i, at;
	double w;

	case_init(&l, _i);
	l.order = SQ_ACT;
	solve(&o, &l, 1, l.rows, 1);
	textbook_init(&b, &l, &o);
	for (r = 0; r < l.rows; r++)
		for (i = 0; i < l.n; i++) {
			at = r * l.across + o.col[i] / l.group;
			b.scale[0] = sq_f16_to_f32(o.scales[at]);
			b.zero[0] = o.zeros != NULL ? o.zeros[at] :
			    1 << (cases[_i].bits - 1);
			w = nearest(&l, (float)b.w[r * l.n + i] /
			    (float)b.scale[0], 1, b.zero[0]);
			b.w[r * l.n + i] = (w - b.zero[0]) * b.scale[0];
		}
	ck_assert_double_eq_tol(o.rtn_error / objective(&l, &b), 1, 1e-3);
	textbook_release(&b);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* Inputs that have nothing to do with each other: nothing can be made good. */
START_TEST(diagonal)
{
	struct layer l;
	struct result o, rtn;
	struct sq_ctx ctx;
	size_t i, k;

	layer_init(&l, 300, 40, 2, 0, 5);
	set_rule(&l, 4, _i, 64, SQ_MSE, SQ_ACT);
	for (i = 0; i < l.n; i++)
		for (k = i; k < l.n; k++)
			l.h[i * (2 * l.n - i + 1) / 2 + (k - i)] = i == k ?
			    (float)(1 + i % 7) : 0;
	solve(&o, &l, 1, l.rows, 1);
	result_init(&rtn, &l);
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
	ck_assert_int_eq(sq_quantize(&ctx, &(struct sq_mat){ l.w, SQ_F32,
	    l.rows, l.n, l.n }, &l.rule, &(struct sq_qdst){
	    .codes = rtn.codes, .scales = rtn.scales, .zeros = rtn.zeros }), 0);
	ck_assert_int_eq(memcmp(o.codes, rtn.codes, l.rows * o.row_bytes), 0);
	ck_assert_int_eq(memcmp(o.scales, rtn.scales,
	    l.rows * l.across * 2), 0);
	ck_assert_double_eq_tol(o.error / o.rtn_error, 1, 1e-6);
	sq_ctx_release(&ctx);
	result_release(&o);
	result_release(&rtn);
	layer_release(&l);
}
END_TEST

/* A channel that was never used has its weights rounded to nearest. */
START_TEST(dead_channels)
{
	struct layer l;
	struct result o;
	size_t r, c;
	double s;

	layer_init(&l, 200, 30, 500, 10, 6);
	set_rule(&l, 4, 1, 50, SQ_ABSMAX, SQ_ACT);
	l.damp = _i == 0 ? DAMP : 0;
	solve(&o, &l, 1, l.rows, 1);
	ck_assert_int_eq((int)o.dead, 20);
	for (r = 0; r < l.rows; r++)
		for (c = 3; c < l.n; c += 10) {
			s = sq_f16_to_f32(o.scales[r * l.across + c / 50]);
			ck_assert_double_eq(nearest(&l, l.w[r * l.n + c] /
			    (float)s, 1, 8), code_at(&o, &l, r, c));
		}
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* Fewer tokens than channels and no damping: it is raised, and helps. */
START_TEST(singular)
{
	struct layer l;
	struct result o;

	layer_init(&l, 300, 30, 100, 0, 7);
	set_rule(&l, 4, 1, 100, SQ_MSE, _i == 0 ? SQ_ACT : SQ_NATURAL);
	l.damp = 0;
	solve(&o, &l, 2, l.rows, 1);
	ck_assert_double_gt(o.damp, 0);
	ck_assert_double_lt(o.damp, 1e-3);
	ck_assert_double_lt(o.error, o.rtn_error / 2);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* No statistics at all are statistics, too. */
START_TEST(nothing_seen)
{
	struct layer l;
	struct result o;

	layer_init(&l, 40, 5, 0, 0, 8);
	set_rule(&l, 4, 1, 40, SQ_MSE, SQ_ACT);
	l.damp = _i == 0 ? DAMP : 0;
	solve(&o, &l, 1, l.rows, 1);
	ck_assert_int_eq((int)o.dead, 40);
	ck_assert_double_eq_tol(o.error, 0, 1e-9);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* What is no sum of squares is refused. */
START_TEST(refusals)
{
	static const float bad[] = { -1, INFINITY, NAN, 1e9f };
	struct sq_factor f;
	struct layer l;

	layer_init(&l, 300, 1, 400, 0, 9);
	l.h[_i < 3 ? 0 : 1] = bad[_i];
	ck_assert_int_eq(factor_of(&f, &l, NULL), -1);
	ck_assert(strstr(err, "H ") != NULL);
	sq_factor_release(&f);
	l.h[0] = 1;
	l.h[5] = NAN;
	ck_assert_int_eq(factor_of(&f, &l, NULL), -1);
	sq_factor_release(&f);
	layer_release(&l);
}
END_TEST

START_TEST(bad_weights)
{
	struct sq_factor f;
	struct sq_ctx ctx;
	struct layer l;
	struct result o;
	struct sq_gptq g = { .ctx = &ctx, .lapack = la, .factor = &f };
	struct sq_mat w;

	layer_init(&l, 70, 3, 100, 0, 10);
	set_rule(&l, 4, 1, 32, SQ_MSE, _i % 2 == 0 ? SQ_ACT : SQ_NATURAL);
	l.w[100] = _i < 2 ? NAN : 1e8f;
	result_init(&o, &l);
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
	ck_assert_int_eq(factor_of(&f, &l, NULL), 0);
	g.order = l.order;
	g.rule = l.rule;
	ck_assert_int_eq(sq_gptq_init(&g, 1, err), 0);
	w = (struct sq_mat){ l.w, SQ_F32, l.rows, l.n, l.n };
	ck_assert_int_eq(sq_gptq_rows(&g, &w, &(struct sq_dst){
	    .codes = o.codes, .scales = o.scales, .zeros = o.zeros }, err), -1);
	sq_gptq_release(&g);
	sq_factor_release(&f);
	sq_ctx_release(&ctx);
	result_release(&o);
	layer_release(&l);
}
END_TEST

/* The same bits for any number of threads, in one call or two, with errors or
 * without. */
START_TEST(threads)
{
	struct layer l;
	struct result a, b;
	int t;

	layer_init(&l, 1100, 700, 1200, 0, 11);
	set_rule(&l, 4, 0, 64, SQ_ABSMAX, _i == 0 ? SQ_ACT : SQ_NATURAL);
	solve(&a, &l, 1, l.rows, 1);
	for (t = 1; t <= 4; t++) {
		solve(&b, &l, t, t % 2 == 0 ? l.rows : SQ_GPTQ_ROWS, t != 3);
		ck_assert_int_eq(memcmp(a.codes, b.codes,
		    l.rows * a.row_bytes), 0);
		ck_assert_int_eq(memcmp(a.scales, b.scales,
		    l.rows * l.across * 2), 0);
		ck_assert_int_eq(memcmp(a.zeros, b.zeros,
		    l.rows * l.across), 0);
		if (t == 2)
			ck_assert(a.error == b.error && a.norm == b.norm &&
			    a.rtn_error == b.rtn_error);
		result_release(&b);
	}
	result_release(&a);
	layer_release(&l);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gptq");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	kern = sq_kern_find("auto", err);
	if (kern == NULL || (la = sq_lapack_open(kern->name, err)) == NULL) {
		fprintf(stderr, "t_gptq: %s\n", err);
		return 1;
	}
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, against_the_textbook, 0, NCASES);
	tcase_add_loop_test(t, error_of_rounding, 0, NCASES);
	tcase_add_loop_test(t, diagonal, 0, 2);
	tcase_add_loop_test(t, dead_channels, 0, 2);
	tcase_add_loop_test(t, singular, 0, 2);
	tcase_add_loop_test(t, nothing_seen, 0, 2);
	tcase_add_loop_test(t, refusals, 0, 4);
	tcase_add_loop_test(t, bad_weights, 0, 4);
	tcase_add_loop_test(t, threads, 0, 2);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
