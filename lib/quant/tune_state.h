/*
 * What a run has finished, in a file, for a run that is to go on where one was
 * ended: for each part (a block that was tuned, or a tensor) the payloads of
 * its quantized tensors, with a key of all that they depend on.  A record that
 * is not whole counts for nothing.
 */
#ifndef SQ_QUANT_TUNE_STATE_H
#define SQ_QUANT_TUNE_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

#include "base/err.h"

struct sq_tune_state {
	int fd;				/* -1: no file */
	uint64_t end;			/* of the whole records */
	size_t n;			/* of them */
	struct sq_tune_done *done;
};

/* path NULL: none is kept.  A file that is not there is made. */
int	 sq_tune_state_open(struct sq_tune_state *, const char *path,
	    char *err);
void	 sq_tune_state_release(struct sq_tune_state *);

/* 1 when there is something of that part. */
int	 sq_tune_state_has(const struct sq_tune_state *, uint64_t block);

/* 1: the part's payload, of `size' bytes, is now in buf; 0: it has not been
 * finished; -1: it has, but with another key, or it cannot be read. */
int	 sq_tune_state_get(struct sq_tune_state *, uint64_t block,
	    XXH128_hash_t key, void *buf, size_t size, char *err);

/* The part is finished; returns once that is on the disk. */
int	 sq_tune_state_put(struct sq_tune_state *, uint64_t block,
	    XXH128_hash_t key, const void *buf, size_t size, char *err);

#endif
