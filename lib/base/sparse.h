/*
 * How the weights that a mask drops are placed: a promise that a kernel can
 * build on.
 */
#ifndef SQ_BASE_SPARSE_H
#define SQ_BASE_SPARSE_H

#include <stdint.h>

enum sq_mask_kind {
	SQ_MASK_NONE,			/* nothing is said, or dropped */
	SQ_MASK_ANY,			/* anywhere */
	SQ_MASK_RUNS,			/* at most n of each m along a row */
	SQ_MASK_BLOCKS			/* whole blocks of n rows, m columns */
};

struct sq_sparse {
	enum sq_mask_kind kind;
	uint32_t n, m;
};

#define SQ_SPARSE_RUN	64		/* the longest run */
#define SQ_SPARSE_SIDE	65536		/* the greatest side of a block */
#define SQ_SPARSE_TEXT	16		/* bytes of its text, the zero included */

/* "2:4", "64x64" or "unstructured"; -1 when s is none of these. */
int	 sq_sparse_parse(struct sq_sparse *, const char *s);

/* The text, in buf. */
const char *sq_sparse_text(const struct sq_sparse *,
	    char buf[SQ_SPARSE_TEXT]);

#endif
