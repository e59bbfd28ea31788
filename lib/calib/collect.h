/*
 * The statistics of one block: what its linear layers are fed, sample after
 * sample, and the ranges of its keys and values.
 *
 * Samples may be collected side by side, each by itself; then they are added to
 * a sum in their order, so that it does not depend on how many there were.
 */
#ifndef SQ_CALIB_COLLECT_H
#define SQ_CALIB_COLLECT_H

#include "calib/block.h"
#include "calib/gram.h"
#include "formats/fmt_stats.h"
#include "model/forward.h"

#define SQ_COLLECT_MAX	256		/* samples added to H at a time, at most */

struct sq_collect_input {
	size_t channels;
	struct sq_stats stats;		/* h points into gram */
	double *sum, *abssum, *square;	/* [channels] */
	uint64_t tokens;
	struct sq_gram gram;		/* with H only: h of a sum, x of a
					   sample */
};

struct sq_collect {
	struct sq_ctx *ctx;
	int full;			/* with H, not its diagonal alone */
	struct sq_collect_input *in;	/* [n] */
	int n;
	const int64_t *expert;		/* of the forward pass, or NULL */
	struct sq_stats kv;
	uint64_t tokens;
	struct sq_mat view;		/* what a device has, on the host */
	size_t view_size;
	char err[SQ_ERR];		/* why the tap said -1 */
};

/* For a sample of length tokens. */
int	 sq_collect_init(struct sq_collect *, struct sq_ctx *,
	    const struct sq_config *, size_t length, int full, enum sq_prec,
	    char *err);
/* For the sum of samples. */
int	 sq_collect_init_sum(struct sq_collect *, const struct sq_config *,
	    int full, char *err);
void	 sq_collect_release(struct sq_collect *);

/* Bytes that they take. */
uint64_t sq_collect_bytes(const struct sq_config *, size_t length, int full,
	    enum sq_prec);
uint64_t sq_collect_sum_bytes(const struct sq_config *, int full);

/* Forgets everything: the next block. */
void	 sq_collect_reset(struct sq_collect *);

/* The forward pass calls this; arg is the struct sq_collect. */
int	 sq_collect_tap(void *arg, enum sq_role role, size_t layer,
	    const struct sq_mat *x);

/* A sample of so many tokens has passed whole. */
int	 sq_collect_sample(struct sq_collect *, size_t tokens, char *err);

/* All but H is added to a sum. */
void	 sq_collect_add(struct sq_collect *sum, const struct sq_collect *);

/* H of n samples is added in pieces (gram.h). */
size_t	 sq_collect_pieces(const struct sq_collect *sum);
int	 sq_collect_piece(struct sq_collect *sum,
	    const struct sq_collect *const *, size_t n, size_t piece,
	    const struct sq_gram_space *, char *err);

/* The sum's H becomes what a device has made of all samples in k; nothing where
 * there is no device. */
int	 sq_collect_fetch(struct sq_collect *sum, struct sq_collect *k,
	    char *err);

/* All samples have: the statistics are what in[] and kv say. */
void	 sq_collect_finish(struct sq_collect *);

#endif
