/*
 * What of a student is learned: by what is trained, weights that are dense or
 * integers; norms and biases with either.
 */
#ifndef SQ_DISTILL_TAKE_H
#define SQ_DISTILL_TAKE_H

#include "distill/distill.h"

/* Weights and vectors move into params or codes, where they are bound from
 * then on, and their gradients have a place. */
int	 sq_distill_take(struct sq_distill *, char *err);

/* The student gives back the vectors that params own. */
void	 sq_distill_leave(struct sq_model *);

#endif
