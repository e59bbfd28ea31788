/*
 * Many sequences at a time over one model: requests join, are cancelled and
 * leave while others go on.  A step computes one chunk of the prompts that wait
 * and one token of every answer at work.
 *
 * A request gets the tokens that it gets alone, bit for bit.  Prompts are cut at
 * fixed positions (multiples of SQ_BATCHER_CHUNK, and the last full block), their
 * rows are computed as SQ_BATCH_CHUNK, answers as SQ_BATCH_STEP; so neither
 * company nor a reused prefix changes a row.  All of a prompt but its last token
 * is a prompt; that token is the first step of the answer.
 *
 * One thread at a time; callbacks may submit and cancel.
 */
#ifndef SQ_ENGINE_BATCHER_H
#define SQ_ENGINE_BATCHER_H

#include "kv/kvcache.h"
#include "model/model.h"
#include "model/sampler.h"
#include "model/tokenizer.h"

#define SQ_BATCHER_CHUNK	512		/* tokens of a prompt at a time */
#define SQ_BATCHER_PAGE	64		/* tokens of a block */

struct sq_batcher_how {
	const struct sq_model *model;
	const struct sq_tokenizer *tok;	/* NULL: no text in events */
	struct sq_ctx *ctx;
	enum sq_prec prec;
	struct sq_kv_policy kv;
	struct sq_kv_policy prefill;	/* of prompts; when they are done they
					   are converted */
	int split;			/* prefill is another policy than kv */
	size_t seqs;			/* at work at a time */
	size_t context;			/* tokens of a sequence, at most */
	uint64_t memory;		/* of the cache, bytes; 0: no limit */
	const uint32_t *eos;		/* copied */
	size_t neos;
	const char *digest;		/* of the model, for hashes */
	int no_reuse;			/* of prefixes */
};

enum sq_finish { SQ_STOP, SQ_LENGTH, SQ_CANCELLED, SQ_FAILED };

/* "stop" ... */
const char *sq_finish_name(enum sq_finish);

enum sq_event_kind {
	SQ_EV_LOGITS,		/* of a position of the prompt, if asked */
	SQ_EV_CACHE,		/* the prompt is done: all but its last token
				   is in seq; the request ends here when it
				   wants no tokens */
	SQ_EV_TOKEN,
	SQ_EV_END		/* the last event of a request */
};

struct sq_usage {
	size_t prompt, reused, made;	/* tokens */
	double start, first, last;	/* seconds of a monotonic clock */
};

struct sq_event {
	enum sq_event_kind kind;
	uint64_t id;
	size_t position;		/* of the token, or of the logits */
	uint32_t token;
	const float *logits;		/* that the token was drawn from, or that
					   follow the position */
	const char *text;		/* what can be shown now: TOKEN, END */
	size_t len;
	struct sq_kvseq *seq;
	enum sq_finish finish;		/* END */
	const char *why;		/* SQ_FAILED */
	const struct sq_usage *usage;
};

typedef void sq_event_fn(void *arg, const struct sq_event *);

struct sq_request {
	const uint32_t *ids;		/* copied */
	size_t n, max_tokens;
	struct sq_sampling sampling;
	const char *const *stop;	/* copied */
	size_t nstop;
	int prompt_logits;		/* SQ_EV_LOGITS, and no prefix reused */
	int ignore_eos;
	struct sq_kvseq *seq;		/* NULL; or n - 1 tokens of the engine's
					   cache, which the engine takes */
	sq_event_fn *event;
	void *arg;
};

struct sq_batcher_totals {
	size_t requests, prompt, reused, made, evicted;
	uint64_t kv_held, kv_peak, kv_budget;
	uint64_t kv_need;		/* the most that a request may need */
	uint64_t activations;		/* bytes of the forward pass */
	uint64_t seen, seen_all;	/* blocks of keys, where attention is
					   sparse; else 0 */
};

struct sq_batcher;

struct sq_batcher *sq_batcher_new(const struct sq_batcher_how *, char *err);
void	 sq_batcher_free(struct sq_batcher *);

/* The number of the request, or 0 with the reason: nothing is called then. */
uint64_t sq_batcher_submit(struct sq_batcher *, const struct sq_request *,
	    char *err);

/* Its SQ_EV_END comes in the next step. */
void	 sq_batcher_cancel(struct sq_batcher *, uint64_t id);

/* 1 while there is work, 0 when all requests have ended; -1 when nothing can go
 * on, after every request has been told. */
int	 sq_batcher_step(struct sq_batcher *, char *err);

/* Steps until nothing is left. */
int	 sq_batcher_run(struct sq_batcher *, char *err);

/* Where prompts are computed, and where answers are: the same unless split. */
struct sq_kvcache *sq_batcher_prefill_cache(struct sq_batcher *);
struct sq_kvcache *sq_batcher_cache(struct sq_batcher *);

void	 sq_batcher_totals(const struct sq_batcher *, struct sq_batcher_totals *);

#endif
