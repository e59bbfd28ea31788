/*
 * How fast a model answers, offline: `batch' requests of `prompt' random tokens
 * arrive at once and get `generate' tokens each.  Times are those of
 * sq-metrics(7).
 */
#ifndef SQ_EVAL_BENCH_MODEL_H
#define SQ_EVAL_BENCH_MODEL_H

#include <stdint.h>

#include "kernels/kern.h"
#include "kv/kvpolicy.h"
#include "model/model.h"

struct sq_bench_model {
	struct sq_ctx *ctx;
	const struct sq_model *model;
	enum sq_prec prec;
	const struct sq_kv_policy *kv;	/* of the cache; NULL: plain */
	size_t batch, prompt, generate;
	size_t runs;			/* after one that does not count */
	uint64_t seed;
};

/* One figure: name and unit as in sq-metrics(7). */
typedef void sq_bench_figure_fn(void *arg, const char *metric, double value,
	    const char *unit);

/* All figures, over all counted runs.  -1 with the reason. */
int	 sq_bench_model(const struct sq_bench_model *, sq_bench_figure_fn *,
	    void *arg, char *err);

#endif
