/* Checks of rmsnorm: see checkkern.h.  The bound is relative to the value,
 * as nothing cancels; denormals have an absolute one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/ckrows.h"

static double *
magnitudes(const struct sq_mat *m)
{
	double *mag = malloc(m->rows * m->cols * sizeof(*mag));
	size_t i, j;

	for (i = 0; mag != NULL && i < m->rows; i++)
		for (j = 0; j < m->cols; j++)
			mag[i * m->cols + j] = fabs((double)ck_row(m, i)[j]) +
			    0x1p-100;
	return mag;
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t shape, enum ck_kind kind, int in_place)
{
	struct sq_mat x, w, a, b, first;
	size_t rows, cols, pad;
	double *mag;
	char what[120];
	int r, s, t;

	ck_shape(k, shape, &rows, &cols, &pad);
	x = ck_mat_of(k, rows, cols, pad, kind);
	w = ck_mat_of(k, 1, cols, 0, CK_NORMAL);
	a = in_place ? ck_mat_copy(k, &x) : ck_mat(k, rows, cols, pad + 2);
	snprintf(what, sizeof(what), "%zux%zu+%zu %s%s", rows, cols, pad,
	    ck_kind_name(kind), in_place ? " in place" : "");
	first = a;
	r = ref->rmsnorm(ck_ref(k, ref), in_place ? &a : &x, w.p, 1e-6f, &a);
	mag = magnitudes(&a);
	for (t = 0; t < CK_CTXS && mag != NULL; t++) {
		b = in_place ? ck_mat_copy(k, &x) :
		    ck_mat(k, rows, cols, pad + 2);
		s = new->rmsnorm(ck_ctx(k, new, t), in_place ? &b : &x, w.p,
		    1e-6f, &b);
		if (!ck_ret(k, r, s, "%s", what))
			continue;
		if (t == 0) {
			ck_mat_close(k, &a, &b, mag, what);
			ck_mat_pads(k, &b, what);
			first = b;
		}
		ck_same(k, first.p, b.p, ck_mat_bytes(&b), "%s %d threads",
		    what, t + 1);
	}
	free(mag);
	ck_done(k);
}

/* 3 4 -> root mean square sqrt(12.5). */
static void
known_answer(struct checker *k, const struct sq_kern *new)
{
	static const float w[2] = { 1, -2 };
	static const float want[2] = { 0.848528137f, -2.26274170f };
	float x[2] = { 3, 4 };
	struct sq_mat m = { x, SQ_F32, 1, 2, 2 };

	if (ck_ret(k, 0, new->rmsnorm(ck_ctx(k, new, 0), &m, w, 0, &m),
	    "known answer"))
		ck_close(k, want, x, NULL, 2, "known answer");
}

void
check_rmsnorm(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, kind;

	known_answer(k, new);
	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			one(k, ref, new, i, kind, (i + kind) % 2 != 0);
}
