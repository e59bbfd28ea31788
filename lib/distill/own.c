/* A text of the teacher's own; see own.h. */
#include <string.h>

#include "base/rng.h"
#include "distill/own.h"
#include "engine/batcher.h"

#define LEAD	16			/* tokens of the text, at most */
#define SEQS	64			/* samples at work at a time */

struct work {
	const struct sq_own *own;
	struct sq_batcher *batcher;
	uint32_t *id;
	size_t length, lead, samples;
	size_t next;			/* to be begun */
	size_t at[SEQS];		/* of a request: where its tokens go */
	uint64_t request[SEQS];
	char *err;
	int failed;
};

static void took(void *, const struct sq_event *);

/* Somewhere in the text, but for its first samples. */
static const uint32_t *
lead(const struct work *k, struct sq_rng *rng)
{
	const struct sq_tokens *t = k->own->text;
	uint64_t first = k->own->first * t->length;
	uint64_t places = t->count - first - k->lead + 1;

	return t->id + first + sq_rng_next(rng) % places;
}

/* The next sample, in a place that is free. */
static void
begin(struct work *k, size_t place)
{
	struct sq_rng rng = { k->next + 1 };
	uint32_t *id = k->id + k->next * k->length;
	struct sq_request q = { .ids = id, .n = k->lead,
	    .max_tokens = k->length - k->lead, .ignore_eos = 1,
	    .sampling = { .temperature = 1, .top_p = 1 }, .event = took,
	    .arg = k };

	memcpy(id, lead(k, &rng), k->lead * sizeof(*id));
	q.sampling.seed = sq_rng_next(&rng);
	k->at[place] = k->next++ * k->length + k->lead;
	k->request[place] = sq_batcher_submit(k->batcher, &q, k->err);
	k->failed |= k->request[place] == 0;
}

static void
took(void *arg, const struct sq_event *ev)
{
	struct work *k = arg;
	size_t i = 0;

	while (i < SEQS && k->request[i] != ev->id)
		i++;
	if (i == SEQS)
		return;
	if (ev->kind == SQ_EV_TOKEN) {
		k->id[k->at[i]++] = ev->token;
		return;
	}
	if (ev->kind != SQ_EV_END)
		return;
	k->request[i] = 0;
	if (ev->finish == SQ_FAILED && !k->failed) {
		k->failed = 1;
		sq_fail(k->err, "the teacher's own text: %s", ev->why);
	}
	if (k->own->progress != NULL)
		sq_progress_add(k->own->progress, k->length);
	if (!k->failed && k->next < k->samples)
		begin(k, i);
}

int
sq_own_write(const struct sq_own *own, uint32_t *id, size_t samples, char *err)
{
	struct sq_batcher_how how = { .model = own->teacher, .ctx = own->ctx,
	    .prec = own->prec, .seqs = samples < SEQS ? samples : SEQS,
	    .context = (size_t)own->text->length, .memory = own->memory,
	    .no_reuse = 1 };
	struct work k = { .own = own, .id = id, .samples = samples,
	    .length = (size_t)own->text->length, .err = err };
	size_t i;
	int r = 0;

	k.lead = k.length > 2 * LEAD ? LEAD : 1;
	sq_kv_policy_plain(&how.kv, own->prec == SQ_PREC_F32 ? SQ_F32 :
	    SQ_BF16);
	if ((k.batcher = sq_batcher_new(&how, err)) == NULL)
		return -1;
	for (i = 0; i < how.seqs && !k.failed; i++)
		begin(&k, i);
	if (!k.failed)
		r = sq_batcher_run(k.batcher, err);
	sq_batcher_free(k.batcher);
	return k.failed ? -1 : r;
}
