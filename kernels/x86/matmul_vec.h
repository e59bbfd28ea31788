/*
 * The matrix product in float32 over the vectors of vec.h, for both levels;
 * see matmul.h.  The file of a level defines LEVEL(op), the name of its
 * function, FEW if it has that product of few tokens, and includes this.
 *
 * A tile is TR rows of the panel by up to TV vectors of tokens; its sums stay
 * in registers while it runs through the columns of the panel.
 */
#include "kernels/x86/few.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/unit_vec.h"
#include "kernels/x86/x86.h"

#if VL == 16
#define TR	8			/* 24 sums in 32 registers */
#else
#define TR	4			/* 12 sums in 16 registers */
#endif
#define TV	SQ_MM_VECTORS

#ifndef FEW
#define FEW(c, f)	((void)(f), SQ_UNSUP)
#endif

#define DEPTH	512
#define STRIDE	(DEPTH + 16)		/* 64 bytes more: other cache sets */

#define ELEM	float
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

/* nr rows of the panel by nv vectors of tokens. */
SQ_INLINE void
tile_of(const float *a, const float *x, size_t cols, float *sums, int first,
    const int nr, const int nv)
{
	VF s[2 * TR][TV], b, v[TV];
	size_t c;
	int i, j;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = first ? vf_zero() :
			    vf_load(sums + (j * SQ_MM_PANEL + i) * VL);
	for (c = 0; c < cols; c++) {
		SQ_UNROLL for (j = 0; j < nv; j++)
			v[j] = vf_load(x + (size_t)j * cols * VL + c * VL);
		SQ_UNROLL for (i = 0; i < nr; i++) {
			b = vf_set1(a[i * STRIDE + c]);
			SQ_UNROLL for (j = 0; j < nv; j++)
				s[i][j] = vf_fma(b, v[j], s[i][j]);
		}
	}
	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			vf_store(sums + (j * SQ_MM_PANEL + i) * VL, s[i][j]);
}

/* All rows by nv vectors; a single vector gets tiles of twice the rows, since
 * sums that wait for one another would slow it down. */
SQ_INLINE void
tiles_of(const float *a, const float *x, size_t rows, size_t cols,
    float *sums, int first, const int nv)
{
	const int nr = nv == 1 ? 2 * TR : TR;
	size_t i;

	for (i = 0; i < rows; i += (size_t)nr)
		tile_of(a + i * STRIDE, x, cols, sums + i * VL, first, nr, nv);
}

static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const float *x = packed;
	size_t v, n;

	for (v = 0; v < nvec; v += n) {
		n = sq_mm_strip(nvec - v);
		if (n == 3)
			tiles_of(panel, x, rows, cols, sums, first, 3);
		else if (n == 2)
			tiles_of(panel, x, rows, cols, sums, first, 2);
		else
			tiles_of(panel, x, rows, cols, sums, first, 1);
		x += n * cols * VL;
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
