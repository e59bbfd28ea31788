/*
 * One conversation with a model: a prompt goes in, tokens come out one by one.
 */
#ifndef SQ_ENGINE_SESSION_H
#define SQ_ENGINE_SESSION_H

#include "kernels/kern.h"
#include "model/lane.h"
#include "model/model.h"

struct sq_session {
	const struct sq_model *model;
	struct sq_lane lane;
	size_t context;			/* tokens at most */
	float *logits;			/* [vocab]: of the last token */
};

/* context: prompt and answer together, at most the model's. */
int	 sq_session_init(struct sq_session *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, size_t context, char *err);
void	 sq_session_release(struct sq_session *);

/* Sees the logits after each token: position in the sequence, [vocab]. */
typedef int sq_logits_fn(void *arg, size_t position, const float *logits);

/*
 * Takes n tokens in; s->logits is then what follows the last.  each (or NULL)
 * is called for every one of them.
 */
int	 sq_session_feed(struct sq_session *, const uint32_t *ids, size_t n,
	    sq_logits_fn *each, void *arg, char *err);

#endif
