/*
 * GPTQ one layer after the other, each with what the quantized layers before it
 * make of the text (target.h): TOKENS go through the model as it was and as it
 * becomes, block by block, side by side.
 *
 * A block is held in memory.  For each input of its linear layers in turn: the
 * samples run up to there in both models; H and the target are taken from the
 * two inputs; the layers are quantized, and bound to the second model.
 */
#ifndef SQ_QUANT_SEQUENTIAL_H
#define SQ_QUANT_SEQUENTIAL_H

#define SQ_SEQUENTIAL_LEAST	8	/* samples */

#include "calib/block.h"
#include "calib/hidden.h"
#include "formats/fmt_stats.h"
#include "quant/filter.h"
#include "quant/gptq_layer.h"

struct sq_sequential;

/* A block whose layers are quantized: what can be made of it further. */
struct sq_sequential_block {
	const struct sq_block *whole;	/* as it came */
	struct sq_block *small;		/* as it becomes: payloads may change */
	struct sq_model *model;		/* of small, which is bound again */
	struct sq_hidden *in;		/* before it, in that model */
	struct sq_hidden *target;	/* after it, in the first model */
};

struct sq_sequential_set {
	struct sq_filter *filter;
	struct sq_gptq_layer *layer;	/* options; results of each tensor */
	enum sq_prec prec;
	/* Sets the layer's rule for a tensor; an input has its factor; a
	 * tensor is quantized. */
	void (*rule)(void *arg, const struct sq_tensor *,
	    const struct sq_slot *);
	void (*input)(void *arg, double strength);
	void (*made)(void *arg, const struct sq_tensor *);
	void *arg;
	/* Or NULL: what a block becomes in the end, and the memory for it. */
	int (*block)(void *block_arg, const struct sq_sequential_block *,
	    char *err);
	uint64_t (*memory)(void *block_arg, const struct sq_tokens *);
	void *block_arg;
};

/*
 * What a filter calls: TOKENS have been read, and are passed on; a tensor, in
 * place of sq_filter's own; the end.  -1 with the reason in the filter's err.
 */
struct sq_sequential *sq_sequential_new(const struct sq_sequential_set *);
int	 sq_sequential_tokens(struct sq_sequential *);
int	 sq_sequential_tensor(struct sq_sequential *, const struct sq_tensor *,
	    const struct sq_slot *);
int	 sq_sequential_end(struct sq_sequential *);
void	 sq_sequential_free(struct sq_sequential *);

#endif
