/*
 * The profile.yaml of an artifact: the QuantizationProfile that its weights
 * correspond to, told from the weights themselves.
 */
#ifndef SQ_MODEL_PROFILE_TEXT_H
#define SQ_MODEL_PROFILE_TEXT_H

#include "base/tensor.h"

/* The most frequent form among the linear layers, by weights. */
struct sq_profile_text {
	uint64_t weights[SQ_GRIDS];	/* of the linear layers, by grid */
	struct sq_tensor example[SQ_GRIDS];
};

void	 sq_profile_text_add(struct sq_profile_text *,
	    const struct sq_tensor *, int linear);

/* malloc'd; NULL when there is no memory. */
char	*sq_profile_text(const struct sq_profile_text *, uint64_t context);

#endif
