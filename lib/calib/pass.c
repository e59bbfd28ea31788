/* Samples in batches of what a lane takes; see pass.h. */
#include "calib/pass.h"

static size_t
batch(const struct sq_pass *p, size_t at)
{
	size_t left = p->hidden->length - at;

	return left < p->lane->rows ? left : p->lane->rows;
}

int
sq_pass_embed(const struct sq_pass *p, const uint32_t *ids, char *err)
{
	struct sq_feed feed = { .kv = &p->lane->seq };
	struct sq_hidden *hidden = p->hidden;
	size_t i, at;
	float *h;

	for (i = 0; i < hidden->samples; i++) {
		if ((h = sq_hidden_get(hidden, i, err)) == NULL)
			return -1;
		for (at = 0; at < hidden->length; at += feed.n) {
			feed.ids = ids + i * hidden->length + at;
			feed.n = batch(p, at);
			if (sq_forward_embed(&p->lane->f, &feed, 1, err) < 0)
				return -1;
			if (sq_forward_get(&p->lane->f, h + at * hidden->dim,
			    err) < 0)
				return -1;
		}
		if (sq_hidden_put(hidden, i, err) < 0)
			return -1;
	}
	return 0;
}

/* The states at h through fn: where they lie, or there and back. */
static int
run(const struct sq_pass *p, float *h, const struct sq_feed *feed, char *err)
{
	struct sq_forward *f = &p->lane->f;
	int lent = sq_forward_lend(f, h, feed->n);

	if ((!lent && sq_forward_put(f, h, feed->n, err) < 0) ||
	    p->fn(f, p->layer, feed, 1, err) < 0)
		return -1;
	return lent || !p->keep ? 0 : sq_forward_get(f, h, err);
}

int
sq_pass_sample(const struct sq_pass *p, size_t i, char *err)
{
	struct sq_lane *lane = p->lane;
	struct sq_feed feed = { .kv = &lane->seq };
	size_t at, dim = p->hidden->dim;
	float *h = sq_hidden_get(p->hidden, i, err);

	if (h == NULL)
		return -1;
	sq_kvseq_clear(&lane->seq);
	for (at = 0; at < p->hidden->length; at += feed.n) {
		feed.n = batch(p, at);
		if (sq_kvseq_reserve(&lane->seq, feed.n, err) < 0 ||
		    run(p, h + at * dim, &feed, err) < 0)
			return -1;
		sq_kvseq_advance(&lane->seq, feed.n);
		if (p->progress != NULL)
			sq_progress_add(p->progress, feed.n);
	}
	return p->keep ? sq_hidden_put(p->hidden, i, err) : 0;
}
