/* A sequence from one cache into another of another precision. */
#ifndef SQ_KV_KVCONVERT_H
#define SQ_KV_KVCONVERT_H

#include "kv/kvcache.h"

/*
 * Into `to', which is empty and stays in its cache: every token from the best
 * form that there is of it (sink, near memory, pages).  -1 with the reason, and
 * `to' empty again.
 */
int	 sq_kv_convert(struct sq_kvseq *to, const struct sq_kvseq *from,
	    struct sq_ctx *, char *err);

#endif
