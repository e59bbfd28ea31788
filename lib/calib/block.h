/*
 * The tensors of one block of a model, held in memory while samples run through
 * it.
 */
#ifndef SQ_CALIB_BLOCK_H
#define SQ_CALIB_BLOCK_H

#include "formats/fmt_stream.h"
#include "model/model.h"

/* The inputs: of q, k and v; of o; of gate and up; of down.  With experts, two
 * more for each: of its gate and up, and of its down. */
enum { SQ_IN_QKV, SQ_IN_O, SQ_IN_FFN, SQ_IN_DOWN, SQ_INPUTS };

static inline int
sq_inputs(const struct sq_config *c)
{
	return SQ_INPUTS + 2 * (int)c->experts;
}

struct sq_held {
	struct sq_tensor t;
	const struct sq_slot *slot;
	unsigned char *payload;
};

struct sq_block {
	struct sq_held *held;		/* in the order of the stream */
	int n, room;
	uint64_t layer;
};

/* The input that the tensors of a role share, or -1. */
int	 sq_input_of(const struct sq_slot *);
size_t	 sq_input_channels(const struct sq_config *, int input);

/* The tensor whose record in has just begun, of this block. */
int	 sq_block_hold(struct sq_block *, struct sq_in *,
	    const struct sq_tensor *, const struct sq_slot *, char *err);

/* Binds all of them. */
int	 sq_block_bind(const struct sq_block *, struct sq_model *, char *err);
void	 sq_block_drop(struct sq_block *);

/* A tensor whose payload is in memory: to the model, to a stream. */
int	 sq_payload_bind(struct sq_model *, const struct sq_tensor *,
	    const unsigned char *payload, char *err);
int	 sq_payload_put(struct sq_out *, const struct sq_tensor *,
	    const void *payload, char *err);

#endif
