/*
 * A model whose weights kernels can work on: pointers into what the source
 * mapped, and the small vectors as float32.
 */
#ifndef SQ_MODEL_MODEL_H
#define SQ_MODEL_MODEL_H

#include "kernels/kern.h"
#include "model/attn_sparse.h"
#include "model/source.h"

/* A linear layer: y = W x + b. */
struct sq_linear {
	struct sq_weight w;		/* data NULL: not there */
	float *bias;			/* [w.rows], or NULL */
	struct sq_act act;		/* x is quantized so first */
	void *own;			/* its memory on a device, or NULL */
};

struct sq_expert {
	struct sq_linear gate, up, down;
};

struct sq_layer {
	float *attn_norm, *ffn_norm;		/* [dim] */
	float *q_norm, *k_norm;			/* [head_dim], or NULL */
	struct sq_linear q, k, v, o, gate, up, down;
	struct sq_linear router;
	struct sq_expert *expert;		/* [config.experts], or NULL */
};

struct sq_model {
	struct sq_config config;
	struct sq_linear embed, head;	/* head.w is embed.w when tied */
	float *norm;			/* [dim] */
	struct sq_layer *layer;		/* [config.layers] */
	struct sq_slot *slot;
	size_t nslots;
	struct sq_source *source;	/* what the weights point into, or NULL */
	const struct sq_mem *mem;	/* where weights and vectors are to be */
	struct sq_attn_choice attention;	/* which keys are seen */
};

/* An empty model of that configuration: weights come by sq_model_bind(). */
struct sq_model *sq_model_new(const struct sq_config *, char *err);

/* Opens and binds everything; the source is the model's. */
struct sq_model *sq_model_open(const char *path, char *err);
void	 sq_model_free(struct sq_model *);

/* A block that has been passed for good: what the model itself holds of it goes,
 * such as a device's copies. */
void	 sq_model_drop(struct sq_model *, size_t layer);

/*
 * Takes one tensor: a weight keeps pointing at its parts, which must outlive
 * it; a vector is converted (into memory of the model's).  A tensor that the
 * architecture does not name is left aside.
 */
int	 sq_model_bind(struct sq_model *, const struct sq_tensor *,
	    const void *const part[SQ_PARTS], char *err);

/*
 * Takes what is bound, and whatever will be, to the memory in which kernels
 * work: nothing to do when that is the host's.  After -1 the model can only be
 * freed.
 */
int	 sq_model_place(struct sq_model *, const struct sq_mem *, char *err);

/* The weight of a slot; NULL when it has none. */
struct sq_linear *sq_model_slot(struct sq_model *, const struct sq_slot *);

/* The weight of a role in a layer; NULL when it has none. */
struct sq_linear *sq_model_linear(struct sq_model *, enum sq_role,
	    size_t layer);

#endif
