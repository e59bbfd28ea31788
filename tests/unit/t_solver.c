/*
 * lib/quant/solver against gptq.c and refine.c, on random layers whose inputs
 * are correlated: the errors that are left are the same but for little, and are
 * those of the codes and scales, computed here in float64.
 *
 * With the name of a level, t_solver cuda, its kernels solve, and a layer of a
 * thousand channels is added.
 */
#include <stdio.h>

#include "quant/solver.h"
#include "tests/unit/gptq_case.h"

static const struct sq_kern *level;

struct one {
	size_t n, rows, tokens, dead, group;
	int bits, symmetric, sweeps, refit, pairs;
};

static const struct one cases[] = {
	{ 192, 70, 600, 0, 64, 4, 1, 4, 1, 1 },
	{ 320, 33, 900, 0, 128, 4, 0, 2, 1, 1 },
	{ 300, 40, 200, 16, 96, 3, 1, 2, 1, 0 },
	{ 257, 20, 600, 0, 32, 2, 0, 1, 0, 1 },
	{ 96, 64, 300, 0, 96, 8, 1, 0, 1, 1 },
	{ 130, 17, 400, 0, 16, 6, 1, 3, 1, 1 },
	{ 1024, 512, 4096, 0, 128, 4, 1, 4, 1, 1 },
};

#define NCASES	((int)(sizeof(cases) / sizeof(cases[0])))

static void
make_layer(struct layer *l, const struct one *c)
{
	layer_init(l, c->n, c->rows, c->tokens, c->dead, 77 + c->n);
	set_rule(l, c->bits, c->symmetric, c->group, SQ_WEIGHTED, SQ_ACT);
	l->sweeps = c->sweeps;
	l->refit = c->refit;
	l->pairs = c->pairs;
}

static void
solve_there(struct result *o, const struct layer *l, size_t split)
{
	struct sq_pool *pool = sq_pool_new(2);
	struct sq_factor f;
	struct sq_ctx ctx, host;
	struct sq_solver s = { .ctx = &ctx };
	struct sq_gptq g = { .ctx = &host, .lapack = la, .factor = &f,
	    .order = l->order, .rule = l->rule, .sweeps = l->sweeps,
	    .refit = l->refit, .pairs = l->pairs, .want_error = 1 };
	size_t row, n, i;

	result_init(o, l);
	ck_assert_int_eq(sq_ctx_init(&ctx, level, pool), 0);
	ck_assert_int_eq(sq_ctx_init(&host, kern, pool), 0);
	ck_assert(sq_solver_knows(&s, &l->rule, l->order, 0));
	ck_assert_int_eq(sq_factor_init(&f, l->n, 0, err), 0);
	for (i = 0; i < l->n; i++)
		sq_factor_row(&f, i, l->h + i * (2 * l->n - i + 1) / 2);
	ck_assert_msg(sq_solver_factor(&s, &f, l->damp, l->pairs &&
	    l->sweeps > 0, err) == 0, "%s", err);
	for (row = 0; row < l->rows; row += n) {
		struct sq_mat w = { l->w + row * l->n, SQ_F32, 0, l->n, l->n };
		struct sq_dst q = result_from(o, l, row);

		w.rows = n = row == 0 && split < l->rows ? split :
		    l->rows - row;
		ck_assert_msg(sq_solver_rows(&s, &g, &w, &q, err) == 0, "%s",
		    err);
	}
	o->error = g.error;
	o->rtn_error = g.rtn_error;
	o->norm = g.norm;
	o->damp = s.damp;
	o->dead = s.dead;
	sq_solver_release(&s);
	sq_factor_release(&f);
	sq_ctx_release(&ctx);
	sq_ctx_release(&host);
	sq_pool_free(pool);
}

/* tr(E H E^T) of what came out. */
static double
error_of(const struct result *o, const struct layer *l)
{
	double *e = malloc(l->n * sizeof(*e)), sum = 0, g, z;
	size_t r, i, k, at;

	for (r = 0; r < l->rows; r++) {
		for (i = 0; i < l->n; i++) {
			at = r * l->across + i / l->group;
			z = o->zeros != NULL ? o->zeros[at] :
			    1 << (sq_grid_bits(l->rule.grid) - 1);
			e[i] = l->w[r * l->n + i] - (code_at(o, l, r, i) - z) *
			    (double)sq_f16_to_f32(o->scales[at]);
		}
		for (i = 0; i < l->n; i++) {
			g = h_at(l, i, i) * e[i] / 2;
			for (k = i + 1; k < l->n; k++)
				g += h_at(l, i, k) * e[k];
			sum += 2 * e[i] * g;
		}
	}
	free(e);
	return sum;
}

static void
near(double a, double b, double part, const char *what)
{
	ck_assert_msg(fabs(a - b) <= part * fabs(b), "%s: %.6e, not %.6e",
	    what, a, b);
}

/* Not much worse than the host, and what it says is so. */
START_TEST(as_the_host)
{
	struct result a, b;
	struct layer l;
	double own;

	make_layer(&l, &cases[_i]);
	solve(&a, &l, 2, l.rows, 1);
	solve_there(&b, &l, l.rows);
	own = error_of(&b, &l);
	printf("%zu channels, %zu rows, %d bits: error %.6e, the host's %.6e "
	    "(%+.3f %%)\n", l.n, l.rows, cases[_i].bits, own, a.error,
	    100 * (own / a.error - 1));
	near(b.error, own, 1e-4, "error");
	/* scales hang on the last digits of what columns count */
	near(b.rtn_error, a.rtn_error, 3e-2, "of rounding to nearest");
	near(b.norm, a.norm, 1e-4, "norm");
	ck_assert(own < a.error * (l.n < 1000 ? 1.03 : 1.005));
	ck_assert_uint_eq(a.dead, b.dead);
	near(b.damp, a.damp, 1e-9, "damping");
	result_release(&a);
	result_release(&b);
	layer_release(&l);
}
END_TEST

/* The same bits again. */
START_TEST(again)
{
	struct result a, b;
	struct layer l;

	make_layer(&l, &cases[_i]);
	solve_there(&a, &l, l.rows);
	solve_there(&b, &l, l.rows);
	ck_assert_mem_eq(a.codes, b.codes, l.rows * a.row_bytes);
	ck_assert_mem_eq(a.scales, b.scales, l.rows * l.across * 2);
	result_release(&a);
	result_release(&b);
	layer_release(&l);
}
END_TEST

/* Rows in two calls, each as in one. */
START_TEST(in_parts)
{
	struct result a, b;
	struct layer l;

	make_layer(&l, &cases[_i]);
	solve_there(&a, &l, l.rows);
	solve_there(&b, &l, 16);
	near(b.error, a.error, 1e-2, "error in parts");
	result_release(&a);
	result_release(&b);
	layer_release(&l);
}
END_TEST

/* Damping is raised where H has no factor with what was asked for. */
START_TEST(raises_damping)
{
	struct one c = { 192, 8, 40, 0, 64, 4, 1, 1, 1, 1 };
	struct result o;
	struct layer l;

	make_layer(&l, &c);
	l.damp = 0;
	solve_there(&o, &l, l.rows);
	ck_assert(o.damp >= 1e-6);
	ck_assert(o.error < o.rtn_error);
	result_release(&o);
	layer_release(&l);
}
END_TEST

int
main(int argc, char *argv[])
{
	Suite *s = suite_create("solver");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int failed, n = argc > 1 ? NCASES : NCASES - 1;

	kern = sq_kern_find("auto", err);
	level = argc > 1 ? sq_kern_find(argv[1], err) : kern;
	if (kern == NULL || level == NULL ||
	    (la = sq_lapack_open(kern->name, err)) == NULL) {
		fprintf(stderr, "t_solver: %s\n", err);
		return 1;
	}
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, as_the_host, 0, n);
	tcase_add_loop_test(t, again, 0, n);
	tcase_add_loop_test(t, in_parts, 0, n);
	tcase_add_test(t, raises_damping);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	if (level->mem->device)		/* which a fork would lose */
		srunner_set_fork_status(sr, CK_NOFORK);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
