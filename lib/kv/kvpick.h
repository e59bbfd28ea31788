/* Which precision fits the memory and the link: sq-kv(5), Choice. */
#ifndef SQ_KV_KVPICK_H
#define SQ_KV_KVPICK_H

#include <stdint.h>

#include "kv/kvpolicy.h"

struct sq_kv_need {
	size_t layers, heads, dim;	/* of the cache */
	size_t tokens;			/* in flight, at most */
	uint64_t memory;		/* bytes allowed; 0: any */
	double link;			/* bytes a second; 0: none is used */
	double prefill;			/* tokens a second */
};

/* The policy, and a line for each that was weighed, with the reason. */
void	 sq_kv_pick(struct sq_kv_policy *, const struct sq_kv_need *,
	    char *why, size_t size);

#endif
