/*
 * Matrices of activations for the checks: F32, the bytes between the rows
 * watched.
 */
#ifndef SQ_CKROWS_H
#define SQ_CKROWS_H

#include "tests/kernels/checkkern.h"

/* A matrix in a buffer of its own, stride cols + pad, filled with CK_FILL. */
struct sq_mat	 ck_mat(struct checker *, size_t rows, size_t cols,
		    size_t pad);

/* The same with the elements (not the padding) of a kind. */
struct sq_mat	 ck_mat_of(struct checker *, size_t rows, size_t cols,
		    size_t pad, enum ck_kind kind);

/* A copy in a buffer of its own, padding included. */
struct sq_mat	 ck_mat_copy(struct checker *, const struct sq_mat *);

size_t	 ck_mat_bytes(const struct sq_mat *);
float	*ck_row(const struct sq_mat *, size_t row);

/* The padding is as it was made. */
void	 ck_mat_pads(struct checker *, const struct sq_mat *,
	    const char *what);

/* ck_close for matrices; mag: rows * cols magnitudes. */
void	 ck_mat_close(struct checker *, const struct sq_mat *want,
	    const struct sq_mat *got, const double *mag, const char *what);

/* A shape, by number: the small odd ones first, then those of models. */
#define CK_SHAPES	24
void	 ck_shape(struct checker *, size_t i, size_t *rows, size_t *cols,
	    size_t *pad);

#endif
