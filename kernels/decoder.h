/*
 * A whole model on a device: what a plug-in may have besides its table.  The
 * operations of the table leave the host in charge of each; a decoder runs
 * steps of generation, for many sequences at once, with nothing going back to
 * the host but the tokens, and fuses what lies between the products.
 *
 * It knows one shape of block: rmsnorm, q k v without bias, rotary embedding,
 * grouped attention, gate and up with SiLU, down.  Whoever has another runs it
 * over the table.
 */
#ifndef SQ_KERNELS_DECODER_H
#define SQ_KERNELS_DECODER_H

#include "kernels/kern.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How weights and activations are multiplied. */
enum sq_dec_mode {
	SQ_DEC_BF16,		/* weights and activations bf16 */
	SQ_DEC_FP8,		/* weights e4m3 by output, activations by token */
	SQ_DEC_W4		/* int4 weights with activations of 16 bits for
				   few tokens, the same in fp8 for many */
};

/* What the cache holds; int4: with a scale and a minimum for each head of a
 * token, f16. */
enum sq_dec_kv { SQ_DEC_KV_BF16, SQ_DEC_KV_FP8, SQ_DEC_KV_INT4 };

struct sq_dec_shape {
	size_t layers, dim, ffn, heads, kv_heads, head_dim, vocab;
	float eps;
	enum sq_dec_mode mode;
	enum sq_dec_kv kv;
	size_t slots;			/* sequences at a time */
	size_t context;			/* tokens of a sequence, at most */
	size_t pages;			/* of SQ_DEC_PAGE tokens, in all; 0:
					   as many as there is memory for */
	size_t rows;			/* tokens of a prefill, at most */
	const char *table;		/* a file where products that were
					   measured are found and put; or NULL */
};

#define SQ_DEC_PAGE	64

/* The weights of a block, and those beside the blocks (layer 0). */
enum sq_dec_role {
	SQ_DEC_Q, SQ_DEC_K, SQ_DEC_V, SQ_DEC_O, SQ_DEC_GATE, SQ_DEC_UP,
	SQ_DEC_DOWN, SQ_DEC_EMBED, SQ_DEC_HEAD,
	SQ_DEC_ATTN_NORM, SQ_DEC_FFN_NORM, SQ_DEC_NORM	/* vectors */
};

/* A prompt that goes into an empty slot. */
struct sq_dec_prompt {
	size_t slot, n;
	const uint32_t *ids;
	size_t most;			/* tokens that the slot is to hold */
};

/* As model/sampler.h has it; temperature 0: greedy. */
struct sq_dec_sampling {
	double temperature, top_p, min_p;
	size_t top_k;
	uint64_t seed;
};

struct sq_decoder;

/* All return 0, or -1 with the reason in err (SQ_ERR bytes). */
struct sq_decoder_ops {
	struct sq_decoder *(*open)(const struct sq_dec_shape *, char *err);
	void (*close)(struct sq_decoder *);
	/* one weight of the host's; in mode W4 those of a block must be int4,
	 * symmetric, in groups of whole multiples of 128 */
	int (*weight)(struct sq_decoder *, enum sq_dec_role, size_t layer,
	    const struct sq_weight *, char *err);
	int (*vector)(struct sq_decoder *, enum sq_dec_role, size_t layer,
	    const float *, char *err);
	/* cosines and sines as the operation `rope' wants them, [n][head_dim] */
	int (*angles)(struct sq_decoder *, const float *, size_t n,
	    char *err);
	/* all weights at random, as a trained model's are spread */
	int (*random)(struct sq_decoder *, uint64_t seed, char *err);
	/* passes prompts, `rows' tokens in all at most; the token after each is
	 * the first that the slot has made */
	int (*prefill)(struct sq_decoder *, const struct sq_dec_prompt *,
	    size_t n, char *err);
	/* an empty slot begins as another one did: both have the whole pages of
	 * its first n tokens; returns how many tokens that are, and is followed
	 * by extend() */
	long (*share)(struct sq_decoder *, size_t from, size_t to, size_t n,
	    size_t most, char *err);
	/* n tokens more of a slot that has some, `slots' at most; the one after
	 * them is the first that it has made */
	int (*extend)(struct sq_decoder *, size_t slot, const uint32_t *ids,
	    size_t n, char *err);
	/* how a slot that is still empty makes tokens, until it is cleared;
	 * else greedily */
	int (*sample)(struct sq_decoder *, size_t slot,
	    const struct sq_dec_sampling *, char *err);
	/* `steps' tokens more for each of these slots: nothing is waited for */
	int (*decode)(struct sq_decoder *, const uint32_t *slot, size_t n,
	    size_t steps, char *err);
	/* what a slot has made so far: up to most tokens, returns how many */
	long (*made)(struct sq_decoder *, size_t slot, uint32_t *ids,
	    size_t most, char *err);
	/* forgets the sequence and gives its pages back */
	void (*clear)(struct sq_decoder *, size_t slot);
	size_t (*pages_left)(struct sq_decoder *);
	/* bytes of the device: of all but the cache, and of a page of it */
	void (*memory)(struct sq_decoder *, size_t *all, size_t *page);
	int (*sync)(struct sq_decoder *, char *err);
	/* energy that the device has used so far, in joule; negative: unknown */
	double (*energy)(struct sq_decoder *);
};

#define SQ_PLUGIN_DECODER	"sq_plugin_decoder"
typedef const struct sq_decoder_ops *sq_plugin_decoder_fn(void);

/* The decoder of a plug-in; NULL with the reason in err. */
const struct sq_decoder_ops *sq_decoder_find(const char *name, char *err);

#ifdef __cplusplus
}
#endif

#endif
