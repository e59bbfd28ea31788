/*
 * How the weights lie that a mask has left: the layouts SQ_NM and SQ_BLOCKS.
 * Scales and zero points are those of the whole weight, row after row.
 *
 * SQ_NM: of each m columns (4, 8 or 16) up to n (a power of two below m).  R =
 * m / n rows share a band, so that 16 columns of it have 16 values, a step;
 * lane L of a step belongs to the columns from L / m * m on, and to row L % m /
 * n.
 *
 *	2:4, one step:	  columns 0 to 3   4 to 7    8 to 11   12 to 15
 *	row 0		  a . . b          . c d .   ...       ...
 *	row 1		  . e f .          g . . h
 *	lanes		  a b e f          c d g h   ...       ...
 *	index		  0 3 1 2          1 2 0 3
 *
 * A band has an even number of steps; two steps are a unit of 32 values. Values
 * of 8 bits and more: those of the first step, then those of the second; of 4
 * bits: a byte has the first step's lane in its low half, the second's in its
 * high half.  int8 without zero points is in two's complement, all else as in
 * sq-stream(5).  Bands follow one another, the last one filled up with zeros.
 *
 * The index: b = log2 m bits each.  A word of 32 bits has one lane's of 32 / b
 * steps, the first lowest; 16 words, one for each lane, are a line of 64 bytes,
 * and a band has as many as it needs.
 *
 * Of the n slots of a run, those after the first that does not go up are empty,
 * and so is the first if the second is below it.  Empty slots hold zeros.
 *
 * SQ_BLOCKS: blocks of n rows and m columns, m a multiple of 16, one after the
 * other, each row after row, those at the edges filled up with zeros.  The
 * index: uint32_t start[down + 1], the number of the first block of each row of
 * blocks, then uint16_t column[start[down]], in columns of blocks, ascending.
 */
#ifndef SQ_KERNELS_SPARSE_H
#define SQ_KERNELS_SPARSE_H

#include "base/mask.h"
#include "kernels/quant.h"

#define SQ_NM_LANES	16
#define SQ_NM_UNIT	32		/* values, and columns */
#define SQ_NM_LINE	64		/* bytes of the index */
#define SQ_BLOCK_ROWS	1024		/* of a block, at most */

static inline size_t
sq_sparse_div(size_t a, size_t b)
{
	return a / b + (a % b != 0);
}

/* Bits of a stored value. */
static inline size_t
sq_sparse_bits(const struct sq_weight *w)
{
	return w->grid == SQ_DENSE ? 8 * sq_dtype_size(w->type) :
	    (size_t)sq_grid_bits(w->grid);
}

/* SQ_NM: the rows of a band, its bands, and a band's steps. */
static inline size_t
sq_nm_rows(const struct sq_weight *w)
{
	return w->m / w->n;
}

static inline size_t
sq_nm_bands(const struct sq_weight *w)
{
	return sq_sparse_div(w->rows, sq_nm_rows(w));
}

static inline size_t
sq_nm_steps(const struct sq_weight *w)
{
	return 2 * sq_sparse_div(w->cols, SQ_NM_UNIT);
}

/* Bits of an index, steps of a line, and bytes of a band's index and values. */
static inline size_t
sq_nm_bits(const struct sq_weight *w)
{
	return w->m == 4 ? 2 : w->m == 8 ? 3 : 4;
}

static inline size_t
sq_nm_per_line(const struct sq_weight *w)
{
	return 32 / sq_nm_bits(w);
}

static inline size_t
sq_nm_index(const struct sq_weight *w)
{
	return SQ_NM_LINE * sq_sparse_div(sq_nm_steps(w), sq_nm_per_line(w));
}

static inline size_t
sq_nm_values(const struct sq_weight *w)
{
	return sq_nm_steps(w) * SQ_NM_LANES * sq_sparse_bits(w) / 8;
}

/* Which value of the band a lane of a step is, in the order of their bits. */
static inline size_t
sq_nm_value(const struct sq_weight *w, size_t step, size_t lane)
{
	if (sq_sparse_bits(w) == 4)
		return step / 2 * SQ_NM_UNIT + 2 * lane + step % 2;
	return step * SQ_NM_LANES + lane;
}

static inline unsigned
sq_nm_get(const struct sq_weight *w, size_t band, size_t step, size_t lane)
{
	const uint32_t *line = (const uint32_t *)w->index +
	    (band * sq_nm_index(w) + step / sq_nm_per_line(w) * SQ_NM_LINE) /
	    sizeof(*line);

	return line[lane] >> step % sq_nm_per_line(w) * sq_nm_bits(w) &
	    (unsigned)(w->m - 1);
}

/* SQ_BLOCKS: rows and columns of blocks, the index, bytes of a block. */
static inline size_t
sq_blocks_down(const struct sq_weight *w)
{
	return sq_sparse_div(w->rows, w->n);
}

static inline size_t
sq_blocks_across(const struct sq_weight *w)
{
	return sq_sparse_div(w->cols, w->m);
}

static inline const uint32_t *
sq_blocks_start(const struct sq_weight *w)
{
	return w->index;
}

static inline const uint16_t *
sq_blocks_column(const struct sq_weight *w)
{
	return (const uint16_t *)(sq_blocks_start(w) + sq_blocks_down(w) + 1);
}

static inline size_t
sq_block_bytes(const struct sq_weight *w)
{
	return w->n * w->m * sq_sparse_bits(w) / 8;
}

/* Bytes of the values of a weight, and of its index, which begins at a multiple
 * of 4; of SQ_BLOCKS with `kept' blocks. */
static inline size_t
sq_sparse_values(const struct sq_weight *w, size_t kept)
{
	return w->layout == SQ_NM ? sq_nm_bands(w) * sq_nm_values(w) :
	    kept * sq_block_bytes(w);
}

static inline size_t
sq_sparse_index(const struct sq_weight *w, size_t kept)
{
	return w->layout == SQ_NM ? sq_nm_bands(w) * sq_nm_index(w) :
	    (sq_blocks_down(w) + 1) * sizeof(uint32_t) +
	    kept * sizeof(uint16_t);
}

/* The layouts, and what may lie in them. */
static inline int
sq_sparse_allows(const struct sq_weight *w)
{
	if (w->grid != SQ_DENSE && w->grid != SQ_INT8 && w->grid != SQ_INT4)
		return 0;
	if (w->grid != SQ_DENSE && (w->group_rows == 0 ||
	    w->group_cols == 0 || !sq_dtype_is_float(w->scale_type)))
		return 0;
	if (w->grid == SQ_DENSE && !sq_dtype_is_float(w->type))
		return 0;
	if (w->layout == SQ_NM)
		return (w->m == 4 || w->m == 8 || w->m == 16) && w->n > 0 &&
		    w->n < w->m && w->m % w->n == 0;
	return w->layout == SQ_BLOCKS && w->n > 0 && w->n <= SQ_BLOCK_ROWS &&
	    w->m > 0 && w->m % 16 == 0 && sq_blocks_across(w) <= UINT16_MAX;
}

/* What every backend that multiplies them has to know: BF16 among dense values,
 * runs of 4 and 8, and groups such that 32 columns of a run, or a part of a
 * block, have one. */
static inline int
sq_sparse_common(const struct sq_weight *w)
{
	size_t g = w->group_cols;

	if (w->layout == SQ_NM && w->m > 8)
		return 0;
	if (w->grid == SQ_DENSE)
		return w->type == SQ_BF16;
	if (g >= w->cols)
		return 1;
	if (w->layout == SQ_NM)
		return g % SQ_NM_UNIT == 0;
	return g < w->m ? g % SQ_NM_LANES == 0 && w->m % g == 0 :
	    g % w->m == 0;
}

/*
 * Between rows and these layouts, byte for byte.
 *
 * sq_sparse_plan() sets layout, n and m of `to', a copy of w in all else, and
 * how many blocks are kept: for a weight in rows and what of it a mask keeps.
 * -1 where no layout holds just that: the mask has no pattern that fits, or a
 * weight that it drops is not the zero that the other direction gives back.
 */
int	 sq_sparse_plan(const struct sq_weight *w, const struct sq_mask *,
	    struct sq_weight *to, size_t *kept);

/* Values and index, of the sizes above, for what was planned. */
void	 sq_sparse_pack(const struct sq_weight *w, const struct sq_mask *,
	    const struct sq_weight *to, size_t kept, void *values,
	    void *index);

/* 0, or -1 with the reason: whether a layout, and bytes of values and index,
 * fit together, and blocks are where they may be.  What passes is safe to
 * multiply, whatever the values and the index of SQ_NM are. */
int	 sq_sparse_check(const struct sq_weight *, uint64_t values,
	    uint64_t index, char *err);

/* The whole rows of a weight that passed, and its mask (zeros, where it comes
 * from sq_mask_init).  -1 with the reason when what is empty is not zero, or
 * something is kept outside of the weight. */
int	 sq_sparse_unpack(const struct sq_weight *, void *rows,
	    struct sq_mask *, char *err);

/* What sq_sparse_matmul allows. */
static inline int
sq_sparse_matmul_allows(const struct sq_weight *w, const struct sq_mat *x,
    const struct sq_mat *y)
{
	return sq_sparse_allows(w) && x->type == SQ_F32 && y->type == SQ_F32 &&
	    x->rows == y->rows && x->cols == w->cols && y->cols == w->rows;
}

#endif
