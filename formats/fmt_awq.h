/*
 * The weights of AWQ checkpoints (AutoAWQ, version "gemm").  Of a linear layer
 * with R outputs and C inputs, 4 bits, groups of G inputs:
 *
 *	qweight  I32 [C][R/8]		8 outputs in a word
 *	qzeros   I32 [C/G][R/8]		the same
 *	scales   F16 [C/G][R]
 *
 * w = (u - z) scale.  Nibble k of a word, from the low end, is output
 * 8c + 0, 2, 4, 6, 1, 3, 5, 7 for k = 0 ... 7.
 */
#ifndef SQ_FMT_AWQ_H
#define SQ_FMT_AWQ_H

#include <stddef.h>
#include <stdint.h>

/* codes: rows of 4-bit codes as in sq-stream(5).  rows is a multiple of 8, cols
 * is even. */
void	 sq_awq_put_codes(uint32_t *qweight, const uint8_t *codes, size_t rows,
	    size_t cols);
void	 sq_awq_get_codes(uint8_t *codes, const uint32_t *qweight, size_t rows,
	    size_t cols);

/* zeros: [rows][groups], NULL for 8 everywhere.  -1 when one does not fit;
 * *worst is it then. */
int	 sq_awq_put_zeros(uint32_t *qzeros, const uint8_t *zeros, size_t rows,
	    size_t groups, int *worst);
void	 sq_awq_get_zeros(uint8_t *zeros, const uint32_t *qzeros, size_t rows,
	    size_t groups);

#endif
