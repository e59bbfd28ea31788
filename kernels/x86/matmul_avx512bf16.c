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

#define TR	8			/* 24 sums in 32 registers */
#define TV	SQ_MM_VECTORS

#define DEPTH	SQ_MM_DEEP
#define ELEM	uint16_t
#define STRIDE	(SQ_MM_DEEP + 32)	/* 64 bytes more: other cache sets */
#define PAIRS	(STRIDE / 2)

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

/* nr rows of the panel by nv vectors of tokens; pairs of columns. */
SQ_INLINE void
tile_of(const int32_t *a, const int32_t *x, size_t pairs, float *sums,
    int first, const int nr, const int nv)
{
	VF s[2 * TR][TV];
	VI b, v[TV];
	size_t c;
	int i, j;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = first ? vf_zero() :
			    vf_load(sums + (j * SQ_MM_PANEL + i) * VL);
	for (c = 0; c < pairs; c++) {
		SQ_UNROLL for (j = 0; j < nv; j++)
			v[j] = wv_load(x + (size_t)j * pairs * VL + c * VL);
		SQ_UNROLL for (i = 0; i < nr; i++) {
			b = vi_set1(a[i * PAIRS + c]);
			SQ_UNROLL for (j = 0; j < nv; j++)
				s[i][j] = wv_dot(b, v[j], s[i][j]);
		}
	}
	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			vf_store(sums + (j * SQ_MM_PANEL + i) * VL, s[i][j]);
}

/* All rows by nv vectors: see matmul_vec.h. */
SQ_INLINE void
tiles_of(const int32_t *a, const int32_t *x, size_t rows, size_t pairs,
    float *sums, int first, const int nv)
{
	const int nr = nv == 1 ? 2 * TR : TR;
	size_t i;

	for (i = 0; i < rows; i += (size_t)nr)
		tile_of(a + i * PAIRS, x, pairs, sums + i * VL, first, nr, nv);
}

static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const int32_t *x = packed;
	size_t v, n, pairs = cols / 2;

	for (v = 0; v < nvec; v += n) {
		n = sq_mm_strip(nvec - v);
		if (n == 3)
			tiles_of(panel, x, rows, pairs, sums, first, 3);
		else if (n == 2)
			tiles_of(panel, x, rows, pairs, sums, first, 2);
		else
			tiles_of(panel, x, rows, pairs, sums, first, 1);
		x += n * pairs * VL;
		sums += n * SQ_MM_PANEL * VL;
	}
}

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
