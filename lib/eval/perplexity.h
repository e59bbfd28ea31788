/*
 * How well a model predicts a text, and how far it is from a reference: mean
 * negative log-likelihood, KL divergence, agreement of the first choice.
 */
#ifndef SQ_EVAL_PERPLEXITY_H
#define SQ_EVAL_PERPLEXITY_H

#include <stdint.h>

#include "base/progress.h"
#include "eval/shard.h"
#include "kernels/kern.h"
#include "kv/kvpolicy.h"
#include "model/model.h"

/*
 * SQ_WINDOWS: the tokens are cut into windows of `length', the rest dropped;
 * every token of a window but its first is scored.
 * SQ_LLAMA: as llama.cpp does it: the first token of a window is replaced by
 * BOS, and the second half is scored.
 */
enum sq_protocol { SQ_WINDOWS, SQ_LLAMA };

struct sq_ppl {
	struct sq_ctx *ctx;
	const struct sq_model *model;
	const struct sq_model *reference;	/* or NULL */
	enum sq_prec prec;
	const struct sq_kv_policy *kv;		/* of the model; NULL: plain */
	enum sq_protocol protocol;
	size_t length;				/* of a window, tokens */
	uint32_t bos;				/* SQ_LLAMA */
	struct sq_shard shard;			/* of the windows */
	struct sq_progress *progress;		/* counts tokens */
};

struct sq_ppl_result {
	uint64_t tokens;		/* scored */
	double nll, nll_stderr;		/* nats for a token */
	double kl, kl_stderr;		/* NAN without a reference */
	double top1, top5;		/* likewise */
	/* against the reference, token by token: the difference of the nll
	 * with its standard error and the chance of one as large (two-sided);
	 * the share of tokens that the reference's first choice had right and
	 * the model's has not, and the other way round */
	double delta, delta_stderr, p, lost, won;
};

/* 0, or -1 with the reason: too few tokens, numbers that are not finite. */
int	 sq_ppl_run(const struct sq_ppl *, const uint32_t *ids, size_t n,
	    struct sq_ppl_result *, char *err);

#endif
