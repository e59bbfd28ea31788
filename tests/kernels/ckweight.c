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

static uint16_t *
halves(struct checker *k, size_t n, enum ck_kind kind)
{
	uint16_t *p = ck_buf(k, n * sizeof(*p));
	size_t i;

	for (i = 0; i < n; i++)
		ck_put(p, SQ_F16, i, scale(k, kind));
	return p;
}

/* Bytes, those of the scales and offsets of q4_k and q5_k of 6 bits. */
static uint8_t *
sub_scales(struct checker *k, size_t n, int with_mins)
{
	uint8_t *p = ck_buf(k, n);
	size_t i;

	ck_bytes(k, p, n);
	for (i = 0; with_mins && i < n; i++)
		p[i] &= 63;
	return p;
}

static void
fill_super(struct checker *k, struct sq_weight *w, size_t n, enum ck_kind kind)
{
	int with_mins = sq_grid_has_submins(w->grid);
	size_t supers = w->rows * w->cols / 256;

	w->scale_type = with_mins ? SQ_U8 : SQ_I8;
	w->scales = sub_scales(k, n, with_mins);
	w->super = halves(k, supers, kind);
	if (!with_mins)
		return;
	w->submins = sub_scales(k, n, 1);
	w->supermins = halves(k, supers, kind);
}

/* Powers of two, of the least and the greatest some. */
static void
fill_exponents(struct checker *k, struct sq_weight *w, size_t n)
{
	uint8_t *p = ck_buf(k, n);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(i % 64 == 63 ? ck_range(k, 0, 3) :
		    ck_range(k, 110, 130));
	w->scales = p;
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
	if (sq_grid_is_super(w->grid)) {
		fill_super(k, w, n, kind);
		return;
	}
	if (w->grid == SQ_UINT4M || w->grid == SQ_UINT5M)
		w->mins = halves(k, n, kind);
	if (w->scale_type == SQ_F8_E8M0) {
		fill_exponents(k, w, n);
		return;
	}
	scales = ck_buf(k, n * sq_dtype_size(w->scale_type));
	for (i = 0; i < n; i++)
		ck_put(scales, w->scale_type, i, scale(k, kind));
	w->scales = scales;
	if (w->zeros != NULL)
		fill_zeros(k, w, n);
}
