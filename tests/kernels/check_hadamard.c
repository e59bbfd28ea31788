/* Checks of hadamard, against ref and against the definition; see
 * checkkern.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/ckrows.h"

/* ref itself: the sum over all elements of a run. */
static void
definition(struct checker *k, const struct sq_mat *x, const struct sq_mat *y,
    size_t n, const double *mag)
{
	size_t r, c, i, bad = 0;
	double sum;

	for (r = 0; r < x->rows; r++)
		for (c = 0; c < x->cols; c++) {
			for (i = 0, sum = 0; i < n; i++)
				sum += (double)ck_row(x, r)[c / n * n + i] *
				    (__builtin_parityl(i & c % n) ? -1 : 1);
			bad += !(fabs(sum / sqrt((double)n) -
			    (double)ck_row(y, r)[c]) <= k->bound *
			    mag[r * x->cols + c] + 1e-30);
		}
	ck_true(k, bad == 0, "%zu elements in runs of %zu are not the "
	    "transform", bad, n);
}

void
check_hadamard(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t dims[] = { 64, 128, 16, 32, 80, 96, 256, 2, 1, 6 };
	struct sq_mat x, want, got, first;
	size_t i, e, j, dim, n;
	double *mag;
	int r, s, t;

	for (i = 0; i < 30; i++) {
		dim = dims[i % 10];
		n = dim & (~dim + 1);
		x = ck_mat_of(k, ck_range(k, 1, 40), dim * ck_range(k, 1, 5),
		    0, i / 10 ? CK_OUTLIER : CK_NORMAL);
		want = ck_mat(k, x.rows, x.cols, 0);
		memcpy(want.p, x.p, ck_mat_bytes(&x));
		r = ref->hadamard(ck_ref(k, ref), dim, &want);
		mag = malloc(x.rows * x.cols * sizeof(*mag));
		for (e = 0; mag != NULL && e < x.rows * x.cols; e++)
			for (j = 0, mag[e] = 0; j < n; j++)
				mag[e] += fabs((double)((float *)x.p)[e / n *
				    n + j]) / sqrt((double)n);
		if (mag == NULL)
			return;
		definition(k, &x, &want, n, mag);
		first = want;
		for (t = 0; t < CK_CTXS; t++) {
			got = ck_mat(k, x.rows, x.cols, 0);
			memcpy(got.p, x.p, ck_mat_bytes(&x));
			s = new->hadamard(ck_ctx(k, new, t), dim, &got);
			if (!ck_ret(k, r, s, "hadamard of %zu", dim)) {
				ck_same(k, x.p, got.p, ck_mat_bytes(&x),
				    "hadamard of %zu", dim);
				continue;
			}
			if (t == 0) {
				ck_mat_close(k, &want, &got, mag, "hadamard");
				first = got;
			}
			ck_same(k, first.p, got.p, ck_mat_bytes(&got),
			    "hadamard of %zu, %d threads", dim, t + 1);
		}
		free(mag);
		ck_done(k);
	}
}
