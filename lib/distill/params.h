/*
 * What is trained: arrays of float32 with their gradients and AdamW's moments
 * (Loshchilov, Hutter 2017).  A zero in a matrix stays zero, so that a sparse
 * student stays as sparse as it is.
 */
#ifndef SQ_DISTILL_PARAMS_H
#define SQ_DISTILL_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"

struct sq_param {
	float *p, *g, *m1, *m2;		/* [n]: value, gradient, moments */
	size_t n;
	int matrix;			/* it decays, and its zeros stay */
};

struct sq_params {
	struct sq_param *param;
	size_t n;
	double norm;			/* of the gradients of the last step */
};

/* One more, of n zeros: NULL when there is no memory. */
float	*sq_params_add(struct sq_params *, size_t n, int matrix);
void	 sq_params_release(struct sq_params *);

/* Step `step' (from 1): the gradients, made shorter where they are longer than
 * 1 in all, move the values, and become 0. */
void	 sq_params_step(struct sq_params *, struct sq_pool *, uint64_t step,
	    double rate, double decay);

#endif
