/* A distillation's checkpoint: the step, values and moments, and a key of all
 * that they depend on; whole or not there (outfile.h). */
#ifndef SQ_DISTILL_STATE_H
#define SQ_DISTILL_STATE_H

#include "distill/distill.h"

/* From state_path, if there is such a file; to it.  -1 with the reason, also
 * when it is of another run. */
int	 sq_distill_load(struct sq_distill *, char *err);
int	 sq_distill_save(const struct sq_distill *, char *err);

#endif
