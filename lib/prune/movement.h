/*
 * How the text's loss moves with each weight of a masked layer: the score by
 * which its mask is found.
 *
 *	S = sum over samples of (w dL/d(w m))^2
 *
 * L is the negative log-likelihood of a sample, of the model whose weights are
 * times m, the mask that the scores so far make: it drops nothing in the first
 * round, and more from one to the next, as in movement pruning (Sanh et al.
 * 2020, arXiv 2005.07683).  There the weights are trained as well, and
 * -w dL/dw says which way they go; weights that stay where they are have
 * gradients about zero in the mean, of which the square is what counts: half
 * of it is what the loss gains without the weight, to second order.
 *
 * The stream is read twice, over a temporary file.  Weights, scores and hidden
 * states are in files as well: memory is that of a block and its gradient, and
 * of the head.
 *
 *	forth	embedding > entry[0] > block 0 > entry[1] > ... > logits
 *	back	loss > head > dx > block n-1 > dx > ... > block 0
 */
#ifndef SQ_PRUNE_MOVEMENT_H
#define SQ_PRUNE_MOVEMENT_H

#include "prune/masking.h"

struct sq_movement_work;

struct sq_movement {
	/* options */
	const struct sq_masking *masking;	/* pattern, sparsity */
	struct sq_ctx *ctx;
	enum sq_prec prec;		/* of both passes */
	int rounds;
	uint64_t memory;		/* bytes, of the process; 0: enough */
	/* A round is over: its loss for each token, and what its mask
	 * dropped. */
	void (*told)(void *arg, int round, double nll, double sparsity);
	void *arg;
	struct sq_movement_work *work;	/* private */
};

/* Reads all of the filter's input, whose place a copy of it takes: -1 with the
 * reason in the filter's err. */
int	 sq_movement_survey(struct sq_movement *, struct sq_filter *);
void	 sq_movement_release(struct sq_movement *);

/* The scores of a tensor, [rows][cols], mapped; NULL: it has none. */
const float *sq_movement_of(struct sq_movement *, const char *name);

#endif
