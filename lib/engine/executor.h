/*
 * MixedPrecisionExecutor: which kernel computes each layer, and in what
 * precision, from how its weights are stored.
 */
#ifndef SQ_ENGINE_EXECUTOR_H
#define SQ_ENGINE_EXECUTOR_H

#include "kernels/kern.h"
#include "kv/kvcache.h"
#include "model/model.h"

#define SQ_PLAN	160			/* bytes of a line */

/* Takes a line of the plan; no newline. */
typedef void sq_plan_fn(void *arg, const char *line);

/* The plan, layers that are alike together: "layers 0-11 q: int4 g64 x bf16,
 * matmul avx2". */
void	 sq_executor_plan(const struct sq_model *, const struct sq_ctx *,
	    enum sq_prec, const struct sq_kvcache *, sq_plan_fn *, void *arg);

/* Of the plan: what the linear layers read for a token, and of what could be
 * multiplied, how much is; nothing where none is sparse. */
void	 sq_executor_sparse(const struct sq_model *, const struct sq_ctx *,
	    sq_plan_fn *, void *arg);

#endif
