/*
 * The matrix product in bf16, with float32 sums; see matmul.h.  Weights and
 * tokens are rounded to bf16, two columns share a lane of 32 bits:
 *
 *	panel   row r: (c0 c1) (c2 c3) ..	a pair is broadcast
 *	packed  (c0 c1) of 16 tokens, (c2 c3) of 16 tokens ..
 *
 * and vdpbf16ps adds both products of a lane to a sum.  AMX takes the same
 * panel and tokens.
 */
#include "kernels/x86/few.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/unit_bf16.h"
#include "kernels/x86/x86.h"

#define DEPTH	SQ_MM_DEEP
#define ELEM	uint16_t
#define STRIDE	(SQ_MM_DEEP + 32)	/* 64 bytes more: other cache sets */
#define LANE	int32_t			/* a pair of columns */
#define WIDTH	2
#define lane_set(a)	vi_set1(a)

#define wv_dot(w, x, sum)	_mm512_dpbf16_ps(sum, (__m512bh)(w),	\
				    (__m512bh)(x))
#define wv_total(x, sum)	wv_dot(_mm512_set1_epi16(0x3f80), x, sum)

SQ_INLINE VI
wv_keep(VI w, const uint8_t *column, size_t n)
{
	return _mm512_maskz_mov_epi16(_mm512_cmplt_epu16_mask(
	    _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)column)),
	    _mm512_set1_epi16((short)n)), w);
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
		for (i = 0; i < x->order->unit / VL; i += 2) {
			SQ_UNROLL for (t = 0; t < VL; t++)
				v[t] = (VF)to_bf16(u[t][i], u[t][i + 1]);
			vf_transpose(v);
			SQ_UNROLL for (t = 0; t < VL; t++, out += VL)
				vf_store(out, v[t]);
		}
	}
}

static void
arrange(const struct sq_mm_x *x, void *row)
{
	ELEM *out = row;
	VF u[PACK_VF];
	size_t c, i;

	for (c = 0; c < x->cols; c += x->order->unit) {
		x_unit(x, x->x, c, u);
		for (i = 0; i < x->order->unit / VL; i += 2, out += WL)
			wv_store(out, to_bf16(u[i], u[i + 1]));
	}
}

const struct sq_mm_level sq_mm_avx512bf16 = {
	.lanes = VL, .size = sizeof(ELEM), .whole = SQ_MM_UNIT,
	.depth = DEPTH, .few = 12, .block = 512, .order = order, .expand = expand, .pack = pack,
	.arrange = arrange, .tile = tile, .direct = direct, .finish = finish,
	.total = total
};

int
sq_matmul_avx512bf16(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_mm_level level = sq_mm_avx512bf16;
	int steps = sq_mm_allows(w, x, y) && sq_few_allows(w);

	level.few = steps ? SQ_FEW_TOKENS : level.few;
	if (prec != SQ_PREC_BF16 || (steps && sq_mm_is_few(&level, c,
	    x->rows)))
		return sq_matmul_avx512vnni(c, w, x, prec, y);
	level.few = steps ? 0 : level.few;
	return sq_mm_run(&level, c, w, x, prec, y);
}
