/*
 * Which layers of a model matter least: those that turn their input the least,
 * by the mean over tokens of 1 - cos(x, layer(x)) (Men et al. 2024, arXiv
 * 2403.03853).  The stream is read twice, over a temporary file, and the TOKENS
 * run through the model as it passes, block by block.
 */
#ifndef SQ_PRUNE_INFLUENCE_H
#define SQ_PRUNE_INFLUENCE_H

#include "kernels/kern.h"
#include "quant/filter.h"

struct sq_influence {
	uint64_t drop;			/* layers that go; 0: none */
	/* results */
	uint64_t layers;		/* of the model */
	double *turn;			/* [layers] */
	unsigned char *dropped;		/* [layers]; NULL: none is */
};

/* Reads all of the filter's input, whose place a copy of it takes: -1 with the
 * reason in the filter's err. */
int	 sq_influence_survey(struct sq_influence *, struct sq_filter *,
	    struct sq_ctx *);
void	 sq_influence_release(struct sq_influence *);

/* 1 when the layer goes; the place of one that stays. */
int	 sq_influence_drops(const struct sq_influence *, uint64_t layer);
uint64_t sq_influence_place(const struct sq_influence *, uint64_t layer);

#endif
