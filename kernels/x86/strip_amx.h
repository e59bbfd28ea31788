/*
 * Strips of a product in bf16 on AMX tiles.  A tile of the panel has 16 rows of
 * 32 columns, one of the tokens 16 pairs of columns of 16 tokens:
 *
 *	                 tokens  t0..t15  t16..t31
 *	                         [  6  ]  [  7  ]	of each 32 columns
 *	panel rows 0..15   [ 4 ] [  0  ]  [  1  ]	sums
 *	           16..31  [ 5 ] [  2  ]  [  3  ]
 *
 * Four sums go on while each waits for its last product.  The sums come from the
 * second cache, and those of the next tokens are fetched meanwhile; the tiles
 * of a panel of DEPTH columns (matmul_amx.c) and of two vectors of tokens stay in
 * the first.
 */
#ifndef SQ_X86_STRIP_AMX_H
#define SQ_X86_STRIP_AMX_H

#include "kernels/x86/matmul.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/vec.h"

#define LANES	16			/* tokens of a vector */
#define HALF	(SQ_TILE_ROWS * LANES)	/* sums of half a panel's rows */
#define NEXT	(SQ_MM_PANEL * LANES)	/* from a vector's sums to the next */
#define LINES	8			/* of the next sums, fetched in a step, */
#define FETCHES	8			/* in so many steps */

struct strip {
	const char *panel, *x;		/* of the panel, and of two vectors */
	size_t stride;			/* bytes of a row of the panel */
	size_t next;			/* bytes from a vector to the next */
	size_t steps;			/* of 32 columns */
	const uint32_t *at;		/* where x of each lies, or NULL: one
					   after the other */
};

/* Of step i. */
static inline const char *
strip_x(const struct strip *s, size_t i)
{
	return s->x + (s->at != NULL ? s->at[i] : i * SQ_TILE_SIZE);
}

/* Part i of the sums that come next, a line after the other. */
static inline void
soon(const float *sums, size_t i)
{
	const char *p = (const char *)(sums + 2 * NEXT) + i * LINES *
	    SQ_TILE_BYTES;
	size_t n;

	SQ_UNROLL for (n = 0; n < LINES; n++)
		_mm_prefetch(p + n * SQ_TILE_BYTES, _MM_HINT_T0);
}

static inline void
one_vector(const struct strip *s, float *sums, int first)
{
	const char *a = s->panel, *b;
	size_t i;

	if (first) {
		_tile_zero(0);
		_tile_zero(2);
	} else {
		_tile_loadd(0, sums, SQ_TILE_BYTES);
		_tile_loadd(2, sums + HALF, SQ_TILE_BYTES);
	}
	for (i = 0; i < s->steps; i++, a += SQ_TILE_BYTES) {
		b = strip_x(s, i);
		_tile_loadd(6, b, SQ_TILE_BYTES);
		_tile_loadd(4, a, s->stride);
		_tile_dpbf16ps(0, 4, 6);
		sq_tile_done(4);
		_tile_loadd(5, a + SQ_TILE_ROWS * s->stride, s->stride);
		_tile_dpbf16ps(2, 5, 6);
		sq_tile_done(5);
		sq_tile_done(6);
	}
	_tile_stored(0, sums, SQ_TILE_BYTES);
	_tile_stored(2, sums + HALF, SQ_TILE_BYTES);
}

static inline void
two_vectors(const struct strip *s, float *sums, int first)
{
	const char *a = s->panel, *b;
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
	for (i = 0; i < s->steps; i++, a += SQ_TILE_BYTES) {
		b = strip_x(s, i);
		_tile_loadd(6, b, SQ_TILE_BYTES);
		_tile_loadd(4, a, s->stride);
		_tile_dpbf16ps(0, 4, 6);
		_tile_loadd(5, a + SQ_TILE_ROWS * s->stride, s->stride);
		_tile_dpbf16ps(2, 5, 6);
		sq_tile_done(6);
		if (i < FETCHES)
			soon(sums, i);
		_tile_loadd(7, b + s->next, SQ_TILE_BYTES);
		_tile_dpbf16ps(1, 4, 7);
		sq_tile_done(4);
		_tile_dpbf16ps(3, 5, 7);
		sq_tile_done(5);
		sq_tile_done(7);
	}
	_tile_stored(0, sums, SQ_TILE_BYTES);
	_tile_stored(1, sums + NEXT, SQ_TILE_BYTES);
	_tile_stored(2, sums + HALF, SQ_TILE_BYTES);
	_tile_stored(3, sums + NEXT + HALF, SQ_TILE_BYTES);
}

/* All vectors: sums = or += panel x tokens. */
static inline void
all_vectors(struct strip s, size_t nvec, float *sums, int first)
{
	size_t v;

	for (v = 0; v + 1 < nvec; v += 2, sums += 2 * NEXT, s.x += 2 * s.next)
		two_vectors(&s, sums, first);
	if (v < nvec)
		one_vector(&s, sums, first);
}

#endif
