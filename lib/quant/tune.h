/*
 * Block-wise reconstruction: rounding and scales of all weights of a block are
 * learned together, so that the block, fed by the quantized blocks before it,
 * gives what the full-precision model gives there.
 *
 *	minimize  sum over tokens of |y - t|^2 / mean(t^2)
 *
 * y: the output of the quantized block for hidden states that came through the
 * quantized blocks, t: that of the original block for the original ones.  Each
 * step takes a few whole samples.  Some samples are not learned from: they say
 * which step was the best, and that one is kept.
 */
#ifndef SQ_QUANT_TUNE_H
#define SQ_QUANT_TUNE_H

#include "base/progress.h"
#include "calib/hidden.h"
#include "model/backward.h"
#include "quant/tune_weight.h"

#define SQ_TUNE_PORTION	64		/* samples that pass at a time, at most */

struct sq_tune {
	/* options */
	int steps;
	size_t batch;			/* samples of a step */
	float place, scale;		/* rates at the start */
	float slack;			/* as in tune_weight.h */
	/* the caller's */
	struct sq_backward *back;	/* its model has the block bound */
	struct sq_hidden *in, *target;
	struct sq_progress *progress;	/* tokens */
	/* results, of the samples that were not learned from: the objective
	 * of the weights as they came, and of those that were noted */
	double before, after;
	int best;			/* the step that was noted */
};

/*
 * Learns the weights w[i] of block `layer', all the others (NULL) being as they
 * are bound; results are what sq_tune_weight_noted() gives.  The model's block
 * is bound to w[i]->w during the call and after it.
 */
int	 sq_tune_block(struct sq_tune *, struct sq_model *, size_t layer,
	    struct sq_tune_weight *const w[SQ_LINEARS], char *err);

/* Passes n samples from `first' on, at most as many as a batch of `back' has,
 * through the block. */
int	 sq_tune_pass(struct sq_backward *, struct sq_hidden *, size_t layer,
	    size_t first, size_t n, char *err);

#endif
