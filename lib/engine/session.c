/* One conversation with a model; see session.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/session.h"

#define STEP	32		/* rows of logits at a time */

int
sq_session_init(struct sq_session *s, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, size_t context, char *err)
{
	const struct sq_config *c = &m->config;

	memset(s, 0, sizeof(*s));
	s->model = m;
	s->context = context < c->context ? context : (size_t)c->context;
	s->logits = malloc(STEP * (size_t)c->vocab * sizeof(*s->logits));
	if (s->logits == NULL)
		return sq_fail(err, "out of memory");
	if (sq_lane_init(&s->lane, m, ctx, prec, s->context,
	    (size_t)c->layers, err) == 0)
		return 0;
	sq_session_release(s);
	return -1;
}

void
sq_session_release(struct sq_session *s)
{
	sq_lane_release(&s->lane);
	free(s->logits);
	memset(s, 0, sizeof(*s));
}

/* Logits of n rows, at most STEP, into s->logits. */
static int
logits(struct sq_session *s, size_t row, size_t n, char *err)
{
	size_t vocab = (size_t)s->model->config.vocab;
	struct sq_mat m = { s->logits, SQ_F32, n, vocab, vocab };

	return sq_forward_logits(&s->lane.f, row, n, &m, err);
}

static int
show_each(struct sq_session *s, size_t at, size_t n, sq_logits_fn *each,
    void *arg, char *err)
{
	size_t vocab = (size_t)s->model->config.vocab, i, j, m;

	for (i = 0; i < n; i += m) {
		m = n - i < STEP ? n - i : STEP;
		if (logits(s, i, m, err) < 0)
			return -1;
		for (j = 0; j < m; j++)
			if (each(arg, at + i + j, s->logits + j * vocab) < 0)
				return sq_fail(err, "stopped");
	}
	return 0;
}

int
sq_session_feed(struct sq_session *s, const uint32_t *ids, size_t n,
    sq_logits_fn *each, void *arg, char *err)
{
	size_t at = s->lane.seq.length, done, m;
	struct sq_feed feed = { .kv = &s->lane.seq };

	if (n == 0)
		return sq_fail(err, "the prompt is empty");
	if (n > s->context - at)
		return sq_fail(err, "%zu tokens are more than the context of "
		    "%zu", at + n, s->context);
	for (done = 0; done < n; done += m) {
		m = n - done < s->lane.f.max_rows ? n - done : s->lane.f.max_rows;
		feed.ids = ids + done;
		feed.n = m;
		if (sq_forward(&s->lane.f, &feed, 1, err) < 0)
			return -1;
		if (each != NULL && show_each(s, at + done, m, each, arg,
		    err) < 0)
			return -1;
	}
	return logits(s, s->lane.f.x.rows - 1, 1, err);
}
