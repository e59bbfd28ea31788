/*
 * The next token from logits: greedy, or drawn after temperature, top-k, top-p
 * (Holtzman et al. 2020) and min-p (Nguyen et al. 2024), applied in this order.
 */
#ifndef SQ_MODEL_SAMPLER_H
#define SQ_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"

struct sq_sampling {
	double temperature;		/* 0: greedy */
	size_t top_k;			/* 0: all */
	double top_p;			/* 1: all */
	double min_p;			/* 0: all */
	uint64_t seed;
};

struct sq_choice {
	uint32_t id;
	float logit;
};

struct sq_sampler {
	struct sq_sampling s;
	struct sq_rng rng;
	size_t vocab;
	struct sq_choice *choice;	/* [vocab]: scratch */
};

int	 sq_sampler_init(struct sq_sampler *, const struct sq_sampling *,
	    size_t vocab, char *err);
void	 sq_sampler_release(struct sq_sampler *);

/* Ties go to the smaller id.  -1 when a logit is NaN or none is finite. */
int	 sq_sampler_pick(struct sq_sampler *, const float *logits,
	    uint32_t *id, char *err);

/* The n best with their log-probabilities in `logit', best first; n at most
 * vocab.  -1 as above. */
int	 sq_sampler_best(struct sq_sampler *, const float *logits, size_t n,
	    struct sq_choice *best, char *err);

#endif
