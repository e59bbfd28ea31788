/* Checks of kv_read: the same bits as ref, and near what was appended; see
 * checkkern.h. */
#include <math.h>

#include "kernels/kvpage.h"
#include "tests/kernels/ckattn.h"

/* A page's value is within half a step of what went in: of the greatest
 * magnitude of its group, or for fp8 of itself. */
static double
step_of(enum sq_page_grid g, double x, double most)
{
	switch (g) {
	case SQ_PAGE_PLAIN: return fabs(x) / 256 + 1e-6;
	case SQ_PAGE_INT8: return most / 250;
	case SQ_PAGE_E4M3: return fabs(x) / 15.9 + most / 200000;
	case SQ_PAGE_E5M2: return fabs(x) / 7.9 + most / 1e6;
	case SQ_PAGE_INT4: return 2 * most / 29.9;
	default: return 2 * most / 5.9;
	}
}

static void
near(struct checker *k, const struct sq_kv *kv, const struct sq_kv_side *s,
    const struct sq_mat *want, const struct sq_mat *got, size_t row)
{
	size_t h, i, bad = 0;
	double most;

	for (h = 0; h < kv->heads; h++) {
		const float *x = ck_row(want, row) + h * kv->dim;
		const float *y = ck_row(got, row) + h * kv->dim;

		for (i = 0, most = 0; i < kv->dim; i++)
			most = fmax(most, fabs((double)x[i]));
		for (i = 0; i < kv->dim; i++)
			bad += !(fabs((double)x[i] - (double)y[i]) <=
			    step_of(s->grid, (double)x[i], most));
	}
	ck_true(k, bad == 0, "grid %d: %zu values are far off", (int)s->grid,
	    bad);
}

void
check_kv_read(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t dims[] = { 64, 32, 80, 16, 128 };
	struct sq_mat x, y, want[2], got[2];
	struct ck_batch b;
	size_t i, t;
	int r, s;

	for (i = 0; i < 60; i++) {
		b = (struct ck_batch){ .kv = { SQ_BF16, 1 + i % 3,
		    dims[i % 5], 32, .k = { i % 6, 0 }, .v = { i / 6 % 6, 0 },
		    .window = 0 } };
		ck_batch_add(k, &b, ck_range(k, 1, 100), 0, 0);
		ck_coded_tables(k, &b);
		x = ck_mat_of(k, b.rows, b.kv.heads * b.kv.dim, 0, i % 2 ?
		    CK_NORMAL : CK_OUTLIER);
		y = ck_mat_of(k, b.rows, x.cols, 0, CK_NORMAL);
		ref->kv_append(ck_ref(k, ref), &b.kv, b.seq, 1, &x, &y);
		for (t = 0; t < 2; t++) {
			want[t] = ck_mat(k, b.rows, x.cols, 3);
			got[t] = ck_mat(k, b.rows, x.cols, 3);
		}
		r = ref->kv_read(ck_ref(k, ref), &b.kv, b.seq, 1, &want[0],
		    &want[1]);
		s = new->kv_read(ck_ctx(k, new, 1), &b.kv, b.seq, 1, &got[0],
		    &got[1]);
		if (ck_ret(k, r, s, "kv_read %zu", i))
			for (t = 0; t < 2; t++)
				ck_same(k, want[t].p, got[t].p,
				    ck_mat_bytes(&want[t]), "kv_read %zu", i);
		for (t = 0; t < b.seq[0].n; t++) {
			near(k, &b.kv, &b.kv.k, &x, &want[0], t +
			    b.seq[0].row);
			near(k, &b.kv, &b.kv.v, &y, &want[1], t +
			    b.seq[0].row);
		}
		ck_done(k);
	}
}
