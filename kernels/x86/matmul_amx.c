/*
 * The matrix product in bf16 with AMX; see matmul.h.  Panel and tokens are
 * those of avx512bf16, and are tiles as they lie: see strip_amx.h.
 */
#include <immintrin.h>

#include "kernels/x86/matmul.h"
#include "kernels/x86/few.h"
#include "kernels/x86/strip_amx.h"
#include "kernels/x86/x86.h"

#define FEW	2		/* tokens that wait for memory anyway */
#define DEPTH	256		/* columns of a panel, which stays in the first
				   cache with two vectors of tokens */
#define MANY	128		/* for which a weight is laid out whole */

/* Rows that the weight does not have are computed from whatever lies in the
 * panel, and left out of y. */
static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	struct strip s = { .panel = panel, .x = packed };

	(void)rows;
	s.stride = SQ_MM_DEEP * sizeof(uint16_t) + 64;
	s.next = cols * LANES * sizeof(uint16_t);
	s.steps = cols / 32;
	all_vectors(s, nvec, sums, first);
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
	level.depth = DEPTH;
	level.tile = tile;
	level.begin = sq_tiles_begin;
	level.end = release;
	return level;
}

static int
is_dense(const struct sq_weight *w, const struct sq_mat *x,
    const struct sq_mat *y)
{
	return sq_mm_allows(w, x, y) && w->grid == SQ_DENSE;
}

/* Bit for bit the same: in both, sums are taken in the order of the columns. */
static int
product(struct sq_ctx *c, const struct sq_weight *w, const struct sq_mat *x,
    const struct sq_mat *y)
{
	const struct sq_operand a = { *x, SQ_AS_IS };
	const struct sq_operand b = { { (void *)(uintptr_t)w->data, w->type,
	    w->rows, w->cols, w->cols }, SQ_TURNED };

	return sq_product_amx(c, &a, &b, SQ_PREC_BF16, 0, y);
}

int
sq_matmul_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	const struct sq_few one = { &w, 1, x, NULL, y };
	struct sq_mm_level level = sq_mm_amx();
	int steps = sq_mm_allows(w, x, y) && sq_few_allows(w);

	level.few = steps ? SQ_FEW_TOKENS : FEW;
	if (prec == SQ_PREC_BF16 && x->rows >= MANY && is_dense(w, x, y) &&
	    !sq_mm_is_few(&level, c, x->rows))
		return product(c, w, x, y);
	if (prec == SQ_PREC_BF16 && !sq_mm_is_few(&level, c, x->rows)) {
		level.few = 0;
		return sq_mm_run(&level, c, w, x, prec, y);
	}
	if (prec == SQ_PREC_BF16 && steps)
		return sq_few_amx(c, &one);
	return sq_matmul_avx512(c, w, x, prec, y);
}
