/*
 * A filter that turns a model's channels, so that none stands out: an equivalent
 * model, whose activations and weights are easier to quantize.
 *
 *	residual	h' = h Q: the embedding, what adds to h (o, down) and
 *			what reads it (q k v, gate up, the head) change; the
 *			norms' weights go into the latter and become 1
 *	heads		v' = v R, head by head: v and o change
 *
 * A head that is the embedding becomes a tensor of its own.  H and the means
 * turn with the channels; what else statistics say of them is left out.
 */
#ifndef SQ_QUANT_ROTATE_H
#define SQ_QUANT_ROTATE_H

#include "formats/fmt_records.h"
#include "kernels/kern.h"
#include "quant/filter.h"
#include "quant/rotation.h"

/* Which tensors become F32: all that change, those but embedding and head,
 * none. */
enum sq_rotate_type { SQ_ROTATE_LINEAR, SQ_ROTATE_F32, SQ_ROTATE_KEEP };

struct sq_rotate {
	struct sq_filter f;		/* first: it is cast back */
	/* options */
	struct sq_ctx *ctx;
	int residual, heads;
	uint64_t seed;
	enum sq_rotate_type type;
	uint64_t memory;		/* bytes, of the process; 0: enough */
	/* private */
	struct sq_rotation q, *r;	/* r: [kv heads] of the current block */
	uint64_t r_layer;		/* which that is, + 1 */
	float *norm;			/* [dim] the last norm's weights */
	const struct sq_slot *norm_of;
	struct sq_tensor head;		/* of a tied model: the embedding, */
	int fd;				/* and the file that holds it; or -1 */
};

/* The hooks of the filter; then sq_filter_run() does it all. */
void	 sq_rotate_init(struct sq_rotate *);
void	 sq_rotate_release(struct sq_rotate *);

#endif
