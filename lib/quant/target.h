/*
 * The asymmetric target: what a layer's weight should be when its input is not
 * X any more but Y, what the quantized layers before it make of the text.
 *
 * T Y is to be W X.  With D = (X - Y) Y^T and H = Y Y^T,
 *
 *	T = W + a W D (H + damping)^-1:
 *
 * least squares for a = 1.  The more a text teaches, the less it holds for
 * another: so D (H + damping)^-1 comes from some tokens, and a, between 0 and
 * 1, is the best one for others that were held out.
 */
#ifndef SQ_QUANT_TARGET_H
#define SQ_QUANT_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/lapack.h"
#include "base/pool.h"

struct sq_target {
	const struct sq_lapack *lapack;
	struct sq_pool *pool;
	size_t n;			/* channels */
	double damp;			/* the part of the mean diagonal */
	float *square;			/* [n][n] of space */
	float *d;			/* [n][n]: D, then D (H + damping)^-1 */
	/* what a is found with: sums over all weights told of */
	double along, across;
};

/* Bytes of space for one thread. */
uint64_t sq_target_bytes(size_t n);

/* From D of the tokens that teach; h: their H, a packed upper triangle.  -1
 * with the reason when H cannot be used. */
int	 sq_target_solve(struct sq_target *, const float *h, char *err);

/* H and D of the tokens that were held out; then one weight after the other,
 * [rows][n]. */
void	 sq_target_hold(struct sq_target *, const float *h);
int	 sq_target_weigh(struct sq_target *, const float *d, const float *w,
	    size_t rows, char *err);

/* a, with all weights weighed. */
double	 sq_target_strength(const struct sq_target *);

/* w becomes T. */
int	 sq_target_apply(const struct sq_target *, double a, float *w,
	    size_t rows, char *err);

#endif
