/*
 * Checkpoints of other programs whose weights are quantized already:
 * compressed-tensors, GPTQ, AWQ and AscendV1.  Their tensors become those of
 * sq-stream(5) with the same integers; see the formats' headers.
 */
#ifndef SQ_MODEL_SOURCE_QUANTIZED_H
#define SQ_MODEL_SOURCE_QUANTIZED_H

#include <jansson.h>

#include "model/source.h"

struct sq_quantized_kind;

/* What one quantized weight is made of. */
struct sq_stored {
	const struct sq_quantized_kind *kind;
	const struct sq_st_tensor *w, *scale, *zero;
	int bits;
	int less;		/* gptq: what a zero point is stored less */
	int old;		/* compressed-tensors: floor(32/b) in a word */
};

struct sq_quantized {
	const struct sq_quantized_kind *kind;	/* NULL: not quantized */
	json_t *config;		/* what the checkpoint says of itself */
	enum sq_dtype type;	/* of the model's values */
	struct sq_stored *stored;
	size_t nstored;
	unsigned char *used;	/* [st->ntensors] */
};

/*
 * A weight of the architecture that the checkpoint does not have under its own
 * name with values in it.  find: t has name and shape; 1 with the rest filled
 * in and what it is made of in `stored', 0 when it is not there, -1 with the
 * reason.  suffixes: the tensors of a module that are taken with it.
 */
struct sq_quantized_kind {
	const char *name;
	int (*find)(const struct sq_quantized *, const struct sq_source *,
	    const char *module, struct sq_source_tensor *t,
	    struct sq_stored *stored, char *err);
	/* One whole part, from the data p (aligned) of st: that of stored. */
	int (*unpack)(const struct sq_tensor *t, const struct sq_stored *,
	    const struct sq_st_tensor *st, const void *p, void *buf, char *err);
	const char *const *suffixes;
};

extern const struct sq_quantized_kind sq_quantized_ct, sq_quantized_gptq,
	sq_quantized_awq, sq_quantized_ascend;

/*
 * Is the checkpoint in the directory quantized, and how?  config: the text of
 * its config.json, of *n bytes (malloc'd), which is replaced by one without
 * quantization_config.
 */
int	 sq_quantized_init(struct sq_quantized *, int dirfd, char **config,
	    size_t *n, char *err);
void	 sq_quantized_release(struct sq_quantized *);

/* Before the first weight: s->st is open; there are at most n. */
int	 sq_quantized_begin(struct sq_quantized *, struct sq_source *s,
	    size_t n, char *err);

/* The weight of a slot, into t: 1; 0 when it is not there; -1. */
int	 sq_quantized_find(struct sq_quantized *, const struct sq_source *,
	    const struct sq_slot *, struct sq_source_tensor *t, char *err);

/* 1 when tensor i of the files went into a weight. */
int	 sq_quantized_used(const struct sq_quantized *, size_t i);

/* For the kinds: tensor MODULE.SUFFIX, or NULL. */
const struct sq_st_tensor *sq_stored_find(const struct sq_source *,
	    const char *module, const char *suffix);

/* 1 when st is a matrix of that type and shape. */
int	 sq_stored_is(const struct sq_st_tensor *, enum sq_dtype, uint64_t rows,
	    uint64_t cols);

/* How the layer's inputs are quantized: kind, and the scale of all of them when
 * MODULE.input_scale is wanted: 0, or -1 with the reason. */
int	 sq_stored_act(struct sq_tensor *t, const struct sq_source *,
	    const char *module, enum sq_act_kind, int is_static, char *err);

/* Its values, mapped. */
const void *sq_stored_map(const struct sq_source *, const struct sq_st_tensor *,
	    char *err);

/*
 * The groups of t from scales [rows][n] or [rows] (whole rows), [1] (all), or
 * blocks of 128 x 128: 0, or -1 with the reason.  turned: [n][rows].
 */
int	 sq_stored_groups(struct sq_tensor *t, const struct sq_st_tensor *scale,
	    int turned, char *err);

#endif
