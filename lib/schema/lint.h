/*
 * What an engine will refuse of a profile, and of a model that is compressed by
 * it: found before hours are spent.
 */
#ifndef SQ_SCHEMA_LINT_H
#define SQ_SCHEMA_LINT_H

#include "model/config.h"
#include "schema/engine.h"

struct sq_lint {
	const struct sq_engine *engine;
	unsigned ranks;			/* tensor parallel; at least 1 */
	size_t found;			/* result: problems so far */
	char **problem;			/* [found]: lines without an end */
	/* private */
	int failed;			/* there was no memory */
};

/* The profile alone: 0, or -1 when there is no memory. */
int	 sq_lint_profile(struct sq_lint *, const struct sq_profile *);

/* The profile on a model's tensors, beyond that. */
int	 sq_lint_model(struct sq_lint *, const struct sq_profile *,
	    const struct sq_config *);

/* A quantized tensor as it is. */
int	 sq_lint_tensor(struct sq_lint *, const struct sq_slot *,
	    const struct sq_profile_rule *, enum sq_input_kind);

void	 sq_lint_release(struct sq_lint *);

/*
 * The warnings about a profile on a backend (a kernel_backend, or any name of
 * sq_engine_load()): sq_lint_profile() in one call.  -1 with the reason.
 */
int	 sq_profile_validate(const struct sq_profile *, const char *backend,
	    struct sq_lint *, char *err);

#endif
