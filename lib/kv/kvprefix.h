/*
 * Blocks that several sequences share, by chained hashes: sq-kv(5), Hashes.
 * Only blocks that were computed as chunks of a prompt may be indexed, since
 * only these come out the same in any company.
 */
#ifndef SQ_KV_KVPREFIX_H
#define SQ_KV_KVPREFIX_H

#include <stdint.h>

#include "kv/kvcache.h"

/* The hash before the first block. */
void	 sq_kvprefix_root(unsigned char hash[SQ_KV_HASH], const char *model,
	    const char *policy);

/* Hashes of n full blocks, one after another, from their tokens. */
void	 sq_kvprefix_hash(const unsigned char root[SQ_KV_HASH],
	    const uint32_t *ids, size_t page, size_t n, unsigned char *hash);

/* The block of that hash, or SQ_KV_NONE. */
size_t	 sq_kvprefix_find(const struct sq_kvcache *,
	    const unsigned char hash[SQ_KV_HASH]);

/*
 * How many of the n blocks with these hashes an empty sequence can begin with:
 * all are indexed, and the window of the token after them has its near memory.
 * *found: how many are indexed; where that is more, near memory was missing.
 */
size_t	 sq_kvprefix_match(const struct sq_kvcache *,
	    const unsigned char *hash, size_t n, size_t *found);

/* Begins an empty sequence with the first n of them. */
int	 sq_kvprefix_adopt(struct sq_kvseq *, const unsigned char *hash,
	    size_t n, char *err);

/* Indexes block b of a sequence, which is full; where its hash is known
 * already, the sequence takes that copy instead. */
void	 sq_kvprefix_share(struct sq_kvseq *, size_t b,
	    const unsigned char hash[SQ_KV_HASH]);

/* The blocks that the window of the token at position pos reaches: the first
 * one. */
size_t	 sq_kvprefix_window(const struct sq_kvcache *, size_t pos);

#endif
