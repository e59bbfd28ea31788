/* Weights and vectors into the memory where kernels work. */
#ifndef SQ_MODEL_PLACE_H
#define SQ_MODEL_PLACE_H

#include "model/model.h"

/* A vector of n floats that lies in malloc's memory: copied, and freed there.
 * Nothing to do when mem is the host's. */
int	 sq_place_vector(const struct sq_mem *, float **v, size_t n, char *err);

/* A weight that points into the host's memory: copied into memory of the
 * layer's own, in place of an earlier one.  Its bias is left alone. */
int	 sq_place_linear(const struct sq_mem *, struct sq_linear *, char *err);

#endif
