/*
 * Where a model departs from its reference: the hidden states after each block,
 * both models side by side on the same text.
 */
#ifndef SQ_EVAL_LAYERS_H
#define SQ_EVAL_LAYERS_H

#include "eval/perplexity.h"

struct sq_layer_error {
	double error;		/* sum |x - x_ref|^2 / sum |x_ref|^2 */
	double cosine;		/* mean over tokens of cos(x, x_ref) */
};

/*
 * The same windows as sq_ppl_run() takes; p->reference is needed.  error: one
 * for each block, the caller's.  0, or -1 with the reason.
 */
int	 sq_layers_run(const struct sq_ppl *p, const uint32_t *ids, size_t n,
	    struct sq_layer_error *error, char *err);

#endif
