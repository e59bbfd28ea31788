/*
 * A mask: one bit for each weight of a matrix, 1 where it is kept, in the form
 * of sq-stream(5): rows of whole bytes, the first column in the lowest bit.
 *
 * Compressed, a masked matrix is its kept values and an index that says where
 * they were, all numbers from the lowest bit on:
 *
 *	N:M	a b 0 0  0 c 0 d	a b c d	values, row by row
 *					0 1 1 3	where in its run each one was,
 *	ceil(log2 M) bits each; rows end with zero bits up to a byte
 *	RxC	kept blocks from left to right, from the top down, each row by
 *		row; a bit for each block, rows of blocks end as above
 *	any	kept values row by row; the index is the mask
 */
#ifndef SQ_BASE_MASK_H
#define SQ_BASE_MASK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sparse.h"

struct sq_mask {
	struct sq_sparse pattern;
	size_t rows, cols;
	uint8_t *bits;			/* [rows][sq_mask_row(m)] */
};

/* Nothing kept yet; -1 when there is no memory. */
int	 sq_mask_init(struct sq_mask *, const struct sq_sparse *,
	    size_t rows, size_t cols, char *err);
void	 sq_mask_release(struct sq_mask *);

/* Bytes of a row. */
static inline size_t
sq_mask_row(const struct sq_mask *m)
{
	return (m->cols + 7) / 8;
}

static inline int
sq_mask_get(const struct sq_mask *m, size_t r, size_t c)
{
	return m->bits[r * sq_mask_row(m) + c / 8] >> c % 8 & 1;
}

static inline void
sq_mask_set(struct sq_mask *m, size_t r, size_t c, int keep)
{
	uint8_t *p = &m->bits[r * sq_mask_row(m) + c / 8];

	*p = (uint8_t)((*p & ~(1u << c % 8)) | (unsigned)keep << c % 8);
}

/* Weights kept. */
uint64_t sq_mask_kept(const struct sq_mask *);

/* 0; or -1 with the reason when it breaks its pattern, or rows do not end with
 * zero bits. */
int	 sq_mask_check(const struct sq_mask *, char *err);

/*
 * The compressed form.  -1 with the reason where there is none: runs that do
 * not fill the rows.  A run that keeps fewer than it may has zeros among its
 * kept values: the first of those that it drops.
 */
struct sq_packed {
	uint64_t values;		/* how many */
	size_t bits;			/* of an index entry */
	size_t row;			/* bytes of a row of the index */
	uint64_t index;			/* bytes of it all */
};

int	 sq_mask_measure(const struct sq_mask *, struct sq_packed *, char *err);

/* The index, measured so. */
void	 sq_mask_pack(const struct sq_mask *, const struct sq_packed *,
	    uint8_t *index);

/*
 * A mask from its index, of n bytes; its pattern and sides are set, its bits
 * zero.  -1 with the reason when that is not one: an entry out of order or
 * range.
 */
int	 sq_mask_unpack(struct sq_mask *, const uint8_t *index, uint64_t n,
	    char *err);

/* From values of `size' bytes, row by row, to those of the compressed form, and
 * back, with zeros in between. */
void	 sq_mask_squeeze(const struct sq_mask *, const void *values,
	    size_t size, void *kept);
void	 sq_mask_spread(const struct sq_mask *, const void *kept, size_t size,
	    void *values);

#endif
