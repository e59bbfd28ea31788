/*
 * The product with sparse weights on x86-64, between the driver (sparse.c) and
 * the loops of a level (sparse_vec.h).
 *
 * Few tokens: what is stored is read once and multiplied with the columns of x
 * that it belongs to.  Many tokens: a window of the weight is spread out as
 * float32, where it has anything at all, and goes through the panels of
 * matmul.h; so blocks are skipped, while n of m columns cost what all would.
 * Runs of integers are spread out as codes, some rows at a time.
 */
#ifndef SQ_X86_SPARSE_H
#define SQ_X86_SPARSE_H

#include "kernels/sparse.h"
#include "kernels/x86/matmul.h"

#define SQ_SP_TOKENS	4		/* at a time */

/* Rows of x in order, rounded where that is asked for, and zeros behind them up
 * to `stride'. */
struct sq_sp_few {
	const struct sq_weight *w;
	const float *x;
	size_t stride, tokens;
	const struct sq_mat *y;
};

/* Rows row .. and columns col .. of a weight; both are multiples of 32. */
struct sq_sp_window {
	const struct sq_weight *w;
	size_t row, rows, col, cols;
};

/*
 * Blocks of integers by many tokens, in 16-bit integers: windows of WIDTH
 * columns, or of half of it, each in one block.
 */
#define SQ_SP_WIDTH	64
#define SQ_SP_NM	128		/* of runs, few tokens: half a line */
#define SQ_SP_PANEL	((size_t)8 << 10)	/* bytes, at most */

/* Bytes of a vector of tokens, packed. */
#define SQ_SP_PACKED(cols, lanes)	(((cols) / 2 + 1) * (lanes) * 4)

struct sq_sp_int {
	/* up to `lanes' tokens */
	void (*pack)(const struct sq_mm_x *, size_t cols, void *packed);
	/* a window into a panel; 0: it has no block */
	int (*expand)(const struct sq_sp_window *, void *panel);
	/* sums += panel x packed */
	void (*tile)(const void *panel, const void *packed, size_t rows,
	    size_t nvec, float *sums);
};

/*
 * The same by few tokens: x of f is then windows of arranged codes, and stride
 * the bytes of a token.
 */
struct sq_sp_few_int {
	size_t (*bytes)(size_t width, int bits);	/* of a window */
	void (*arrange)(const float *x, size_t cols, size_t padded,
	    size_t width, int bits, void *to);
	void (*few)(const struct sq_sp_few *, size_t width, size_t first,
	    size_t end, float *scratch);
};

/* Runs: AVX2 alone.  AVX-512: blocks of an even number of rows. */
extern const struct sq_sp_few_int sq_sp_few_int_avx2, sq_sp_few_int_avx512,
    sq_sp_few_int_avx512bf16;

/*
 * Blocks by many tokens on tiles: a panel of 32 rows has the kept blocks side by
 * side, up to DEPTH columns, in the order of the level's columns.
 */
#define SQ_SP_DEPTH	512

struct sq_sp_block {
	const struct sq_weight *w;
	const struct sq_mm_order *order;
	size_t block, col;		/* its number, and first column */
	size_t row, rows;		/* of w, of the block */
};

/* A panel by all vectors of tokens: of step s of 32 columns, x of the first
 * vector is at x + at[s], that of each further one `next' bytes on. */
struct sq_sp_strip {
	const void *panel, *x;
	const uint32_t *at;
	size_t steps, next, nvec;
	float *sums;
	int first;			/* sums = or += */
};

struct sq_sp_tiles {
	/* those rows of a block to where the panel has them */
	void (*expand)(const struct sq_sp_block *, void *panel);
	void (*tile)(const struct sq_sp_strip *);
};

struct sq_sp_level {
	const struct sq_mm_level *plain;	/* in float32 */
	/* of integers by many tokens, in bf16: what takes the place of these
	 * products; the second, of a weight in rows */
	const struct sq_mm_level *floats;
	const struct sq_sp_int *ints;
	const struct sq_sp_few_int *few_ints;
	int (*matmul)(struct sq_ctx *, const struct sq_weight *,
	    const struct sq_mat *x, enum sq_prec, const struct sq_mat *y);

	/* Bands, or rows of blocks, first .. end-1 of w into y; scratch has
	 * SQ_SP_SCRATCH bytes. */
	void (*few)(const struct sq_sp_few *, size_t first, size_t end,
	    float *scratch);

	/* A window as rows of float32, stride apart; 0: nothing was there, and
	 * nothing was written. */
	int (*spread)(const struct sq_sp_window *, float *out, size_t stride);
};

#define SQ_SP_SCRATCH	((size_t)1 << 20)

extern const struct sq_sp_level sq_sp_avx2, sq_sp_avx512;
extern const struct sq_sp_int sq_sp_int_avx2, sq_sp_int_avx512,
    sq_sp_int_avx512bf16;

/* Whether blocks are whole steps of whole panels, and their product. */
int	 sq_sp_tiles_fit(const struct sq_weight *);
int	 sq_sp_run_tiles(const struct sq_sp_tiles *, const struct sq_mm_level *,
	    struct sq_ctx *, const struct sq_weight *, const struct sq_mat *x,
	    const struct sq_mat *y);

/* many: how many tokens are multiplied. */
int	 sq_sp_run(const struct sq_sp_level *, const struct sq_mm_level *many,
	    struct sq_ctx *, const struct sq_weight *, const struct sq_mat *x,
	    enum sq_prec, const struct sq_mat *y);

#endif
