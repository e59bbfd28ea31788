/* What quantize and dequantize allow and share, whatever the level. */
#ifndef SQ_KERNELS_QUANT_H
#define SQ_KERNELS_QUANT_H

#include "kernels/kern.h"

#define SQ_MSE_FACTORS	45

/* Factor i of SQ_MSE. */
static inline double
sq_mse_factor(int i)
{
	return 1.05 - 0.0125 * i;
}

/* The error of a row of weights is summed in this many parts, column j in part
 * j mod 16; then the upper half of the parts is added to the lower half, until
 * one is left.  Vector units of any width can follow this order. */
#define SQ_ERROR_PARTS	16

static inline double
sq_fold_error(double *part)
{
	int half, k;

	for (half = SQ_ERROR_PARTS / 2; half > 0; half /= 2)
		for (k = 0; k < half; k++)
			part[k] += part[k + half];
	return part[0];
}

static inline size_t
sq_groups_across(size_t cols, size_t group_cols)
{
	return cols / group_cols + (cols % group_cols != 0);
}

/* What sq_quantize allows. */
static inline int
sq_quantize_allows(const struct sq_mat *w, const struct sq_qrule *r,
    const struct sq_qdst *q)
{
	if (!sq_dtype_is_float(w->type) || r->group_cols < 1 ||
	    r->group_cols > w->cols || r->scale == SQ_WEIGHTED)
		return 0;
	if (r->group_rows != 1 && r->group_rows != w->rows)
		return 0;
	if (r->grid == SQ_FP8_E4M3)
		return r->symmetric;
	return sq_grid_is_int(r->grid) && (r->symmetric || q->zeros != NULL);
}

/* Weights that sq_dequantize reads: every grid, and dense. */
static inline int
sq_weight_allows(const struct sq_weight *w)
{
	if (w->layout != SQ_ROWS || w->grid >= SQ_GRIDS)
		return 0;
	if (w->grid == SQ_DENSE)
		return sq_dtype_is_float(w->type);
	if (w->group_rows == 0 || w->group_cols == 0)
		return 0;
	if (sq_grid_is_super(w->grid))
		return w->group_rows == 1 && w->cols % 256 == 0 &&
		    w->group_cols == (w->grid == SQ_Q6_K ? 16 : 32);
	return sq_dtype_is_float(w->scale_type) ||
	    w->scale_type == SQ_F8_E8M0;
}

/* What sq_matmul_int8 allows. */
static inline int
sq_matmul_int8_allows(const struct sq_weight *w, const struct sq_qmat *x,
    const struct sq_mat *y)
{
	return sq_weight_allows(w) && w->cols > 0 && x->kind == SQ_ACT_INT8 &&
	    y->type == SQ_F32 && x->rows == y->rows && x->cols == w->cols &&
	    x->stride >= x->cols && y->cols == w->rows;
}

/* The arrays of a weight that sq_weight_allows(): where each is pointed to, and
 * its bytes; 0 for one that is not there. */
#define SQ_WEIGHT_PARTS	7

struct sq_weight_part {
	const void **p;
	size_t size;
};

static inline void
sq_weight_parts(struct sq_weight *w, struct sq_weight_part part[])
{
	size_t data = w->rows * w->cols * sq_dtype_size(w->type), g = 0, s;
	int i;

	if (w->grid != SQ_DENSE) {
		data = w->rows * sq_row_bytes(w->cols, sq_grid_bits(w->grid));
		g = (w->rows + w->group_rows - 1) / w->group_rows *
		    sq_groups_across(w->cols, w->group_cols);
	}
	s = w->grid == SQ_Q6_K ? g / 16 : g / 8;
	part[0] = (struct sq_weight_part){ &w->data, data };
	part[1] = (struct sq_weight_part){ &w->scales,
	    sq_grid_is_super(w->grid) ? g : g * sq_dtype_size(w->scale_type) };
	part[2] = (struct sq_weight_part){ (const void **)&w->zeros, g };
	part[3] = (struct sq_weight_part){ (const void **)&w->mins, 2 * g };
	part[4] = (struct sq_weight_part){ (const void **)&w->super, 2 * s };
	part[5] = (struct sq_weight_part){ (const void **)&w->submins, g };
	part[6] = (struct sq_weight_part){ (const void **)&w->supermins,
	    2 * s };
	for (i = 0; i < SQ_WEIGHT_PARTS; i++)
		if (*part[i].p == NULL)
			part[i].size = 0;
}

/* What sq_dequantize allows. */
static inline int
sq_dequantize_allows(const struct sq_weight *w, size_t row,
    const struct sq_mat *out)
{
	return sq_weight_allows(w) && out->cols == w->cols &&
	    sq_dtype_is_float(out->type) && row <= w->rows &&
	    out->rows <= w->rows - row;
}

/* What sq_embed allows. */
static inline int
sq_embed_allows(const struct sq_weight *w, const uint32_t *ids,
    const struct sq_mat *y)
{
	size_t i;

	if (!sq_weight_allows(w) || y->cols != w->cols || y->type != SQ_F32)
		return 0;
	for (i = 0; i < y->rows; i++)
		if (ids[i] >= w->rows)
			return 0;
	return 1;
}

#endif
