/*
 * Checks of the gradients of operations on rows: see checkkern.h.  Magnitudes
 * are the sums of the terms that the formulas of ops.def add.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/ckrows.h"

/* A case: its matrices, and the results' magnitudes. */
struct form {
	struct sq_mat x, z, dy;
	const float *w;			/* of a column, or lse of a row */
	double *mag, *mag2;
	size_t rows, cols, pad;
	char what[120];
};

static int
form_init(struct checker *k, struct form *f, size_t shape, enum ck_kind kind)
{
	size_t longest;
	float *w;

	ck_shape(k, shape, &f->rows, &f->cols, &f->pad);
	longest = f->rows > f->cols ? f->rows : f->cols;
	f->x = ck_mat_of(k, f->rows, f->cols, f->pad, kind);
	f->z = ck_mat_of(k, f->rows, f->cols, 1, CK_NORMAL);
	f->dy = ck_mat_of(k, f->rows, f->cols, 0, CK_OUTLIER);
	w = ck_buf(k, longest * sizeof(*w));
	ck_fill(k, w, SQ_F32, longest, CK_NORMAL);
	f->w = w;
	f->mag = calloc(f->rows * f->cols, sizeof(double));
	f->mag2 = calloc(f->rows * f->cols, sizeof(double));
	snprintf(f->what, sizeof(f->what), "%zux%zu+%zu %s", f->rows, f->cols,
	    f->pad, ck_kind_name(kind));
	return f->mag != NULL && f->mag2 != NULL;
}

static void
form_done(struct checker *k, struct form *f)
{
	free(f->mag);
	free(f->mag2);
	ck_done(k);
}

/* ---- sum_rows ---- */

static void
sum_rows(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t shape, enum ck_kind kind)
{
	float *a, *b, *first;
	struct form f;
	size_t i, j, n;
	int r, s, t;

	form_init(k, &f, shape, kind);
	n = f.cols * sizeof(*a);
	a = ck_buf(k, n);
	first = ck_buf(k, n);
	b = ck_buf(k, n);
	for (j = 0; j < f.cols; j++) {
		a[j] = f.w[j];
		f.mag[j] = fabs((double)a[j]) + 0x1p-100;
		for (i = 0; i < f.rows; i++)
			f.mag[j] += fabs((double)ck_row(&f.x, i)[j]);
	}
	r = ref->sum_rows(ck_ref(k, ref), &f.x, a);
	for (t = 0; t < CK_CTXS; t++) {
		for (j = 0; j < f.cols; j++)
			b[j] = f.w[j];
		s = new->sum_rows(ck_ctx(k, new, t), &f.x, b);
		if (!ck_ret(k, r, s, "%s", f.what))
			continue;
		if (t == 0)
			ck_close(k, a, b, f.mag, f.cols, "%s", f.what);
		for (j = 0; t == 0 && j < f.cols; j++)
			first[j] = b[j];
		ck_same(k, first, b, n, "%s %d threads", f.what, t + 1);
	}
	form_done(k, &f);
}

void
check_sum_rows(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, kind;

	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			sum_rows(k, ref, new, i, kind);
}

/* ---- rmsnorm_backward ---- */

#define EPS	1e-6f

static void
norm_magnitudes(struct form *f)
{
	double r, t, *sums = f->mag2;
	const float *x, *dy;
	size_t i, j;

	for (j = 0; j < f->cols; j++)
		sums[j] = 0x1p-100;
	for (i = 0; i < f->rows; i++) {
		x = ck_row(&f->x, i);
		dy = ck_row(&f->dy, i);
		r = t = 0;
		for (j = 0; j < f->cols; j++) {
			r += (double)x[j] * x[j];
			t += fabs((double)x[j] * dy[j] * f->w[j]);
		}
		r = 1 / sqrt(r / (double)f->cols + EPS);
		t = t / (double)f->cols * r * r;
		for (j = 0; j < f->cols; j++) {
			f->mag[i * f->cols + j] = r * (fabs((double)dy[j] *
			    f->w[j]) + t * fabs((double)x[j])) + 0x1p-100;
			sums[j] += r * fabs((double)x[j] * dy[j]);
		}
	}
}

static void
norm(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t shape, enum ck_kind kind, int with_sum)
{
	struct sq_mat a, b, first;
	float *sa, *sb;
	struct form f;
	size_t j;
	int r, s, t;

	form_init(k, &f, shape, kind);
	norm_magnitudes(&f);
	a = ck_mat(k, f.rows, f.cols, f.pad);
	first = a;
	sa = ck_buf(k, f.cols * sizeof(*sa));
	for (j = 0; j < f.cols; j++)
		sa[j] = 0;
	r = ref->rmsnorm_backward(ck_ref(k, ref), &f.x, f.w, EPS, &f.dy, &a,
	    with_sum ? sa : NULL);
	for (t = 0; t < CK_CTXS; t++) {
		sb = ck_buf(k, f.cols * sizeof(*sb));
		for (j = 0; j < f.cols; j++)
			sb[j] = 0;
		b = with_sum ? ck_mat(k, f.rows, f.cols, f.pad) :
		    ck_mat_copy(k, &f.dy);
		s = new->rmsnorm_backward(ck_ctx(k, new, t), &f.x, f.w, EPS,
		    with_sum ? &f.dy : &b, &b, with_sum ? sb : NULL);
		if (!ck_ret(k, r, s, "%s", f.what))
			continue;
		if (t == 0) {
			ck_mat_close(k, &a, &b, f.mag, f.what);
			ck_mat_pads(k, &b, f.what);
			ck_close(k, sa, sb, f.mag2, f.cols, "%s weight",
			    f.what);
			first = b;
		}
		ck_same(k, first.p, b.p, ck_mat_bytes(&b), "%s %d threads",
		    f.what, t + 1);
	}
	form_done(k, &f);
}

void
check_rmsnorm_backward(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, kind;

	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			norm(k, ref, new, i, kind, (i + kind) % 2 != 0);
}

/* ---- silu_mul_backward ---- */

static void
silu_magnitudes(struct form *f)
{
	double g, s, d;
	size_t i, j, at;

	for (i = 0; i < f->rows; i++)
		for (j = 0; j < f->cols; j++) {
			at = i * f->cols + j;
			g = ck_row(&f->x, i)[j];
			d = fabs((double)ck_row(&f->dy, i)[j]);
			s = 1 / (1 + exp(-g));
			f->mag[at] = d * fabs((double)ck_row(&f->z, i)[j]) *
			    (s * (1 + fabs(g) * (1 - s)) + 1e-30 * (1 +
			    fabs(g))) + 0x1p-100;
			f->mag2[at] = d * fabs(g) * (s + 1e-30) + 0x1p-100;
		}
}

static void
silu(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t shape, enum ck_kind kind, int in_place)
{
	struct sq_mat a, a2, g, z, b, b2, first, first2;
	struct form f;
	int r, s, t;

	form_init(k, &f, shape, kind);
	silu_magnitudes(&f);
	a = first = ck_mat(k, f.rows, f.cols, f.pad);
	a2 = first2 = ck_mat(k, f.rows, f.cols, 1);
	r = ref->silu_mul_backward(ck_ref(k, ref), &f.x, &f.z, &f.dy, &a, &a2);
	for (t = 0; t < CK_CTXS; t++) {
		g = ck_mat_copy(k, &f.x);
		z = ck_mat_copy(k, &f.z);
		b = in_place ? g : ck_mat(k, f.rows, f.cols, f.pad);
		b2 = in_place ? z : ck_mat(k, f.rows, f.cols, 1);
		s = new->silu_mul_backward(ck_ctx(k, new, t), &g, &z, &f.dy,
		    &b, &b2);
		if (!ck_ret(k, r, s, "%s", f.what))
			continue;
		if (t == 0) {
			ck_mat_close(k, &a, &b, f.mag, f.what);
			ck_mat_close(k, &a2, &b2, f.mag2, f.what);
			ck_mat_pads(k, &b, f.what);
			first = b;
			first2 = b2;
		}
		ck_same(k, first.p, b.p, ck_mat_bytes(&b), "%s %d threads",
		    f.what, t + 1);
		ck_same(k, first2.p, b2.p, ck_mat_bytes(&b2), "%s up, %d "
		    "threads", f.what, t + 1);
	}
	form_done(k, &f);
}

void
check_silu_mul_backward(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, kind;

	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			silu(k, ref, new, i, kind, (i + kind) % 2 != 0);
}

/* ---- softmax_add ---- */

static void
softmax(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t shape, enum ck_kind kind, float scale)
{
	struct sq_mat a, b, first;
	struct form f;
	float *lse;
	size_t i, j;
	int r, s, t;

	form_init(k, &f, shape, kind);
	lse = ck_buf(k, f.rows * sizeof(*lse));
	ref->nll(ck_ref(k, ref), &f.x, NULL, lse, NULL);
	for (i = 0; i < f.rows; i++)
		for (j = 0; j < f.cols; j++)
			f.mag[i * f.cols + j] = 0x1p-100 +
			    fabs((double)ck_row(&f.dy, i)[j]) +
			    fabs((double)scale) * exp((double)ck_row(&f.x,
			    i)[j] - lse[i]);
	a = first = ck_mat_copy(k, &f.dy);
	r = ref->softmax_add(ck_ref(k, ref), &f.x, lse, scale, &a);
	for (t = 0; t < CK_CTXS; t++) {
		b = ck_mat_copy(k, &f.dy);
		s = new->softmax_add(ck_ctx(k, new, t), &f.x, lse, scale, &b);
		if (!ck_ret(k, r, s, "%s", f.what))
			continue;
		if (t == 0) {
			ck_mat_close(k, &a, &b, f.mag, f.what);
			first = b;
		}
		ck_same(k, first.p, b.p, ck_mat_bytes(&b), "%s %d threads",
		    f.what, t + 1);
	}
	form_done(k, &f);
}

void
check_softmax_add(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, kind;

	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			softmax(k, ref, new, i, kind, (i + kind) % 2 ? 100 :
			    -1);
}
