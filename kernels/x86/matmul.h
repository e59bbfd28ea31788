/*
 * The matrix product of the x86 levels: what they share (matmul.c) and what
 * each of them brings.
 *
 * A weight stays where it is, row after row; it may be a mapped file.  Pieces
 * of it are expanded to float32 or bf16 into a panel that fits the first
 * caches, and used there for all rows of x, the tokens:
 *
 *	   W   col          depth                 packed x, one block of depth
 *	row +---+--------+-----                   +------------+------------+
 *	    |   | panel  |          expand        | c0: t0..t15| c0: t16..31|
 *	    |   | 32 rows|   ------------------>  | c1: t0..t15| c1: t16..31|
 *	    |   +--------+        tile            |    ...     |    ...     |
 *	                                          +------------+------------+
 *
 * Many tokens (tile): x is packed so that a vector holds one column of `lanes'
 * tokens (bf16: a pair of columns); a weight of the panel is broadcast and
 * multiplied with it.  Sums are kept as [vector][32 rows][lanes], and are
 * turned into rows of y at the end.
 *
 * Few tokens (direct): a vector holds weights of one row, which are multiplied
 * with the same columns of each token.  There is no panel; memory is read once,
 * whatever the number of tokens.
 *
 * Codes are cheapest to expand out of order: a word of `spread' codes is
 * shifted, and gives every spread'th column.  Instead of putting the weights
 * in order, the columns of x are put into theirs.  The order repeats every
 * `unit' columns; position p of a unit holds column
 *
 *	spread * (p % (unit / spread)) + p / (unit / spread)
 *
 *	e.g. unit 32, spread 4:  columns 0 4 8 .. 28  1 5 9 .. 29  2 6 ..
 *
 * Integer levels (int_vec.h) keep codes as codes: x is packed as integers, with
 * a scale for each WIDE columns, and scales and zero points are applied to the
 * integer sums of a group.
 *
 * A result depends on x's row, the weight, the level, the precision, and on
 * whether x has few or many rows; not on threads or on the other rows.
 */
#ifndef SQ_X86_MATMUL_H
#define SQ_X86_MATMUL_H

#include "kernels/kern.h"

#define SQ_MM_UNIT	32	/* columns of a unit, at least; see below */
#define SQ_MM_WIDE	128	/* and at most */
#define SQ_MM_PANEL	32	/* rows of a panel, many tokens */
#define SQ_MM_DEEP	512	/* columns of it, at most */
#define SQ_MM_STRIP	8	/* rows of one call of direct, */
#define SQ_MM_TOKENS	4	/* tokens, and */
#define SQ_MM_COLUMNS	2048	/* columns, at most */

/* How a weight is expanded: its kind (unit_vec.h), and the order. */
struct sq_mm_order {
	int kind;
	size_t unit, spread;		/* unit: UNIT to WIDE */
	size_t group;			/* integers: columns of a sum */
	uint8_t column[SQ_MM_WIDE];	/* of each position */
};

/*
 * Rows row, row + apart .. of a weight, of them the columns col .. col+cols-1;
 * col is a multiple of WIDE.  They are expanded with zeros up to the end of a
 * unit.
 */
struct sq_mm_part {
	const struct sq_weight *w;
	const struct sq_mm_order *order;
	size_t row, rows, apart, col, cols;
	ptrdiff_t ahead;	/* bytes from here to what is wanted soon */
};

/* cols columns of rows tokens, the first at x; or at codes, with a scale for
 * each row. */
struct sq_mm_x {
	const float *x;
	const int8_t *codes;
	const float *scale;
	size_t stride, rows, cols;
	const struct sq_mm_order *order;
	int round;		/* to bf16 */
};

struct sq_mm_level {
	size_t lanes;		/* tokens of a vector */
	size_t size;		/* bytes of an expanded weight: 4, 2 or 1 */
	size_t whole;		/* columns that are always done together */
	size_t extra, heads;	/* bytes that a token of direct, and a vector
				   of those of tile, has besides, for each
				   WIDE columns */
	size_t depth;		/* columns of a panel, a multiple of WIDE */
	size_t few;		/* tokens for which direct is used, at most */
	size_t block;		/* tokens packed at a time, at most */
	int in_order;		/* direct: row after row, not in streams */

	/* kind, unit and spread for w: for direct or not. */
	void (*order)(const struct sq_weight *w, int direct,
	    struct sq_mm_order *);

	/* A part into a panel; rows of a panel of floats are depth * size +
	 * 64 bytes apart. */
	void (*expand)(const struct sq_mm_part *, void *panel);

	/* Up to lanes tokens, packed; missing ones are 0. */
	void (*pack)(const struct sq_mm_x *, void *packed);

	/* One token, its columns in order. */
	void (*arrange)(const struct sq_mm_x *, void *row);

	/* sums = or += panel x packed; cols is a multiple of UNIT; nvec
	 * vectors of tokens lie cols * lanes elements apart, and the heads. */
	void (*tile)(const void *panel, const void *packed, size_t rows,
	    size_t cols, size_t nvec, float *sums, int first);

	/* sums [tokens][STRIP][lanes] = or += part x arranged rows, which are
	 * stride bytes apart. */
	void (*direct)(const struct sq_mm_part *, const void *x,
	    size_t stride, size_t tokens, float *sums, int first);

	/* The sums of one vector of tokens as rows of y. */
	void (*finish)(const float *sums, size_t rows, size_t tokens, float *y,
	    size_t stride);

	/* The same where the tokens' scales are not in the sums yet; NULL:
	 * finish. */
	void (*scaled)(const float *sums, size_t rows, size_t tokens,
	    const float *scale, float *y, size_t stride);

	/* n sums of direct, each lanes numbers, to one number each. */
	void (*total)(const float *sums, size_t n, float *out);

	/* Around every task; may be NULL. */
	void (*begin)(void), (*end)(void);
};

#define SQ_MM_VECTORS	3	/* of tokens that a tile has, at most */

/* How many of n vectors the next tile takes: two and two rather than three and
 * one. */
static inline size_t
sq_mm_strip(size_t n)
{
	return n == 4 ? 2 : n < SQ_MM_VECTORS ? n : SQ_MM_VECTORS;
}

/* The levels; amx is the last but for its tiles. */
extern const struct sq_mm_level sq_mm_avx2, sq_mm_avx512, sq_mm_avx512bf16;
struct sq_mm_level	 sq_mm_amx(void);

/* With integers: x as 16 bits, or as bytes (without VNNI: weights of up to 4
 * bits). */
extern const struct sq_mm_level sq_mm_int_avx2, sq_mm_int_avx512,
    sq_mm_int_avx512vnni;
extern const struct sq_mm_level sq_mm_byte_avx2, sq_mm_byte_avx512,
    sq_mm_byte_avx512vnni, sq_mm_byte_amx;

/* The product at that level; SQ_UNSUP for what it does not do. */
int	 sq_mm_run(const struct sq_mm_level *, struct sq_ctx *,
	    const struct sq_weight *, const struct sq_mat *x, enum sq_prec,
	    const struct sq_mat *y);

/* The product of codes; floats: a level for weights that `integers' does not
 * take. */
int	 sq_mm_run_int8(const struct sq_mm_level *integers,
	    const struct sq_mm_level *floats, struct sq_ctx *,
	    const struct sq_weight *, const struct sq_qmat *x,
	    const struct sq_mat *y);

/* The columns of an order, from its unit and spread. */
void	 sq_mm_set_columns(struct sq_mm_order *);

/* Whether that is a product at all. */
int	 sq_mm_allows(const struct sq_weight *, const struct sq_mat *x,
	    const struct sq_mat *y);

/* Whether the integer levels take such a weight. */
int	 sq_mm_int_fits(const struct sq_weight *);

/* Are these few tokens for the level? */
int	 sq_mm_is_few(const struct sq_mm_level *, const struct sq_ctx *,
	    size_t tokens);

#endif
