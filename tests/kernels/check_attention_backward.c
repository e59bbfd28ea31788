/*
 * Checks of attention_backward: see checkkern.h.  Magnitudes are the sums of
 * the magnitudes of the terms, with p (|dp| + sum p |dp|) for a ds.  Products
 * in float32 have a bound of 2e-5.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/rows.h"
#include "tests/kernels/ckrows.h"

#define F32_BOUND	2e-5

struct form {
	struct sq_attn a;
	size_t kv_heads, length, seqs, dim;
	struct sq_attn_grad g;
	double *mag[3];			/* of dq, dk, dv */
	char what[160];
};

static double
dot(const float *a, const float *b, size_t n, int magnitudes)
{
	double s = 0;
	size_t i;

	for (i = 0; i < n; i++)
		s += magnitudes ? fabs((double)a[i] * b[i]) :
		    (double)a[i] * b[i];
	return s;
}

/* What query t of head h adds to the magnitudes. */
static void
query(struct form *f, size_t row, size_t t, size_t h)
{
	size_t g = h / (f->a.heads / f->kv_heads), i, e, start, to;
	const float *q = ck_row(&f->g.q, row + t) + h * f->dim, *k;
	const float *dy = ck_row(&f->g.dy, row + t) + h * f->dim;
	double p[600], dp[600], total = 0, sum = 0, ds, *dq;

	start = sq_window_start(&f->a, t);
	for (i = start; i <= t; i++) {
		k = ck_row(&f->g.k, row + i) + g * f->dim;
		p[i] = exp(f->a.scale * dot(q, k, f->dim, 0));
		dp[i] = dot(dy, ck_row(&f->g.v, row + i) + g * f->dim, f->dim,
		    1);
		total += p[i];
	}
	for (i = start; i <= t; i++)
		sum += (p[i] /= total) * dp[i];
	dq = f->mag[0] + (row + t) * f->g.q.cols + h * f->dim;
	for (i = start; i <= t; i++) {
		k = ck_row(&f->g.k, row + i) + g * f->dim;
		to = (row + i) * f->g.k.cols + g * f->dim;
		ds = f->a.scale * p[i] * (dp[i] + sum);
		for (e = 0; e < f->dim; e++) {
			dq[e] += ds * fabs((double)k[e]);
			f->mag[1][to + e] += ds * fabs((double)q[e]);
			f->mag[2][to + e] += p[i] * fabs((double)dy[e]);
		}
	}
}

static int
magnitudes(struct form *f)
{
	size_t n[3] = { f->g.q.rows * f->g.q.cols, f->g.k.rows * f->g.k.cols,
	    f->g.k.rows * f->g.k.cols }, i, j, t, h;

	for (i = 0; i < 3; i++) {
		if ((f->mag[i] = malloc(n[i] * sizeof(double))) == NULL)
			return -1;
		for (j = 0; j < n[i]; j++)
			f->mag[i][j] = 0x1p-100;
	}
	for (i = 0; i < f->seqs; i++)
		for (t = 0; t < f->length; t++)
			for (h = 0; h < f->a.heads; h++)
				query(f, i * f->length, t, h);
	return 0;
}

static void
results(struct checker *k, const struct form *f, struct sq_attn_grad *g)
{
	*g = f->g;
	g->dq = ck_mat(k, f->g.q.rows, f->g.q.cols, 3);
	g->dk = ck_mat(k, f->g.k.rows, f->g.k.cols, 1);
	g->dv = ck_mat(k, f->g.k.rows, f->g.k.cols, 0);
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct form *f)
{
	struct sq_attn_grad a, b, first;
	const struct sq_mat *want[3], *got[3], *once[3];
	double bound = k->bound;
	size_t rows = f->seqs * f->length;
	int r, s, t, i;

	f->a.scale = (float)(1 / sqrt((double)f->dim));
	f->g.q = ck_mat_of(k, rows, f->a.heads * f->dim, 0, CK_NORMAL);
	f->g.k = ck_mat_of(k, rows, f->kv_heads * f->dim, 2, CK_NORMAL);
	f->g.v = ck_mat_of(k, rows, f->kv_heads * f->dim, 0, CK_OUTLIER);
	f->g.dy = ck_mat_of(k, rows, f->a.heads * f->dim, 1, CK_OUTLIER);
	snprintf(f->what, sizeof(f->what), "%zu x %zu tokens, %zu/%zu heads "
	    "of %zu, window %zu, %s", f->seqs, f->length, f->a.heads,
	    f->kv_heads, f->dim, f->a.window, f->a.prec == SQ_PREC_F32 ?
	    "f32" : "bf16");
	if (magnitudes(f) < 0)
		return;
	if (f->a.prec == SQ_PREC_F32)
		k->bound = F32_BOUND;
	results(k, f, &a);
	first = a;
	r = ref->attention_backward(ck_ref(k, ref), &f->a, f->kv_heads,
	    f->length, &a);
	for (t = 0; t < CK_CTXS; t++) {
		results(k, f, &b);
		s = new->attention_backward(ck_ctx(k, new, t), &f->a,
		    f->kv_heads, f->length, &b);
		if (!ck_ret(k, r, s, "%s", f->what))
			continue;
		if (t == 0)
			first = b;
		want[0] = &a.dq, want[1] = &a.dk, want[2] = &a.dv;
		got[0] = &b.dq, got[1] = &b.dk, got[2] = &b.dv;
		once[0] = &first.dq, once[1] = &first.dk, once[2] = &first.dv;
		for (i = 0; i < 3; i++) {
			if (t == 0)
				ck_mat_close(k, want[i], got[i], f->mag[i],
				    f->what);
			ck_mat_pads(k, got[i], f->what);
			ck_same(k, once[i]->p, got[i]->p, ck_mat_bytes(got[i]),
			    "%s: result %d, %d threads", f->what, i, t + 1);
		}
	}
	k->bound = bound;
	for (i = 0; i < 3; i++)
		free(f->mag[i]);
	ck_done(k);
}

void
check_attention_backward(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const struct {
		size_t heads, kv_heads, dim, length, seqs, window;
	} shape[] = {
		{ 1, 1, 2, 1, 1, 0 }, { 2, 1, 6, 5, 2, 0 },
		{ 4, 2, 16, 33, 2, 0 }, { 3, 1, 64, 130, 1, 0 },
		{ 4, 4, 32, 70, 2, 9 }, { 2, 1, 64, 200, 1, 64 },
		{ 2, 2, 128, 96, 1, 0 }, { 6, 2, 24, 64, 3, 1 },
		{ 2, 1, 64, 300, 1, 0 }, { 1, 1, 80, 257, 1, 100 },
		{ 1, 1, 4096, 128, 1, 0 }, { 1, 1, 8192, 33, 1, 0 },
	};
	struct form f;
	size_t i, p;

	for (i = 0; i < sizeof(shape) / sizeof(shape[0]); i++)
		for (p = 0; p < 2; p++) {
			f = (struct form){ .a = { .heads = shape[i].heads,
			    .window = shape[i].window, .prec = p ?
			    SQ_PREC_BF16 : SQ_PREC_F32 } };
			f.kv_heads = shape[i].kv_heads;
			f.dim = shape[i].dim;
			f.length = shape[i].length;
			f.seqs = shape[i].seqs;
			one(k, ref, new, &f);
		}
}
