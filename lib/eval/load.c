/* Requests go out when they are due, and are timed; see load.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "eval/load.h"

#define MAX_SECONDS	((size_t)1 << 22)
#define POLL		.5		/* seconds: counters of energy wrap */

/* Tokens by the second. */
static void
count(struct sq_load *l, double t, size_t n)
{
	size_t s = (size_t)(t - l->began), want;
	size_t *p;

	if (s >= MAX_SECONDS)
		return;
	if (s >= l->nseconds) {
		want = 2 * s + 64;
		if ((p = realloc(l->second, want * sizeof(*p))) == NULL)
			return;
		memset(p + l->nseconds, 0, (want - l->nseconds) * sizeof(*p));
		l->second = p;
		l->nseconds = want;
	}
	l->second[s] += n;
}

void
sq_load_tokens(struct sq_load *l, size_t i, size_t n)
{
	struct sq_load_request *q = &l->request[i];
	double t = sq_now();

	if (q->out == 0)
		q->first = t;
	else
		sq_series_add(&l->gap[i], 1e3 * (t - q->last));
	q->last = t;
	q->out += n;
	count(l, t, n);
}

void
sq_load_ended(struct sq_load *l, size_t i, const char *why)
{
	struct sq_load_request *q = &l->request[i];
	size_t k;

	q->ok = why == NULL && q->out > 0;
	for (k = 0; q->ok && k < l->gap[i].n; k++)
		sq_series_add(&l->itl, l->gap[i].v[k]);
	sq_series_release(&l->gap[i]);
	if (!q->ok && l->failed++ == 0)
		sq_fail(l->why, "request %zu: %s", i + 1, why == NULL ?
		    "no token came" : why);
	l->active--;
	l->done++;
	if (l->progress != NULL)
		sq_progress_add(l->progress, 1);
}

/* Those that are due: 0, or seconds until the next one. */
static double
send_due(struct sq_load *l, const struct sq_load_server *s, size_t *next)
{
	const size_t limit = l->how.at_once == 0 ? l->n : l->how.at_once;
	const int timed = l->how.rate > 0 || l->how.arrival == SQ_TRACE;
	char why[SQ_ERR];
	double t;

	while (*next < l->n && l->active < limit) {
		struct sq_load_request *q = &l->request[*next];

		t = sq_now();
		if (l->began + q->due > t)
			return l->began + q->due - t;
		/* a late start is the server's fault, not the request's */
		q->start = timed ? l->began + q->due : t;
		l->active++;
		if (s->send(s->arg, l, (*next)++, why) < 0)
			sq_load_ended(l, *next - 1, why);
	}
	return POLL;
}

int
sq_load_run(struct sq_load *l, const struct sq_load_server *s, char *err)
{
	size_t next = 0;
	double left;
	int r = 0;

	if ((l->gap = calloc(l->n, sizeof(*l->gap))) == NULL)
		return sq_fail(err, "out of memory");
	sq_energy_open(&l->energy, NULL);
	l->began = sq_now();
	while (r == 0 && l->done < l->n) {
		left = send_due(l, s, &next);
		sq_energy_read(&l->energy);
		if (l->done < l->n)
			r = s->wait(s->arg, l, fmin(left, POLL), err);
	}
	l->ended = sq_now();
	l->joules = sq_energy_read(&l->energy);
	return r;
}
