/*
 * What GPTQ needs of H = sum x x^T: the order in which the columns of a weight
 * are quantized, and how the error of one is made good by those after it.
 *
 * With the columns in that order, H + damping = R R^T, R upper triangular.  A
 * column k is then to be rounded not from its weight but from
 *
 *	w_k + sum over i < k of (w_i - q_i) R_ik / R_kk,
 *
 * the value that is best given what the columns before it became.  This is
 * what GPTQ (Frantar et al. 2022, arXiv 2210.17323) computes with the Cholesky
 * factor of the inverse of H, the same numbers up to rounding (Chee et al.
 * 2023, arXiv 2307.13304): R itself costs a quarter of the work, half the
 * memory, and its float32 error is that of a small change of H.
 *
 * H is stored once, half of it, and factorized in place.
 */
#ifndef SQ_QUANT_FACTOR_H
#define SQ_QUANT_FACTOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/lapack.h"
#include "base/pool.h"
#include "formats/fmt_stats.h"

#define SQ_PANEL	256		/* columns */

enum sq_column_order {
	SQ_NATURAL,			/* as they are */
	SQ_ACT				/* by falling diagonal of H */
};

struct sq_factor {
	size_t n;			/* channels */
	/*
	 * Panel j holds columns 256 j to 256 j + 255 of the upper triangle,
	 * rows 0 to 256 j + 255 of them, row by row; the last one may be
	 * narrower.  H, later R_ik / R_kk with ones on the diagonal and zeros
	 * below it.
	 */
	float *panels;
	uint32_t *col;			/* [n] which column is the i-th */
	double *pivot;			/* [n] R_ii^2 */
	double *added;			/* [n] to the diagonal of H */
	/* H itself, channels as they are: the same panels, but what is on the
	 * diagonal blocks is there twice; NULL when it is not kept. */
	float *h;
	float *diagonal;		/* [n] of H, channels as they are */
	float *cost;			/* [n] the mean, geometric, of pivot and
					   diagonal: channels as they are */
	double lambda;			/* what was to be added to it */
	size_t run;			/* SQ_ACT: so many channels stay
					   together, by their diagonal, too;
					   0: each by itself */
	/* results of sq_factor_make() */
	double damp;			/* the greatest fraction that it took */
	size_t dead;			/* channels that were always zero */
};

/* H all unset; keep: H is kept, beside its factor.  -1 when there is no
 * memory. */
int	 sq_factor_init(struct sq_factor *, size_t n, int keep, char *err);
void	 sq_factor_release(struct sq_factor *);

/* Bytes that one takes. */
uint64_t sq_factor_bytes(size_t n, int keep);

/* Row i of H from its diagonal on: n - i values. */
void	 sq_factor_row(struct sq_factor *, size_t i, const float *row);

/* All of them, from the STATS record that in has just read, which has H (full)
 * or its diagonal, and is passed on to out, unless that is NULL. */
int	 sq_factor_read(struct sq_factor *, int full, struct sq_in *in,
	    struct sq_out *out, char *err);

/*
 * Once all rows are there: orders the columns and factorizes.  damp: the
 * fraction of the mean diagonal that is added to it.  Where H is not positive
 * definite with that much, ten times as much is added to what is left of it,
 * until it is.  -1 when H holds infinity or NaN, or is no sum of squares.
 */
int	 sq_factor_make(struct sq_factor *, const struct sq_lapack *,
	    struct sq_pool *, enum sq_column_order, double damp, char *err);

/* Its first steps, which leave H as it is: the diagonal, its mean, and the
 * channels that were never used, -1 when H cannot be what it should; and the
 * order, in col, -1: no memory. */
int	 sq_factor_look(struct sq_factor *, double *mean, char *err);
int	 sq_factor_order(struct sq_factor *, enum sq_column_order);

/* Row i of panel j, of the factor and of H. */
static inline float *
sq_factor_at(const struct sq_factor *f, size_t i, size_t j)
{
	return f->panels + (j * (j + 1) / 2 * SQ_PANEL + i) * SQ_PANEL;
}

static inline const float *
sq_factor_h(const struct sq_factor *f, size_t i, size_t j)
{
	return f->h + (j * (j + 1) / 2 * SQ_PANEL + i) * SQ_PANEL;
}

/* What channel i counts in a sum of squares: its diagonal, damped. */
static inline float
sq_factor_weight(const struct sq_factor *f, size_t i)
{
	float d = f->diagonal[i] + (float)f->lambda;

	return d > 0 ? d : 1;
}

/* What is added to the diagonal, that channels be no freer than in GPTQ. */
static inline float
sq_factor_ridge(const struct sq_factor *f, size_t i)
{
	return sq_factor_weight(f, i) - f->diagonal[i];
}

/*
 * What an error of channel i costs: between what its diagonal says, nothing
 * being made good, and the pivot, where all channels that follow do what they
 * can.  Scales that are found with this leave less in the end than with either.
 */
static inline float
sq_factor_cost(const struct sq_factor *f, size_t i)
{
	return f->cost[i];
}

#endif
