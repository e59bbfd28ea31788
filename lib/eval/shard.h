/* A part of a run that several machines share: shard `at' of `of'. */
#ifndef SQ_EVAL_SHARD_H
#define SQ_EVAL_SHARD_H

#include <stddef.h>

struct sq_shard {
	size_t at, of;			/* of: 0 or 1: everything */
};

/* The shards of n things are runs of them, one after the other. */
static inline size_t
sq_shard_start(const struct sq_shard *s, size_t n)
{
	return s->of < 2 ? 0 : n / s->of * s->at + n % s->of * s->at / s->of;
}

static inline size_t
sq_shard_end(const struct sq_shard *s, size_t n)
{
	struct sq_shard next = { s->at + 1, s->of };

	return s->of < 2 ? n : sq_shard_start(&next, n);
}

#endif
