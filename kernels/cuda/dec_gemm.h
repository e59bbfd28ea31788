/* Products of many rows through the vendor's library, which picks its kernel
 * once for each shape. */
#ifndef SQ_KERNELS_CUDA_DEC_GEMM_H
#define SQ_KERNELS_CUDA_DEC_GEMM_H

#include "kernels/cuda/dec.h"

struct dec_gemm;

/* table: a file of what was measured, see dec_table.h; or NULL. */
struct dec_gemm *dec_gemm_open(const char *table, char *err);
void	 dec_gemm_close(struct dec_gemm *);

/*
 * y [n][rows] = x [n][cols] w^T: both bf16, or e4m3 when x is, scaled by the
 * rows of both when wscale is there.  y is float32 or bf16.  With e4m3 n is
 * rounded up to 16: x, its scales and y have room for that.  The first call of
 * a shape may run some kernels in turn, to see which is the fastest.  -1 with
 * the reason in sqc.err.
 */
int	 dec_gemm(struct dec_gemm *, const void *w, const float *wscale,
	    size_t rows, size_t cols, struct dec_x x, size_t n, void *y,
	    int f32);

#endif
