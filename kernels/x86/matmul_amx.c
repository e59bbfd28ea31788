/*
 * The matrix product in bf16 with AMX; see matmul.h.  Panel and tokens are
 * those of avx512bf16, and are tiles as they lie: a tile of the panel has 16
 * rows of 32 columns, one of the tokens 16 pairs of columns of 16 tokens.
 *
 *	                 tokens  t0..t15  t16..t31
 *	                         [  6  ]  [  7  ]	of each 32 columns
 *	panel rows 0..15   [ 4 ] [  0  ]  [  1  ]	sums
 *	           16..31  [ 5 ] [  2  ]  [  3  ]
 *
 * Four sums go on while each waits for its last product.
 */
#include <immintrin.h>

#include "kernels/x86/matmul.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/x86.h"

#define LANES	16			/* tokens of a vector */
#define HALF	(SQ_TILE_ROWS * LANES)	/* sums of half a panel's rows */
#define NEXT	(SQ_MM_PANEL * LANES)	/* from a vector's sums to the next */
#define FEW	2

struct strip {
	const char *panel, *x;		/* of the panel, and of two vectors */
	size_t stride;			/* bytes of a row of the panel */
	size_t next;			/* bytes from a vector to the next */
	size_t steps;			/* of 32 columns */
};

static void
one_vector(const struct strip *s, float *sums, int first)
{
	const char *a = s->panel, *b = s->x;
	size_t i;

	if (first) {
		_tile_zero(0);
		_tile_zero(2);
	} else {
		_tile_loadd(0, sums, SQ_TILE_BYTES);
		_tile_loadd(2, sums + HALF, SQ_TILE_BYTES);
	}
	for (i = 0; i < s->steps; i++, a += SQ_TILE_BYTES, b += SQ_TILE_SIZE) {
		_tile_loadd(6, b, SQ_TILE_BYTES);
		_tile_loadd(4, a, s->stride);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(5, a + SQ_TILE_ROWS * s->stride, s->stride);
		_tile_dpbf16ps(2, 5, 6);
	}
	_tile_stored(0, sums, SQ_TILE_BYTES);
	_tile_stored(2, sums + HALF, SQ_TILE_BYTES);
}

static void
two_vectors(const struct strip *s, float *sums, int first)
{
	const char *a = s->panel, *b = s->x;
	size_t i;

	if (first) {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	} else {
		_tile_loadd(0, sums, SQ_TILE_BYTES);
		_tile_loadd(1, sums + NEXT, SQ_TILE_BYTES);
		_tile_loadd(2, sums + HALF, SQ_TILE_BYTES);
		_tile_loadd(3, sums + NEXT + HALF, SQ_TILE_BYTES);
	}
	for (i = 0; i < s->steps; i++, a += SQ_TILE_BYTES, b += SQ_TILE_SIZE) {
		_tile_loadd(6, b, SQ_TILE_BYTES);
		_tile_loadd(4, a, s->stride);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(7, b + s->next, SQ_TILE_BYTES);
		_tile_dpbf16ps(1, 4, 7);
		_tile_loadd(5, a + SQ_TILE_ROWS * s->stride, s->stride);
		_tile_dpbf16ps(2, 5, 6);
		_tile_dpbf16ps(3, 5, 7);
	}
	_tile_stored(0, sums, SQ_TILE_BYTES);
	_tile_stored(1, sums + NEXT, SQ_TILE_BYTES);
	_tile_stored(2, sums + HALF, SQ_TILE_BYTES);
	_tile_stored(3, sums + NEXT + HALF, SQ_TILE_BYTES);
}

/* Rows that the weight does not have are computed from whatever lies in the
 * panel, and left out of y. */
static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	struct strip s = { .panel = panel, .x = packed };
	size_t v;

	(void)rows;
	s.stride = sq_mm_avx512bf16.depth * sizeof(uint16_t) + 64;
	s.next = cols * LANES * sizeof(uint16_t);
	s.steps = cols / 32;
	for (v = 0; v + 1 < nvec; v += 2, sums += 2 * NEXT, s.x += 2 * s.next)
		two_vectors(&s, sums, first);
	if (v < nvec)
		one_vector(&s, sums, first);
}

static void
release(void)
{
	_tile_release();
}

struct sq_mm_level
sq_mm_amx(void)
{
	struct sq_mm_level level = sq_mm_avx512bf16;

	level.few = 0;
	level.tile = tile;
	level.begin = sq_tiles_begin;
	level.end = release;
	return level;
}

int
sq_matmul_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_mm_level level = sq_mm_amx();

	/* One token or two wait for memory, not for products. */
	if (prec != SQ_PREC_BF16 || c->batch == SQ_BATCH_STEP ||
	    (c->batch == SQ_BATCH_AUTO && x->rows <= FEW))
		return sq_matmul_avx512(c, w, x, prec, y);
	return sq_mm_run(&level, c, w, x, prec, y);
}

int
sq_matmul_int8_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	return sq_mm_run_int8(&sq_mm_byte_amx, &sq_mm_avx512, c, w, x, y);
}
