/* Checks of nll, kl and its gradient: see checkkern.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/ckrows.h"

static const size_t cols[] = {
	1, 2, 7, 8, 16, 17, 63, 100, 1023, 1024, 1025, 2048, 5000, 16384,
	32003
};

#define NCOLS	(sizeof(cols) / sizeof(cols[0]))

static struct sq_mat
logits(struct checker *k, size_t rows, size_t n, enum ck_kind kind)
{
	struct sq_mat m = ck_mat_of(k, rows, n, ck_range(k, 0, 5), kind);
	size_t i, j;

	for (i = 0; i < rows && kind == CK_NORMAL; i++)
		for (j = 0; j < n; j++)
			ck_row(&m, i)[j] *= 4;
	return m;
}

/* The greatest of each row: in each place of a vector and of a chunk. */
static void
raise_one(struct checker *k, const struct sq_mat *m, float v)
{
	size_t i;

	for (i = 0; i < m->rows; i++)
		ck_row(m, i)[ck_range(k, 0, m->cols - 1)] = v;
}

/* As in kl, an error of 5e-7 is allowed anyway. */
static void
nll_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_mat *x, int targets,
    const char *what)
{
	size_t i, n = x->rows;
	uint32_t *target = ck_buf(k, n * 4), *top = ck_buf(k, n * 4);
	uint32_t *want_top = ck_buf(k, n * 4);
	float *want = ck_buf(k, n * 4), *lse = ck_buf(k, n * 4), *got, *first;
	double *mag = ck_buf(k, n * sizeof(*mag));
	int r, s, t;

	for (i = 0; i < n; i++)
		target[i] = (uint32_t)ck_range(k, 0, x->cols - 1);
	ref->nll(ck_ref(k, ref), x, NULL, lse, NULL);
	r = ref->nll(ck_ref(k, ref), x, targets ? target : NULL, want,
	    want_top);
	for (i = 0; i < n; i++)
		mag[i] = 0.05 + fabs((double)lse[i]) + (targets ?
		    fabs((double)ck_row(x, i)[target[i]]) : 0);
	for (t = 0, first = want; t < CK_CTXS; t++) {
		got = ck_buf(k, n * 4);
		ck_clear(top, n * 4);
		s = new->nll(ck_ctx(k, new, t), x, targets ? target : NULL,
		    got, top);
		if (!ck_ret(k, r, s, "%s", what))
			continue;
		if (t == 0)
			ck_close(k, want, got, mag, n, "%s", what);
		if (t == 0)
			first = got;
		ck_same(k, want_top, top, n * 4, "%s top", what);
		ck_same(k, first, got, n * 4, "%s %d threads", what, t + 1);
	}
	ck_clear(top, n * 4);
	if (new->nll(ck_ctx(k, new, 0), x, target, NULL, top) == 0)
		ck_same(k, want_top, top, n * 4, "%s top alone", what);
	target[n - 1] = (uint32_t)x->cols;
	ck_true(k, new->nll(ck_ctx(k, new, 0), x, target, first, NULL) ==
	    SQ_UNSUP, "%s: a target that is no column", what);
}

void
check_nll(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_mat x;
	char what[120];
	size_t i, kind;

	for (i = 0; i < NCOLS; i++)
		for (kind = 0; kind < CK_KINDS; kind++) {
			x = logits(k, i < 8 ? 40 : 5, cols[i], kind);
			if (kind == CK_ZERO || kind == CK_OUTLIER)
				raise_one(k, &x, 500);
			snprintf(what, sizeof(what), "%zu columns %s", cols[i],
			    ck_kind_name(kind));
			nll_case(k, ref, new, &x, kind % 2 == 0, what);
			ck_done(k);
		}
}

/* Sum of p |log p - log q|; with the bound, an error of 5e-7 is allowed
 * anyway: float32 logits of magnitude 10 are no more precise. */
static double
kl_magnitude(const float *r, const float *x, size_t n, double lr, double lx)
{
	double sum = 5e-3, p;
	size_t i;

	for (i = 0; i < n; i++)
		if ((p = exp(r[i] - lr)) > 0)
			sum += p * fabs((r[i] - lr) - (x[i] - lx));
	return sum;
}

static double
log_sum_exp(const float *x, size_t n)
{
	double max = -INFINITY, sum = 0;
	size_t i;

	for (i = 0; i < n; i++)
		if (x[i] > max)
			max = x[i];
	for (i = 0; i < n; i++)
		sum += exp(x[i] - max);
	return max + log(sum);
}

static void
kl_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_mat *a,
    const struct sq_mat *b, const char *what)
{
	size_t i, n = a->rows;
	float *want = ck_buf(k, n * 4), *got, *first;
	double *mag = ck_buf(k, n * sizeof(*mag));
	int r, s, t;

	r = ref->kl(ck_ref(k, ref), a, b, want);
	for (i = 0; i < n; i++)
		mag[i] = kl_magnitude(ck_row(a, i), ck_row(b, i), a->cols,
		    log_sum_exp(ck_row(a, i), a->cols),
		    log_sum_exp(ck_row(b, i), a->cols));
	for (t = 0, first = want; t < CK_CTXS; t++) {
		got = ck_buf(k, n * 4);
		s = new->kl(ck_ctx(k, new, t), a, b, got);
		if (!ck_ret(k, r, s, "%s", what))
			continue;
		if (t == 0) {
			ck_close(k, want, got, mag, n, "%s", what);
			first = got;
		}
		ck_same(k, first, got, n * 4, "%s %d threads", what, t + 1);
	}
}

/* b = a + noise + a constant: what a quantized model gives. */
static struct sq_mat
near(struct checker *k, const struct sq_mat *a, double noise, double shift)
{
	struct sq_mat b = ck_mat_copy(k, a);
	size_t i, j;

	for (i = 0; i < b.rows; i++)
		for (j = 0; j < b.cols; j++)
			ck_row(&b, i)[j] += (float)(noise * ck_normal(k) +
			    shift);
	return b;
}

/* Columns that only one of the two rules out, and that both do. */
static void
ruled_out(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_mat a = logits(k, 3, 3000, CK_NORMAL), b;
	size_t i, j;

	b = near(k, &a, 0.1, 0);
	for (i = 0; i < 3; i++)
		for (j = 0; j < 3000; j += 1 + i) {
			ck_row(&a, i)[j] = -INFINITY;
			if (j % 2 == 0)
				ck_row(&b, i)[j] = -INFINITY;
		}
	ck_row(&a, 1)[2999] = 3;
	ck_row(&a, 0)[2999] = 3;
	kl_case(k, ref, new, &a, &b, "columns ruled out");
	ck_done(k);
}

void
check_kl(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const double noise[] = { 0, 1e-3, 0.03, 1 };
	struct sq_mat a, b;
	char what[120];
	size_t i, j, kind;

	for (i = 0; i < NCOLS; i++) {
		for (kind = 0; kind < CK_KINDS; kind++) {
			a = logits(k, 5, cols[i], kind);
			b = logits(k, 5, cols[i], CK_NORMAL);
			snprintf(what, sizeof(what), "%zu columns %s", cols[i],
			    ck_kind_name(kind));
			kl_case(k, ref, new, &a, &b, what);
			ck_done(k);
		}
		for (j = 0; j < 4; j++) {
			a = logits(k, 3, cols[i], CK_NORMAL);
			b = near(k, &a, noise[j], j == 2 ? 100 : 0);
			snprintf(what, sizeof(what), "%zu columns, noise %g",
			    cols[i], noise[j]);
			kl_case(k, ref, new, &a, &b, what);
			ck_done(k);
		}
	}
	ruled_out(k, ref, new);
}

/* Both softmaxes enter.  What float32 makes of a logit's difference from the
 * log of the sum is allowed, and denormals are lost. */
static void
back_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_mat *a,
    const struct sq_mat *b, int place, const char *what)
{
	struct sq_mat want = ck_mat(k, a->rows, a->cols, 0), got, r, x;
	double *mag = calloc(a->rows * a->cols, sizeof(*mag)), la, lb, p, q;
	struct sq_mat first = { NULL, SQ_F32, 0, 0, 0 };
	size_t i, j;
	int s, t, u;

	s = ref->kl_backward(ck_ref(k, ref), a, b, 0.5f, &want);
	for (i = 0; i < a->rows; i++) {
		la = log_sum_exp(ck_row(a, i), a->cols);
		lb = log_sum_exp(ck_row(b, i), a->cols);
		for (j = 0; j < a->cols; j++) {
			p = ck_row(a, i)[j] - la;
			q = ck_row(b, i)[j] - lb;
			mag[i * a->cols + j] = 1e-30 + exp(p) * (1 + 0.02 *
			    (fabs(p) + fabs(la))) + exp(q) * (1 + 0.02 *
			    (fabs(q) + fabs(lb)));
		}
	}
	for (t = 0; t < CK_CTXS; t++) {
		r = ck_mat_copy(k, a);
		x = ck_mat_copy(k, b);
		got = place == 0 ? ck_mat(k, a->rows, a->cols, 0) :
		    place == 1 ? r : x;
		u = new->kl_backward(ck_ctx(k, new, t), &r, &x, 0.5f, &got);
		if (!ck_ret(k, s, u, "%s", what))
			continue;
		ck_mat_pads(k, &got, what);
		if (t == 0) {
			ck_mat_close(k, &want, &got, mag, what);
			first = got;
		}
		ck_same(k, first.p, got.p, ck_mat_bytes(&got), "%s %d threads",
		    what, t + 1);
	}
	free(mag);
}

void
check_kl_backward(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_mat a, b;
	char what[120];
	size_t i, kind;

	for (i = 0; i < NCOLS; i++)
		for (kind = 0; kind < CK_KINDS; kind++) {
			a = logits(k, 5, cols[i], kind);
			b = near(k, &a, kind % 2 ? 0.01 : 1, 0.5);
			snprintf(what, sizeof(what), "%zu columns %s", cols[i],
			    ck_kind_name(kind));
			back_case(k, ref, new, &a, &b, (int)(i % 3), what);
			ck_done(k);
		}
}
