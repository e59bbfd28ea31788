/*
 * What sq-gptq makes goes to an sq-distill of its own, which learns on from
 * there towards what the original says; for bin/ only, as stage.h.
 */
#ifndef SQ_QUANT_LEARN_STAGE_H
#define SQ_QUANT_LEARN_STAGE_H

#include "quant/stage.h"

struct sq_learn_stage {
	long steps, batch;		/* 0 steps: none of this */
	int f32;
	const char *state_path;		/* or NULL */
	pid_t pid;
};

/* Before the filter is opened: the original, where it does not come from a
 * file, is kept in one, in TMPDIR; standard output becomes the other's input. */
void	 sq_learn_begin(struct sq_learn_stage *, struct sq_filter *);

/* The stream is out: waits for the other, whose exit status is returned. */
int	 sq_learn_end(struct sq_learn_stage *);

#endif
