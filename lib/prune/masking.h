/*
 * Weights get masks: which of them go, and what the others become.
 *
 * Criteria order the weights: magnitude |w|; wanda w^2 H_cc (Sun et al. 2023,
 * arXiv 2306.11695), by row; movement, the gradient's say (movement.h).
 * sparsegpt chooses as the columns come, where it can (gptq.h), and by wanda's
 * scores where not; it is the one that makes good what was dropped, unless
 * there are sweeps, which do so with every criterion.
 */
#ifndef SQ_PRUNE_MASKING_H
#define SQ_PRUNE_MASKING_H

#include "prune/score.h"
#include "quant/filter.h"
#include "quant/gptq_layer.h"

struct sq_movement;

enum sq_criterion {
	SQ_BY_MAGNITUDE, SQ_BY_WANDA, SQ_BY_SPARSEGPT, SQ_BY_MOVEMENT
};

struct sq_masking {
	enum sq_criterion criterion;
	struct sq_sparse pattern;
	double sparsity;		/* blocks, unstructured */
	int keep_mask;			/* sweeps exchange nothing */
	struct sq_gptq_layer *layer;
	struct sq_movement *movement;	/* whose scores count, or NULL */
};

/* The part that is dropped: the pattern may say so itself. */
double	 sq_masking_ratio(const struct sq_masking *);

/* The criterion wants statistics. */
int	 sq_masking_needs_stats(const struct sq_masking *);

/* Sets the layer's options for a tensor; its statistics, if it needs them, are
 * the layer's state. */
void	 sq_masking_begin(struct sq_masking *, const struct sq_tensor *);

/* Scores of w, the values of a tensor, by the layer's state. */
int	 sq_masking_scores(const struct sq_masking *,
	    const struct sq_tensor *, const float *w, float *score, char *err);

/* The values of a dense tensor, in memory of their own, from its payload or
 * that at hand; or NULL. */
float	*sq_masking_values(struct sq_masking *, const struct sq_tensor *,
	    const void *payload, char *err);
float	*sq_masking_read(struct sq_masking *, struct sq_in *in,
	    const struct sq_tensor *, char *err);

/* Masks w, the values of t; made: the record, whose payload is the caller's to
 * free. */
int	 sq_masking_make(struct sq_masking *, const struct sq_tensor *t,
	    const float *w, struct sq_tensor *made, unsigned char **payload,
	    char *err);

#endif
