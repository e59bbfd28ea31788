/*
 * The paged cache of keys and values.  Memory is a pool of blocks; a block
 * holds `page' tokens of one sequence in all layers, keys and values, in the
 * precision that the cache's policy gives each layer.  A sequence is a list of
 * blocks, and takes a new one when it grows.
 *
 * Where a policy has a window, the blocks that it reaches have their plain
 * values beside them (near), and the first block its sink:
 *
 *	block   0      1      2      3      4     (window of 2 blocks)
 *	pages   codes  codes  codes  codes  codes
 *	near                         plain  plain
 *	sink    plain
 *
 * A full block can be shared: sequences that begin with the same tokens refer
 * to one copy, found by a chained hash (kvprefix.h).  One that nobody refers to
 * stays, as long as there is room, and the least recently used goes first.
 */
#ifndef SQ_KV_KVCACHE_H
#define SQ_KV_KVCACHE_H

#include "base/err.h"
#include "kernels/kern.h"
#include "kv/kvpolicy.h"

#define SQ_KV_HASH	16		/* bytes */
#define SQ_KV_NONE	SIZE_MAX

struct sq_kvblock {
	unsigned char *page, *near, *sink;	/* NULL: not in memory */
	size_t refs, near_refs;		/* sequences that use it */
	unsigned char hash[SQ_KV_HASH];
	int indexed;			/* found by its hash */
	int keep;			/* near stays when it leaves a window */
	size_t next;			/* of the same bucket */
	size_t older, newer;		/* those that nobody refers to */
};

struct sq_kvcache {
	struct sq_kv kv;		/* heads, dim, page; type of plain
					   values; nothing coded */
	struct sq_kv *layer;		/* [layers]: each as it is stored */
	struct sq_kv_policy policy;
	size_t layers;
	size_t blocks;			/* at most */
	const struct sq_mem *mem;	/* where their pages are */
	uint64_t budget;		/* bytes; 0: what the blocks need */
	uint64_t held, peak;		/* bytes allocated, and at most so far */
	size_t evicted;			/* blocks, so far */
	/* private */
	size_t window;			/* the greatest of the layers */
	size_t page_bytes, near_bytes, sink_bytes;	/* of a block */
	size_t *at;			/* [6][layers]: offsets of k, v, near
					   k, v, sink k, v */
	struct sq_kvblock *block;
	size_t *unused;			/* a stack of free blocks */
	size_t nunused;
	unsigned char **spare;		/* near memory to be used again */
	size_t nspare;
	size_t *bucket;			/* [blocks]: by hash */
	size_t oldest, newest;
};

struct sq_kvrange {
	size_t from, to;		/* blocks */
};

/* One sequence's place in the cache. */
struct sq_kvseq {
	struct sq_kvcache *cache;
	size_t length;			/* tokens in it */
	size_t nblocks, cap;
	size_t *id;			/* [nblocks] */
	void **k, **v;			/* [layers][cap]: pages */
	void **near_k, **near_v;	/* likewise, NULL beyond the window */
	size_t near;			/* the first block that has them */
	struct sq_kvrange keep[2];	/* blocks that keep theirs */
};

/* A cache for `tokens' tokens in all; blocks are allocated on first use, in
 * the memory where the kernels work.  kv: type, heads, dim, page. */
int	 sq_kvcache_init(struct sq_kvcache *, const struct sq_kv *,
	    const struct sq_mem *, size_t layers, size_t tokens, char *err);

/* The same with a precision of its own, and a limit of bytes (0: none).  A
 * device keeps plain pages alone. */
int	 sq_kvcache_init_policy(struct sq_kvcache *, const struct sq_kv *,
	    const struct sq_kv_policy *, const struct sq_mem *, size_t layers,
	    size_t tokens, uint64_t budget, char *err);
void	 sq_kvcache_release(struct sq_kvcache *);

/* An empty sequence of at most `tokens' tokens. */
int	 sq_kvseq_init(struct sq_kvseq *, struct sq_kvcache *, size_t tokens,
	    char *err);

/* Gives its blocks back: the sequence is empty again. */
void	 sq_kvseq_clear(struct sq_kvseq *);
void	 sq_kvseq_release(struct sq_kvseq *);

/* Blocks for n more tokens: -1 when the sequence or the cache is full. */
int	 sq_kvseq_reserve(struct sq_kvseq *, size_t n, char *err);

/* n tokens have been computed in all layers: the length moves on, and near
 * memory behind the window is given back. */
void	 sq_kvseq_advance(struct sq_kvseq *, size_t n);

/* What the kernels want: tokens length .. length+n-1, rows row .. of a batch,
 * in one layer.  A cache of one layer serves whichever block is at work. */
struct sq_seq sq_kvseq_view(const struct sq_kvseq *, size_t layer, size_t row,
	    size_t n);

/* How that layer is stored. */
const struct sq_kv *sq_kvcache_layer(const struct sq_kvcache *, size_t layer);

/* Bytes that a token takes in all layers, without near and sink. */
size_t	 sq_kvcache_token_bytes(const struct sq_kvcache *);

/* The most that `seqs' sequences of `tokens' tokens each, extended by up to
 * `step' at a time, can hold. */
uint64_t sq_kvcache_predict(const struct sq_kvcache *, size_t seqs,
	    size_t tokens, size_t step);

/* ---- for kvprefix.c and kvstream.c ---- */

/* Puts block id at the end of a sequence, with one reference more; with its
 * near memory in the tables where near is true. */
void	 sq_kvseq_join(struct sq_kvseq *, size_t id, int near);

/* Block b of a sequence becomes block id, whose content is the same. */
void	 sq_kvseq_swap(struct sq_kvseq *, size_t b, size_t id);

/* A block of the cache that nobody refers to yet, with pages; SQ_KV_NONE when
 * there is no room. */
size_t	 sq_kvcache_take(struct sq_kvcache *, char *err);

/* Near memory, and a sink, for a block that has none: 0, or -1. */
int	 sq_kvcache_near(struct sq_kvcache *, size_t id, char *err);
int	 sq_kvcache_sink(struct sq_kvcache *, size_t id, char *err);

/* One reference less: with the last, an indexed block becomes the newest of
 * those that may be evicted, any other is free. */
void	 sq_kvcache_drop(struct sq_kvcache *, size_t id);
void	 sq_kvcache_ref(struct sq_kvcache *, size_t id);

#endif
