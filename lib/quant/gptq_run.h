/*
 * GPTQ of a model that passes: with the statistics in the stream, with those
 * that its TOKENS give (sequential.h), or tuned (tune_run.h).
 */
#ifndef SQ_QUANT_GPTQ_RUN_H
#define SQ_QUANT_GPTQ_RUN_H

#include "quant/budget.h"
#include "quant/sequential.h"
#include "quant/tune_run.h"

/* Wanted by a profile, it is left where the stream has no tokens, or too few
 * samples of them, and for what it cannot do. */
enum sq_gptq_sequential { SQ_SEQ_NO, SQ_SEQ_YES, SQ_SEQ_WHERE };

struct sq_gptq_run {
	struct sq_filter f;		/* first: it is cast back */
	/* options */
	struct sq_gptq_layer layer;
	struct sq_tune_run tune;	/* tune.tune.steps 0: not wanted */
	struct sq_budget budget;	/* bits 0: none */
	int drop;			/* statistics are not passed on */
	enum sq_gptq_sequential sequential;
	const char *state_path;		/* NULL: finished work is not kept */
	/* What there is to say: statistics have been read, an input of
	 * --sequential has its factor, a tensor is quantized, or was by an
	 * earlier run; the profile's `sequential' is left; arg: the run. */
	void (*seen)(void *arg);
	void (*input)(void *arg, double strength);
	void (*made)(void *arg, const struct sq_tensor *);
	void (*reused)(void *arg, const struct sq_tensor *);
	void (*plain)(void *arg);
	/* state */
	struct sq_sequential *seq;	/* NULL: not so */
	struct sq_tune_state state;	/* of finished tensors */
	XXH128_hash_t key;		/* of all that they depend on, but for
					   what follows */
	uint64_t stats[2];		/* hashes of the last STATS */
	uint64_t nth;			/* tensors that were meant so far */
};

/*
 * Options are set and the filter is open: plans the budget, and makes the
 * filter do the work.  -1 with the reason in f.err.
 */
int	 sq_gptq_run_init(struct sq_gptq_run *);
void	 sq_gptq_run_release(struct sq_gptq_run *);

#endif
