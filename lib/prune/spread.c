/* Sparsity by sensitivity; see spread.h. */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "calib/block.h"
#include "prune/spread.h"

#define REACH	0.15		/* of one tensor's sparsity from the mean's */

/* A filter of its own, on the input of the other. */
struct survey {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_spread *to;
	struct sq_masking *k;
};

static int
make_room(struct sq_spread *s)
{
	size_t n = s->room == 0 ? 64 : 2 * s->room;
	void *name = realloc(s->name, n * sizeof(*s->name));
	void *weights, *curve, *each;

	if (name != NULL)
		s->name = name;
	if ((weights = realloc(s->weights, n * sizeof(*s->weights))) != NULL)
		s->weights = weights;
	if ((curve = realloc(s->curve, n * sizeof(*s->curve))) != NULL)
		s->curve = curve;
	if ((each = realloc(s->each, n * sizeof(*s->each))) != NULL)
		s->each = each;
	if (name == NULL || weights == NULL || curve == NULL || each == NULL)
		return -1;
	s->room = n;
	return 0;
}

static int
measure(struct survey *v, const struct sq_tensor *t, const float *w)
{
	size_t n = (size_t)(t->dim[0] * t->dim[1]);
	struct sq_spread *s = v->to;
	float *score = malloc(n * sizeof(*score));
	int r;

	if (score == NULL || (s->n == s->room && make_room(s) < 0)) {
		free(score);
		return sq_fail(v->f.err, "out of memory");
	}
	r = sq_masking_scores(v->k, t, w, score, v->f.err);
	if (r == 0)
		r = sq_score_curve(score, n, v->k->movement == NULL,
		    s->curve[s->n], v->f.err);
	free(score);
	memcpy(s->name[s->n], t->name, sizeof(t->name));
	s->weights[s->n++] = n;
	return r;
}

static int
begin(struct sq_filter *f)
{
	struct survey *v = (struct survey *)f;

	memcpy(v->k->layer->model, f->digest, sizeof(f->digest));
	return 0;
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct survey *v = (struct survey *)f;
	int r = sq_filter_wants(f, t, slot);
	unsigned char *payload;
	float *w;

	if (r <= 0)
		return r < 0 ? -1 : sq_filter_copy(f);
	if (sq_masking_needs_stats(v->k) &&
	    sq_gptq_ready(v->k->layer, t, f->err) < 0)
		return -1;
	if ((payload = sq_in_payload(&f->in, SQ_MAX_PAYLOAD)) == NULL)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	w = sq_masking_values(v->k, t, payload, f->err);
	r = w == NULL ? -1 : measure(v, t, w);
	free(w);
	if (r == 0)
		r = sq_payload_put(&f->out, t, payload, f->err);
	free(payload);
	return r;
}

static int
record(struct sq_filter *f)
{
	struct survey *v = (struct survey *)f;
	struct sq_stats st;
	int full;

	if (f->in.type != SQ_STATS)
		return sq_filter_copy(f);
	if (sq_stats_parse(&st, &f->in, &full, f->err) < 0)
		return -1;
	if (st.is_kv)
		return sq_filter_copy(f);
	if (sq_gptq_stats(v->k->layer, &f->in, &f->out, f->err) < 0)
		return -1;
	return sq_gptq_factor(v->k->layer, f->err);
}

int
sq_spread_survey(struct sq_spread *s, struct sq_filter *f,
    struct sq_masking *k, double sparsity)
{
	struct survey v = { .to = s, .k = k, .f = { .begin = begin,
	    .tensor = tensor, .record = record } };
	int r = sq_filter_survey(f, &v.f);

	sq_gptq_forget(k->layer);
	if (r == 0)
		sq_score_allocate(s->n, s->weights, s->curve, sparsity, REACH,
		    s->each);
	return r;
}

void
sq_spread_release(struct sq_spread *s)
{
	free(s->name);
	free(s->weights);
	free(s->curve);
	free(s->each);
	memset(s, 0, sizeof(*s));
}

double
sq_spread_of(const struct sq_spread *s, const char *name, double else_)
{
	size_t i;

	for (i = 0; i < s->n; i++)
		if (strcmp(s->name[i], name) == 0)
			return s->each[i];
	return else_;
}
