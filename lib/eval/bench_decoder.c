/* How fast a decoder is; see bench_decoder.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "eval/bench_decoder.h"
#include "model/rope.h"

#define TIMES	16

const struct sq_dec_load sq_dec_loads[] = {
	{ "b1-1024", 1, 1024, 129, 0, 0 },
	{ "b1-8192", 1, 8192, 65, 0, 0 },
	{ "b1-32768", 1, 32768, 129, 0, 0 },
	{ "b1-65536", 1, 65536, 129, 0, 0 },
	{ "b1-130000", 1, 130000, 129, 0, 0 },
	{ "decode-b16", 16, 1000, 129, 1, 0 },
	{ "decode-b64", 64, 1000, 129, 1, 0 },
	{ "decode-b256", 256, 1000, 129, 1, 0 },
	{ "prefix-32768", 50, 32768, 129, 0, 64 },
	{ "prefix-65536", 50, 65536, 129, 0, 64 },
	{ "prefix-130000", 50, 130000, 129, 0, 64 },
	{ "off-1000-1000", 800, 1000, 1000, 0, 0 },
	{ "off-128-2048", 500, 128, 2048, 0, 0 },
	{ "off-2048-128", 600, 2048, 128, 0, 0 },
	{ "off-20000-2000", 30, 20000, 2000, 0, 0 },
	{ NULL, 0, 0, 0, 0, 0 }
};

/* ---- opening ---- */

static void
shape_of(struct sq_dec_shape *s, const struct sq_config *c)
{
	s->layers = (size_t)c->layers;
	s->dim = (size_t)c->dim;
	s->ffn = (size_t)c->ffn;
	s->heads = (size_t)c->heads;
	s->kv_heads = (size_t)c->kv_heads;
	s->head_dim = (size_t)c->head_dim;
	s->vocab = (size_t)c->vocab;
	s->eps = (float)c->eps;
}

static int
put_layer(struct sq_bench_decoder *b, const struct sq_layer *l, size_t i,
    char *err)
{
	const struct sq_linear *all[] = { &l->q, &l->k, &l->v, &l->o,
	    &l->gate, &l->up, &l->down };
	int role;

	if (l->q_norm != NULL || l->k_norm != NULL)
		return sq_fail(err, "the decoder knows no norm of queries "
		    "and keys");
	for (role = SQ_DEC_Q; role <= SQ_DEC_DOWN; role++) {
		if (all[role]->bias != NULL)
			return sq_fail(err, "the decoder knows no bias");
		if (b->ops->weight(b->d, (enum sq_dec_role)role, i,
		    &all[role]->w, err) < 0)
			return -1;
	}
	return b->ops->vector(b->d, SQ_DEC_ATTN_NORM, i, l->attn_norm,
	    err) < 0 || b->ops->vector(b->d, SQ_DEC_FFN_NORM, i, l->ffn_norm,
	    err) < 0 ? -1 : 0;
}

static int
put_model(struct sq_bench_decoder *b, const struct sq_model *m, char *err)
{
	size_t i;

	if (m->config.window != 0)
		return sq_fail(err, "the decoder knows no window");
	for (i = 0; i < b->shape.layers; i++)
		if (put_layer(b, &m->layer[i], i, err) < 0)
			return -1;
	return b->ops->weight(b->d, SQ_DEC_EMBED, 0, &m->embed.w, err) < 0 ||
	    b->ops->weight(b->d, SQ_DEC_HEAD, 0, &m->head.w, err) < 0 ||
	    b->ops->vector(b->d, SQ_DEC_NORM, 0, m->norm, err) < 0 ? -1 : 0;
}

/* The angles that the model asks for; of random weights, Llama 3's base. */
static int
put_angles(struct sq_bench_decoder *b, const struct sq_model *m, char *err)
{
	struct sq_config c = { .head_dim = b->shape.head_dim,
	    .rope.theta = 500000, .context = b->shape.context };
	size_t n = b->shape.context + SQ_DEC_PAGE;
	float *a = malloc(n * b->shape.head_dim * sizeof(*a));
	int r = a == NULL ? -1 : sq_rope_table(m != NULL ? &m->config : &c, 0,
	    n, a);

	if (r < 0)
		sq_fail(err, "out of memory");
	else
		r = b->ops->angles(b->d, a, n, err);
	free(a);
	return r;
}

int
sq_bench_decoder_open(struct sq_bench_decoder *b, const char *level,
    const struct sq_model *m, const struct sq_dec_shape *shape, char *err)
{
	memset(b, 0, sizeof(*b));
	b->shape = *shape;
	if (m != NULL)
		shape_of(&b->shape, &m->config);
	if ((b->ops = sq_decoder_find(level, err)) == NULL ||
	    (b->d = b->ops->open(&b->shape, err)) == NULL)
		return -1;
	if ((m != NULL ? put_model(b, m, err) : b->ops->random(b->d, 1,
	    err)) < 0 || put_angles(b, m, err) < 0) {
		sq_bench_decoder_close(b);
		return -1;
	}
	b->pages = b->left = b->ops->pages_left(b->d);
	return 0;
}

void
sq_bench_decoder_close(struct sq_bench_decoder *b)
{
	if (b->d != NULL)
		b->ops->close(b->d);
	b->d = NULL;
}

/* ---- one request ---- */

static int
choose(struct sq_bench_decoder *b, size_t slot, char *err)
{
	struct sq_dec_sampling how = b->how;

	how.seed += slot;
	return how.temperature > 0 ? b->ops->sample(b->d, slot, &how, err) : 0;
}

static int
begin(struct sq_bench_decoder *b, const struct sq_dec_prompt *p, size_t n,
    char *err)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (choose(b, p[i].slot, err) < 0)
			return -1;
	return b->ops->prefill(b->d, p, n, err);
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), ascending);
	return v[n / 2];
}

/* The pages that are left, where they are few. */
static void
look(struct sq_bench_decoder *b)
{
	size_t left = b->ops->pages_left(b->d);

	b->left = left < b->left ? left : b->left;
}

/* What follows the first token of a slot whose prompt began at `start'. */
static int
answer(struct sq_bench_decoder *b, const struct sq_dec_load *l, uint32_t slot,
    double start, double *ttft, double *tpot, char *err)
{
	double first;

	look(b);
	first = sq_now();
	if (b->ops->decode(b->d, &slot, 1, l->out - 1, err) < 0 ||
	    b->ops->sync(b->d, err) < 0)
		return -1;
	*ttft = first - start;
	*tpot = (sq_now() - first) / (double)(l->out - 1);
	return 0;
}

static int
alone(struct sq_bench_decoder *b, const struct sq_dec_load *l,
    const uint32_t *ids, double *ttft, double *tpot, char *err)
{
	struct sq_dec_prompt p = { 0, l->in, ids, l->in + l->out };
	double start = sq_now();

	if (begin(b, &p, 1, err) < 0 ||
	    b->ops->sync(b->d, err) < 0)
		return -1;
	if (answer(b, l, 0, start, ttft, tpot, err) < 0)
		return -1;
	b->ops->clear(b->d, 0);
	return 0;
}

/* ---- with a prefix ---- */

/* A request whose prompt begins as that of slot 0, in slot 1; -1: it failed. */
static int
after(struct sq_bench_decoder *b, const struct sq_dec_load *l,
    const uint32_t *ids, double *ttft, double *tpot, char *err)
{
	double start = sq_now();
	uint32_t last[2048];
	long kept = choose(b, 1, err) < 0 ? -1 : b->ops->share(b->d, 0, 1,
	    l->in - l->own, l->in + l->out, err), n, i;

	if (kept < 0 || b->ops->extend(b->d, 1, ids + kept, l->in -
	    (size_t)kept, err) < 0 || b->ops->sync(b->d, err) < 0)
		return -1;
	if (answer(b, l, 1, start, ttft, tpot, err) < 0)
		return -1;
	n = b->ops->made(b->d, 1, last, l->out, err);
	for (i = 0; i < n; i++)
		if (last[i] >= b->shape.vocab)
			return sq_fail(err, "not a token");
	return n == (long)l->out ? 0 : -1;
}

static int
prefixed(struct sq_bench_decoder *b, const struct sq_dec_load *l,
    uint32_t *ids, struct sq_dec_result *r, char *err)
{
	struct sq_dec_prompt p = { 0, l->in - l->own, ids, l->in - l->own };
	double *ttft = malloc(l->requests * sizeof(*ttft));
	double *tpot = malloc(l->requests * sizeof(*tpot)), skip[2];
	struct sq_rng rng = { 2 };
	size_t i, n = 0, k;
	int bad = ttft == NULL || tpot == NULL ? sq_fail(err, "out of memory") :
	    b->ops->prefill(b->d, &p, 1, err);

	/* one that does not count lets the device get ready */
	for (i = 0; bad == 0 && i <= l->requests; i++) {
		for (k = l->in - l->own; k < l->in; k++)
			ids[k] = (uint32_t)(sq_rng_uniform(&rng) *
			    (double)(b->shape.vocab - 1));
		if (after(b, l, ids, i == 0 ? &skip[0] : &ttft[n], i == 0 ?
		    &skip[1] : &tpot[n], err) == 0)
			n += i > 0;
		b->ops->clear(b->d, 1);
	}
	b->ops->clear(b->d, 0);
	if (bad == 0 && n > 0) {
		r->failed = (double)(l->requests - n);
		r->ttft = median(ttft, (int)n);
		r->tpot = median(tpot, (int)n);
		r->spread = (tpot[n - 1 - n / 20] - tpot[n / 20]) / r->tpot;
	} else
		bad = -1;
	free(ttft);
	free(tpot);
	return bad;
}

/* ---- many ---- */

/* A queue of like requests, and which slots are at work. */
struct queue {
	struct sq_bench_decoder *b;
	const struct sq_dec_load *l;
	const uint32_t *ids;
	size_t waiting, done;
	uint32_t *slot;			/* at work, [n] */
	size_t *left;			/* tokens that the slot is to make */
	uint32_t *idle;
	size_t n, nidle, at_once;
};

static int
admit(struct queue *q, char *err)
{
	struct sq_dec_prompt p[64];
	size_t n = 0, rows = 0, all = q->l->in + q->l->out;
	size_t pages = (all + SQ_DEC_PAGE - 1) / SQ_DEC_PAGE;
	size_t room = q->b->ops->pages_left(q->b->d);

	while (n < 64 && q->waiting > 0 && q->nidle > 0 && room >= pages &&
	    rows + q->l->in <= q->b->shape.rows) {
		p[n] = (struct sq_dec_prompt){ q->idle[--q->nidle], q->l->in,
		    q->ids + q->waiting % 16, all };
		q->slot[q->n] = (uint32_t)p[n].slot;
		q->left[p[n].slot] = q->l->out - 1;
		q->n++;
		q->waiting--;
		rows += q->l->in;
		room -= pages;
		n++;
	}
	q->at_once = q->n > q->at_once ? q->n : q->at_once;
	if (n > 0 && q->b->left > room)
		q->b->left = room;
	return n == 0 ? 0 : begin(q->b, p, n, err) < 0 ? -1 :
	    1;
}

/* As many steps as the one with the least left makes. */
static int
advance(struct queue *q, char *err)
{
	size_t i, steps = (size_t)-1;

	for (i = 0; i < q->n; i++)
		if (q->left[q->slot[i]] < steps)
			steps = q->left[q->slot[i]];
	if (q->b->ops->decode(q->b->d, q->slot, q->n, steps, err) < 0)
		return -1;
	for (i = 0; i < q->n;)
		if ((q->left[q->slot[i]] -= steps) == 0) {
			q->b->ops->clear(q->b->d, q->slot[i]);
			q->idle[q->nidle++] = q->slot[i];
			q->slot[i] = q->slot[--q->n];
			q->done++;
		} else
			i++;
	return 0;
}

/* Prompts first, as long as there is room for them. */
static int
work_off(struct queue *q, double *start, double *joule, char *err)
{
	int r;

	while (q->waiting > 0 || q->n > 0) {
		if ((r = admit(q, err)) < 0)
			return -1;
		if (r > 0)
			continue;
		if (q->n == 0)
			return sq_fail(err, "no room for a single request");
		if (q->l->decode_only && q->done == 0) {
			if (q->b->ops->sync(q->b->d, err) < 0)
				return -1;
			*start = sq_now();
			*joule = q->b->ops->energy(q->b->d);
		}
		if (advance(q, err) < 0)
			return -1;
	}
	return q->b->ops->sync(q->b->d, err);
}

static int
many(struct sq_bench_decoder *b, const struct sq_dec_load *l,
    const uint32_t *ids, struct sq_dec_result *r, char *err)
{
	size_t slots = b->shape.slots, i;
	struct queue q = { .b = b, .l = l, .ids = ids,
	    .waiting = l->requests, .slot = calloc(slots, 4),
	    .left = calloc(slots, sizeof(size_t)), .idle = calloc(slots, 4) };
	double start = sq_now(), joule = b->ops->energy(b->d), end;
	double made = (double)(l->requests * (l->decode_only ? l->out - 1 :
	    l->out));
	int bad = q.slot == NULL || q.left == NULL || q.idle == NULL ?
	    sq_fail(err, "out of memory") : 0;

	for (i = 0; bad == 0 && i < slots; i++)
		q.idle[q.nidle++] = (uint32_t)(slots - 1 - i);
	if (bad == 0 && (bad = work_off(&q, &start, &joule, err)) == 0) {
		end = b->ops->energy(b->d);
		r->out_rate = made / (sq_now() - start);
		r->joule = end < 0 || joule < 0 ? NAN : (end - joule) / made;
		r->at_once = q.at_once;
	}
	free(q.slot);
	free(q.left);
	free(q.idle);
	return bad;
}

int
sq_bench_decoder_run(struct sq_bench_decoder *b, const struct sq_dec_load *l,
    int times, struct sq_dec_result *r, char *err)
{
	double ttft[TIMES], tpot[TIMES], skip[2];
	uint32_t *ids = malloc((l->in + 16) * sizeof(*ids));
	struct sq_rng rng = { 1 };
	size_t i, all, page;
	int n, bad = 0;

	if (ids == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < l->in + 16; i++)
		ids[i] = (uint32_t)(sq_rng_uniform(&rng) *
		    (double)(b->shape.vocab - 1));
	times = times > TIMES ? TIMES : times;
	*r = (struct sq_dec_result){ NAN, NAN, NAN, NAN, NAN, NAN, 1, NAN };
	b->left = b->pages;
	if (l->own > 0)
		bad = prefixed(b, l, ids, r, err);
	else if (l->requests > 1) {
		/* once to let the library pick its kernels, where that
		 * would show */
		if (l->decode_only)
			bad = many(b, l, ids, r, err);
		if (bad == 0)
			bad = many(b, l, ids, r, err);
	}
	else {
		bad = alone(b, l, ids, &skip[0], &skip[1], err);
		for (n = 0; n < times && bad == 0; n++)
			bad = alone(b, l, ids, &ttft[n], &tpot[n], err);
		if (bad == 0) {
			r->ttft = median(ttft, times);
			r->tpot = median(tpot, times);
			r->spread = (tpot[times - 1] - tpot[0]) / r->tpot;
		}
	}
	b->ops->memory(b->d, &all, &page);
	r->bytes = (double)(all + (b->pages - b->left) * page);
	free(ids);
	return bad;
}

int
sq_bench_decoder_make(struct sq_bench_decoder *b, const uint32_t *prompt,
    size_t len, uint32_t *ids, size_t n, char *err)
{
	struct sq_dec_prompt p = { 0, len, prompt, len + n };
	static const uint32_t slot;
	long got;

	if (begin(b, &p, 1, err) < 0 || (n > 1 &&
	    b->ops->decode(b->d, &slot, 1, n - 1, err) < 0))
		return -1;
	got = b->ops->made(b->d, 0, ids, n, err);
	b->ops->clear(b->d, 0);
	return got < 0 ? -1 : 0;
}
