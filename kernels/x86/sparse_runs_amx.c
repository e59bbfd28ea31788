/*
 * 2:4 of int8 and int4 by many tokens: the product of a weight in rows, whose
 * panels are made of runs that come apart.  In a lane of 128 bits, for 16
 * columns of a row,
 *
 *	values	a b . .  c d . .  e f . .  g h . .	as they lie
 *	index	0 3      1 2      0 1      2 3
 *	first	a a a a  c c c c  e e e e  g g g g	where a column is that
 *	second	b b b b  d d d d  f f f f  h h h h	of the index
 *	row	a . . b  . c d .  e f . .  . . g h
 *
 * and a register has four of these, one for each step.
 */
#include <string.h>

#include "kernels/x86/codes.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/sparse_runs_amx.h"

#define ROWS	SQ_MM_PANEL
#define DEPTH	1024			/* columns of a panel of bytes */
#define WIDE	64			/* columns of a register */

/* Of a row of a band and a slot. */
struct slot {
	VI value, index;		/* bytes for each column */
};

struct how {
	struct slot slot[2][2];		/* [row][slot] */
	VI shift, column, table;
};

static void
make_how(struct how *h)
{
	uint8_t value[WIDE], index[WIDE], column[WIDE];
	int16_t shift[WIDE / 2];
	int r, s, i, lane;

	for (r = 0; r < 2; r++)
		for (s = 0; s < 2; s++) {
			for (i = 0; i < WIDE; i++) {
				lane = i % 16 / 4 * 4 + 2 * r + s;
				value[i] = (uint8_t)lane;
				index[i] = (uint8_t)(4 * lane);
				column[i] = (uint8_t)(i % 4);
			}
			h->slot[r][s] = (struct slot){ vi_loadu(value),
			    vi_loadu(index) };
		}
	for (i = 0; i < WIDE / 2; i++)
		shift[i] = (int16_t)(i / 8 * 2);
	h->shift = vi_loadu(shift);
	h->column = vi_loadu(column);
	h->table = _mm512_broadcast_i32x4(_mm_set_epi8(7, 6, 5, 4, 3, 2, 1, 0,
	    -1, -2, -3, -4, -5, -6, -7, -8));
}

/* The values of four steps at p, of which n are there. */
SQ_INLINE VI
values(const uint8_t *p, size_t n, const struct how *h, const int bits)
{
	const VI twice = _mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0);
	const VI by = _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0);
	VI v;

	if (bits == 8)
		return n >= 4 ? vi_loadu(p) : _mm512_maskz_loadu_epi64(
		    (__mmask8)((1u << 2 * n) - 1), p);
	v = n >= 4 ? _mm512_castsi256_si512(_mm256_loadu_si256(
	    (const void *)p)) : _mm512_maskz_loadu_epi64((__mmask8)((1u <<
	    n) - 1), p);
	v = _mm512_srlv_epi64(_mm512_permutexvar_epi64(twice, v), by);
	return _mm512_permutexvar_epi8(v, h->table);
}

/* The codes of 64 columns of a row; line: of the index, the byte of these steps
 * lowest. */
SQ_INLINE VI
apart(VI v, VI line, const struct how *h, const struct slot slot[2])
{
	__mmask64 k[2];
	VI at, out;
	int s;

	SQ_UNROLL for (s = 0; s < 2; s++) {
		at = _mm512_srlv_epi16(_mm512_permutexvar_epi8(slot[s].index,
		    line), h->shift);
		k[s] = _mm512_testn_epi8_mask(_mm512_xor_si512(at, h->column),
		    vi_set1_8(3));
	}
	/* a slot that is empty has the first one's column */
	out = _mm512_maskz_shuffle_epi8(k[1], v, slot[1].value);
	out = _mm512_mask_shuffle_epi8(out, k[0], v, slot[0].value);
	return _mm512_xor_si512(out, vi_set1_8((char)128));
}

/* cols columns of a band's rows from `col' on; to: the first row, NULL for one
 * that is not there. */
SQ_INLINE void
spread_band(const struct sq_weight *w, size_t band, size_t col, size_t cols,
    const struct how *h, uint8_t *to, size_t rows, const int bits)
{
	const uint8_t *p = (const uint8_t *)w->data + band * sq_nm_values(w);
	const uint8_t *index = (const uint8_t *)w->index + band *
	    sq_nm_index(w);
	size_t steps = sq_nm_steps(w), c, step, r;
	__mmask64 k;
	VI v, line;

	for (c = 0; c < cols; c += WIDE) {
		step = (col + c) / SQ_NM_LANES;
		v = values(p + step * SQ_NM_LANES * (size_t)bits / 8, steps -
		    step, h, bits);
		line = _mm512_srl_epi32(vi_loadu(index + step / 16 *
		    SQ_NM_LINE), _mm_cvtsi32_si128((int)(step % 16 * 2)));
		k = cols - c >= WIDE ? ~0ull : (1ull << (cols - c)) - 1;
		for (r = 0; r < rows; r++)
			_mm512_mask_storeu_epi8(to + r * cols + c, k,
			    apart(v, line, h, h->slot[r]));
	}
}

/* A window of the weight in rows: its scales, side by side. */
static void
window_scales(const struct sq_mm_part *p, struct sq_weight *d, char *to)
{
	size_t across = sq_groups_across(p->w->cols, p->w->group_cols), r, n;
	size_t size = sq_dtype_size(d->scale_type), g;

	g = p->col / p->w->group_cols;
	n = sq_groups_across(d->cols, d->group_cols);
	for (r = 0; r < p->rows; r++)
		memcpy(to + r * n * size, (const char *)p->w->scales +
		    ((p->row + r) * across + g) * size, n * size);
	d->scales = to;
}

/* The data of p's weight are the runs. */
static void
expand(const struct sq_mm_part *p, void *panel)
{
	const struct sq_weight *w = p->w->data;
	struct sq_weight d = *p->w;
	struct sq_mm_part one = *p;
	_Alignas(64) uint8_t codes[ROWS * DEPTH];
	char scales[ROWS * DEPTH / SQ_MM_UNIT * sizeof(float)];
	struct how h;
	size_t r, rows;

	make_how(&h);
	d.rows = p->rows;
	d.cols = least(p->cols, w->cols - p->col);
	d.data = codes;
	window_scales(p, &d, scales);
	for (r = 0; r < p->rows; r += 2) {
		rows = least(2, p->rows - r);
		if (w->grid == SQ_INT8)
			spread_band(w, (p->row + r) / 2, p->col, d.cols, &h,
			    codes + r * d.cols, rows, 8);
		else
			spread_band(w, (p->row + r) / 2, p->col, d.cols, &h,
			    codes + r * d.cols, rows, 4);
	}
	one.w = &d;
	one.row = one.col = 0;
	one.ahead = 0;
	sq_mm_avx512bf16.expand(&one, panel);
}

int
sq_sp_runs_allow(const struct sq_weight *w)
{
	size_t g = w->group_cols;

	return sq_sparse_allows(w) && w->layout == SQ_NM && w->n == 2 &&
	    w->m == 4 && (w->grid == SQ_INT8 || w->grid == SQ_INT4) &&
	    w->zeros == NULL && w->group_rows == 1 && (g >= w->cols ||
	    g % DEPTH == 0 || (g % SQ_MM_UNIT == 0 && DEPTH % g == 0));
}

int
sq_sp_runs(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, const struct sq_mat *y)
{
	struct sq_mm_level level = sq_mm_amx();
	struct sq_weight d = *w;

	d.grid = SQ_INT8;
	d.layout = SQ_ROWS;
	d.data = w;
	level.expand = expand;
	return sq_mm_run(&level, c, &d, x, SQ_PREC_BF16, y);
}
