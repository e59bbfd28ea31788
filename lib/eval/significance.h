/* Is one set of results different from another on the same questions? */
#ifndef SQ_EVAL_SIGNIFICANCE_H
#define SQ_EVAL_SIGNIFICANCE_H

#include <stddef.h>

/*
 * The chance of a difference at least as large if there were none: two-sided;
 * where all values are 0 or 1 McNemar's exact test, else a z test of the mean of
 * the differences.  *delta: mean(b) - mean(a).  NAN for n = 0.
 */
double	 sq_paired(const double *a, const double *b, size_t n, double *delta);

/* Two-sided, for a value of that many standard errors. */
double	 sq_p_of_z(double z);

#endif
