/* The digest of a model that is imported: sq-stream(5), Digests. */
#ifndef SQ_MODEL_MODEL_DIGEST_H
#define SQ_MODEL_MODEL_DIGEST_H

#include "formats/fmt_stream.h"

#define SQ_DIGEST_SAMPLE	4096	/* bytes at each end of a tensor */

struct sq_model_digest {
	void *state;
};

/* -1: no memory. */
int	 sq_model_digest_init(struct sq_model_digest *, const void *config,
	    size_t size);

/* A tensor as it is stored: its first and its last n bytes. */
void	 sq_model_digest_add(struct sq_model_digest *, const char *name,
	    const char *type, int ndim, const uint64_t *dim,
	    const void *first, const void *last, size_t n);

/* Writes the digest, and releases what init took. */
void	 sq_model_digest_end(struct sq_model_digest *, char text[SQ_DIGEST]);

#endif
