/*
 * A filter that scales channels, so that a model stays what it is and is easier
 * to quantize: W diag(s) takes the place of W, and what makes its input is
 * divided by s.  That is
 *
 *	the norm before q, k and v	the norm before gate and up
 *	v before o			up before down
 *
 * where several heads of o share one of v, they share its factors.  Statistics
 * change with the channels.  How s is found: scaling.h.
 */
#ifndef SQ_QUANT_SMOOTH_H
#define SQ_QUANT_SMOOTH_H

#include "quant/scaling.h"

struct sq_smooth {
	struct sq_filter f;		/* first: it is cast back */
	/* options */
	struct sq_scaling scaling;	/* and what it found last */
	int by_mean;			/* a: mean magnitudes, not largest ones */
	int data_free;			/* no statistics: a is the norm's weight,
					   or 1 */
	int keep;			/* types of tensors; or F32 */
	uint64_t memory;		/* bytes, of the process; 0: enough */
	/* told of each search that is done; may be NULL */
	void (*said)(const struct sq_smooth *, const char *tensor);
	/* private */
	struct sq_half half;
	uint64_t room;			/* for it, bytes; 0: enough */
};

/* The hooks of the filter; then sq_filter_run() does it all. */
void	 sq_smooth_init(struct sq_smooth *);
void	 sq_smooth_release(struct sq_smooth *);

#endif
