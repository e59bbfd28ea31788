/*
 * The weights of AscendV1 checkpoints (msmodelslim, for vllm-ascend and
 * MindIE).  Of a linear layer with R outputs and C inputs:
 *
 *	W8A8_DYNAMIC	weight         I8 [R][C]
 *			weight_scale   F32 [R][1]
 *			weight_offset  F32 [R][1], zeros
 *	W8A8		weight         I8 [R][C]
 *			input_scale, input_offset  F32 [1]
 *			deq_scale      F32 [R] (bf16 models), or I64 [R]
 *			quant_bias     I32 [R]
 *	W4A8_DYNAMIC	weight         I8 [R/2][C]: rows 2r (low) and 2r+1
 *			weight_scale, weight_offset  F32 [R][1]
 *			scale_bias     F32 [R][1], or [R][16]
 *
 * quant_model_description.json has the type of every tensor.
 */
#ifndef SQ_FMT_ASCEND_H
#define SQ_FMT_ASCEND_H

#include <stddef.h>
#include <stdint.h>

/* Two rows of 4-bit codes in each row of bytes, q = u - 8 as signed nibbles;
 * rows is even.  codes: as in sq-stream(5). */
void	 sq_ascend_put_pairs(uint8_t *bytes, const uint8_t *codes, size_t rows,
	    size_t cols);
void	 sq_ascend_get_pairs(uint8_t *codes, const uint8_t *bytes, size_t rows,
	    size_t cols);

/*
 * scale_bias: 8 times the sum of q * scale over each of n equal parts of a row,
 * [rows][n].  cols is a multiple of n.
 */
void	 sq_ascend_scale_bias(float *bias, const uint8_t *codes,
	    const float *scales, size_t rows, size_t cols, size_t n);

/* The sum of q over each row of 8-bit codes, [rows]. */
void	 sq_ascend_row_sums(int32_t *sums, const uint8_t *codes, size_t rows,
	    size_t cols);

#endif
