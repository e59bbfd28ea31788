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

static float
value(const struct sq_weight *w, size_t i, size_t c)
{
	size_t g = i / w->group_rows *
	    sq_groups_across(w->cols, w->group_cols) + c / w->group_cols;
	int bits = sq_grid_bits(w->grid);
	const uint8_t *codes = w->data;
	float s = sq_value(w->scales, w->scale_type, g);
	uint8_t u = get_code(codes + i * sq_row_bytes(w->cols, bits), c, bits);

	if (w->grid == SQ_FP8_E4M3)
		return sq_e4m3_to_f32(u) * s;
	if (w->grid == SQ_FP8_E5M2)
		return sq_e5m2_to_f32(u) * s;
	if (w->zeros == NULL)
		return (float)((int)u - (1 << (bits - 1))) * s;
	return (float)((int)u - w->zeros[g]) * s;
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
