/*
 * What a layer was fed by samples, in a file without a name, as far as there is
 * room: for what the same samples make of it when the layer is another one.
 *
 * It is for time alone: where there is no room for all, or it cannot be written,
 * none are kept, and nobody is told.
 */
#ifndef SQ_QUANT_INPUTS_H
#define SQ_QUANT_INPUTS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kern.h"

struct sq_inputs {
	size_t samples;			/* kept whole: the first ones */
	/* private */
	int fd;				/* or -1 */
	atomic_int full;		/* no more of them */
	size_t length, channels;	/* tokens of a sample */
	uint64_t room;
};

/* fd -1 before: harmless to release. */
void	 sq_inputs_open(struct sq_inputs *, size_t length);
void	 sq_inputs_release(struct sq_inputs *);

/* None are kept any more; the next ones have so many channels, or, with 0,
 * are not to be kept. */
void	 sq_inputs_clear(struct sq_inputs *, size_t channels);

/* Tokens of a sample, from token `at' on; several threads may do so, each with
 * a sample of its own.  Then, samples in their order: this one has come whole. */
void	 sq_inputs_put(struct sq_inputs *, size_t sample, size_t at,
	    const struct sq_mat *x);
void	 sq_inputs_kept(struct sq_inputs *, size_t sample);

/* n tokens of a sample that is kept, to x->p; x is set.  Any thread may. */
int	 sq_inputs_get(const struct sq_inputs *, size_t sample, size_t at,
	    size_t n, struct sq_mat *x, char *err);

#endif
