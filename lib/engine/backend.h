/*
 * The public way in: a model with its profile, ready to answer.
 *
 *	b = sq_backend_load_profile("w4.sqa", NULL, NULL, err);
 *	sq_backend_run(b, prompts, n, &sampling, results, err);
 *	sq_backend_free(b);
 */
#ifndef SQ_ENGINE_BACKEND_H
#define SQ_ENGINE_BACKEND_H

#include "engine/batcher.h"
#include "engine/prompts.h"
#include "model/files.h"

#define SQ_WHY	4096

struct sq_backend_how {
	const struct sq_kern *kern;	/* NULL: the fastest */
	int threads;			/* 0: all processors */
	void (*fell)(const char *op, const char *from, const char *to);
	uint64_t memory;		/* of the KV cache; 0: a quarter of the
					   machine's */
	const struct sq_genopt *opt;	/* NULL: the defaults */
	int no_engine;			/* the model alone, no cache */
};

struct sq_runner {
	struct sq_ctx ctx;
	struct sq_model *model;
	struct sq_tokenizer *tok;
	struct sq_batcher *engine;
	struct sq_batcher_how how;
	uint32_t eos[SQ_MAX_EOS];
	char digest[SQ_DIGEST];		/* of the model as it is stored */
	char profile[SQ_NAME];		/* the name of its profile; "": none */
	char why[SQ_WHY];		/* how the precision of the cache was
					   chosen: lines */
};

/*
 * artifacts: a model in any form; profile: a file of sq-profile(5), or NULL for
 * what the artifact says.  NULL with the reason.
 */
struct sq_runner *sq_backend_load_profile(const char *artifacts,
	    const char *profile, const struct sq_backend_how *, char *err);
void	 sq_backend_free(struct sq_runner *);

/* Puts a request together: prompt text to ids (those of *ids), options. */
int	 sq_backend_request(const struct sq_runner *, const struct sq_prompt *,
	    struct sq_ids *ids, struct sq_request *, char *err);

struct sq_generation {
	char *text;
	size_t len;
	uint32_t *token;
	double *logprob;		/* of each token, at temperature 1 */
	size_t n;
	enum sq_finish finish;
	char error[SQ_ERR];		/* SQ_FAILED */
	struct sq_usage usage;
};

/* All prompts at once; -1 when nothing can go on.  Results are released each
 * by sq_generation_release(), also after -1. */
int	 sq_backend_run(struct sq_runner *, const char *const *prompts,
	    size_t n, const struct sq_genopt *, struct sq_generation *,
	    char *err);
void	 sq_generation_release(struct sq_generation *);

/* One prompt, whose events are also passed on as they come; the text is in g,
 * which is released by the caller, also after -1. */
int	 sq_backend_say(struct sq_runner *, const struct sq_prompt *,
	    void *arg, sq_event_fn *event, struct sq_generation *g,
	    char *err);

/* The logarithm of the probability of a token. */
double	 sq_logprob(const float *logits, size_t vocab, uint32_t token);

#endif
