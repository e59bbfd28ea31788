/*
 * The weights of GPTQ checkpoints (AutoGPTQ, GPTQModel).  Of a linear layer
 * with R outputs and C inputs, b bits, groups of G inputs:
 *
 *	qweight  I32 [C*b/32][R]	bits: inputs run down, 32 in b words
 *	qzeros   I32 [C/G][R*b/32]	bits: outputs run across
 *	scales   F16 [C/G][R]
 *	g_idx    I32 [C]		the group of each input
 *
 * w = (u - z) scale.  Version 1 stores z - 1, version 2 z.  A column of qweight
 * is a row of codes of sq-stream(5), word by word.
 *
 * AWQ checkpoints (AutoAWQ, "gemm") are alike; see fmt_awq.h.
 */
#ifndef SQ_FMT_GPTQ_H
#define SQ_FMT_GPTQ_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Rows of n words each become columns: to[j * rows + i] = from[i * n + j]. */
void	 sq_gptq_transpose(uint32_t *to, const uint32_t *from, size_t rows,
	    size_t n);

/* The same for 16-bit values. */
void	 sq_gptq_transpose16(uint16_t *to, const uint16_t *from, size_t rows,
	    size_t n);

/*
 * Zero points: zeros is [rows][groups], NULL for 2^(b-1) everywhere; qzeros is
 * [groups][rows*b/32] words.  less: what is stored is z - less, 0 or 1.  -1
 * when one does not fit; *worst is it then.
 */
int	 sq_gptq_put_zeros(uint32_t *qzeros, const uint8_t *zeros, size_t rows,
	    size_t groups, int bits, int less, int *worst);

/* -1 when one is 2^b, which readers of version 1 take for different things. */
int	 sq_gptq_get_zeros(uint8_t *zeros, const uint32_t *qzeros, size_t rows,
	    size_t groups, int bits, int less);

/* 1 when every zero point is 2^(b-1). */
int	 sq_gptq_is_symmetric(const uint32_t *qzeros, size_t rows,
	    size_t groups, int bits, int less);

#endif
