/*
 * The forward pass: the only one.  Evaluation, generation, calibration and
 * training run it; they differ in what they feed and what they take out.
 *
 * Activations are float32 between the operations; `prec' says to what the
 * operands of products are rounded.
 */
#ifndef SQ_MODEL_FORWARD_H
#define SQ_MODEL_FORWARD_H

#include "kernels/kern.h"
#include "kv/kvcache.h"
#include "model/model.h"

/*
 * Sees the input of the linear layers of one role (SQ_Q stands for q, k and v,
 * SQ_GATE for gate and up, SQ_O, SQ_DOWN), and the outputs SQ_K and SQ_V: keys
 * after the rotary embedding, values.  -1 stops the pass.
 */
typedef int sq_tap_fn(void *arg, enum sq_role role, size_t layer,
	    const struct sq_mat *x);

struct sq_forward {
	const struct sq_model *model;
	struct sq_ctx *ctx;
	enum sq_prec prec;
	size_t max_rows;		/* of a batch */
	struct sq_mat x;		/* hidden states: [rows][dim], where
					   the kernels work */
	sq_tap_fn *tap;			/* or NULL */
	void *tap_arg;
	int64_t expert;			/* whose input the tap sees, or -1 */
	/* private */
	float *mem, *hidden, *normed, *q, *k, *v, *att, *gate, *up;
	float *out, *ffn_normed, *act;	/* normed, normed and gate again, or */
	float *kept;			/* what sq_forward_keep() gave them */
	float *entry, *mid, *q_raw, *k_raw;	/* NULL unless kept */
	uint32_t *pos, *place;		/* positions; place: on the host */
	struct sq_qmat qx;		/* the last input that was quantized */
	const float *qx_of;		/* whose it is, or NULL */
	float qx_scale;			/* and with which scale */
	float *qx_values;		/* its values, where qx_valued */
	int qx_valued;
	float *angles;
	size_t npos;			/* positions that angles has */
	struct sq_seq *seq;
	size_t max_seqs;
	struct sq_attn_plan sparse;	/* of attention, with what was seen */
	float *moe;			/* memory of the experts, or NULL */
};

/* A part of one sequence in a batch: n tokens follow what kv holds. */
struct sq_feed {
	struct sq_kvseq *kv;
	const uint32_t *ids;		/* NULL when x is set already */
	size_t n;
};

int	 sq_forward_init(struct sq_forward *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, size_t max_rows, char *err);
void	 sq_forward_release(struct sq_forward *);

/* Bytes of the activations that it keeps for a batch. */
size_t	 sq_forward_bytes(const struct sq_forward *);

/*
 * From now on a block leaves behind all that a backward pass needs: normed
 * and ffn_normed, q, k and v as attention takes them (q_raw, k_raw: before
 * their norms), att, gate, up, act, and x as it was before the block (entry)
 * and between its halves (mid).
 */
int	 sq_forward_keep(struct sq_forward *, char *err);

/* The type of the cache that goes with a precision: F32, or BF16. */
enum sq_dtype sq_forward_kv_type(enum sq_prec);

/* Embeds the tokens of all feeds, one after the other, into x. */
int	 sq_forward_embed(struct sq_forward *, const struct sq_feed *,
	    size_t nfeeds, char *err);

/* Sets x, and takes a copy of it: [rows][dim], on the host. */
int	 sq_forward_put(struct sq_forward *, const float *x, size_t rows,
	    char *err);
int	 sq_forward_get(struct sq_forward *, float *x, char *err);

/* x is the caller's memory, which the kernels reach, and changes there, until
 * another one is set.  0 where they do not: nothing is done. */
int	 sq_forward_lend(struct sq_forward *, float *x, size_t rows);

/* Passes x through block `layer'; the cache has room and keeps its length. */
int	 sq_forward_block(struct sq_forward *, size_t layer,
	    const struct sq_feed *, size_t nfeeds, char *err);

/* The halves of a block, one after the other. */
int	 sq_forward_attention(struct sq_forward *, size_t layer,
	    const struct sq_feed *, size_t nfeeds, char *err);
int	 sq_forward_ffn(struct sq_forward *, size_t layer,
	    const struct sq_feed *, size_t nfeeds, char *err);

/* The end of a half alone: x passes it as it would have, had a tap just seen
 * `in' as the input of that role, SQ_O or SQ_DOWN. */
int	 sq_forward_leave(struct sq_forward *, enum sq_role, size_t layer,
	    const struct sq_mat *in, char *err);

/* All of it: embeds, passes every block, and moves the caches on.  x is then
 * what the final norm takes. */
int	 sq_forward(struct sq_forward *, const struct sq_feed *,
	    size_t nfeeds, char *err);

/* Logits [n][vocab] of rows row .. row+n-1 of x. */
int	 sq_forward_logits(struct sq_forward *, size_t row, size_t n,
	    const struct sq_mat *logits, char *err);

#endif
