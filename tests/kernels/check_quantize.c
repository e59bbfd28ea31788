/* Checks of quantize: see checkkern.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "tests/kernels/checkkern.h"

static const enum sq_grid grids[] = {
	SQ_INT2, SQ_INT3, SQ_INT4, SQ_INT5, SQ_INT6, SQ_INT8, SQ_FP8_E4M3
};
static const enum sq_dtype types[] = { SQ_F32, SQ_F16, SQ_BF16 };

#define NGRIDS	(sizeof(grids) / sizeof(grids[0]))
#define NTYPES	(sizeof(types) / sizeof(types[0]))

/* A destination with its sizes in bytes. */
struct dst {
	struct sq_qdst q;
	size_t codes, scales, zeros, error;
};

static void
make_dst(struct checker *k, struct dst *d, const struct sq_mat *w,
    const struct sq_qrule *r)
{
	size_t n = w->rows / r->group_rows *
	    ((w->cols + r->group_cols - 1) / r->group_cols);

	memset(d, 0, sizeof(*d));
	d->codes = w->rows * sq_row_bytes(w->cols, sq_grid_bits(r->grid));
	d->scales = n * 2;
	d->q.codes = ck_buf(k, d->codes);
	d->q.scales = ck_buf(k, d->scales);
	if (!r->symmetric) {
		d->zeros = n;
		d->q.zeros = ck_buf(k, d->zeros);
	}
	if (ck_rand(k) & 1) {
		d->error = w->rows * sizeof(double);
		d->q.error = ck_buf(k, d->error);
	}
}

/* Another destination of the same form. */
static void
like_dst(struct checker *k, struct dst *d, const struct dst *a)
{
	*d = *a;
	d->q.codes = ck_buf(k, d->codes);
	d->q.scales = ck_buf(k, d->scales);
	if (d->q.zeros != NULL)
		d->q.zeros = ck_buf(k, d->zeros);
	if (d->q.error != NULL)
		d->q.error = ck_buf(k, d->error);
}

static void
clear_dst(struct dst *d)
{
	ck_clear(d->q.codes, d->codes);
	ck_clear(d->q.scales, d->scales);
	if (d->q.zeros != NULL)
		ck_clear(d->q.zeros, d->zeros);
	if (d->q.error != NULL)
		ck_clear(d->q.error, d->error);
}

static void
compare(struct checker *k, const struct dst *a, const struct dst *b,
    const char *what)
{
	ck_same(k, a->q.scales, b->q.scales, a->scales, "%s scales", what);
	if (a->q.zeros != NULL)
		ck_same(k, a->q.zeros, b->q.zeros, a->zeros, "%s zeros", what);
	ck_same(k, a->q.codes, b->q.codes, a->codes, "%s codes", what);
	if (a->q.error != NULL)
		ck_same(k, a->q.error, b->q.error, a->error, "%s error", what);
}

static void
untouched(struct checker *k, const struct dst *d, const char *what)
{
	ck_untouched(k, d->q.codes, d->codes, "%s codes", what);
	ck_untouched(k, d->q.scales, d->scales, "%s scales", what);
	if (d->q.zeros != NULL)
		ck_untouched(k, d->q.zeros, d->zeros, "%s zeros", what);
	if (d->q.error != NULL)
		ck_untouched(k, d->q.error, d->error, "%s error", what);
}

static void
run_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_mat *w,
    const struct sq_qrule *rule, const char *kind)
{
	char what[160];
	struct dst a, b;
	int r, s, t;

	snprintf(what, sizeof(what), "%s %s %s %s %s %zux%zu+%zu g%zux%zu",
	    sq_grid_name(rule->grid), rule->symmetric ? "sym" : "asym",
	    rule->scale == SQ_MSE ? "mse" : "absmax", sq_dtype_name(w->type),
	    kind, w->rows, w->cols, w->stride, rule->group_rows,
	    rule->group_cols);
	make_dst(k, &a, w, rule);
	like_dst(k, &b, &a);
	r = ref->quantize(ck_ref(k, ref), w, rule, &a.q);
	for (t = 0; t < CK_CTXS; t++) {
		clear_dst(&b);
		s = new->quantize(ck_ctx(k, new, t), w, rule, &b.q);
		if (ck_ret(k, r, s, "%s", what))
			compare(k, &a, &b, what);
		else if (s == SQ_UNSUP)
			untouched(k, &b, what);
	}
}

static void
make_mat(struct checker *k, struct sq_mat *w, enum sq_dtype type, size_t rows,
    size_t cols, enum ck_kind kind)
{
	size_t n;

	w->type = type;
	w->rows = rows;
	w->cols = cols;
	w->stride = cols + ck_range(k, 0, 3) * ck_range(k, 0, 1);
	n = (rows - 1) * w->stride + cols;
	w->p = ck_buf(k, n * sq_dtype_size(type));
	ck_fill(k, w->p, type, n, kind);
}

/* Group columns of every kind: usual, a whole row, anything. */
static size_t
some_group(struct checker *k, size_t cols)
{
	static const size_t usual[] = { 16, 32, 64, 128 };
	size_t g = usual[ck_range(k, 0, 3)], how = ck_range(k, 0, 5);

	if (how == 0)
		return cols;
	if (how == 1)
		return ck_range(k, 1, cols);
	return g < cols ? g : cols;
}

static void
small_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, struct sq_qrule rule, enum sq_dtype type,
    enum ck_kind kind)
{
	struct sq_mat w;
	size_t cols = ck_range(k, 1, 300);

	if (ck_rand(k) & 1)
		cols = (cols + 31) / 32 * 32;
	make_mat(k, &w, type, ck_range(k, 1, 5), cols, kind);
	rule.group_cols = some_group(k, cols);
	rule.group_rows = ck_range(k, 0, 3) == 0 ? w.rows : 1;
	run_case(k, ref, new, &w, &rule, ck_kind_name(kind));
	ck_done(k);
}

/* Every grid with every rule, type and kind of weights, in random shapes. */
static void
small_cases(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_qrule r;
	size_t g, t;
	int kind, form;

	for (g = 0; g < NGRIDS; g++)
		for (t = 0; t < NTYPES; t++)
			for (kind = 0; kind < CK_KINDS; kind++)
				for (form = 0; form < 12; form++) {
					r.grid = grids[g];
					r.scale = form & 1 ? SQ_MSE :
					    SQ_ABSMAX;
					r.symmetric = form & 2 ||
					    grids[g] == SQ_FP8_E4M3;
					small_case(k, ref, new, r, types[t],
					    (enum ck_kind)kind);
				}
}

/* Enough rows and columns that threads and chunks matter. */
static void
large_cases(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t group[] = { 128, 1000, 2080 };
	struct sq_qrule r = { .symmetric = 1, .scale = SQ_ABSMAX };
	struct sq_mat w;
	size_t g, i;

	for (g = 0; g < NGRIDS; g++)
		for (i = 0; i < 3; i++) {
			make_mat(k, &w, types[(g + i) % NTYPES], 41, 2080,
			    CK_OUTLIER);
			r.grid = grids[g];
			r.group_cols = group[i];
			r.group_rows = i == 1 ? w.rows : 1;
			run_case(k, ref, new, &w, &r, "large");
			ck_done(k);
		}
}

/* A weight that is not finite, or too large for a scale, is refused. */
static void
bad_cases(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const double bad[] = { NAN, INFINITY, -INFINITY, 3e38 };
	struct sq_qrule r = { SQ_INT4, SQ_ABSMAX, 1, 1, 32 };
	struct sq_mat w;
	size_t g, i, t;

	for (g = 0; g < NGRIDS; g++)
		for (i = 0; i < 4; i++)
			for (t = 0; t < NTYPES; t++) {
				make_mat(k, &w, types[t], 3, 80, CK_NORMAL);
				ck_put(w.p, w.type, ck_range(k, 0, 79),
				    bad[i]);
				r.grid = grids[g];
				r.scale = ck_rand(k) & 1 ? SQ_MSE : SQ_ABSMAX;
				run_case(k, ref, new, &w, &r, "bad");
				ck_done(k);
			}
}

/* Weights of one sign, and scales so small that F16 rounds them by up to a
 * third or to nothing: zero points and codes run into their bounds. */
static void
small_scales(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_qrule r = { .group_rows = 1, .group_cols = 32 };
	struct sq_mat w;
	double most;
	size_t g, i, n;

	for (g = 0; g < NGRIDS; g++)
		for (i = 0; i < 32; i++) {
			r.grid = grids[g];
			r.scale = i & 1 ? SQ_MSE : SQ_ABSMAX;
			r.symmetric = i & 2 || r.grid == SQ_FP8_E4M3;
			make_mat(k, &w, i & 4 ? SQ_F32 : SQ_BF16, 2, 96,
			    CK_ZERO);
			most = (1 << sq_grid_bits(r.grid)) * 0x1p-25 *
			    (double)ck_range(k, 1, 20);
			for (n = 0; n < 96; n++)
				ck_put(w.p, w.type, n, (i & 8 ? most : -most) *
				    ck_uniform(k));
			run_case(k, ref, new, &w, &r, "small scales");
			ck_done(k);
		}
}

/* The greatest scale that F16 has, and the least that does not fit. */
static void
overflow_cases(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const float most[] = { 65504 * 7.5f, 65519 * 7.5f,
	    65520 * 7.5f };
	struct sq_qrule r = { SQ_INT4, SQ_ABSMAX, 1, 1, 32 };
	struct sq_mat w;
	int i;

	for (i = 0; i < 3; i++) {
		make_mat(k, &w, SQ_F32, 2, 64, CK_NORMAL);
		ck_put(w.p, SQ_F32, 40, -most[i]);
		run_case(k, ref, new, &w, &r, "overflow");
		ck_done(k);
	}
}

/* Worked by hand: pins the reference itself. */
static void
known_answer(struct checker *k, const struct sq_kern *new)
{
	/* s = 1: ties at .5 go to even codes; -0 is 0; 7.5 rounds to 8 and
	 * is clamped to 7 */
	static const float w4[8] = { 7.5f, -7.5f, 0.5f, 1.5f, -0.5f, -0.0f,
	    2.4f, -6.6f };
	static const uint8_t c4[4] = { 0x0f, 0xa8, 0x88, 0x1a };
	/* s = 1, codes 7 0 4 5 3 6 2 1: 8 codes of 3 bits in 3 bytes */
	static const float w3[8] = { 3.5f, -3.5f, 0.25f, 1.0f, -1.0f, 2.0f,
	    -2.0f, -3.0f };
	static const uint8_t c3[3] = { 0x07, 0x3b, 0x2b };
	/* lo = -1, hi = 2: s = 0.2, which F16 has as 0.199951171875; z = 5 */
	static const float wa[4] = { -1, 2, 0.3f, 0 };
	static const uint8_t ca[2] = { 0xf0, 0x57 };
	static const double error = 0.25 + 0.25 + 0.25 + 0.25 + 0.25;
	struct sq_mat w = { .type = SQ_F32, .rows = 1, .cols = 8,
	    .stride = 8 };
	struct sq_qrule r = { SQ_INT4, SQ_ABSMAX, 1, 1, 8 };
	uint8_t codes[4], zero = 0;
	uint16_t s;
	double e;
	struct sq_qdst q = { codes, &s, &zero, &e };

	w.p = memcpy(ck_buf(k, sizeof(w4)), w4, sizeof(w4));
	if (ck_ret(k, 0, new->quantize(ck_ctx(k, new, 0), &w, &r, &q), "w4")) {
		ck_same(k, c4, codes, 4, "known int4 codes");
		ck_true(k, s == 0x3c00, "known int4 scale");
		ck_true(k, fabs(e - error - 0.32) < 1e-6, "known int4 error");
	}
	r.grid = SQ_INT3;
	memcpy(w.p, w3, sizeof(w3));
	if (ck_ret(k, 0, new->quantize(ck_ctx(k, new, 0), &w, &r, &q), "w3"))
		ck_same(k, c3, codes, 3, "known int3 codes");
	r.grid = SQ_INT4;
	r.symmetric = 0;
	r.group_cols = w.cols = w.stride = 4;
	w.p = memcpy(ck_buf(k, sizeof(wa)), wa, sizeof(wa));
	if (ck_ret(k, 0, new->quantize(ck_ctx(k, new, 0), &w, &r, &q), "wa")) {
		ck_same(k, ca, codes, 2, "known asymmetric codes");
		ck_true(k, s == 0x3266 && zero == 5, "known scale and zero");
	}
	ck_done(k);
}

/* SQ_MSE tries the scale of SQ_ABSMAX too, so it cannot lose. */
static void
mse_is_no_worse(struct checker *k, const struct sq_kern *new)
{
	struct sq_qrule r = { SQ_INT4, SQ_ABSMAX, 1, 1, 64 };
	struct sq_mat w;
	struct sq_qdst q;
	double e[2];
	size_t g;
	int i, ok = 1;

	for (g = 0; g < NGRIDS; g++) {
		make_mat(k, &w, SQ_F32, 1, 64, CK_NORMAL);
		q.codes = ck_buf(k, 64);
		q.scales = ck_buf(k, 2);
		q.zeros = NULL;
		r.grid = grids[g];
		for (i = 0; i < 2; i++) {
			r.scale = i == 0 ? SQ_ABSMAX : SQ_MSE;
			q.error = &e[i];
			ok &= new->quantize(ck_ctx(k, new, 0), &w, &r,
			    &q) == 0;
		}
		if (ok)
			ck_true(k, e[1] <= e[0] * (1 + 1e-12),
			    "%s: mse error %g, absmax %g",
			    sq_grid_name(r.grid), e[1], e[0]);
		ck_done(k);
	}
}

void
check_quantize(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	known_answer(k, new);
	mse_is_no_worse(k, new);
	small_cases(k, ref, new);
	large_cases(k, ref, new);
	bad_cases(k, ref, new);
	small_scales(k, ref, new);
	overflow_cases(k, ref, new);
}
