/*
 * Dense linear algebra from OpenBLAS, which is loaded when it is needed: a tool
 * that needs none of it starts without.
 *
 * OpenBLAS chooses its kernels by processor, and bits differ from one to the
 * other.  Here the kernel level chooses them, before the library is loaded, so
 * that a level gives the same bits on every machine that runs it.
 *
 * The caller's thread computes each call.  Calls from several threads are safe,
 * and are computed at the same time where the library is the build with
 * threads (which are not used): the others hand out their buffers without a
 * lock, so their calls wait for each other here.
 */
#ifndef SQ_BASE_LAPACK_H
#define SQ_BASE_LAPACK_H

#include "base/err.h"

struct sq_lapack;

/*
 * The library with the kernels of a level ("ref", "avx2" ...): one per process,
 * never released.  NULL with the reason in err, also when it has been loaded
 * with others already.
 */
const struct sq_lapack *sq_lapack_open(const char *level, char *err);

/* What the library calls the kernels that it uses. */
const char *sq_lapack_kernels(const struct sq_lapack *);

/*
 * The routines of BLAS and LAPACK of these names, matrices column by column as
 * they have them.  sq_spotrf returns their info: 0, or where the matrix stops
 * being positive definite.
 */
void	 sq_sgemm(const struct sq_lapack *, char transa, char transb, int m,
	    int n, int k, float alpha, const float *a, int lda, const float *b,
	    int ldb, float beta, float *c, int ldc);
void	 sq_strsm(const struct sq_lapack *, char side, char uplo, char trans,
	    char diag, int m, int n, float alpha, const float *a, int lda,
	    float *b, int ldb);
int	 sq_spotrf(const struct sq_lapack *, char uplo, int n, float *a,
	    int lda);

#endif
