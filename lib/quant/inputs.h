/*
 * What a layer was fed by samples, in a file without a name, as far as there is
 * room: for what the same samples make of it when the layer is another one.
 *
 * It is for time alone: without room, or when it cannot be written, fewer
 * samples are kept, or none, and nobody is told.
 */
#ifndef SQ_QUANT_INPUTS_H
#define SQ_QUANT_INPUTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kern.h"

struct sq_inputs {
	size_t samples;			/* kept whole: the first ones */
	/* private */
	int fd;				/* or -1 */
	int full;			/* no more of them */
	size_t length, channels;	/* tokens of a sample */
	uint64_t room;
	float *rows;			/* some tokens */
};

/* most: floats that are got at a time.  fd -1 before: harmless to release. */
void	 sq_inputs_open(struct sq_inputs *, size_t length, size_t most);
void	 sq_inputs_release(struct sq_inputs *);

/* None are kept any more; the next ones have so many channels, or, with 0,
 * are not to be kept. */
void	 sq_inputs_clear(struct sq_inputs *, size_t channels);

/* Tokens of a sample, from token `at' on: samples in their order, each one's
 * tokens in theirs. */
void	 sq_inputs_put(struct sq_inputs *, size_t sample, size_t at,
	    const struct sq_mat *x);

/* n tokens of a sample that is kept, until the next call. */
int	 sq_inputs_get(struct sq_inputs *, size_t sample, size_t at, size_t n,
	    struct sq_mat *x, char *err);

#endif
