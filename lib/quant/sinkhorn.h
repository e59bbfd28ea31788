/*
 * Factors that even out a matrix: w = diag(row) m diag(col), the columns of m
 * all of about one size, and its rows too.  Rows and columns are divided by
 * their root mean squares in turns; of what comes about, the one is taken whose
 * greatest root mean square of a row or column is least, by the least of them.
 */
#ifndef SQ_QUANT_SINKHORN_H
#define SQ_QUANT_SINKHORN_H

#include <stddef.h>

/* The factors of the columns; 0 for one of zeros alone.  -1: no memory. */
int	 sq_sinkhorn(const float *w, size_t rows, size_t cols, float *col);

#endif
