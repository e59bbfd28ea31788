/*
 * The tiles of bytes with AMX, for matmul_int_vec.h: panel and tokens are tiles
 * as they lie, 16 rows of 64 columns, and 16 lanes of 16 tokens; see
 * matmul_amx.c.  Between the groups their sums go through memory.
 */
#include "kernels/x86/tiles.h"

#define HALF	SQ_TILE_ROWS		/* rows of a panel, half of them */

/* The sums of a group: of two vectors, for the rows of the panel. */
struct tile_sums {
	_Alignas(64) int32_t s[2][SQ_MM_PANEL][VL];
};

/* Columns from c of a panel, n of them; x: of the first vector; next: bytes to
 * the second one, or 0. */
static void
tile_products(const struct panel *p, size_t c, size_t n, const char *x,
    size_t next, struct tile_sums *t)
{
	size_t i;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (i = 0; i < n; i += SQ_TILE_BYTES, x += SQ_TILE_SIZE) {
		_tile_loadd(4, p->w[0] + c + i, STRIDE);
		_tile_loadd(5, p->w[HALF] + c + i, STRIDE);
		_tile_loadd(6, x, SQ_TILE_BYTES);
		_tile_dpbusd(0, 4, 6);
		_tile_dpbusd(2, 5, 6);
		if (next == 0)
			continue;
		_tile_loadd(7, x + next, SQ_TILE_BYTES);
		_tile_dpbusd(1, 4, 7);
		_tile_dpbusd(3, 5, 7);
	}
	_tile_stored(0, t->s[0][0], SQ_TILE_BYTES);
	_tile_stored(2, t->s[0][HALF], SQ_TILE_BYTES);
	if (next == 0)
		return;
	_tile_stored(1, t->s[1][0], SQ_TILE_BYTES);
	_tile_stored(3, t->s[1][HALF], SQ_TILE_BYTES);
}

static void
tile_pair(const struct panel *p, const char *x, size_t rows, size_t cols,
    float *sums, size_t next)
{
	struct tile_sums t;
	size_t b, c, i, j, g = 0;

	for (b = 0; b < cols; b += BLOCK, x += X_BYTES * VL)
		for (c = 0; c < BLOCK; c += p->group, g++) {
			tile_products(p, b + c, p->group, x + VL *
			    sizeof(struct head) + c / STEP * VB, next, &t);
			for (j = 0; j < (next > 0 ? 2u : 1u); j++)
				for (i = 0; i < rows; i++)
					add_group(p, i, g, x + j * next,
					    vi_loadu(t.s[j][i]), sums +
					    (j * SQ_MM_PANEL + i) * VL);
		}
}

/* Groups of less than a tile's columns are left to vectors. */
static void
tile_amx(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const size_t next = cols / BLOCK * X_BYTES * VL;
	const struct panel *p = panel;
	const char *x = packed;
	size_t v;

	if (p->group < SQ_TILE_BYTES) {
		tile(panel, packed, rows, cols, nvec, sums, first);
		return;
	}
	if (first)
		memset(sums, 0, nvec * SQ_MM_PANEL * VL * sizeof(*sums));
	for (v = 0; v + 1 < nvec; v += 2) {
		tile_pair(p, x, rows, cols, sums, next);
		x += 2 * next;
		sums += 2 * SQ_MM_PANEL * VL;
	}
	if (v < nvec)
		tile_pair(p, x, rows, cols, sums, 0);
}

static void
release(void)
{
	_tile_release();
}

#define TILE	.tile = tile_amx, .begin = sq_tiles_begin, .end = release
