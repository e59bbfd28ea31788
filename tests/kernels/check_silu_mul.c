/* Checks of silu_mul: see checkkern.h.  The bound is relative to the value;
 * far below gate = -88, where the value is no more than rounding of gate * up,
 * to that product. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/ckrows.h"

static double *
magnitudes(const struct sq_mat *gate, const struct sq_mat *up,
    const struct sq_mat *y)
{
	size_t i, j, n = y->cols;
	double *mag = malloc(y->rows * n * sizeof(*mag)), p;

	for (i = 0; mag != NULL && i < y->rows; i++)
		for (j = 0; j < n; j++) {
			p = (double)ck_row(gate, i)[j] * ck_row(up, i)[j];
			mag[i * n + j] = fabs((double)ck_row(y, i)[j]) +
			    fabs(p) * 1e-30 + 0x1p-100;
		}
	return mag;
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t shape, enum ck_kind kind, float scale, int in_place)
{
	struct sq_mat gate, up, a, b, first, g;
	size_t rows, cols, pad, i;
	double *mag;
	char what[120];
	int r, s, t;

	ck_shape(k, shape, &rows, &cols, &pad);
	gate = ck_mat_of(k, rows, cols, pad, kind);
	up = ck_mat_of(k, rows, cols, 3, kind);
	for (i = 0; i < rows * cols; i++)
		ck_row(&gate, i / cols)[i % cols] *= scale;
	a = ck_mat(k, rows, cols, pad);
	first = a;
	snprintf(what, sizeof(what), "%zux%zu+%zu %s x%g%s", rows, cols, pad,
	    ck_kind_name(kind), (double)scale, in_place ? " in place" : "");
	r = ref->silu_mul(ck_ref(k, ref), &gate, &up, &a);
	mag = magnitudes(&gate, &up, &a);
	for (t = 0; t < CK_CTXS && mag != NULL; t++) {
		g = ck_mat_copy(k, &gate);
		b = in_place ? g : ck_mat(k, rows, cols, pad);
		s = new->silu_mul(ck_ctx(k, new, t), &g, &up, &b);
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

/* The whole curve: gates of -120 to 120 in steps of 1/64. */
static void
curve(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new)
{
	struct sq_mat gate = ck_mat(k, 1, 15361, 0), up, a, b;
	double *mag;
	size_t i;
	int r, s;

	up = ck_mat(k, 1, gate.cols, 0);
	a = ck_mat(k, 1, gate.cols, 0);
	b = ck_mat(k, 1, gate.cols, 0);
	for (i = 0; i < gate.cols; i++) {
		ck_row(&gate, 0)[i] = ((float)i - 7680) / 64;
		ck_row(&up, 0)[i] = 1;
	}
	r = ref->silu_mul(ck_ref(k, ref), &gate, &up, &a);
	s = new->silu_mul(ck_ctx(k, new, 0), &gate, &up, &b);
	mag = magnitudes(&gate, &up, &a);
	if (mag != NULL && ck_ret(k, r, s, "curve"))
		ck_mat_close(k, &a, &b, mag, "curve");
	free(mag);
	ck_done(k);
}

void
check_silu_mul(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const float scale[] = { 1, 8, 100 };
	size_t i, kind;

	curve(k, ref, new);
	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			one(k, ref, new, i, kind, scale[(i + kind) % 3],
			    (i + kind) % 2 != 0);
}
