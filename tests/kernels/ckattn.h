/* Caches and sequences for the checks of attention and kv_append. */
#ifndef SQ_CKATTN_H
#define SQ_CKATTN_H

#include "tests/kernels/ckrows.h"

#define CK_SEQS	8

/*
 * A batch: its sequences' rows follow one another in a random order, with a
 * row between them that belongs to none.  Pages are buffers of their own, all
 * bits set (NaN) until they are filled.
 */
struct ck_batch {
	struct sq_kv kv;
	struct sq_seq seq[CK_SEQS];
	size_t nseq, rows;
};

/* Adds a sequence of n tokens from pos on; pages wholly before `from' are
 * NULL. */
void	 ck_batch_add(struct checker *, struct ck_batch *, size_t n,
	    size_t pos, size_t from);

/* The tables of another cache of the same shape; the pages are copied. */
void	 ck_batch_copy(struct checker *, const struct ck_batch *from,
	    struct ck_batch *to);

/* Element i of a cached key or value. */
size_t	 ck_kv_index(const struct sq_kv *, size_t head, size_t pos, size_t i);

size_t	 ck_pages(const struct ck_batch *, size_t seq);
size_t	 ck_page_bytes(const struct ck_batch *);	/* of plain values */

/* A coded cache: empty tables for all that is there; filled by ref's kv_append
 * from keys and values of all positions, normal with some outliers. */
void	 ck_coded_tables(struct checker *, struct ck_batch *);
void	 ck_coded_fill(struct checker *, const struct sq_kern *ref,
	    struct ck_batch *);

#endif
