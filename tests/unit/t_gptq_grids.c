/*
 * GPTQ, rounding to nearest and sweeps on the grids that have no simple scale.
 *
 * What comes out is judged by what the reference of `dequantize' makes of it:
 * the error in float64 must be the one that the library tells, and must fall
 * with each step.
 */
#include <stdio.h>

#include "model/weight.h"
#include "quant/chunks.h"
#include "quant/levels.h"
#include "tests/unit/gptq_case.h"

static const enum sq_grid grids[] = {
	SQ_FP8_E4M3, SQ_FP4, SQ_MXFP4, SQ_IQ4_NL, SQ_Q4_K, SQ_Q5_K, SQ_Q6_K,
	SQ_IQ4_XS, SQ_INT3
};

#define NGRIDS	((int)(sizeof(grids) / sizeof(grids[0])))

/* What became of a layer. */
struct made {
	struct sq_tensor t;
	unsigned char *payload;
	float *q;			/* [rows][n], dequantized */
	double error, norm;
};

static void
case_init(struct layer *l, int i)
{
	size_t group = sq_levels_group(grids[i]);

	layer_init(l, 512, 12, 350, i % 3 == 1 ? 11 : 0, (uint64_t)i);
	set_rule(l, 4, 1, group != 0 ? group : 64, SQ_WEIGHTED, SQ_ACT);
	l->rule.grid = grids[i];
}

static void
make(struct made *m, const struct layer *l, int nearest)
{
	struct sq_tensor t = { .name = "w", .type = SQ_F32, .ndim = 2,
	    .dim = { l->rows, l->n } };
	struct sq_mat w = { l->w, SQ_F32, l->rows, l->n, l->n }, out = w;
	struct sq_factor f;
	struct sq_ctx ctx;
	struct sq_gptq g = { .ctx = &ctx, .lapack = la, .factor = &f,
	    .order = l->order, .rule = l->rule, .sweeps = l->sweeps,
	    .refit = l->refit, .pairs = l->pairs, .nearest = nearest,
	    .want_error = 1 };
	unsigned char *part[SQ_PARTS];
	struct sq_weight weight;
	struct sq_dst q;
	int i;

	ck_assert_msg(sq_levels_check(&l->rule, l->n, err) == 0, "%s", err);
	sq_chunks_describe(&l->rule, &t, "w", &m->t);
	m->payload = calloc(1, m->t.length);
	for (i = 0; i < m->t.nparts; i++)
		part[i] = m->payload + m->t.part[i].offset;
	sq_chunks_dst(&m->t, part, 0, &q);
	q.codes = part[0];
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
	ck_assert_msg(factor_of(&f, l, NULL) == 0, "%s", err);
	ck_assert_int_eq(sq_gptq_init(&g, 1, err), 0);
	ck_assert_msg(sq_gptq_rows(&g, &w, &q, err) == 0, "%s", err);
	m->error = g.error;
	m->norm = g.norm;
	sq_gptq_release(&g);
	sq_factor_release(&f);
	ck_assert_msg(sq_tensor_check(&m->t, err) == 0, "%s", err);
	ck_assert_msg(sq_tensor_check_data(&m->t, m->payload, err) == 0,
	    "%s", err);
	m->q = malloc(l->rows * l->n * sizeof(float));
	out.p = m->q;
	ck_assert_int_eq(sq_weight_init(&weight, &m->t, m->payload, err), 0);
	ctx.kern = sq_kern_find("ref", err);
	ck_assert_int_eq(sq_dequantize(&ctx, &weight, 0, &out), 0);
	sq_ctx_release(&ctx);
}

static void
made_release(struct made *m)
{
	free(m->payload);
	free(m->q);
}

/* tr(E H E^T), or with the diagonal of H alone. */
static double
error_of(const struct layer *l, const float *q, int diagonal)
{
	double *e = malloc(l->n * sizeof(*e)), sum = 0, dot;
	size_t r, i, k;

	for (r = 0; r < l->rows; r++) {
		for (i = 0; i < l->n; i++)
			e[i] = (double)l->w[r * l->n + i] - q[r * l->n + i];
		for (i = 0; i < l->n; i++) {
			dot = 0;
			for (k = diagonal ? i : 0; k < (diagonal ? i + 1 :
			    l->n); k++)
				dot += h_at(l, i, k) * e[k];
			sum += dot * e[i];
		}
	}
	free(e);
	return sum;
}

/* together: the columns of a group, so that those of super-blocks find their
 * scale when their turn comes. */
START_TEST(falls)
{
	static const struct { int nearest, sweeps, refit, together, pairs; }
	step[] = {
		{ 1, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0 }, { 0, 3, 0, 0, 0 },
		{ 0, 3, 1, 0, 0 }, { 0, 3, 1, 1, 0 }, { 0, 3, 1, 1, 1 }
	};
	int super = sq_grid_is_super(grids[_i]);
	double e, last = INFINITY, most;
	struct made m;
	struct layer l;
	size_t i;

	case_init(&l, _i);
	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		l.run = super && step[i].together ? l.group : 0;
		l.sweeps = step[i].sweeps;
		l.refit = step[i].refit;
		l.pairs = step[i].pairs;
		make(&m, &l, step[i].nearest);
		e = error_of(&l, m.q, 0);
		if (!step[i].nearest)
			ck_assert_double_eq_tol(m.error / e, 1, 2e-3);
		/* Sweeps lower the damped error, which for fine grids is
		 * lowest already; scales that are powers of two hardly ever
		 * move.  Those of super-blocks do. */
		most = i < 2 ? 1 : super && i > 2 ? .995 : 1.0005;
		ck_assert_msg(e < last * most, "%s, step %zu: %g after %g", sq_grid_name(l.rule.grid), i,
		    e, last);
		last = e;
		made_release(&m);
	}
	layer_release(&l);
}
END_TEST

/* Rounding to nearest: what the library calls its error is that with the
 * diagonal of H, damped. */
START_TEST(nearest)
{
	struct made m;
	struct layer l;
	double lambda = 0, sum, d;
	size_t i, r;

	case_init(&l, _i);
	make(&m, &l, 1);
	for (i = 0; i < l.n; i++)
		lambda += DAMP * h_at(&l, i, i) / (double)l.n;
	sum = error_of(&l, m.q, 1);
	for (r = 0; r < l.rows * l.n; r++) {
		d = (double)l.w[r] - m.q[r];
		sum += lambda * d * d;
	}
	ck_assert_double_eq_tol(m.error / sum, 1, 1e-4);
	made_release(&m);
	layer_release(&l);
}
END_TEST

/* The nearest number to x. */
static double
level(const struct sq_levels *lv, double x)
{
	double best = INFINITY, v;
	int u;

	for (u = 0; u <= lv->top; u++) {
		v = lv->number[u] - lv->zero;
		if (fabs(x - v) < fabs(x - best))
			best = v;
	}
	return best;
}

/* The textbook way: the greatest magnitude, or the range, of each group is
 * reached, and steps reach the greatest scale. */
static double
plain_loss(const struct layer *l, const struct sq_levels *lv)
{
	double sum = 0, lo, hi, s, m, d, v, e, most[2], want[16][2];
	size_t r, b, g, i, n = SQ_SUPER / l->group;

	for (r = 0; r < l->rows; r++)
		for (b = 0; b < l->n / SQ_SUPER; b++) {
			const float *w = l->w + r * l->n + b * SQ_SUPER;

			most[0] = most[1] = 0;
			for (g = 0; g < n; g++) {
				lo = hi = 0;
				for (i = g * l->group; i < (g + 1) * l->group;
				    i++) {
					lo = fmin(lo, w[i]);
					hi = fmax(hi, w[i]);
				}
				want[g][0] = lv->offsets ? (hi - lo) /
				    lv->top : fmax(-lo, hi) / lv->reach;
				want[g][1] = lv->offsets ? -lo : 0;
				most[0] = fmax(most[0], want[g][0]);
				most[1] = fmax(most[1], want[g][1]);
			}
			for (i = 0; i < SQ_SUPER; i++) {
				g = i / l->group;
				d = most[0] / lv->most;
				s = rint(want[g][0] / d) * d;
				d = most[1] / 63;
				m = d == 0 ? 0 : rint(want[g][1] / d) * d;
				v = level(lv, (w[i] + m) / s);
				e = w[i] - (v * s - m);
				sum += e * e * h_at(l, b * SQ_SUPER + i,
				    b * SQ_SUPER + i);
			}
		}
	return sum;
}

START_TEST(better_than_plain)
{
	struct sq_levels lv;
	struct made m;
	struct layer l;

	case_init(&l, _i);
	sq_levels_init(&lv, l.rule.grid);
	if (lv.super) {
		make(&m, &l, 1);
		ck_assert_double_lt(error_of(&l, m.q, 1), .85 *
		    plain_loss(&l, &lv));
		made_release(&m);
	}
	layer_release(&l);
}
END_TEST

/* Ties go to the even code, all else to the nearest, on every grid. */
START_TEST(levels)
{
	struct sq_levels lv;
	float t[SQ_LANES], one[SQ_LANES], zero[SQ_LANES], v[SQ_LANES], best;
	uint8_t u[SQ_LANES];
	int i, k, codes;

	sq_levels_init(&lv, grids[_i]);
	codes = lv.kind == SQ_E4M3 ? 127 : 1 << sq_grid_bits(grids[_i]);
	for (i = -600; i < 600; i += SQ_LANES) {
		for (k = 0; k < SQ_LANES; k++) {
			t[k] = (float)(i + k) / 50 * lv.reach / 10;
			one[k] = 1;
			zero[k] = lv.zero;
		}
		sq_levels_nearest(&lv, t, one, zero, v, u);
		for (k = 0; k < SQ_LANES; k++) {
			int c;

			ck_assert_float_eq(v[k], lv.number[u[k]] - lv.zero);
			best = INFINITY;
			for (c = 0; c < codes; c++)
				best = fminf(best, fabsf(t[k] -
				    (lv.number[c] - lv.zero)));
			for (c = 128; lv.kind == SQ_E4M3 && c < 255; c++)
				best = fminf(best, fabsf(t[k] -
				    lv.number[c]));
			ck_assert_msg(fabsf(t[k] - v[k]) <= best * 1.00001f,
			    "%s: %g to %g", sq_grid_name(grids[_i]),
			    (double)t[k], (double)v[k]);
		}
	}
	for (i = 0; lv.kind == SQ_TABLE && i + 1 < lv.n; i++) {
		for (k = 0; k < SQ_LANES; k++)
			t[k] = (lv.sorted[i] + lv.sorted[i + 1]) / 2;
		sq_levels_nearest(&lv, t, one, zero, v, u);
		ck_assert_int_eq(u[0] % 2, 0);
	}
}
END_TEST

START_TEST(refusals)
{
	struct sq_qrule r = { .grid = SQ_Q4_K, .scale = SQ_WEIGHTED,
	    .symmetric = 1, .group_rows = 1, .group_cols = 32 };

	ck_assert_int_eq(sq_levels_check(&r, 512, err), 0);
	ck_assert_int_eq(sq_levels_check(&r, 320, err), -1);
	r.group_cols = 64;
	ck_assert_int_eq(sq_levels_check(&r, 512, err), -1);
	r.group_cols = 32;
	r.scale = SQ_MSE;
	ck_assert_int_eq(sq_levels_check(&r, 512, err), -1);
	r.grid = SQ_UINT4M;
	ck_assert_int_eq(sq_levels_check(&r, 512, err), -1);
	r.grid = SQ_INT4;
	ck_assert_int_eq(sq_levels_check(&r, 500, err), 0);
	r.grid = SQ_FP8_E4M3;
	r.symmetric = 0;
	ck_assert_int_eq(sq_levels_check(&r, 512, err), -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gptq_grids");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed;

	kern = sq_kern_find("auto", err);
	if (kern == NULL || (la = sq_lapack_open(kern->name, err)) == NULL) {
		fprintf(stderr, "t_gptq_grids: %s\n", err);
		return 1;
	}
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, falls, 0, NGRIDS);
	tcase_add_loop_test(t, nearest, 0, NGRIDS);
	tcase_add_loop_test(t, better_than_plain, 0, NGRIDS);
	tcase_add_loop_test(t, levels, 0, NGRIDS);
	tcase_add_test(t, refusals);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
