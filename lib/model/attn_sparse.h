/*
 * Attention over some of the keys: which blocks of them each block of queries
 * sees.  Sequences are cut where a position is a multiple of SQ_KEEP_BLOCK, so
 * that a piece has one mask for each KV head.
 */
#ifndef SQ_MODEL_ATTN_SPARSE_H
#define SQ_MODEL_ATTN_SPARSE_H

#include "kernels/kern.h"

enum sq_attn_pick {
	SQ_ATTN_ALL,
	SQ_ATTN_WINDOW,		/* the last tokens, and the first ones */
	SQ_ATTN_POOLED,		/* the blocks whose pooled keys score highest */
	SQ_ATTN_VERTICAL_SLASH	/* the columns and diagonals that the last
				   queries look at */
};

/* The option --attention: "all", "window:W" or "window:W+sink:S" (tokens),
 * "pooled:D", "vertical-slash:D" (the part of the blocks that is kept). */
struct sq_attn_choice {
	enum sq_attn_pick pick;
	size_t window, sink;
	double density;
};

/* -1 when it is none of them. */
int	 sq_attn_choose(struct sq_attn_choice *, const char *text);

/* The pieces of a batch and their masks, and what is needed to choose them. */
struct sq_attn_plan {
	struct sq_seq *piece;
	size_t n, cap;
	struct sq_attn_keep keep;
	uint64_t *bits;			/* what keep points to */
	size_t bits_cap;
	float *mem;			/* of one sequence */
	size_t mem_cap;
	uint64_t kept, all;		/* blocks, of all batches so far */
};

/*
 * Cuts the sequences and chooses for each piece what it sees; the keys are in
 * the cache already.  Where keys are chosen by their scores, a sequence of
 * fewer than SQ_KEEP_BLOCK tokens sees all of them.  -1 when there is no memory
 * or an operation fails.
 */
int	 sq_attn_plan(struct sq_attn_plan *, const struct sq_attn_choice *,
	    struct sq_ctx *, const struct sq_attn *, const struct sq_kv *,
	    const struct sq_seq *, size_t nseq, const struct sq_mat *q,
	    char *err);
void	 sq_attn_plan_release(struct sq_attn_plan *);

#endif
