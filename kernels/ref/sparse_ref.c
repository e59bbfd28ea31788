/*
 * The reference of sparse_matmul: a row of the weight is spread out, with zeros
 * between what is stored, and multiplied as matmul's reference does it.
 */
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"
#include "kernels/sparse.h"

/* Stored value `at', which is the weight in row i, column c. */
static float
value(const struct sq_weight *w, size_t at, size_t i, size_t c)
{
	const uint8_t *codes = w->data;
	size_t g;
	int u, zero;

	if (w->grid == SQ_DENSE)
		return sq_value(w->data, w->type, at);
	g = i / w->group_rows * sq_groups_across(w->cols, w->group_cols) +
	    c / w->group_cols;
	u = w->grid == SQ_INT8 ? codes[at] :
	    codes[at / 2] >> 4 * (at % 2) & 15;
	if (w->layout == SQ_NM && w->grid == SQ_INT8 && w->zeros == NULL)
		u ^= 128;
	zero = w->zeros != NULL ? w->zeros[g] : w->grid == SQ_INT8 ? 128 : 8;
	return (float)(u - zero) * sq_value(w->scales, w->scale_type, g);
}

/* The columns first, first+1 .. of a run into the row. */
static void
run(const struct sq_weight *w, size_t i, size_t first, float *row)
{
	size_t band = i / sq_nm_rows(w), step = first / SQ_NM_LANES, k, at;
	size_t lane = first % SQ_NM_LANES + i % sq_nm_rows(w) * w->n;
	unsigned slot[SQ_NM_LANES], c;

	for (k = 0; k < w->n; k++)
		slot[k] = sq_nm_get(w, band, step, lane + k);
	if (w->n > 1 && slot[1] < slot[0])
		return;
	for (k = 0; k < w->n && (k == 0 || slot[k] > slot[k - 1]); k++) {
		c = (unsigned)first + slot[k];
		at = band * sq_nm_steps(w) * SQ_NM_LANES +
		    sq_nm_value(w, step, lane + k);
		if (c < w->cols)
			row[c] = value(w, at, i, c);
	}
}

static void
spread(const struct sq_weight *w, size_t i, float *row)
{
	const uint32_t *start = sq_blocks_start(w) + i / w->n;
	size_t c, k, j;

	memset(row, 0, w->cols * sizeof(*row));
	if (w->layout == SQ_NM) {
		for (c = 0; c < w->cols; c += w->m)
			run(w, i, c, row);
		return;
	}
	for (k = start[0]; k < start[1]; k++)
		for (j = 0; j < w->m; j++) {
			c = sq_blocks_column(w)[k] * w->m + j;
			if (c < w->cols)
				row[c] = value(w, (k * w->n + i % w->n) *
				    w->m + j, i, c);
		}
}

int
sq_sparse_matmul_ref(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_weight row = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .rows = 1, .cols = w->cols, .type = SQ_F32, .data = c->work };
	struct sq_mat out = *y;
	struct sq_ctx less = *c;
	size_t used = (w->cols * sizeof(float) + 63) / 64 * 64, i;

	if (!sq_sparse_matmul_allows(w, x, y) || c->work_size / 2 < used)
		return SQ_UNSUP;
	less.work = (char *)c->work + used;
	less.work_size -= used;
	out.cols = 1;
	for (i = 0; i < w->rows; i++) {
		spread(w, i, c->work);
		out.p = (float *)y->p + i;
		if (sq_matmul_ref(&less, &row, x, prec, &out) != 0)
			return SQ_UNSUP;
	}
	return 0;
}
