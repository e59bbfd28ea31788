/*
 * What a model is: its config.json, checked, and the table of architectures.
 * This is the only description of an architecture: which tensors it has, in
 * which order a forward pass meets them, and what is special about it.
 */
#ifndef SQ_MODEL_CONFIG_H
#define SQ_MODEL_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"

enum sq_rope_kind { SQ_ROPE_PLAIN, SQ_ROPE_LINEAR, SQ_ROPE_LLAMA3,
	SQ_ROPE_YARN };

#define SQ_MAX_LAYERS	4096

/* Rotary embedding: rope_theta and rope_scaling of config.json. */
struct sq_rope {
	enum sq_rope_kind kind;
	double theta, factor;
	double low_freq, high_freq;		/* llama3 */
	double beta_fast, beta_slow;		/* yarn */
	double attention_factor;		/* yarn; 0: from factor */
	double mscale, mscale_all;		/* yarn; 0: absent */
	int truncate;				/* yarn: whole dimensions */
	uint64_t original_context;
};

/* What sets an architecture apart; the rest of a block is common to all. */
struct sq_arch {
	const char *name;			/* in "architectures" */
	int qkv_bias;		/* always has biases on q, k and v */
	int qk_norm;		/* RMS norms over q and k heads */
	int tied;		/* tie_word_embeddings when config is silent */
	const struct sq_moe_names *moe;	/* a mixture of experts, or NULL */
};

/* A mixture of experts: how config.json and the tensors call what they have. */
struct sq_moe_names {
	const char *count;		/* experts, in config.json */
	const char *width;		/* inner width of one */
	const char *router, *expert;	/* module names; expert: "a.%ju" */
	const char *gate, *up, *down;
	int renormalize;		/* the weights of the chosen: 1 yes,
					   0 as norm_topk_prob says */
};

struct sq_config {
	const struct sq_arch *arch;
	uint64_t dim, layers, heads, kv_heads, head_dim, ffn, vocab, context;
	double eps;
	struct sq_rope rope;
	uint64_t window;			/* 0: none */
	uint64_t window_from;			/* first layer that has it */
	int tied, qkv_bias, o_bias, mlp_bias;
	int64_t bos, eos;			/* -1: none */
	uint64_t experts, chosen;		/* of a layer, of a token; 0 */
	uint64_t expert_ffn;
	int renormalize;
	uint64_t moe_step;			/* every so many layers */
	unsigned char dense[SQ_MAX_LAYERS / 8];	/* bits: layers without */
};

/* Does that layer have experts? */
int	 sq_config_has_experts(const struct sq_config *, uint64_t layer);

/* Reads and checks config.json: 0, or -1 with the key that is wrong. */
int	 sq_config_parse(struct sq_config *, const char *json, size_t len,
	    char *err);

#define SQ_MAX_EXPERTS	512		/* of a layer */
#define SQ_MAX_EXPERTS_ALL	65536	/* of all layers */

/* What a tensor is for. */
enum sq_role {
	SQ_EMBED, SQ_ATTN_NORM, SQ_Q, SQ_K, SQ_V, SQ_Q_NORM, SQ_K_NORM, SQ_O,
	SQ_FFN_NORM, SQ_GATE, SQ_UP, SQ_DOWN, SQ_NORM, SQ_HEAD, SQ_ROUTER
};

/* One tensor that the architecture names. */
struct sq_slot {
	char name[SQ_NAME];
	enum sq_role role;
	int bias;			/* the bias of that role, a vector */
	int linear;			/* the weight of a block's linear layer */
	int required;
	uint64_t layer;
	int64_t expert;			/* -1: of none */
	int ndim;
	uint64_t dim[2];
};

/*
 * All of them in the order of a forward pass (sq-stream(5), Order): a new
 * array of *n, the caller's to free; NULL when there is no memory.
 */
struct sq_slot *sq_config_slots(const struct sq_config *, size_t *n);

/* The slot of that name, or NULL. */
const struct sq_slot *sq_slot_find(const struct sq_slot *, size_t n,
	    const char *name);

/* The names of the architectures, NULL at the end. */
const char *const *sq_arch_names(void);

#endif
