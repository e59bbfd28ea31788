/*
 * What blocks leave behind on the way forth, for the way back: what went into
 * each, and of the last ones, as many as the memory holds, all that a backward
 * pass needs and that takes products to compute anew.
 */
#ifndef SQ_MODEL_TRAIL_H
#define SQ_MODEL_TRAIL_H

#include "model/forward.h"

struct sq_trail {
	/* private */
	size_t layers, first;		/* layers first .. are held whole */
	size_t rows;
	struct sq_trail_layer *layer;	/* [layers] */
	float *mem;
	struct sq_forward own;		/* its places as they were */
};

/* Of a forward pass that keeps; most: bytes.  -1 with the reason; released
 * by sq_trail_release() either way. */
int	 sq_trail_init(struct sq_trail *, const struct sq_forward *,
	    uint64_t most, char *err);
void	 sq_trail_release(struct sq_trail *);
uint64_t sq_trail_bytes(const struct sq_config *, size_t rows, uint64_t most);

/* The next block that f passes is `layer'. */
void	 sq_trail_forth(struct sq_trail *, struct sq_forward *f, size_t layer);

/* What went into the layer: [rows][dim]. */
const float *sq_trail_entry(const struct sq_trail *, size_t layer);

/* After such a block, and others, f again has what this one left behind: 1; 0:
 * it has to be passed once more; -1 with the reason. */
int	 sq_trail_back(struct sq_trail *, struct sq_forward *f, size_t layer,
	    size_t rows, char *err);

#endif
