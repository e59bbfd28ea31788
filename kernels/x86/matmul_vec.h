/*
 * The matrix product in float32 over the vectors of vec.h, for both levels;
 * see matmul.h.  The file of a level defines LEVEL(op), the name of its
 * function, FEW if it has that product of few tokens, and includes this.
 */
#include "kernels/x86/few.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/unit_vec.h"
#include "kernels/x86/x86.h"

#ifndef FEW
#define FEW(c, f)	((void)(f), SQ_UNSUP)
#endif

#define DEPTH	512
#define STRIDE	(DEPTH + 16)		/* 64 bytes more: other cache sets */

#define ELEM	float
#define LANE	float
#define WIDTH	1
#define lane_set(a)	vf_set1(a)
#define WV	VF
#define WL	VL
#define make_how(kind, n)		unit_how(kind, n)
#define make_group(how, kind, s, z)	unit_group(how, kind, s, z)
#define wv_unit(p, kind, how, g, j)	unit_vf(p, kind, how, g, j)
#define wv_load(p)			vf_load(p)
#define wv_store(p, w)			vf_store(p, w)
#define wv_dot(w, x, sum)		vf_fma(w, x, sum)
#define wv_total(x, sum)		vf_add(x, sum)

SQ_INLINE VF
wv_keep(VF w, const uint8_t *column, size_t n)
{
	return vf_where_pos(w, vf_from_i(vi_sub(vi_set1((int)n),
	    vi_from_u8(column))));
}

SQ_INLINE size_t
spread_of(enum unit_kind kind)
{
	switch (kind) {
	case UNIT_INT2:
		return 16;
	case UNIT_INT4:
	case UNIT_INT4_WIDE:
	case UNIT_INT4_LANES:
	case UNIT_INT4_LANES_ZERO:
		return 8;
	case UNIT_BF16:
		return 2;
	default:
		return 1;
	}
}

#include "kernels/x86/walk_vec.h"
#include "kernels/x86/pack_vec.h"
#include "kernels/x86/tile_vec.h"

static void
pack(const struct sq_mm_x *x, void *packed)
{
	VF u[VL][PACK_VF], v[VL];
	float *out = packed;
	size_t c, i;
	int t;

	for (c = 0; c < x->cols; c += x->order->unit) {
		x_units(x, c, u);
		for (i = 0; i < x->order->unit / VL; i++) {
			SQ_UNROLL for (t = 0; t < VL; t++)
				v[t] = u[t][i];
			vf_transpose(v);
			SQ_UNROLL for (t = 0; t < VL; t++, out += VL)
				vf_store(out, v[t]);
		}
	}
}

static void
arrange(const struct sq_mm_x *x, void *row)
{
	float *out = row;
	VF u[PACK_VF];
	size_t c, i;

	for (c = 0; c < x->cols; c += x->order->unit) {
		x_unit(x, x->x, c, u);
		for (i = 0; i < x->order->unit / VL; i++, out += VL)
			vf_store(out, u[i]);
	}
}

const struct sq_mm_level LEVEL(mm) = {
	.lanes = VL, .size = sizeof(float), .whole = SQ_MM_UNIT,
	.depth = DEPTH, .few = 12, .block = 512, .order = order, .expand = expand, .pack = pack,
	.arrange = arrange, .tile = tile, .direct = direct, .finish = finish,
	.total = total
};

int
LEVEL(matmul)(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	const struct sq_few one = { &w, 1, x, NULL, y };
	int few = sq_mm_is_few(&LEVEL(mm_int), c, x->rows);

	if (prec == SQ_PREC_BF16 && few && sq_mm_allows(w, x, y) &&
	    FEW(c, &one) == 0)
		return 0;
	/* Few tokens: those kinds that have a fast direct product. */
	if (prec == SQ_PREC_BF16 && sq_mm_int_fits(w) && (!few ||
	    w->grid == SQ_INT4 || w->grid == SQ_INT8))
		return sq_mm_run(&LEVEL(mm_int), c, w, x, prec, y);
	return sq_mm_run(&LEVEL(mm), c, w, x, prec, y);
}

int
LEVEL(matmul_int8)(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	const struct sq_few one = { &w, 1, NULL, x, y };
	int narrow = sq_grid_is_int(w->grid) && sq_grid_bits(w->grid) <= 4;

	if (sq_mm_is_few(&LEVEL(mm_byte), c, x->rows) &&
	    sq_matmul_int8_allows(w, x, y) && FEW(c, &one) == 0)
		return 0;
	return sq_mm_run_int8(narrow ? &LEVEL(mm_byte) : &LEVEL(mm_int),
	    &LEVEL(mm), c, w, x, y);
}
