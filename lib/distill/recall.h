/*
 * What the teacher makes of samples, its last block's output, in a file without
 * a name, in bfloat16: a sample that comes again needs no second pass.  What is
 * kept is rounded for its first use, too, so that it does not count which one
 * that is.
 */
#ifndef SQ_DISTILL_RECALL_H
#define SQ_DISTILL_RECALL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sq_pool;

struct sq_recall {
	/* private */
	int fd;
	size_t values;			/* of a sample */
	uint16_t *one;
	unsigned char *known;		/* [samples] */
	struct sq_pool *pool;
};

/* -1 with the reason; released by sq_recall_release() either way, and harmless
 * on all zeros. */
int	 sq_recall_init(struct sq_recall *, struct sq_pool *, size_t samples,
	    size_t values, char *err);
void	 sq_recall_release(struct sq_recall *);

int	 sq_recall_knows(const struct sq_recall *, size_t sample);

/* Rounds x, and keeps it where there is room. */
void	 sq_recall_put(struct sq_recall *, size_t sample, float *x);
int	 sq_recall_get(struct sq_recall *, size_t sample, float *x, char *err);

#endif
