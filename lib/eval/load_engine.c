/* Requests to the engine in this process; see load_engine.h. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eval/load_engine.h"

#define SEQS	64			/* at work, at most */

struct seat {
	struct sq_load *load;
	size_t i;
};

static void
event(void *arg, const struct sq_event *e)
{
	const struct seat *s = arg;

	if (e->kind == SQ_EV_TOKEN)
		sq_load_tokens(s->load, s->i, 1);
	else if (e->kind == SQ_EV_END)
		sq_load_ended(s->load, s->i, e->finish == SQ_FAILED ? e->why :
		    NULL);
}

static int
send_request(void *arg, struct sq_load *l, size_t i, char *err)
{
	struct sq_load_engine *e = arg;
	struct sq_load_request *q = &l->request[i];
	struct sq_request r = { .ids = q->ids, .n = q->prompt,
	    .max_tokens = q->generate, .ignore_eos = 1, .event = event,
	    .sampling = { .top_p = 1 }, .arg = &e->seat[i] };

	e->seat[i] = (struct seat){ l, i };
	q->in = q->prompt;
	return sq_batcher_submit(e->batcher, &r, err) == 0 ? -1 : 0;
}

/* One step, or sleep when nobody is there. */
static int
await(void *arg, struct sq_load *l, double seconds, char *err)
{
	struct sq_load_engine *e = arg;
	struct timespec t = { (time_t)seconds,
	    (long)(1e9 * (seconds - (double)(time_t)seconds)) };

	if (l->active > 0)
		return sq_batcher_step(e->batcher, err) < 0 ? -1 : 0;
	nanosleep(&t, NULL);
	return 0;
}

int
sq_load_engine_open(struct sq_load_engine *e, const struct sq_batcher_how *how,
    struct sq_load *l, char *err)
{
	struct sq_batcher_how h = *how;
	size_t i, n;

	memset(e, 0, sizeof(*e));
	e->server = (struct sq_load_server){ send_request, await, e };
	for (i = 0; how->context == 0 && i < l->n; i++) {
		n = l->request[i].prompt + l->request[i].generate;
		h.context = n > h.context ? n : h.context;
	}
	if (h.context > how->model->config.context)
		return sq_fail(err, "%zu tokens are more than the context of "
		    "%ju", h.context, (uintmax_t)how->model->config.context);
	if (h.seqs == 0)
		h.seqs = l->how.at_once > 0 ? l->how.at_once : l->n < SEQS ?
		    l->n : SEQS;
	if ((e->seat = calloc(l->n, sizeof(*e->seat))) == NULL)
		return sq_fail(err, "out of memory");
	e->batcher = sq_batcher_new(&h, err);
	return e->batcher == NULL ? -1 : 0;
}

void
sq_load_engine_close(struct sq_load_engine *e)
{
	sq_batcher_free(e->batcher);
	free(e->seat);
	memset(e, 0, sizeof(*e));
}
