/*
 * Orthogonal matrices that spread what one channel has over all of them, and
 * that are cheap to multiply by: Q = D (H x M), D a diagonal of random signs,
 * H the Hadamard matrix of a power of two p, M one of order m, n = p m.
 *
 * M is a Hadamard matrix, too, the smallest that there is for n: of order 1,
 * or by Paley's constructions q + 1 for a prime q = 3 mod 4, 2 (q + 1) for a
 * prime q = 1 mod 4 (12, 20, 28, 36, 44 ...); so all of Q's elements have one
 * magnitude.  Where n has none of an order up to 512, m is n's odd part and M a
 * random orthogonal matrix.
 */
#ifndef SQ_QUANT_ROTATION_H
#define SQ_QUANT_ROTATION_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sq_rotation {
	size_t n, p, m;
	int hadamard;			/* M is one */
	double *sign;			/* [n], 1 / sqrt(p) in it */
	double *matrix;			/* [m][m], or NULL when m is 1 */
};

/* The same for the same seed.  -1: no memory, or an odd part above 4096. */
int	 sq_rotation_init(struct sq_rotation *, size_t n, uint64_t seed,
	    char *err);
void	 sq_rotation_release(struct sq_rotation *);

/* The row vector x [n] becomes x Q; work [n] is scratch. */
void	 sq_rotation_apply(const struct sq_rotation *, double *x,
	    double *work);

#endif
