/*
 * Which record may follow which, and that no two tensors have one name: the
 * rules of sq-stream(5) that need to know what came before.  Reader and writer
 * keep one of these each.
 */
#ifndef SQ_FMT_ORDER_H
#define SQ_FMT_ORDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SQ_MAX_TENSORS	((size_t)1 << 22)	/* in one stream */

struct sq_order {
	int stage;
	uint64_t seed;
	uint64_t *slots;		/* hashes of names; 0: free */
	size_t nslots, count;
};

/* Starts at all zeros. */
void	 sq_order_release(struct sq_order *);

/* A record of that type stands next: 0, or -1 with the reason. */
int	 sq_order_next(struct sq_order *, unsigned type, char *err);

/* A tensor of that name does: 0, or -1 with the reason. */
int	 sq_order_name(struct sq_order *, const char *name, char *err);

#endif
