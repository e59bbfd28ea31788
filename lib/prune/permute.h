/*
 * Channels change places so that runs of M keep more of what counts: where the
 * large weights of a row stand in one run, some of them go; in as many runs,
 * all stay (Pool and Yu, 2021).  The model is unchanged, for what makes a
 * channel moves with what takes it:
 *
 *	down_proj	rows of gate and up, columns of down
 *	o_proj		within a KV head: rows of v, columns of o under all query
 *			heads that share it
 *
 * The inputs of q, k, v, gate and up are the residual stream, whose order all
 * blocks share: they stay as they are.
 */
#ifndef SQ_PRUNE_PERMUTE_H
#define SQ_PRUNE_PERMUTE_H

#include "kernels/kern.h"
#include "quant/filter.h"

struct sq_half;

/*
 * The search.  score: of each of n channels, len numbers, channel after channel;
 * a row is one number of each channel, and keeps the largest `keep' of each run
 * of `run'.  perm[i] is the channel that comes to place i; n is a multiple of
 * run, which is at most SQ_SPARSE_RUN.
 *
 * Channels are dealt out by their sums, unless they keep more where they are;
 * then pairs of runs exchange the two channels that gain the most, as long as
 * there is a gain: what is kept never gets less.  tries: pairs, for each run.
 */
struct sq_permutation {
	size_t n, len, keep, run, tries;
	const float *score;
	uint32_t *perm;			/* [n], the caller's */
	double before, after, all;	/* what is kept, and what there is */
};

int	 sq_permutation_find(struct sq_permutation *, char *err);

/* The filter's part: its hooks call these.  Half a block is in memory. */
struct sq_permute {
	struct sq_filter *f;
	struct sq_ctx *ctx;
	size_t keep, run;		/* N:M */
	int weighs;			/* by statistics, too */
	/* told of each tensor; may be NULL */
	void (*said)(const char *tensor, const struct sq_permutation *);
	struct sq_half *half;		/* what is held, or NULL */
};

int	 sq_permute_tensor(struct sq_permute *, const struct sq_tensor *,
	    const struct sq_slot *);
int	 sq_permute_record(struct sq_permute *);
int	 sq_permute_end(struct sq_permute *);
void	 sq_permute_release(struct sq_permute *);

#endif
