/*
 * Masked weights as an artifact stores them: in a sparse layout that kernels
 * multiply where it is mapped (kernels/sparse.h), in the place of the values
 * and the mask.  sqa(5), Sparse weights.
 */
#ifndef SQ_MODEL_STORED_H
#define SQ_MODEL_STORED_H

#include <jansson.h>

#include "base/tensor.h"
#include "kernels/sparse.h"

/* A tensor's payload in such a layout. */
struct sq_stored {
	struct sq_weight w;		/* points into the payload and below */
	size_t kept;			/* blocks */
	void *values, *index;
	size_t values_size, index_size;
};

/*
 * 1: the tensor has a mask and a layout that takes fewer bytes; 0: it has not.
 * -1 when there is no memory.
 */
int	 sq_store(struct sq_stored *, const struct sq_tensor *,
	    const void *payload, char *err);
void	 sq_stored_release(struct sq_stored *);

/* The object `stored' of a description: a new reference; and back, into layout,
 * n and m.  -1 with the reason. */
json_t	*sq_stored_describe(const struct sq_weight *);
int	 sq_stored_parse(struct sq_weight *, const json_t *, char *err);

/* Part i of a stored tensor as sq-stream(5) has it, into buf: values, mask. */
int	 sq_stored_part(const struct sq_weight *, const struct sq_tensor *,
	    int part, void *buf, char *err);

/* A stored weight in rows, in memory that is the caller's to free; NULL with
 * the reason. */
void	*sq_stored_expand(struct sq_weight *, char *err);

/* Bytes that a product reads, and of those blocks or values that rows would
 * have, how many it multiplies. */
struct sq_stored_work {
	uint64_t bytes, dense_bytes;
	uint64_t done, all;
};

void	 sq_stored_count(const struct sq_weight *, struct sq_stored_work *);

#endif
