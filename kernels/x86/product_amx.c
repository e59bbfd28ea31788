/*
 * The product of two matrices with AMX: the lines of avx512bf16 are tiles as
 * they lie.
 *
 *	                 columns c0..c15  c16..c31
 *	                         [  6  ]  [  7  ]	of each 16 words
 *	rows r0..r15       [ 4 ] [  0  ]  [  1  ]	sums
 *	     r16..r31      [ 5 ] [  2  ]  [  3  ]
 */
#include <string.h>

#include "kernels/x86/product.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define DEEP	512			/* words */
#define SIDE	SQ_PR_LINE
#define SOON	2			/* blocks that are fetched ahead */
#define PART	4			/* lines of a tile, at a time */

/* Part n of four tiles that a later step loads. */
static inline __attribute__((always_inline)) void
soon(const char *const from[4], size_t n)
{
	const char *p = from[n / 2] + SOON * SQ_TILE_SIZE + n % 2 * 2 * PART *
	    SQ_TILE_BYTES;
	size_t i;

	SQ_UNROLL for (i = 0; i < 2 * PART; i++)
		_mm_prefetch(p + i * SQ_TILE_BYTES, _MM_HINT_T0);
}

/* Row i of the block that follows: it comes from memory. */
static inline __attribute__((always_inline)) void
soon_row(const struct sq_pr_block *k, size_t i)
{
	const float *p = k->next + i % (2 * SIDE) * k->stride;

	__builtin_prefetch(p, 1);
	__builtin_prefetch(p + SIDE, 1);
}

/* Two lines by two panels; y has all of them. */
static void
whole(const struct sq_pr_block *k, float *y, size_t stride)
{
	const char *at[4] = { k->b, k->a, k->b + (k->cols > SIDE ? k->next_b :
	    0), k->a + (k->rows > SIDE ? k->next_a : 0) };
	float *low = y + SIDE * stride;
	size_t w, bytes = stride * sizeof(*y);

	if (k->add) {
		_tile_loadd(0, y, bytes);
		_tile_loadd(1, y + SIDE, bytes);
		_tile_loadd(2, low, bytes);
		_tile_loadd(3, low + SIDE, bytes);
	} else {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	}
	for (w = 0; w < k->words; w += SIDE) {
		_tile_loadd(6, at[0], SQ_TILE_BYTES);
		soon(at, 0);
		_tile_loadd(4, at[1], SQ_TILE_BYTES);
		soon(at, 1);
		_tile_dpbf16ps(0, 4, 6);
		soon(at, 2);
		_tile_loadd(5, at[3], SQ_TILE_BYTES);
		soon(at, 3);
		_tile_dpbf16ps(2, 5, 6);
		sq_tile_done(6);
		soon_row(k, w / SIDE);
		soon(at, 4);
		_tile_loadd(7, at[2], SQ_TILE_BYTES);
		soon(at, 5);
		_tile_dpbf16ps(1, 4, 7);
		sq_tile_done(4);
		soon(at, 6);
		_tile_dpbf16ps(3, 5, 7);
		sq_tile_done(5);
		sq_tile_done(7);
		soon(at, 7);
		at[0] += SQ_TILE_SIZE;
		at[1] += SQ_TILE_SIZE;
		at[2] += SQ_TILE_SIZE;
		at[3] += SQ_TILE_SIZE;
	}
	_tile_stored(0, y, bytes);
	_tile_stored(1, y + SIDE, bytes);
	_tile_stored(2, low, bytes);
	_tile_stored(3, low + SIDE, bytes);
}

/* Where the block has not all of them, by way of a copy. */
static void
block(const struct sq_pr_block *k)
{
	_Alignas(64) float copy[4 * SIDE * SIDE];
	size_t i, cols = k->cols * sizeof(*copy);

	if (k->rows == 2 * SIDE && k->cols == 2 * SIDE) {
		whole(k, k->y, k->stride);
		return;
	}
	memset(copy, 0, sizeof(copy));
	for (i = 0; i < k->rows && k->add; i++)
		memcpy(copy + i * 2 * SIDE, k->y + i * k->stride, cols);
	whole(k, copy, 2 * SIDE);
	for (i = 0; i < k->rows; i++)
		memcpy(k->y + i * k->stride, copy + i * 2 * SIDE, cols);
}

static void
release(void)
{
	_tile_release();
}

int
sq_product_amx(struct sq_ctx *c, const struct sq_operand *a,
    const struct sq_operand *b, enum sq_prec prec, int add,
    const struct sq_mat *y)
{
	struct sq_pr_level level = sq_pr_avx512bf16;

	level.deep = DEEP;
	level.bf16 = block;
	level.begin = sq_tiles_begin;
	level.end = release;
	return sq_pr_run(&level, c, a, b, prec, add, y);
}
