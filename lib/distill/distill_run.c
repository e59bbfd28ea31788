/* Distillation in a stream; see distill_run.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/floats.h"
#include "base/pool.h"
#include "calib/block.h"
#include "calib/text.h"
#include "distill/distill_run.h"
#include "distill/own.h"

#define FIXED	((uint64_t)160 << 20)	/* the program and the kernels' space */

struct sq_distill_held {
	struct sq_tensor t;
	const struct sq_slot *slot;	/* NULL: the architecture has none */
	unsigned char *payload;
};

void
sq_distill_run_release(struct sq_distill_run *r)
{
	size_t i;

	sq_distill_release(&r->distill);
	sq_model_free(r->distill.student);
	for (i = 0; i < r->n; i++)
		free(r->held[i].payload);
	free(r->held);
	sq_tokens_release(&r->tokens);
	free(r->distill.own);
}

/* ---- the text ---- */

static int
check_tokens(struct sq_distill_run *r)
{
	const struct sq_tokens *t = &r->tokens;
	struct sq_filter *f = r->filter;
	uint64_t i;

	if (t->length < 2 || t->count < t->length)
		return sq_fail(f->err, "%s: TOKENS has no sample of two "
		    "tokens or more", f->name);
	for (i = 0; i < t->count; i++)
		if (t->id[i] >= f->inv.config.vocab)
			return sq_fail(f->err, "%s: token %u is not in the "
			    "student's vocabulary", f->name, t->id[i]);
	return 0;
}

static int
take_tokens(struct sq_distill_run *r)
{
	struct sq_filter *f = r->filter;

	if (sq_tokens_read(&r->tokens, &f->in) < 0)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	if (sq_tokens_write(&r->tokens, &f->out) < 0)
		return sq_fail(f->err, "stdout: %s", f->out.err);
	return 0;
}

/* Without TOKENS, those that the teacher's tokenizer makes of the text. */
static int
make_tokens(struct sq_distill_run *r)
{
	const struct sq_distill_config *c = r->distill.config;
	struct sq_filter *f = r->filter;

	if (r->tokens.count > 0)
		return check_tokens(r);
	if (r->text == NULL)
		return sq_fail(f->err, "%s: no TOKENS: name a text, or let "
		    "sq-calibrate --tokens-only make them", f->name);
	if (sq_calib_tokens(&r->tokens, &r->distill.teacher->source->files,
	    &f->inv.config, r->text, r->text_len, (size_t)c->samples,
	    (size_t)c->length, 0, NULL, f->err) < 0)
		return -1;
	return check_tokens(r);
}

/* ---- training ---- */

static int
bind(struct sq_distill_run *r)
{
	struct sq_distill *d = &r->distill;
	struct sq_filter *f = r->filter;
	size_t i;

	if (sq_inventory_complete(&f->inv, f->err) < 0 ||
	    (d->student = sq_model_new(&f->inv.config, f->err)) == NULL)
		return -1;
	for (i = 0; i < r->n; i++)
		if (sq_payload_bind(d->student, &r->held[i].t,
		    r->held[i].payload, f->err) < 0)
			return -1;
	return 0;
}

/* What all steps depend on. */
static void
set_key(struct sq_distill_run *r)
{
	struct sq_distill *d = &r->distill;
	const struct sq_distill_config *c = d->config;
	XXH3_state_t *x = XXH3_createState();
	char text[500];
	size_t i;

	if (x == NULL)
		return;
	snprintf(text, sizeof(text), "%d %ju %ju %ju %g %g %g %g %g %d %g %g "
	    "%g %g %ju %ju %d %s %s",
	    (int)c->preset, (uintmax_t)c->steps, (uintmax_t)c->batch,
	    (uintmax_t)c->warmup, c->lr, c->weight_decay, c->temperature,
	    c->ce, c->hidden, (int)c->train, c->place, c->scale, c->norm,
	    c->redraw, (uintmax_t)c->own, (uintmax_t)d->length,
	    (int)d->prec, d->ctx->kern->name,
	    d->teacher->source->files.h.model);
	XXH3_128bits_reset(x);
	XXH3_128bits_update(x, text, strlen(text));
	XXH3_128bits_update(x, &r->tokens.length, sizeof(r->tokens.length));
	XXH3_128bits_update(x, r->tokens.id,
	    r->tokens.count * sizeof(*r->tokens.id));
	if (c->nlayers > 0)
		XXH3_128bits_update(x, c->layer,
		    c->nlayers * sizeof(*c->layer));
	for (i = 0; i < r->n; i++)
		XXH3_128bits_update(x, r->held[i].payload,
		    r->held[i].t.length);
	d->key = XXH3_128bits_digest(x);
	XXH3_freeState(x);
}

static uint64_t
work_bytes(const struct sq_distill_run *r, uint64_t hold)
{
	const struct sq_distill *d = &r->distill;

	return sq_distill_bytes(d->config, &d->teacher->config,
	    &r->filter->inv.config, d->prec, (size_t)d->length,
	    (size_t)sq_pool_threads(d->ctx->pool), hold);
}

/* What there is beside the rest is for what blocks leave behind, which else is
 * computed twice. */
static int
plan_memory(struct sq_distill_run *r)
{
	uint64_t need = FIXED + work_bytes(r, 0);
	size_t i;

	for (i = 0; i < r->n; i++)
		need += r->held[i].t.length;
	r->distill.hold = SQ_DISTILL_HOLD;
	if (r->memory == 0)
		return 0;
	if (r->memory < need)
		return sq_fail(r->filter->err, "-M: needs at least %juM",
		    (uintmax_t)(need + 0xfffff) >> 20);
	if (r->memory - need < SQ_DISTILL_HOLD)
		r->distill.hold = r->memory - need;
	return 0;
}

static const float *
vector(const struct sq_layer *l, enum sq_role role)
{
	return role == SQ_ATTN_NORM ? l->attn_norm : role == SQ_FFN_NORM ?
	    l->ffn_norm : role == SQ_Q_NORM ? l->q_norm : role == SQ_K_NORM ?
	    l->k_norm : NULL;
}

/* Whether what was learned with codes is better; without, it is taken. */
static int
better(const struct sq_distill *d)
{
	return d->config->train == SQ_TRAIN_DENSE || d->kl < d->first;
}

/* The values that a held tensor has now, or NULL: as it came. */
static const float *
values(const struct sq_distill_run *r, const struct sq_distill_held *h)
{
	struct sq_model *m = r->distill.student;
	const struct sq_slot *s = h->slot;
	const struct sq_linear *l;

	if (!better(&r->distill) || s == NULL || s->role == SQ_EMBED ||
	    s->role == SQ_HEAD || h->t.grid != SQ_DENSE)
		return NULL;
	if (s->role == SQ_NORM)
		return m->norm;
	if ((l = sq_model_linear(m, s->role, (size_t)s->layer)) != NULL)
		return s->bias ? l->bias : l->w.grid == SQ_DENSE &&
		    r->distill.config->train == SQ_TRAIN_DENSE ? l->w.data :
		    NULL;
	return vector(&m->layer[s->layer], s->role);
}

static int
put_all(struct sq_distill_run *r)
{
	struct sq_distill_held *h;
	const float *v;
	unsigned char *p;
	uint64_t n;

	if (better(&r->distill) &&
	    sq_codes_put(&r->distill.codes, r->filter->err) < 0)
		return -1;
	for (h = r->held; h < r->held + r->n; h++) {
		n = sq_tensor_count(&h->t);
		p = h->payload + h->t.part[0].offset;
		v = values(r, h);
		if (v != NULL)
			sq_floats_convert(p, h->t.type, v, SQ_F32, n);
		if (sq_payload_put(&r->filter->out, &h->t, h->payload,
		    r->filter->err) < 0)
			return -1;
	}
	return 0;
}

/* Whether there is a checkpoint, which has the teacher's own text. */
static int
begun(const struct sq_distill *d)
{
	return d->state_path != NULL && access(d->state_path, F_OK) == 0;
}

/* The teacher writes while there is nothing else: what training takes later is
 * what its keys and values may take. */
static int
write_own(struct sq_distill_run *r)
{
	struct sq_distill *d = &r->distill;
	char *err = r->filter->err;
	struct sq_own own = { .teacher = d->teacher, .ctx = d->ctx,
	    .prec = d->prec, .text = &r->tokens, .length = (size_t)d->length,
	    .progress = d->progress, .memory = work_bytes(r, d->hold) };
	double begin;

	if (d->config->own == 0)
		return 0;
	d->own = calloc((size_t)d->config->own, (size_t)d->length *
	    sizeof(*d->own));
	if (d->own == NULL)
		return sq_fail(err, "out of memory");
	if (begun(d)) {
		sq_progress_add(d->progress, d->config->own * d->length);
		return 0;
	}
	begin = sq_now();
	if (sq_own_write(&own, d->own, (size_t)d->config->own, err) < 0)
		return -1;
	d->writing = sq_now() - begin;
	d->wrote = d->config->own * d->length;
	return 0;
}

/* All tensors have come. */
static int
finish(struct sq_distill_run *r)
{
	struct sq_distill *d = &r->distill;
	struct sq_filter *f = r->filter;

	if (r->done)
		return 0;
	r->done = 1;
	if (make_tokens(r) < 0)
		return -1;
	d->length = r->tokens.length;
	if (d->config->own > 0 && d->length > d->config->own_length)
		d->length = d->config->own_length;
	if (plan_memory(r) < 0 || bind(r) < 0)
		return -1;
	set_key(r);
	d->tokens = &r->tokens;
	d->progress = f->progress;
	d->progress->unit = "tokens";
	d->progress->done = 0;
	d->progress->bytes = (d->config->steps * d->config->batch +
	    d->config->own) * d->length;
	if (write_own(r) < 0)
		return -1;
	if (sq_distill_init(d, f->err) < 0 || sq_distill_run(d, f->err) < 0)
		return -1;
	return put_all(r);
}

/* ---- the stream ---- */

int
sq_distill_run_record(struct sq_distill_run *r)
{
	struct sq_filter *f = r->filter;

	switch (f->in.type) {
	case SQ_TOKENS:
		return take_tokens(r);
	case SQ_STATS:		/* of weights that will not be the same */
		return 0;
	case SQ_PROVENANCE:
		return finish(r) < 0 ? -1 : sq_filter_copy(f);
	default:
		return sq_filter_copy(f);
	}
}

int
sq_distill_run_tensor(struct sq_distill_run *r, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_filter *f = r->filter;
	struct sq_distill_held *h;

	h = realloc(r->held, (r->n + 1) * sizeof(*h));
	if (h == NULL)
		return sq_fail(f->err, "out of memory");
	r->held = h;
	h += r->n;
	*h = (struct sq_distill_held){ *t, slot,
	    sq_in_payload(&f->in, SQ_MAX_PAYLOAD) };
	if (h->payload == NULL)
		return sq_fail(f->err, "%s: %s", f->name, f->in.err);
	r->n++;
	return 0;
}

int
sq_distill_run_end(struct sq_distill_run *r)
{
	return finish(r);
}
