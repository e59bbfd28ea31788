/*
 * The types of a GGUF file's tensors, and their blocks: 32 or 256 weights of a
 * row, with what scales them, in a few bytes.  A block here and the parts of a
 * TENSOR record (sq-stream(5)) hold the same integers in another order; both
 * directions are exact.
 */
#ifndef SQ_FMT_GGUF_BLOCKS_H
#define SQ_FMT_GGUF_BLOCKS_H

#include "base/tensor.h"

/* The types that this program knows, by their numbers in the file. */
enum sq_gguf_type {
	SQ_GGUF_F32 = 0, SQ_GGUF_F16 = 1, SQ_GGUF_Q4_0 = 2, SQ_GGUF_Q4_1 = 3,
	SQ_GGUF_Q5_0 = 6, SQ_GGUF_Q5_1 = 7, SQ_GGUF_Q8_0 = 8,
	SQ_GGUF_Q4_K = 12, SQ_GGUF_Q5_K = 13, SQ_GGUF_Q6_K = 14,
	SQ_GGUF_IQ4_NL = 20, SQ_GGUF_IQ4_XS = 23, SQ_GGUF_BF16 = 30,
	SQ_GGUF_MXFP4 = 39
};

struct sq_gguf_kind {
	int type;
	const char *name;		/* "Q4_K" */
	size_t cols, bytes;		/* of a block */
	enum sq_grid grid;		/* dense: of one value */
	enum sq_dtype dtype;		/* dense: of it; else of the scales */
	int symmetric;
	int file_type;			/* general.file_type of such a file */
};

/* NULL when the type is not one of those. */
const struct sq_gguf_kind *sq_gguf_kind(uint32_t type);

/* By name, capitals or not. */
const struct sq_gguf_kind *sq_gguf_kind_find(const char *name);

/* "F32, F16, Q4_0 ...": what there is, for messages and usage. */
const char *sq_gguf_kind_names(void);

/* Bytes of a row; 0 when cols is not a multiple of a block's. */
uint64_t sq_gguf_row_bytes(const struct sq_gguf_kind *, uint64_t cols);

/* What a tensor of rows x cols weights of that kind is in the stream: grid,
 * group, parts and length; the rest of t is set already. */
void	 sq_gguf_describe(const struct sq_gguf_kind *, struct sq_tensor *t);

/*
 * One row between its blocks and the rows of its parts, which are in the order
 * of sq_gguf_describe().  get says -1 for scales that are not finite.
 */
int	 sq_gguf_row_get(const struct sq_gguf_kind *, const uint8_t *blocks,
	    uint64_t cols, uint8_t *const part[SQ_PARTS]);
void	 sq_gguf_row_put(const struct sq_gguf_kind *, uint8_t *blocks,
	    uint64_t cols, const uint8_t *const part[SQ_PARTS]);

#endif
