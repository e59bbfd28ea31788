/*
 * What this machine can do at most, measured: the limits that kernels are
 * compared with.  They drift with what else runs on the machine, so they are
 * to be measured in the same run, close to what is compared.
 */
#ifndef SQ_KERNELS_LIMITS_H
#define SQ_KERNELS_LIMITS_H

#include "kernels/kern.h"

/* Bytes a second that all threads of the pool read together from memory, in
 * several streams from huge pages, best of several passes.  Takes half a GiB;
 * -1 when there is none. */
int	 sq_limit_read(struct sq_pool *, double *rate);

/* What is multiplied: float32; bf16; integers of 16 bits, and of 8, with exact
 * sums. */
enum sq_limit { SQ_LIMIT_F32, SQ_LIMIT_BF16, SQ_LIMIT_INT16, SQ_LIMIT_INT8 };

/*
 * Operations a second that all threads do together in
 * registers, median of several runs, with the best instructions of that level
 * and those below it for that kind, or for one before it.  -1 for a level that
 * is not known or that this machine does not run, or without such instructions.
 */
int	 sq_limit_ops(struct sq_pool *, const char *level, enum sq_limit,
	    double *rate);

/* The same of floating-point operations that compute at prec. */
int	 sq_limit_flops(struct sq_pool *, const char *level, enum sq_prec,
	    double *rate);

/*
 * Operations a second that all threads do together for some milliseconds with
 * operands that are loaded from the first cache: what a product can come to
 * just then.  To be measured over and over, in turn with what is compared: a
 * processor that others have a part of changes its speed.  -1 where operands
 * that are loaded cost nothing, or as in sq_limit_ops().
 */
int	 sq_limit_loaded(struct sq_pool *, const char *level, enum sq_limit,
	    double *rate);

#endif
