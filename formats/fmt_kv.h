/*
 * Records of a KV stream, one way over a file descriptor: sq-kv(5), Stream.
 * What they mean is lib/engine/handoff.h.
 */
#ifndef SQ_FMT_KV_H
#define SQ_FMT_KV_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum sq_kvtype { SQ_KVR_HEAD = 1, SQ_KVR_SEQ, SQ_KVR_BLOCK, SQ_KVR_READY,
	SQ_KVR_WANT, SQ_KVR_END, SQ_KVR_TYPES };

#define SQ_KVR_JSON	((uint32_t)1 << 20)	/* bytes of a description */
#define SQ_KVR_PAYLOAD	((uint64_t)1 << 32)	/* bytes of a payload */

struct sq_kvout {
	int fd, compress;		/* compress: where it pays */
	uint64_t records, bytes;	/* written so far */
	char err[SQ_ERR];
};

/* All zero but fd and compress is a new one.  Takes the description.  The
 * payload is up to three pieces.  -1 with the reason. */
struct sq_piece {
	const void *p;
	size_t n;
};

int	 sq_kvout_put(struct sq_kvout *, enum sq_kvtype, json_t *desc,
	    const struct sq_piece *, size_t pieces);

struct sq_kvin {
	int fd;
	uint64_t max;			/* bytes of a payload that are taken */
	enum sq_kvtype type;
	json_t *desc;			/* until the next call */
	unsigned char *payload;
	size_t size;
	uint64_t records, bytes;
	char err[SQ_ERR];
};

/* 1: a record; 0: the input ends here; -1: it is damaged, with the reason. */
int	 sq_kvin_next(struct sq_kvin *);
void	 sq_kvin_release(struct sq_kvin *);

#endif
