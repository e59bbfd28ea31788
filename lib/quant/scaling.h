/*
 * The search for factors s of the channels of an input, such that weights
 * W' = W diag(s), which then take x / s, are easier to quantize:
 *
 *	log s = alpha log a - beta log w,  centred at 0,
 *
 * a: the size of a channel, w: the largest weight of it.  alpha and beta are
 * found on a grid, so as to make least the expected squared error of the
 * layer's output for a token,
 *
 *	tr(E H E^T) / tokens,  E = Q(W diag(s)) diag(1/s) - W
 *
 * and, where the input is quantized to int8 as well,
 *
 *	+ step^2 / 12 |W diag(s)|^2
 *
 * with the step that the largest magnitude of a token asks for: t / 127, where
 * t is such that independent normal variables of the channels' mean squares
 * all stay below it half of the time; or that of all tokens, for one static
 * scale.  s = 1 is always tried, so the objective never rises.
 */
#ifndef SQ_QUANT_SCALING_H
#define SQ_QUANT_SCALING_H

#include "quant/half_block.h"

struct sq_scaling {
	struct sq_ctx *ctx;
	struct sq_qrule rule;		/* of the weights; group_cols 0: rows */
	enum sq_act_kind act;		/* int8, or none */
	int act_static;
	int by_both;			/* first alpha + beta = 1, not beta = 0 */
	int even;			/* w: what evens out rows and columns
					   (sinkhorn.h), not the largest */
	size_t rows;			/* of a weight to look at; 0: all */
	/* results */
	double alpha, beta;
	double before, after;		/* the objective, by the next one */
	double norm;			/* tr(W H W^T) / tokens */
};

/* An input, and the weights that take it. */
struct sq_scaling_in {
	size_t n;			/* channels */
	const float *h;			/* H, as in STATS, or NULL: diagonal */
	double tokens;			/* that it has seen */
	const float *power;		/* [n] mean squares */
	const float *size;		/* [n] a */
	const float *peak;		/* [n] largest magnitudes, or NULL */
	const uint32_t *tie;		/* [n] channel -> factor; NULL: itself */
	size_t nscales;			/* factors */
	struct sq_held *const *w;
	size_t nw;
};

/* Bytes that a search takes among so many rows of n channels. */
uint64_t sq_scaling_bytes(uint64_t rows, uint64_t n);

/* Factors s [nscales]; 0, or -1 with the reason. */
int	 sq_scaling_find(struct sq_scaling *, const struct sq_scaling_in *,
	    float *s, char *err);

#endif
