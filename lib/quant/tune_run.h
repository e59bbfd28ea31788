/*
 * Tuning in a stream (tune.h): TOKENS pass through the original and through
 * the quantized blocks side by side, block by block.  A weight begins as GPTQ
 * leaves it when statistics came before it, else rounded to nearest; or, after
 * sequential.h, which has the stream then, as that leaves it.
 *
 * Statistics end here: they would stand before tensors that are still at work.
 */
#ifndef SQ_QUANT_TUNE_RUN_H
#define SQ_QUANT_TUNE_RUN_H

#include "quant/filter.h"
#include "quant/gptq_layer.h"
#include "quant/sequential.h"
#include "quant/tune.h"
#include "quant/tune_state.h"

#define SQ_TUNE_HELD	24		/* tensors of a block at most */

/* A tensor of the block at work, and what becomes of it. */
struct sq_tune_tensor {
	struct sq_tensor t, made;
	const struct sq_slot *slot;
	unsigned char *payload;		/* of t */
	unsigned char *codes;		/* payload of made, or NULL */
	struct sq_tune_weight weight;
};

struct sq_tune_run {
	/* options */
	struct sq_tune tune;		/* its steps and batch */
	enum sq_prec prec;
	const char *state_path;		/* NULL: none */
	struct sq_filter *filter;
	struct sq_gptq_layer *layer;	/* how weights begin */
	void (*told)(void *arg, const struct sq_tune_run *, int reused);
	void *arg;
	/* state */
	struct sq_tune_state state;
	struct sq_tokens tokens;
	XXH128_hash_t key;		/* of model, text and options */
	struct sq_model *model;
	struct sq_backward back;
	struct sq_hidden in, target;
	struct sq_tune_tensor held[SQ_TUNE_HELD];
	int nheld;
	uint64_t block;			/* the one at work */
};

/* Options are set: makes what does not depend on the stream. */
int	 sq_tune_run_init(struct sq_tune_run *, char *err);
void	 sq_tune_run_release(struct sq_tune_run *);

/* For the functions of struct sq_filter. */
int	 sq_tune_run_record(struct sq_tune_run *);
int	 sq_tune_run_tensor(struct sq_tune_run *, const struct sq_tensor *,
	    const struct sq_slot *);
int	 sq_tune_run_end(struct sq_tune_run *);

/* For those of struct sq_sequential_set; arg is the struct sq_tune_run. */
uint64_t sq_tune_run_memory(void *arg, const struct sq_tokens *);
int	 sq_tune_run_block(void *arg, const struct sq_sequential_block *,
	    char *err);

#endif
