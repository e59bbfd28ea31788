/*
 * Blocks of a product, and their laying out, over vec.h; see product.h.  A file
 * whose level has products of pairs defines PRODUCT_DOT(sum, a, b),
 * PRODUCT_PAIRS(a, b), both as bf16 one after the other, and PRODUCT_MIX(p),
 * that in turns.
 */
#include <string.h>

#include "kernels/x86/product.h"
#include "kernels/x86/values.h"
#include "kernels/x86/vec.h"

#define SIDE	SQ_PR_LINE
#define PARTS	(SIDE / VL)		/* vectors of 16 words */
#define ROWS	(VL == 16 ? 8 : 4)	/* of a block's sums in registers, */
#define WIDE	(VL == 16 ? 2 : 1)	/* and panels */
#define SOON	6			/* blocks of a line, read ahead */

/* ---- laying out ---- */

/* 2 VL values that follow one another, as VL words. */
SQ_INLINE void
put_run(uint32_t *to, VF a, VF b)
{
#ifdef PRODUCT_PAIRS
	vi_store(to, PRODUCT_PAIRS(a, b));
#else
	vf_put_bf16((uint16_t *)to, a);
	vf_put_bf16((uint16_t *)to + VL, b);
#endif
}

/* VL words of which each has a value of both. */
SQ_INLINE void
put_both(uint32_t *to, VF a, VF b)
{
#ifdef PRODUCT_PAIRS
	vi_store(to, PRODUCT_MIX(PRODUCT_PAIRS(a, b)));
#else
	vi_store(to, vi_upper(vf_bf16_bits(a), vf_bf16_bits(b)));
#endif
}

/* What a block has that is laid out later. */
SQ_INLINE void
soon(const void *p, enum sq_dtype from, size_t at)
{
	__builtin_prefetch((const char *)p + at * sq_dtype_size(from));
}

/* 16 rows of 16 words.  What is always the same is known when it is
 * compiled. */
SQ_INLINE void
lay(const struct sq_pr_square *s, enum sq_dtype from, int by_row,
    uint32_t *to)
{
	size_t unit = sq_panel_unit(s->to), i, at, row;
	VF a;

	for (i = 0; i < SIDE * PARTS; i++, to += VL) {
		row = i / PARTS;
		at = i % PARTS * VL;
		if (unit == 1) {
			a = vf_take(s->p, from, row * s->stride + at, VL);
			vf_store((float *)to, s->round ? vf_round_bf16(a) : a);
		} else if (by_row) {
			at = row * s->stride + 2 * at;
			soon(s->p, from, at + 2 * SOON * SIDE);
			put_run(to, vf_take(s->p, from, at, VL), vf_take(s->p,
			    from, at + VL, VL));
		} else {
			at += 2 * row * s->stride;
			soon(s->p, from, at + 2 * SIDE * s->stride);
			soon(s->p, from, at + (2 * SIDE + 1) * s->stride);
			put_both(to, vf_take(s->p, from, at, VL), vf_take(
			    s->p, from, at + s->stride, VL));
		}
	}
}

SQ_INLINE void
lay_from(const struct sq_pr_square *s, enum sq_dtype from, uint32_t *to)
{
	if (s->by_row)
		lay(s, from, 1, to);
	else
		lay(s, from, 0, to);
}

static void
turn(const uint32_t *from, uint32_t *to)
{
	size_t i, j, t;
	VF v[VL];

	for (i = 0; i < SIDE; i += VL)
		for (j = 0; j < SIDE; j += VL) {
			SQ_UNROLL for (t = 0; t < VL; t++)
				v[t] = vf_load((const float *)from + (i + t) *
				    SIDE + j);
			vf_transpose(v);
			SQ_UNROLL for (t = 0; t < VL; t++)
				vf_store((float *)to + (j + t) * SIDE + i,
				    v[t]);
		}
}

static void
lay_whole(const struct sq_pr_square *s, uint32_t *to)
{
	_Alignas(64) uint32_t rows[SIDE * SIDE];
	uint32_t *p = s->turn ? rows : to;

	if (s->from == SQ_F32)
		lay_from(s, SQ_F32, p);
	else if (s->from == SQ_BF16)
		lay_from(s, SQ_BF16, p);
	else
		lay_from(s, SQ_F16, p);
	if (s->turn)
		turn(rows, to);
}

/* What is missing is 0. */
static __attribute__((noinline)) void
lay_edge(const struct sq_pr_square *s, void *to)
{
	size_t deep = SIDE * sq_panel_unit(s->to), i, j;
	float copy[2 * SIDE * SIDE];
	struct sq_pr_square all = *s;
	size_t rows = s->by_row ? s->n : s->k;
	size_t cols = s->by_row ? s->k : s->n;

	memset(copy, 0, sizeof(copy));
	all.p = copy;
	all.from = SQ_F32;
	all.stride = s->by_row ? deep : SIDE;
	for (i = 0; i < rows; i++)
		for (j = 0; j < cols; j++)
			copy[i * all.stride + j] = sq_scalar(s->p, s->from,
			    i * s->stride + j);
	lay_whole(&all, to);
}

static void
square(const struct sq_pr_square *s, void *to)
{
	if (s->n == SIDE && s->k == SIDE * sq_panel_unit(s->to))
		lay_whole(s, to);
	else
		lay_edge(s, to);
}

/* ---- sums ---- */

enum how { ONE, SPLIT, DOT };	/* words of both; a in halves; pairs */

/* A word of b with what it meets of ROWS rows of a. */
SQ_INLINE void
step(VF s[ROWS][WIDE * PARTS], const float *a, const float *const b[WIDE],
    size_t w, enum how how)
{
	VF v[WIDE * PARTS], odd[WIDE * PARTS];
	size_t i, j, at = how == SPLIT ? 2 * w : w;

	a += at / SIDE * SIDE * SIDE + at % SIDE;
	SQ_UNROLL for (j = 0; j < WIDE * PARTS; j++) {
		const float *p = b[j / PARTS] + w * SIDE + j % PARTS * VL;

		if (how == SPLIT)
			vf_bf16_pair((const uint16_t *)(const void *)p, &v[j],
			    &odd[j]);
		else
			v[j] = vf_load(p);
	}
	SQ_UNROLL for (i = 0; i < ROWS; i++)
		SQ_UNROLL for (j = 0; j < WIDE * PARTS; j++) {
#ifdef PRODUCT_DOT
			if (how == DOT) {
				s[i][j] = PRODUCT_DOT(s[i][j], vf_set1(
				    a[i * SIDE]), v[j]);
				continue;
			}
#endif
			s[i][j] = vf_fma(vf_set1(a[i * SIDE]), v[j], s[i][j]);
			if (how == SPLIT)
				s[i][j] = vf_fma(vf_set1(a[i * SIDE + 1]),
				    odd[j], s[i][j]);
		}
}

/* ROWS rows by WIDE panels; y has room for them. */
SQ_INLINE void
part(const float *a, const float *const b[WIDE], size_t words, float *y,
    size_t stride, int add, enum how how)
{
	VF s[ROWS][WIDE * PARTS];
	size_t i, j, w;

	SQ_UNROLL for (i = 0; i < ROWS; i++)
		SQ_UNROLL for (j = 0; j < WIDE * PARTS; j++)
			s[i][j] = add ? vf_load(y + i * stride + j * VL) :
			    vf_zero();
	for (w = 0; w < words; w++)
		step(s, a, b, w, how);
	SQ_UNROLL for (i = 0; i < ROWS; i++)
		SQ_UNROLL for (j = 0; j < WIDE * PARTS; j++)
			vf_store(y + i * stride + j * VL, s[i][j]);
}

/* Where the block has not all of them, by way of a copy. */
SQ_INLINE void
edge(const float *a, const float *const b[WIDE], const struct sq_pr_block *k,
    size_t row, size_t col, enum how how)
{
	size_t rows = k->rows - row, cols = k->cols - col, i;
	float copy[ROWS * WIDE * SIDE], *y = k->y + row * k->stride + col;

	rows = rows < ROWS ? rows : ROWS;
	cols = (cols < WIDE * SIDE ? cols : WIDE * SIDE) * sizeof(*y);
	memset(copy, 0, sizeof(copy));
	for (i = 0; i < rows && k->add; i++)
		memcpy(copy + i * WIDE * SIDE, y + i * k->stride, cols);
	part(a, b, k->words, copy, WIDE * SIDE, k->add, how);
	for (i = 0; i < rows; i++)
		memcpy(y + i * k->stride, copy + i * WIDE * SIDE, cols);
}

SQ_INLINE void
block(const struct sq_pr_block *k, enum how how)
{
	const float *a, *b[2];
	size_t row, col;

	for (col = 0; col < k->cols; col += WIDE * SIDE)
		for (row = 0; row < k->rows; row += ROWS) {
			a = (const float *)(const void *)(k->a + row / SIDE *
			    k->next_a) + row % SIDE * SIDE;
			b[0] = (const float *)(const void *)(k->b + col /
			    SIDE * k->next_b);
			b[1] = k->cols > SIDE ? (const float *)(const void *)
			    (k->b + k->next_b) : b[0];
			if (k->rows - row < ROWS || k->cols - col < WIDE *
			    SIDE)
				edge(a, b, k, row, col, how);
			else
				part(a, b, k->words, k->y + row * k->stride +
				    col, k->stride, k->add, how);
		}
}

static void
block_f32(const struct sq_pr_block *k)
{
	block(k, ONE);
}

static void
block_bf16(const struct sq_pr_block *k)
{
#ifdef PRODUCT_DOT
	block(k, DOT);
#else
	block(k, SPLIT);
#endif
}
