/*
 * A mixture of experts: which of them a token goes to, and with what weight.
 */
#ifndef SQ_MODEL_EXPERTS_H
#define SQ_MODEL_EXPERTS_H

#include "kernels/kern.h"
#include "model/config.h"

/* Who goes where, for the rows of a batch. */
struct sq_choice {
	uint32_t *expert;		/* [rows][chosen] */
	float *weight;			/* the same */
	size_t chosen;
};

/*
 * From the router's scores [rows][experts], which it changes: softmax over all
 * experts, the greatest of them (the first, on ties), and their weights, whose
 * sum is 1 where the configuration says so.
 */
void	 sq_experts_choose(const struct sq_config *, const struct sq_mat *scores,
	    const struct sq_choice *);

/* The rows of x that go to expert e, one after the other, to y; which they are
 * and their weights: how many. */
size_t	 sq_experts_gather(const struct sq_choice *, uint32_t e,
	    const struct sq_mat *x, float *y, uint32_t *row, float *weight);

/* Adds n rows, each times its weight, to those rows of y. */
void	 sq_experts_scatter(const struct sq_mat *y, const float *x, size_t n,
	    const uint32_t *row, const float *weight);

#endif
