/*
 * The paged cache of keys and values.  Memory is a pool of blocks; a block
 * holds `page' tokens of one sequence in all layers, keys and values.  A
 * sequence is a list of blocks, and takes a new one when it grows.
 */
#ifndef SQ_KV_KVCACHE_H
#define SQ_KV_KVCACHE_H

#include "base/err.h"
#include "kernels/kern.h"

struct sq_kvcache {
	struct sq_kv kv;		/* type, heads, dim, page */
	size_t layers;
	size_t blocks;			/* at most */
	const struct sq_mem *mem;	/* where they are */
	/* private */
	size_t page_bytes;		/* keys, or values, of one layer */
	unsigned char **block;		/* NULL: not yet in memory */
	size_t *unused;			/* a stack of free blocks */
	size_t nunused;
};

/* One sequence's place in the cache. */
struct sq_kvseq {
	struct sq_kvcache *cache;
	size_t length;			/* tokens in it */
	size_t nblocks, cap;
	size_t *id;			/* [nblocks] */
	void **k, **v;			/* [layers][cap]: pages */
};

/* A cache for `tokens' tokens in all; blocks are allocated on first use, in
 * the memory where the kernels work. */
int	 sq_kvcache_init(struct sq_kvcache *, const struct sq_kv *,
	    const struct sq_mem *, size_t layers, size_t tokens, char *err);
void	 sq_kvcache_release(struct sq_kvcache *);

/* An empty sequence of at most `tokens' tokens. */
int	 sq_kvseq_init(struct sq_kvseq *, struct sq_kvcache *, size_t tokens,
	    char *err);

/* Gives its blocks back: the sequence is empty again. */
void	 sq_kvseq_clear(struct sq_kvseq *);
void	 sq_kvseq_release(struct sq_kvseq *);

/* Blocks for n more tokens: -1 when the sequence or the cache is full.  The
 * length is the caller's to move once they are computed. */
int	 sq_kvseq_reserve(struct sq_kvseq *, size_t n, char *err);

/* What the kernels want: tokens length .. length+n-1, rows row .. of a batch,
 * in one layer.  A cache of one layer serves whichever block is at work. */
struct sq_seq sq_kvseq_view(const struct sq_kvseq *, size_t layer, size_t row,
	    size_t n);

/* Bytes that a token takes in all layers. */
size_t	 sq_kvcache_token_bytes(const struct sq_kvcache *);

#endif
