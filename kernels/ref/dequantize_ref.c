/*
 * The references of dequantize and embed: the formulas of sq-stream(5), one
 * weight after the other.
 */
#include "base/half.h"
#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"

struct job {
	const struct sq_weight *w;
	const uint32_t *ids;		/* NULL: rows first, first+1 ... */
	size_t first;
	const struct sq_mat *out;
};

static uint8_t
get_code(const uint8_t *row, size_t c, int bits)
{
	uint8_t u = 0;
	size_t at = c * (size_t)bits;
	int b;

	for (b = 0; b < bits; b++, at++)
		u |= (uint8_t)((row[at / 8] >> (at % 8) & 1) << b);
	return u;
}

/* The scale of group g. */
static float
scale(const struct sq_weight *w, size_t g)
{
	const int8_t *i8 = w->scales;
	const uint8_t *u8 = w->scales;

	if (sq_grid_has_submins(w->grid))
		return sq_f16_to_f32(w->super[g / 8]) * u8[g];
	if (w->grid == SQ_IQ4_XS)
		return sq_f16_to_f32(w->super[g / 8]) * i8[g];
	if (w->grid == SQ_Q6_K)
		return sq_f16_to_f32(w->super[g / 16]) * i8[g];
	if (w->scale_type == SQ_F8_E8M0)
		return sq_e8m0_to_f32(u8[g]);
	return sq_value(w->scales, w->scale_type, g);
}

/* The number that code u of group g stands for, before its scale. */
static float
number(const struct sq_weight *w, size_t g, uint8_t u)
{
	switch (w->grid) {
	case SQ_FP8_E4M3:
		return sq_e4m3_to_f32(u);
	case SQ_FP8_E5M2:
		return sq_e5m2_to_f32(u);
	case SQ_FP4:
	case SQ_MXFP4:
		return 0.5f * sq_fp4_table[u];
	case SQ_IQ4_NL:
	case SQ_IQ4_XS:
		return sq_iq4_table[u];
	case SQ_UINT4M:
	case SQ_UINT5M:
	case SQ_Q4_K:
	case SQ_Q5_K:
		return u;
	case SQ_Q6_K:
		return (float)u - 32;
	default:
		if (w->zeros != NULL)
			return (float)((int)u - w->zeros[g]);
		return (float)((int)u - (1 << (sq_grid_bits(w->grid) - 1)));
	}
}

static float
value(const struct sq_weight *w, size_t i, size_t c)
{
	size_t g = i / w->group_rows *
	    sq_groups_across(w->cols, w->group_cols) + c / w->group_cols;
	int bits = sq_grid_bits(w->grid);
	const uint8_t *codes = w->data;
	uint8_t u = get_code(codes + i * sq_row_bytes(w->cols, bits), c, bits);
	float v = number(w, g, u) * scale(w, g);

	if (sq_grid_has_submins(w->grid))
		return v - sq_f16_to_f32(w->supermins[g / 8]) * w->submins[g];
	if (w->grid == SQ_UINT4M || w->grid == SQ_UINT5M)
		return v + sq_f16_to_f32(w->mins[g]);
	return v;
}

static void
do_row(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_mat *out = j->out;
	size_t k = (size_t)task, i, c;
	float v;

	(void)thread;
	i = j->ids != NULL ? j->ids[k] : j->first + k;
	for (c = 0; c < j->w->cols; c++) {
		if (j->w->grid == SQ_DENSE)
			v = sq_value(j->w->data, j->w->type,
			    i * j->w->cols + c);
		else
			v = value(j->w, i, c);
		sq_value_put(out->p, out->type, k * out->stride + c, v);
	}
}

int
sq_dequantize_ref(struct sq_ctx *c, const struct sq_weight *w, size_t row,
    const struct sq_mat *out)
{
	struct job j = { w, NULL, row, out };

	if (!sq_dequantize_allows(w, row, out))
		return SQ_UNSUP;
	sq_pool_run(c->pool, do_row, &j, (long)out->rows);
	return 0;
}

int
sq_embed_ref(struct sq_ctx *c, const struct sq_weight *w, const uint32_t *ids,
    const struct sq_mat *y)
{
	struct job j = { w, ids, 0, y };

	if (!sq_embed_allows(w, ids, y))
		return SQ_UNSUP;
	sq_pool_run(c->pool, do_row, &j, (long)y->rows);
	return 0;
}
