/* Random weights; see ckweight.h. */
#include "tests/kernels/ckweight.h"

static double
scale(struct checker *k, enum ck_kind kind)
{
	double s = (0.5 + ck_uniform(k)) / 64;

	if (kind == CK_OUTLIER && (ck_rand(k) & 1))
		return -s;
	if (kind == CK_ZERO && (ck_rand(k) & 1))
		return 0;
	if (kind == CK_TINY)
		return s * 0x1p-12;
	return s;
}

size_t
ck_groups(const struct sq_weight *w)
{
	return (w->rows + w->group_rows - 1) / w->group_rows *
	    ((w->cols + w->group_cols - 1) / w->group_cols);
}

static void
fill_zeros(struct checker *k, struct sq_weight *w, size_t n)
{
	unsigned top = (1u << sq_grid_bits(w->grid)) - 1;
	uint8_t *zeros = ck_buf(k, n);
	size_t i;

	for (i = 0; i < n; i++)
		zeros[i] = (uint8_t)(ck_rand(k) & (i % 8 == 7 ? 255 : top));
	w->zeros = zeros;
}

void
ck_weight(struct checker *k, struct sq_weight *w, enum ck_kind kind)
{
	size_t n, i;
	void *data, *scales;

	if (w->grid == SQ_DENSE) {
		n = w->rows * w->cols;
		data = ck_buf(k, n * sq_dtype_size(w->type));
		ck_fill(k, data, w->type, n, kind);
		w->data = data;
		return;
	}
	n = w->rows * sq_row_bytes(w->cols, sq_grid_bits(w->grid));
	data = ck_buf(k, n);
	ck_bytes(k, data, n);
	w->data = data;
	n = ck_groups(w);
	scales = ck_buf(k, n * sq_dtype_size(w->scale_type));
	for (i = 0; i < n; i++)
		ck_put(scales, w->scale_type, i, scale(k, kind));
	w->scales = scales;
	if (w->zeros != NULL)
		fill_zeros(k, w, n);
}
