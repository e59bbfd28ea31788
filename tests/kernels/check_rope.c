/* Checks of rope: see checkkern.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/ckrows.h"

#define POSITIONS	50

/* |a cos| + |b sin|, and the other way round. */
static double *
magnitudes(const struct sq_mat *x, const struct sq_mat *angles,
    const uint32_t *pos, size_t dim)
{
	size_t i, j, e, half = dim / 2;
	double *mag = malloc(x->rows * x->cols * sizeof(*mag)), c, s, other;
	const float *row, *a;

	for (i = 0; mag != NULL && i < x->rows; i++)
		for (j = 0; j < x->cols; j++) {
			row = ck_row(x, i);
			e = j % dim;
			a = ck_row(angles, pos[i]);
			c = a[e % half];
			s = a[half + e % half];
			other = row[e < half ? j + half : j - half];
			mag[i * x->cols + j] = fabs(row[j] * c) +
			    fabs(other * s) + 0x1p-100;
		}
	return mag;
}

static struct sq_mat
make_angles(struct checker *k, size_t dim)
{
	struct sq_mat m = ck_mat(k, POSITIONS, dim, 0);
	size_t p, i;
	double f;

	for (p = 0; p < POSITIONS; p++)
		for (i = 0; i < dim / 2; i++) {
			f = (double)p * pow(10000, -2.0 * (double)i /
			    (double)dim);
			ck_row(&m, p)[i] = (float)cos(f);
			ck_row(&m, p)[dim / 2 + i] = (float)sin(f);
		}
	return m;
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t rows, size_t heads, size_t dim, enum ck_kind kind)
{
	struct sq_mat angles = make_angles(k, dim), x, a, b, first;
	uint32_t *pos = ck_buf(k, rows * sizeof(*pos));
	double *mag;
	char what[120];
	size_t i;
	int r, s, t;

	x = ck_mat_of(k, rows, heads * dim, ck_range(k, 0, 5), kind);
	for (i = 0; i < rows; i++)
		pos[i] = (uint32_t)ck_range(k, 0, POSITIONS - 1);
	a = ck_mat_copy(k, &x);
	first = a;
	snprintf(what, sizeof(what), "%zu rows, %zu heads of %zu, %s", rows,
	    heads, dim, ck_kind_name(kind));
	mag = magnitudes(&x, &angles, pos, dim);
	r = ref->rope(ck_ref(k, ref), angles.p, pos, dim, &a);
	for (t = 0; t < CK_CTXS && mag != NULL; t++) {
		b = ck_mat_copy(k, &x);
		s = new->rope(ck_ctx(k, new, t), angles.p, pos, dim, &b);
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

/* A quarter turn: (a, b) becomes (-b, a). */
static void
known_answer(struct checker *k, const struct sq_kern *new)
{
	static const float angles[8] = { 9, 9, 9, 9, 0, 0, 1, 1 };
	static const float want[4] = { -3, -4, 1, 2 };
	static const uint32_t pos = 1;
	float x[4] = { 1, 2, 3, 4 };
	struct sq_mat m = { x, SQ_F32, 1, 4, 4 };

	if (ck_ret(k, 0, new->rope(ck_ctx(k, new, 0), angles, &pos, 4, &m),
	    "known answer"))
		ck_close(k, want, x, NULL, 4, "known answer");
}

void
check_rope(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t dims[] = { 2, 6, 16, 30, 32, 48, 64, 80, 128, 256 };
	size_t i, kind;

	known_answer(k, new);
	for (i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			one(k, ref, new, ck_range(k, 1, 40), ck_range(k, 1, 6),
			    dims[i], kind);
	one(k, ref, new, 300, 12, 64, CK_NORMAL);
}
