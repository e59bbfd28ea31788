/*
 * Rows of a tensor of the stream as rows of blocks of a GGUF type that holds
 * the same integers.
 */
#ifndef SQ_MODEL_GGUF_ROWS_H
#define SQ_MODEL_GGUF_ROWS_H

#include "formats/fmt_gguf_blocks.h"

/* The type that holds a tensor's integers as they are, or NULL. */
const struct sq_gguf_kind *sq_gguf_holds(const struct sq_tensor *);

struct sq_gguf_rows {
	const struct sq_tensor *t;
	const struct sq_gguf_kind *kind;
	const uint8_t *payload;
	/* private */
	struct sq_tensor row;		/* what a row is in the file's type */
	uint8_t *part[SQ_PARTS];	/* of it */
};

/* kind: what sq_gguf_holds() said. */
int	 sq_gguf_rows_init(struct sq_gguf_rows *, const struct sq_tensor *,
	    const struct sq_gguf_kind *, const void *payload, char *err);
void	 sq_gguf_rows_release(struct sq_gguf_rows *);

/* Row i of the tensor as blocks: -1 when a scale is beyond F16. */
int	 sq_gguf_rows_put(struct sq_gguf_rows *, uint64_t i, uint8_t *blocks,
	    char *err);

#endif
