/* Checks of embed: see checkkern.h. */
#include <stdio.h>

#include "tests/kernels/checkkern.h"
#include "tests/kernels/ckweight.h"

static const enum sq_grid grids[] = {
	SQ_DENSE, SQ_INT2, SQ_INT3, SQ_INT4, SQ_INT5, SQ_INT6, SQ_INT8,
	SQ_FP8_E4M3, SQ_FP8_E5M2
};
static const enum sq_dtype types[] = { SQ_F32, SQ_F16, SQ_BF16 };

#define NGRIDS	(sizeof(grids) / sizeof(grids[0]))
#define NTYPES	(sizeof(types) / sizeof(types[0]))

static void
run_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_weight *w, size_t rows)
{
	struct sq_mat a = { NULL, SQ_F32, rows, w->cols, w->cols + 3 }, b = a;
	size_t n = ((rows - 1) * a.stride + a.cols) * sizeof(float), i;
	uint32_t *ids = ck_buf(k, rows * sizeof(*ids));
	char what[80];
	int r, s, t;

	a.p = ck_buf(k, n);
	b.p = ck_buf(k, n);
	for (i = 0; i < rows; i++)
		ids[i] = (uint32_t)ck_range(k, 0, w->rows - 1);
	snprintf(what, sizeof(what), "%s %zux%zu, %zu rows",
	    sq_grid_name(w->grid), w->rows, w->cols, rows);
	r = ref->embed(ck_ref(k, ref), w, ids, &a);
	for (t = 0; t < CK_CTXS; t++) {
		ck_clear(b.p, n);
		s = new->embed(ck_ctx(k, new, t), w, ids, &b);
		if (ck_ret(k, r, s, "%s", what))
			ck_same(k, a.p, b.p, n, "%s", what);
		else
			ck_untouched(k, b.p, n, "%s", what);
	}
}

void
check_embed(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const uint8_t want_zeros;
	struct sq_weight w = { .layout = SQ_ROWS, .group_rows = 1 };
	size_t g, t, i;

	for (g = 0; g < NGRIDS; g++)
		for (t = 0; t < NTYPES; t++)
			for (i = 0; i < 4; i++) {
				w.grid = grids[g];
				w.type = w.scale_type = types[t];
				w.rows = ck_range(k, 1, 50);
				w.cols = ck_range(k, 1, 300);
				w.group_cols = ck_range(k, 1, w.cols);
				w.zeros = sq_grid_is_int(w.grid) && i % 2 ?
				    &want_zeros : NULL;
				ck_weight(k, &w, CK_NORMAL);
				run_case(k, ref, new, &w, ck_range(k, 1, 70));
				ck_done(k);
			}
}
