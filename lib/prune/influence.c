/* Layers that matter least; see influence.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "calib/block.h"
#include "calib/pass.h"
#include "formats/fmt_stats.h"
#include "model/lane.h"
#include "prune/influence.h"

/* A filter of its own, on the input of the other. */
struct survey {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_influence *to;
	struct sq_ctx *ctx;
	struct sq_tokens tokens;
	struct sq_model *model;
	struct sq_lane lane;
	struct sq_hidden hidden;
	struct sq_block block;
	float *before;			/* a sample */
};

static size_t
samples(const struct survey *v)
{
	return (size_t)(v->tokens.count / v->tokens.length);
}

static int
tokens(struct survey *v)
{
	const struct sq_config *c = &v->f.inv.config;
	size_t length, dim = (size_t)c->dim;

	if (sq_tokens_read(&v->tokens, &v->f.in) < 0)
		return sq_fail(v->f.err, "%s: %s", v->f.name, v->f.in.err);
	if (sq_tokens_write(&v->tokens, &v->f.out) < 0)
		return sq_fail(v->f.err, "temporary file: %s", v->f.out.err);
	length = (size_t)v->tokens.length;
	v->before = malloc(length * dim * sizeof(float));
	if (v->before == NULL)
		return sq_fail(v->f.err, "out of memory");
	if ((v->model = sq_model_new(c, v->f.err)) == NULL ||
	    sq_lane_init(&v->lane, v->model, v->ctx, SQ_PREC_BF16, length, 1,
	    v->f.err) < 0)
		return -1;
	return sq_hidden_init(&v->hidden, samples(v), length, dim, 1,
	    v->f.err);
}

static double
turned(const float *a, const float *b, size_t n)
{
	double ab = 0, aa = 0, bb = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		ab += (double)a[i] * b[i];
		aa += (double)a[i] * a[i];
		bb += (double)b[i] * b[i];
	}
	return aa > 0 && bb > 0 ? 1 - ab / sqrt(aa * bb) : 0;
}

/* All samples pass the block that is held. */
static int
pass_block(struct survey *v)
{
	struct sq_pass p = { &v->lane, &v->hidden, (size_t)v->block.layer,
	    sq_forward_block, 1, NULL };
	size_t dim = v->hidden.dim, length = v->hidden.length, i, t;
	double sum = 0;
	float *h;

	if (sq_block_bind(&v->block, v->model, v->f.err) < 0)
		return -1;
	for (i = 0; i < samples(v); i++) {
		if ((h = sq_hidden_get(&v->hidden, i, v->f.err)) == NULL)
			return -1;
		memcpy(v->before, h, length * dim * sizeof(*h));
		if (sq_pass_sample(&p, i, v->f.err) < 0 ||
		    (h = sq_hidden_get(&v->hidden, i, v->f.err)) == NULL)
			return -1;
		for (t = 0; t < length; t++)
			sum += turned(v->before + t * dim, h + t * dim, dim);
	}
	v->to->turn[v->block.layer] = sum / (double)(samples(v) * length);
	return 0;
}

static int
end_block(struct survey *v)
{
	int r;

	if (v->block.n == 0)
		return 0;
	r = pass_block(v);
	sq_block_drop(&v->block);
	v->block.layer++;
	return r;
}

static int
embedding(struct survey *v, const struct sq_tensor *t)
{
	struct sq_pass p = { &v->lane, &v->hidden, 0, NULL, 1, NULL };
	unsigned char *payload = sq_in_payload(&v->f.in, SQ_MAX_PAYLOAD);
	int r = -1;

	if (payload == NULL)
		return sq_fail(v->f.err, "%s", v->f.in.err);
	if (sq_payload_bind(v->model, t, payload, v->f.err) == 0 &&
	    sq_pass_embed(&p, v->tokens.id, v->f.err) == 0)
		r = sq_payload_put(&v->f.out, t, payload, v->f.err);
	free(payload);
	return r;
}

static int
begin(struct sq_filter *f)
{
	struct survey *v = (struct survey *)f;
	uint64_t n = f->inv.config.layers;

	v->to->layers = n;
	if (v->to->drop >= n)
		return sq_fail(f->err, "--layers %ju: the model has %ju",
		    (uintmax_t)v->to->drop, (uintmax_t)n);
	v->to->turn = calloc(n, sizeof(*v->to->turn));
	v->to->dropped = calloc(n, 1);
	return v->to->turn != NULL && v->to->dropped != NULL ? 0 :
	    sq_fail(f->err, "out of memory");
}

static int
tensor(struct sq_filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct survey *v = (struct survey *)f;

	if (v->tokens.id == NULL)
		return sq_fail(f->err, "--layers: no TOKENS; sq-calibrate "
		    "--tokens-only adds them");
	if (slot != NULL && slot->role == SQ_EMBED)
		return embedding(v, t);
	if (slot == NULL || slot->role == SQ_NORM || slot->role == SQ_HEAD)
		return end_block(v) < 0 ? -1 : sq_filter_copy(f);
	if (slot->layer != v->block.layer && end_block(v) < 0)
		return -1;
	if (sq_block_hold(&v->block, &f->in, t, slot, f->err) < 0)
		return -1;
	return sq_payload_put(&f->out, t,
	    v->block.held[v->block.n - 1].payload, f->err);
}

static int
record(struct sq_filter *f)
{
	struct survey *v = (struct survey *)f;

	if (f->in.type == SQ_TOKENS)
		return tokens(v);
	return sq_filter_copy(f);
}

static int
end(struct sq_filter *f)
{
	return end_block((struct survey *)f);
}

/* The layers that turn their input the least, of equals the last. */
static void
choose(struct sq_influence *s)
{
	uint64_t i, n, best;

	for (n = 0; n < s->drop; n++) {
		for (best = s->layers, i = 0; i < s->layers; i++)
			if (!s->dropped[i] && (best == s->layers ||
			    s->turn[i] <= s->turn[best]))
				best = i;
		s->dropped[best] = 1;
	}
}

int
sq_influence_survey(struct sq_influence *s, struct sq_filter *f,
    struct sq_ctx *ctx)
{
	struct survey *v = calloc(1, sizeof(*v));
	int r;

	if (v == NULL)
		return sq_fail(f->err, "out of memory");
	v->to = s;
	v->ctx = ctx;
	v->f.begin = begin;
	v->f.tensor = tensor;
	v->f.record = record;
	v->f.end = end;
	v->hidden.fd = -1;
	r = sq_filter_survey(f, &v->f);
	sq_block_drop(&v->block);
	sq_hidden_release(&v->hidden);
	sq_lane_release(&v->lane);
	sq_model_free(v->model);
	sq_tokens_release(&v->tokens);
	free(v->before);
	free(v);
	if (r == 0)
		choose(s);
	return r;
}

void
sq_influence_release(struct sq_influence *s)
{
	free(s->turn);
	free(s->dropped);
	s->turn = NULL;
	s->dropped = NULL;
}

int
sq_influence_drops(const struct sq_influence *s, uint64_t layer)
{
	return s->dropped != NULL && s->dropped[layer];
}

uint64_t
sq_influence_place(const struct sq_influence *s, uint64_t layer)
{
	uint64_t i, n = 0;

	for (i = 0; i < layer; i++)
		n += !sq_influence_drops(s, i);
	return n;
}
