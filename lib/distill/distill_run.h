/*
 * Distillation in a stream: the student's tensors are held until all of them
 * have come, trained, and go out as they came in, the dense ones of the blocks
 * with their new values.
 */
#ifndef SQ_DISTILL_DISTILL_RUN_H
#define SQ_DISTILL_DISTILL_RUN_H

#include "distill/distill.h"
#include "quant/filter.h"

struct sq_distill_held;

struct sq_distill_run {
	/* options */
	struct sq_distill distill;	/* config, teacher, ctx, prec ... */
	struct sq_filter *filter;
	uint64_t memory;		/* bytes; 0: enough */
	char *text;			/* where there are no TOKENS, or NULL */
	size_t text_len;
	/* private */
	struct sq_tokens tokens;
	struct sq_distill_held *held;
	size_t n;
	int done;
};

/* For the functions of struct sq_filter. */
int	 sq_distill_run_record(struct sq_distill_run *);
int	 sq_distill_run_tensor(struct sq_distill_run *,
	    const struct sq_tensor *, const struct sq_slot *);
int	 sq_distill_run_end(struct sq_distill_run *);
void	 sq_distill_run_release(struct sq_distill_run *);

#endif
