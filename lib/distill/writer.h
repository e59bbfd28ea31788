/*
 * A model as it writes: a text needs no more than nearly the same
 * probabilities, and many sequences at once are quicker in int8.  Linear layers
 * of the blocks are in int8 by row, what comes into them is quantized token by
 * token; the rest is the model's own, which must outlive the copy.
 */
#ifndef SQ_DISTILL_WRITER_H
#define SQ_DISTILL_WRITER_H

#include "model/model.h"

struct sq_writer {
	struct sq_model model;
	/* private */
	struct sq_layer *layer;
	void **mem;
	size_t n;
};

/* -1 with the reason; either way it is released by sq_writer_release(). */
int	 sq_writer_init(struct sq_writer *, const struct sq_model *,
	    struct sq_ctx *, char *err);
void	 sq_writer_release(struct sq_writer *);

#endif
