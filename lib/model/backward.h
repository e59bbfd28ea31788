/*
 * The backward pass of a block: gradients of its weights and of its input,
 * from that of its output.  The forward pass is the one of forward.h, which
 * keeps what is needed here.
 *
 * A batch is `samples' whole sequences of `length' tokens, one after the other
 * in the rows.  What memory a batch takes is sq_backward_bytes().
 */
#ifndef SQ_MODEL_BACKWARD_H
#define SQ_MODEL_BACKWARD_H

#include "model/trail.h"

/* Gradients are added to what is here; NULL: not wanted. */
struct sq_linear_grad {
	float *w;			/* [out][in] */
	float *bias;			/* [out] */
};

struct sq_layer_grad {
	float *attn_norm, *ffn_norm, *q_norm, *k_norm;
	struct sq_linear_grad q, k, v, o, gate, up, down;
};

/* The linear layers of a block, and their gradients, in the order of a forward
 * pass. */
#define SQ_LINEARS	7

struct sq_linear *sq_layer_linear(struct sq_layer *, int i);
struct sq_linear_grad *sq_layer_linear_grad(struct sq_layer_grad *, int i);

struct sq_backward {
	struct sq_forward f;		/* f.x: input, output */
	size_t samples, length;
	/* private */
	struct sq_trail trail;
	struct sq_kvcache cache;
	struct sq_kvseq *seq;		/* [samples] */
	struct sq_feed *feed;
	float *angles;			/* with the sines negated */
	float *mem, *dim[2], *query[2], *kv[2], *ffn;
	float *weight;			/* dense, of one that is not: of the
					   precision's type */
	size_t weight_size;
};

/* A batch holds up to `samples' sequences.  -1 with the reason; either way it
 * is released by sq_backward_release(), which is harmless on all zeros. */
int	 sq_backward_init(struct sq_backward *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, size_t samples, size_t length,
	    char *err);
/* For the way forth alone. */
int	 sq_backward_init_forth(struct sq_backward *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, size_t samples, size_t length,
	    char *err);
void	 sq_backward_release(struct sq_backward *);
uint64_t sq_backward_bytes(const struct sq_config *, size_t samples,
	    size_t length);
uint64_t sq_backward_forth_bytes(const struct sq_config *, size_t samples,
	    size_t length);

/* Before any block is passed: from now on all can be returned to, most of them
 * without being passed again, as far as `most' bytes hold what that takes
 * (trail.h). */
int	 sq_backward_hold(struct sq_backward *, uint64_t most, char *err);

/* The token ids of whole sequences to f.x; n: sequences. */
int	 sq_backward_embed(struct sq_backward *, const uint32_t *ids, size_t n,
	    char *err);

/* Passes f.x through a block. */
int	 sq_backward_forward(struct sq_backward *, size_t layer, char *err);

/* A block that was passed since the last sq_backward_embed() becomes the one
 * that was passed last; of blocks that were, the last one comes first. */
int	 sq_backward_return(struct sq_backward *, size_t layer, char *err);

/*
 * Back through the block that was passed last: dx is the gradient of its
 * output and, when `through' is set, becomes that of its input; else it is
 * left in ruins and what concerns the input alone is not computed.
 */
int	 sq_backward_block(struct sq_backward *, size_t layer,
	    const struct sq_mat *dx, const struct sq_layer_grad *,
	    int through, char *err);

/* A linear layer alone: x its input, dy the gradient of its output; dx, unless
 * NULL, becomes that of its input.  Its bias may be absent. */
int	 sq_backward_linear(struct sq_backward *, const struct sq_linear *,
	    const struct sq_mat *x, const struct sq_mat *dy,
	    const struct sq_mat *dx, const struct sq_linear_grad *, char *err);

#endif
