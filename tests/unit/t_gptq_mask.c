/*
 * Masks in lib/quant/gptq: against SparseGPT as its paper has it, in float64
 * with the inverse of H, and what each step is good for.
 */
#include "base/mask.h"
#include "tests/unit/gptq_case.h"

#define N	96
#define ROWS	40

struct sparse {
	float *values;
	uint8_t *mask;
	double error, alone, norm;
};

/* What is asked for. */
struct ask {
	struct sq_sparse choose, swap;
	double sparsity;
	int sweeps, plain, threads;
	enum sq_column_order order;
	const uint8_t *given;
};

static const struct sq_sparse any = { SQ_MASK_ANY, 0, 0 },
    two_of_4 = { SQ_MASK_RUNS, 2, 4 }, four_of_8 = { SQ_MASK_RUNS, 4, 8 };

static void
mask(struct sparse *o, struct layer *l, const struct ask *a)
{
	struct sq_pool *pool = sq_pool_new(a->threads + 1);
	size_t bytes = l->rows * sq_row_bytes(l->n, 1);
	struct sq_mat w = { l->w, SQ_F32, l->rows, l->n, l->n };
	struct sq_dst q = { 0 };
	struct sq_factor f;
	struct sq_ctx ctx;
	struct sq_gptq g = { .ctx = &ctx, .lapack = la, .factor = &f,
	    .order = a->order, .rule = { .grid = SQ_DENSE, .group_rows = 1,
	    .group_cols = l->n }, .sweeps = a->sweeps, .want_error = 1,
	    .masked = a->given != NULL, .choose = a->choose,
	    .sparsity = a->sparsity, .plain = a->plain, .swap = a->swap };
	size_t i;

	o->values = q.values = calloc(l->rows * l->n, sizeof(float));
	o->mask = q.mask = calloc(1, bytes);
	if (a->given != NULL)
		memcpy(q.mask, a->given, bytes);
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, pool), 0);
	ck_assert_int_eq(sq_factor_init(&f, l->n, a->sweeps > 0, err), 0);
	f.run = a->choose.m;
	for (i = 0; i < l->n; i++)
		sq_factor_row(&f, i, l->h + i * (2 * l->n - i + 1) / 2);
	ck_assert_int_eq(sq_factor_make(&f, la, pool, a->order, DAMP, err), 0);
	ck_assert_int_eq(sq_gptq_init(&g, a->threads + 1, err), 0);
	ck_assert_msg(sq_gptq_rows(&g, &w, &q, err) == 0, "%s", err);
	o->error = g.error;
	o->alone = g.rtn_error;
	o->norm = g.norm;
	sq_gptq_release(&g);
	sq_factor_release(&f);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
}

static void
sparse_release(struct sparse *o)
{
	free(o->values);
	free(o->mask);
}

static int
kept(const struct sparse *o, size_t n, size_t r, size_t c)
{
	return o->mask[r * sq_row_bytes(n, 1) + c / 8] >> c % 8 & 1;
}

/* tr(E H E^T) of values, in float64. */
static double
error_of(const struct layer *l, const float *q)
{
	double sum = 0, *e = malloc(l->n * sizeof(*e)), t;
	size_t r, i, k;

	for (r = 0; r < l->rows; r++) {
		for (i = 0; i < l->n; i++)
			e[i] = (double)l->w[r * l->n + i] - q[r * l->n + i];
		for (i = 0; i < l->n; i++) {
			for (t = 0, k = 0; k < l->n; k++)
				t += h_at(l, i, k) * e[k];
			sum += e[i] * t;
		}
	}
	free(e);
	return sum;
}

/* The pattern, zeros where it drops, and the error that was told. */
static void
check_sound(const struct sparse *o, const struct layer *l,
    const struct sq_sparse *p, double sparsity)
{
	struct sq_mask m = { *p, l->rows, l->n, o->mask };
	size_t r, c;
	double e = error_of(l, o->values);

	ck_assert_msg(sq_mask_check(&m, err) == 0, "%s", err);
	ck_assert_double_eq_tol((double)sq_mask_kept(&m),
	    (1 - sparsity) * (double)(l->rows * l->n), 1);
	for (r = 0; r < l->rows; r++)
		for (c = 0; c < l->n; c++)
			if (!kept(o, l->n, r, c))
				ck_assert_float_eq(o->values[r * l->n + c], 0);
	ck_assert_double_eq_tol(o->error, e, 1e-3 * e);
}

/* U upper triangular with U^T U = (H + damping)^-1, in float64. */
static double *
factor64(const struct layer *l)
{
	size_t n = l->n, i, j, k;
	double *a = malloc(n * n * sizeof(*a)), *u, mean = 0, s;

	u = calloc(n * n, sizeof(*u));
	for (i = 0; i < n; i++)
		mean += h_at(l, i, i) / (double)n;
	/* invert by Gauss-Jordan */
	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++)
			a[i * n + j] = h_at(l, i, j) + (i == j) * DAMP * mean;
	for (k = 0; k < n; k++) {
		s = 1 / a[k * n + k];
		for (j = 0; j < n; j++)
			a[k * n + j] *= s;
		a[k * n + k] = s;
		for (i = 0; i < n; i++) {
			if (i == k)
				continue;
			s = a[i * n + k];
			a[i * n + k] = 0;
			for (j = 0; j < n; j++)
				a[i * n + j] -= s * a[k * n + j];
		}
	}
	for (i = 0; i < n; i++)
		for (j = i; j < n; j++) {
			for (s = a[i * n + j], k = 0; k < i; k++)
				s -= u[k * n + i] * u[k * n + j];
			u[i * n + j] = i == j ? sqrt(s) : s / u[i * n + i];
		}
	free(a);
	return u;
}

/* One row of SparseGPT, n of each m. */
static void
sparsegpt64(const double *u, size_t n, const struct sq_sparse *p, double *w,
    uint8_t *keep)
{
	double best, score, e;
	size_t i, j, at, left;

	for (i = 0; i < n; i++) {
		if (i % p->m == 0) {
			memset(keep + i, 0, p->m);
			for (left = p->n; left > 0; left--) {
				for (best = -1, at = j = i; j < i + p->m;
				    j++) {
					score = w[j] / u[j * n + j];
					score *= score;
					if (!keep[j] && score > best) {
						best = score;
						at = j;
					}
				}
				keep[at] = 1;
			}
		}
		e = keep[i] ? 0 : w[i] / u[i * n + i];
		if (!keep[i])
			w[i] = 0;
		for (j = i + 1; j < n; j++)
			w[j] -= e * u[i * n + j];
	}
}

START_TEST(as_in_float64)
{
	struct sq_sparse p = _i == 0 ? two_of_4 : four_of_8;
	struct ask a = { .choose = p };
	struct layer l;
	struct sparse o;
	double *u, w[N];
	uint8_t keep[N];
	size_t r, c, same = 0;

	layer_init(&l, N, ROWS, 4 * N, 0, 7);
	mask(&o, &l, &a);
	check_sound(&o, &l, &p, 0.5);
	u = factor64(&l);
	for (r = 0; r < ROWS; r++) {
		for (c = 0; c < N; c++)
			w[c] = l.w[r * N + c];
		sparsegpt64(u, N, &p, w, keep);
		for (c = 0; c < N && keep[c] == kept(&o, N, r, c); c++)
			;
		if (c < N)		/* float32 chose otherwise */
			continue;
		same++;
		for (c = 0; c < N; c++)
			ck_assert_double_eq_tol(o.values[r * N + c], w[c],
			    1e-4);
	}
	ck_assert_uint_ge(same, ROWS - 2);
	free(u);
	sparse_release(&o);
	layer_release(&l);
}
END_TEST

/* Each step leaves less error than the one before it. */
START_TEST(steps)
{
	struct sq_sparse p = _i == 0 ? two_of_4 : _i == 1 ? four_of_8 : any;
	struct ask a = { .choose = p, .sparsity = 0.5 };
	struct sparse chosen, fixed, swapped, alone, more;
	struct layer l;

	layer_init(&l, N, 300, 4 * N, 0, 11);
	mask(&chosen, &l, &a);
	ck_assert_double_lt(chosen.error, chosen.alone);
	a.sweeps = 4;
	mask(&fixed, &l, &a);
	ck_assert_double_lt(fixed.error, .95 * chosen.error);
	ck_assert_mem_eq(fixed.mask, chosen.mask, 300 * sq_row_bytes(N, 1));
	a.swap = p;
	mask(&swapped, &l, &a);
	ck_assert_double_lt(swapped.error, .99 * fixed.error);
	check_sound(&swapped, &l, &p, 0.5);
	a.sweeps = 12;
	mask(&more, &l, &a);
	ck_assert_double_lt(more.error, swapped.error);
	a = (struct ask){ .given = chosen.mask, .plain = 1 };
	mask(&alone, &l, &a);
	ck_assert_double_eq_tol(alone.error, chosen.alone,
	    1e-4 * chosen.alone);
	sparse_release(&chosen);
	sparse_release(&fixed);
	sparse_release(&swapped);
	sparse_release(&more);
	sparse_release(&alone);
	layer_release(&l);
}
END_TEST

/* A given mask, fixed: many sweeps come to the least squares of what is kept,
 * where the gradient is zero. */
START_TEST(least_squares)
{
	struct ask a = { .choose = two_of_4, .sweeps = 200 };
	struct layer l;
	struct sparse o;
	double g, mean = 0;
	size_t r, c, i;

	layer_init(&l, N, 4, 4 * N, 0, 13);
	mask(&o, &l, &a);
	for (i = 0; i < N; i++)
		mean += h_at(&l, i, i) / N;
	for (r = 0; r < 4; r++)
		for (c = 0; c < N; c++) {
			if (!kept(&o, N, r, c))
				continue;
			for (g = 0, i = 0; i < N; i++)
				g += (h_at(&l, i, c) + (i == c) * DAMP * mean) *
				    ((double)l.w[r * N + i] -
				    o.values[r * N + i]);
			ck_assert_double_eq_tol(g / h_at(&l, c, c), 0, 2e-5);
		}
	sparse_release(&o);
	layer_release(&l);
}
END_TEST

/* Threads and the order of columns: the pattern holds, the bits are the same. */
START_TEST(same_bits)
{
	struct sq_sparse p = _i == 0 ? two_of_4 : any;
	struct ask a = { .choose = p, .swap = p, .sparsity = 0.5,
	    .sweeps = 2, .order = SQ_ACT };
	struct sparse one, two;
	struct layer l;

	layer_init(&l, N, 600, 4 * N, 9, 17);
	mask(&one, &l, &a);
	check_sound(&one, &l, &p, 0.5);
	a.threads = 1;
	mask(&two, &l, &a);
	ck_assert_mem_eq(one.values, two.values, 600 * N * sizeof(float));
	ck_assert_mem_eq(one.mask, two.mask, 600 * sq_row_bytes(N, 1));
	sparse_release(&one);
	sparse_release(&two);
	layer_release(&l);
}
END_TEST

/* Codes under a mask: zero where it drops, and better for knowing it. */
START_TEST(codes)
{
	struct layer l;
	struct sparse s;
	struct sq_factor f;
	struct sq_ctx ctx;
	struct ask a = { .choose = two_of_4 };
	struct sq_gptq g = { .ctx = &ctx, .lapack = la, .factor = &f,
	    .order = SQ_ACT, .sweeps = 2, .refit = 1, .want_error = 1 };
	size_t r, c, across = N / 32;
	uint8_t *u = calloc(ROWS, N), *z = calloc(ROWS, across);
	uint16_t *scales = calloc(ROWS * across, sizeof(*scales));
	struct sq_mat w = { NULL, SQ_F32, ROWS, N, N };
	struct sq_dst q = { .codes = u, .scales = scales };

	layer_init(&l, N, ROWS, 4 * N, 0, 19);
	mask(&s, &l, &a);
	set_rule(&l, 8, _i == 0, 32, SQ_WEIGHTED, SQ_ACT);
	l.sweeps = 2;
	g.rule = l.rule;
	g.masked = _i < 2;
	if (_i == 2) {
		g.choose = two_of_4;
		memset(s.mask, 0, ROWS * sq_row_bytes(N, 1));
	}
	q.zeros = _i == 0 ? NULL : z;
	q.mask = s.mask;
	w.p = _i < 2 ? s.values : l.w;
	ck_assert_int_eq(sq_ctx_init(&ctx, kern, NULL), 0);
	ck_assert_int_eq(sq_factor_init(&f, N, 1, err), 0);
	f.run = 4;
	for (c = 0; c < N; c++)
		sq_factor_row(&f, c, l.h + c * (2 * N - c + 1) / 2);
	ck_assert_int_eq(sq_factor_make(&f, la, NULL, SQ_ACT, DAMP, err), 0);
	ck_assert_int_eq(sq_gptq_init(&g, 1, err), 0);
	ck_assert_msg(sq_gptq_rows(&g, &w, &q, err) == 0, "%s", err);
	for (r = 0; r < ROWS; r++)
		for (c = 0; c < N; c++)
			if (!kept(&s, N, r, c))
				ck_assert_uint_eq(u[r * N + c], _i == 0 ? 128 :
				    z[r * across + c / 32]);
	if (_i == 2) {			/* both at once: as good as SparseGPT */
		struct sq_mask m = { two_of_4, ROWS, N, s.mask };

		ck_assert_int_eq(sq_mask_check(&m, err), 0);
		ck_assert_uint_eq(sq_mask_kept(&m), ROWS * N / 2);
		ck_assert_double_lt(g.error, 1.1 * s.error);
	} else {
		ck_assert_double_lt(g.error, 1e-3 * g.norm);
	}
	sq_gptq_release(&g);
	sq_factor_release(&f);
	sq_ctx_release(&ctx);
	sparse_release(&s);
	layer_release(&l);
	free(u);
	free(z);
	free(scales);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gptq_mask");
	TCase *t = tcase_create("gptq_mask");
	SRunner *r;
	int bad;

	kern = sq_kern_find("auto", err);
	la = kern == NULL ? NULL : sq_lapack_open(kern->name, err);
	if (la == NULL) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	tcase_add_loop_test(t, as_in_float64, 0, 2);
	tcase_add_loop_test(t, steps, 0, 3);
	tcase_add_test(t, least_squares);
	tcase_add_loop_test(t, same_bits, 0, 2);
	tcase_add_loop_test(t, codes, 0, 3);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
