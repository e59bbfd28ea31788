/*
 * The values of a tensor of an opened model as float32, whatever its form, in
 * chunks of rows.
 */
#ifndef SQ_MODEL_TENSOR_VALUES_H
#define SQ_MODEL_TENSOR_VALUES_H

#include "kernels/kern.h"
#include "model/source.h"

struct sq_values {
	struct sq_ctx *ctx;
	const struct sq_source *source;
	const struct sq_source_tensor *t;
	size_t rows, cols;
	/* private */
	struct sq_weight w;
	unsigned char *part[SQ_PARTS];	/* in memory, codes and data chunked */
	size_t chunk;
};

/* -1 when the tensor's type or grid has no values that kernels know. */
int	 sq_values_open(struct sq_values *, struct sq_ctx *,
	    const struct sq_source *, const struct sq_source_tensor *,
	    char *err);
void	 sq_values_release(struct sq_values *);

/* Rows row .. row+n-1 into out [n][cols]; n at most SQ_VALUES_ROWS(cols). */
int	 sq_values_read(struct sq_values *, size_t row, size_t n, float *out,
	    char *err);

#define SQ_VALUES_ROWS(cols)	(((size_t)1 << 20) / (cols) + 1)

#endif
