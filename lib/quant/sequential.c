/* GPTQ with the quantized prefix; see sequential.h. */
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "calib/block.h"
#include "calib/gram.h"
#include "calib/pass.h"
#include "model/weight.h"
#include "quant/inputs.h"
#include "quant/sequential.h"
#include "quant/target.h"

#define FIXED	((uint64_t)160 << 20)	/* the program and the kernels' space */
#define CALM	((uint64_t)320 << 20)	/* nobody minds */
#define HOLD	SQ_SEQUENTIAL_LEAST	/* every such sample is held out */

/* One of the two models, and its samples. */
struct side {
	struct sq_model *model;
	struct sq_hidden hidden;
};

/* Where a sample passes both models: samples pass side by side. */
struct seat {
	struct sq_sequential *s;
	struct sq_ctx own, *ctx;	/* own: unless it is the only seat */
	struct sq_lane whole, small;
	float *one;			/* hidden states, if they are in files */
	float *rows;			/* of sq_inputs_get() */
	size_t sample;			/* that passes now */
	size_t have;			/* tokens of it */
	float *x;			/* it at the input: [length][channels] */
	struct sq_gram y, away;		/* Y, X - Y */
	int stopped;			/* a tap stopped the pass */
	int failed;
	char why[SQ_ERR];		/* of a tap's -1 otherwise */
	char err[SQ_ERR];
};

/* What is taken from an input, of some of the tokens. */
struct sums {
	float *h;			/* Y Y^T, a packed upper triangle */
	float *d;			/* (X - Y) Y^T, [n][n] */
};

struct sq_sequential {
	struct sq_sequential_set o;
	struct sq_tokens tokens;
	struct side whole, small;	/* as it was, as it becomes */
	struct sq_hidden entry;		/* of small, before the block: only for
					   what o.block makes of it */
	struct sq_block block;
	/* the input at work */
	enum sq_role role;
	size_t channels;
	int inside;			/* it is a half's second layer's */
	int ahead;			/* the first model passed the half */
	struct sq_inputs inputs;	/* of the second model, there */
	struct sums learn, held;
	struct seat *seat;
	size_t seats;
	size_t first;			/* sample of those that pass now */
	sq_pass_fn *fn;			/* what they pass */
	char *err;			/* the filter's */
};

/* ---- memory ---- */

static size_t
samples(const struct sq_sequential *s)
{
	return (size_t)(s->tokens.count / s->tokens.length);
}

static uint64_t
hidden_bytes(const struct sq_sequential *s)
{
	return (s->o.block == NULL ? 2 : 3) * 4 * s->tokens.count *
	    s->o.filter->inv.config.dim;
}

/* Channels of the widest input. */
static size_t
widest(const struct sq_config *c)
{
	size_t n = (size_t)(c->heads * c->head_dim);

	n = n < c->dim ? (size_t)c->dim : n;
	return n < c->ffn ? (size_t)c->ffn : n;
}

/* Of a sample that passes. */
static uint64_t
seat_memory(const struct sq_sequential *s)
{
	const struct sq_config *c = &s->o.filter->inv.config;
	uint64_t wide = widest(c);
	uint64_t length = s->tokens.length, rows = SQ_LANE_ROWS, lane, sum;

	lane = 4 * rows * (3 * c->dim + 2 * c->head_dim * (c->heads +
	    c->kv_heads) + 2 * c->ffn) + 16 * length * c->kv_heads *
	    c->head_dim + 4 * length * c->dim;
	sum = sq_gram_bytes(wide, length, s->o.prec) - sq_gram_h_bytes(wide);
	return sq_lane_work(c) + 2 * lane + 4 * length * wide + 2 * sum +
	    4 * rows * wide;
}

/* Of one, of an input's sums and what is made of them. */
static uint64_t
least_memory(const struct sq_sequential *s)
{
	const struct sq_config *c = &s->o.filter->inv.config;
	uint64_t wide = widest(c), sum;
	uint64_t block = 2 * (2 * c->dim * c->head_dim * (c->heads +
	    c->kv_heads) + 3 * c->dim * c->ffn);

	sum = 4 * (5 * wide * wide) + 4 * wide * c->dim;
	if (s->o.block != NULL)
		sum += s->o.memory(s->o.block_arg, &s->tokens);
	return FIXED + 2 * block + seat_memory(s) + sum +
	    sq_gptq_memory(s->o.layer, c->dim, wide, 4, 1);
}

/* As many samples side by side as there are threads, and room for; a device's
 * kernels, one at a time. */
static void
plan_seats(struct sq_sequential *s, uint64_t room)
{
	const struct sq_ctx *ctx = s->o.layer->ctx;
	size_t most = (size_t)sq_pool_threads(ctx->pool);

	most = most < samples(s) ? most : samples(s);
	s->seats = 1 + (size_t)(room / seat_memory(s));
	s->seats = s->seats < most ? s->seats : most;
	if (ctx->kern->mem->device)
		s->seats = 1;
}

/* 1 when the hidden states go to a file; -1 when not even that fits. */
static int
plan_memory(struct sq_sequential *s)
{
	uint64_t least = least_memory(s), most = s->o.layer->memory;
	uint64_t all = hidden_bytes(s);
	int spill;

	if (most != 0 && least > most)
		return sq_fail(s->err, "-M: needs at least %juM for this "
		    "model and samples of %ju tokens",
		    (uintmax_t)(least + 0xfffff) >> 20,
		    (uintmax_t)s->tokens.length);
	spill = sq_hidden_spills(all, least, most);
	plan_seats(s, most == 0 ? CALM : most - least - (spill ? 0 : all));
	return spill;
}

/* ---- the inputs ---- */

/* Rows of an input, and where they go. */
struct rows {
	const struct sq_mat *m;
	float *x;
};

static void
keep_row(void *arg, long row, int thread)
{
	const struct rows *r = arg;
	size_t n = r->m->cols, i = (size_t)row;

	(void)thread;
	memcpy(r->x + i * n, (float *)r->m->p + i * r->m->stride,
	    n * sizeof(float));
}

static void
less_row(void *arg, long row, int thread)
{
	const struct rows *r = arg;
	size_t n = r->m->cols, i = (size_t)row, c;
	const float *y = (float *)r->m->p + i * r->m->stride;
	float *x = r->x + i * n;

	(void)thread;
	for (c = 0; c < n; c++)
		x[c] -= y[c];
}

static void
each_row(struct seat *a, const struct sq_mat *m,
    void (*fn)(void *, long, int))
{
	struct rows r = { m, a->x + a->have * a->s->channels };

	sq_pool_run(a->ctx->pool, fn, &r, (long)m->rows);
}

/*
 * A pass of the first model: its input is kept.  Within a half it goes on to
 * the end, as this model needs no second pass.
 */
static int
take_whole(void *arg, enum sq_role role, size_t layer, const struct sq_mat *x)
{
	struct seat *a = arg;

	(void)layer;
	if (role != a->s->role)
		return 0;
	each_row(a, x, keep_row);
	a->have += x->rows;
	a->stopped = !a->s->inside;
	return a->stopped ? -1 : 0;
}

/* A pass of the second: it is taken, and how far the first is away from it. */
static int
take_small(void *arg, enum sq_role role, size_t layer, const struct sq_mat *y)
{
	struct seat *a = arg;
	struct sq_sequential *s = a->s;
	struct sq_mat away = { a->x + a->have * s->channels, SQ_F32, y->rows,
	    s->channels, s->channels };

	(void)layer;
	if (role != s->role)
		return 0;
	if (sq_gram_take(&a->y, y, a->why) < 0)
		return -1;
	each_row(a, y, less_row);
	if (sq_gram_take(&a->away, &away, a->why) < 0)
		return -1;
	sq_inputs_put(&s->inputs, a->sample, a->have, y);
	a->have += y->rows;
	a->stopped = 1;
	return -1;
}

/* The halves, up to where the tap stops them. */
static int
stopped(struct sq_forward *f, int r)
{
	struct seat *a = f->tap_arg;

	if (r < 0 && a->stopped)
		r = 0;
	a->stopped = 0;
	return r;
}

static int
to_attention(struct sq_forward *f, size_t layer, const struct sq_feed *feed,
    size_t n, char *err)
{
	return stopped(f, sq_forward_attention(f, layer, feed, n, err));
}

static int
to_ffn(struct sq_forward *f, size_t layer, const struct sq_feed *feed,
    size_t n, char *err)
{
	return stopped(f, sq_forward_ffn(f, layer, feed, n, err));
}

static int
pass(struct seat *a, int small, sq_pass_fn *fn, int keep)
{
	struct sq_sequential *s = a->s;
	struct sq_hidden hidden = small ? s->small.hidden : s->whole.hidden;
	struct sq_pass p = { small ? &a->small : &a->whole, &hidden,
	    (size_t)s->block.layer, fn, keep, NULL };

	hidden.one = a->one;
	a->have = 0;
	a->why[0] = '\0';
	if (sq_pass_sample(&p, a->sample, a->err) == 0)
		return 0;
	return a->why[0] == '\0' ? -1 : sq_fail(a->err, "%s", a->why);
}

/* Samples that pass now. */
static size_t
passing(const struct sq_sequential *s)
{
	size_t left = samples(s) - s->first;

	return left < s->seats ? left : s->seats;
}

/* All samples, side by side; then, in their order, what comes after, unless
 * that is NULL. */
static int
each_sample(struct sq_sequential *s, void (*fn)(void *, long, int),
    int (*after)(struct seat *))
{
	size_t i;

	for (s->first = 0; s->first < samples(s); s->first += i) {
		for (i = 0; i < passing(s); i++)
			s->seat[i].sample = s->first + i;
		sq_pool_run(s->o.layer->ctx->pool, fn, s, (long)passing(s));
		for (i = 0; i < passing(s); i++)
			if (s->seat[i].failed)
				return sq_fail(s->err, "%s", s->seat[i].err);
		for (i = 0; i < passing(s); i++)
			if (after != NULL && after(&s->seat[i]) < 0)
				return -1;
	}
	return 0;
}

static void
set_taps(struct sq_sequential *s, sq_tap_fn *whole, sq_tap_fn *small)
{
	size_t i;

	for (i = 0; i < s->seats; i++) {
		s->seat[i].whole.f.tap = whole;
		s->seat[i].small.f.tap = small;
	}
}

/* The end of a half, of inputs that were kept. */
static int
leave(struct sq_forward *f, size_t layer, const struct sq_feed *feed, size_t n,
    char *err)
{
	struct seat *a = f->tap_arg;
	struct sq_mat in = { .p = a->rows };

	(void)n;
	if (sq_inputs_get(&a->s->inputs, a->sample, a->have, feed->n, &in,
	    err) < 0)
		return -1;
	a->have += feed->n;
	return sq_forward_leave(f, a->s->role, layer, &in, err);
}

static void
finish_sample(void *arg, long task, int thread)
{
	struct sq_sequential *s = arg;
	struct seat *a = &s->seat[task];

	(void)thread;
	a->failed = (!s->ahead && pass(a, 0, s->fn, 1) < 0) ||
	    pass(a, 1, a->sample < s->inputs.samples ? leave : s->fn, 1) < 0;
}

/* A half of the block is done with: all samples of both models pass it, or
 * have done so; the second one the end alone, where that is enough. */
static int
finish_half(struct sq_sequential *s, sq_pass_fn *fn)
{
	set_taps(s, NULL, NULL);
	s->fn = fn;
	if (each_sample(s, finish_sample, NULL) < 0)
		return -1;
	s->ahead = 0;
	sq_inputs_clear(&s->inputs, 0);
	return 0;
}

/* A sample's part of the sums, by all threads. */
static int
add_sample(struct seat *a)
{
	struct sq_sequential *s = a->s;
	struct sums *to = a->sample % HOLD == HOLD - 1 ? &s->held : &s->learn;
	int r = -1;

	a->y.ctx = a->away.ctx = s->o.layer->ctx;
	a->y.h = to->h;
	if (sq_gram_cross(&a->away, &a->y, to->d, s->err) == 0)
		r = sq_gram_add(&a->y, s->err);
	a->y.ctx = a->away.ctx = a->ctx;
	sq_inputs_kept(&s->inputs, a->sample);
	return r;
}

static void
input_release(struct sq_sequential *s)
{
	struct seat *a;
	size_t i;

	for (i = 0; s->seat != NULL && i < s->seats; i++) {
		a = &s->seat[i];
		a->y.h = NULL;			/* that of the sums */
		sq_gram_release(&a->y);
		sq_gram_release(&a->away);
		free(a->x);
		a->x = NULL;
	}
	free(s->learn.h);
	free(s->learn.d);
	free(s->held.h);
	free(s->held.d);
	s->learn.h = s->learn.d = s->held.h = s->held.d = NULL;
}

static int
input_init(struct sq_sequential *s, int input)
{
	size_t n = sq_input_channels(&s->o.filter->inv.config, input), i;
	size_t length = (size_t)s->tokens.length;
	struct seat *a;

	s->channels = n;
	s->learn.h = calloc(sq_triangle(n), sizeof(float));
	s->held.h = calloc(sq_triangle(n), sizeof(float));
	s->learn.d = calloc(n * n, sizeof(float));
	s->held.d = calloc(n * n, sizeof(float));
	if (s->held.h == NULL || s->learn.h == NULL ||
	    s->learn.d == NULL || s->held.d == NULL)
		return sq_fail(s->err, "out of memory");
	for (i = 0; i < s->seats; i++) {
		a = &s->seat[i];
		a->x = malloc(length * n * sizeof(float));
		if (a->x == NULL)
			return sq_fail(s->err, "out of memory");
		if (sq_gram_init_plain(&a->y, a->ctx, n, length, s->o.prec,
		    s->err) < 0 || sq_gram_init_plain(&a->away, a->ctx, n,
		    length, s->o.prec, s->err) < 0)
			return -1;
	}
	return 0;
}

static void
gather_sample(void *arg, long task, int thread)
{
	struct sq_sequential *s = arg;
	struct seat *a = &s->seat[task];

	(void)thread;
	a->failed = pass(a, 0, s->fn, s->inside) < 0 ||
	    pass(a, 1, s->fn, 0) < 0 || sq_gram_lay(&a->y, a->err) < 0;
}

/* What both models feed the layers of an input. */
static int
gather(struct sq_sequential *s, int input)
{
	static const enum sq_role role[SQ_INPUTS] = {
		SQ_Q, SQ_O, SQ_GATE, SQ_DOWN
	};

	s->role = role[input];
	s->fn = input < SQ_IN_FFN ? to_attention : to_ffn;
	s->inside = input == SQ_IN_O || input == SQ_IN_DOWN;
	sq_inputs_clear(&s->inputs, s->inside && (s->o.block == NULL ||
	    input == SQ_IN_O) ? s->channels : 0);
	set_taps(s, take_whole, take_small);
	if (each_sample(s, gather_sample, add_sample) < 0)
		return -1;
	s->ahead = s->inside;
	return 0;
}

/* ---- quantization ---- */

/* The tensors of an input that are meant; fn is called with their weights. */
static int
each_weight(struct sq_sequential *s, int input, int (*fn)(
    struct sq_sequential *, struct sq_held *, float *w, void *arg), void *arg)
{
	struct sq_mat m = { .type = SQ_F32 };
	struct sq_weight w;
	struct sq_held *h;
	int i, r = 0;

	for (i = 0; i < s->block.n && r == 0; i++) {
		h = &s->block.held[i];
		if (sq_input_of(h->slot) != input)
			continue;
		r = sq_filter_wants(s->o.filter, &h->t, h->slot);
		if (r <= 0)
			continue;
		s->o.rule(s->o.arg, &h->t, h->slot);
		m.rows = h->t.dim[0];
		m.cols = m.stride = h->t.dim[1];
		m.p = malloc(m.rows * m.cols * sizeof(float));
		if (m.p == NULL)
			return sq_fail(s->err, "tensor '%s': out of memory",
			    h->t.name);
		r = sq_weight_init(&w, &h->t, h->payload, s->err);
		if (r == 0 && sq_dequantize(s->o.layer->ctx, &w, 0, &m) != 0)
			r = sq_fail(s->err, "no kernel for '%s'", h->t.name);
		if (r == 0)
			r = fn(s, h, m.p, arg);
		free(m.p);
	}
	return r;
}

static int
weigh(struct sq_sequential *s, struct sq_held *h, float *w, void *arg)
{
	return sq_target_weigh(arg, s->held.d, w, h->t.dim[0], s->err);
}

struct aim {
	struct sq_target *target;
	double strength;
};

static int
quantize(struct sq_sequential *s, struct sq_held *h, float *w, void *arg)
{
	const struct sq_part *mask = sq_tensor_part(&h->t, "mask");
	struct aim *a = arg;
	unsigned char *payload;
	struct sq_tensor made;

	if (sq_target_apply(a->target, a->strength, w, h->t.dim[0],
	    s->err) < 0 || sq_gptq_matrix(s->o.layer, &h->t, w,
	    mask == NULL ? NULL : h->payload + mask->offset, &made, &payload,
	    s->err) < 0)
		return -1;
	if (s->o.block == NULL)
		sq_progress_add(s->o.filter->progress, h->t.length);
	free(h->payload);
	h->payload = payload;
	h->t = made;
	s->o.made(s->o.arg, &made);
	return 0;
}

/* What the tokens that were held out add to those that taught. */
static void
join(struct sq_sequential *s)
{
	size_t i;

	for (i = 0; i < sq_triangle(s->channels); i++)
		s->learn.h[i] += s->held.h[i];
}

static int
do_layers(struct sq_sequential *s, int input)
{
	struct sq_gptq_layer *l = s->o.layer;
	struct sq_target t = { l->lapack, l->ctx->pool, s->channels, l->damp,
	    malloc(s->channels * s->channels * sizeof(float)), s->learn.d, 0,
	    0 };
	struct aim a = { &t, 0 };
	int r = -1;

	if (t.square == NULL)
		return sq_fail(s->err, "out of memory");
	if (sq_target_solve(&t, s->learn.h, s->err) < 0)
		goto done;
	sq_target_hold(&t, s->held.h);
	if (each_weight(s, input, weigh, &t) < 0)
		goto done;
	a.strength = sq_target_strength(&t);
	join(s);
	if (sq_gptq_given(l, s->learn.h, s->channels, s->err) < 0)
		goto done;
	s->o.input(s->o.arg, a.strength);
	r = each_weight(s, input, quantize, &a);
done:
	free(t.square);
	return r;
}

static int
do_input(struct sq_sequential *s, int input)
{
	int i, wanted = 0, r;

	for (i = 0; i < s->block.n; i++) {
		if (sq_input_of(s->block.held[i].slot) != input)
			continue;
		r = sq_filter_wants(s->o.filter, &s->block.held[i].t,
		    s->block.held[i].slot);
		if (r < 0)
			return -1;
		wanted += r;
	}
	if (wanted == 0)
		return 0;
	r = -1;
	if (input_init(s, input) == 0 && gather(s, input) == 0)
		r = do_layers(s, input);
	input_release(s);
	if (r < 0)
		return -1;
	return sq_block_bind(&s->block, s->small.model, s->err);
}

static int
put_block(struct sq_sequential *s)
{
	struct sq_block *b = &s->block;
	int i;

	for (i = 0; i < b->n; i++)
		if (sq_payload_put(&s->o.filter->out, &b->held[i].t,
		    b->held[i].payload, s->err) < 0)
			return -1;
	return 0;
}

/* The first model keeps the weights as they were, in copies, for the block's
 * own change. */
static int
bind_whole(struct sq_sequential *s, struct sq_block *copy)
{
	const struct sq_block *b = &s->block;
	struct sq_held *h;

	*copy = (struct sq_block){ .layer = b->layer, .room = b->n };
	copy->held = calloc((size_t)b->n + 1, sizeof(*copy->held));
	if (copy->held == NULL)
		return sq_fail(s->err, "out of memory");
	for (; copy->n < b->n; copy->n++) {
		h = &copy->held[copy->n];
		*h = b->held[copy->n];
		h->payload = malloc((size_t)h->t.length + 1);
		if (h->payload == NULL)
			return sq_fail(s->err, "out of memory");
		memcpy(h->payload, b->held[copy->n].payload,
		    (size_t)h->t.length);
	}
	return sq_block_bind(copy, s->whole.model, s->err);
}

static int
copy_states(struct sq_sequential *s)
{
	struct sq_hidden *h = &s->small.hidden;
	size_t i;
	float *from, *to;

	for (i = 0; i < samples(s); i++) {
		if ((from = sq_hidden_get(h, i, s->err)) == NULL ||
		    (to = sq_hidden_get(&s->entry, i, s->err)) == NULL)
			return -1;
		sq_pool_copy(s->o.layer->ctx->pool, to, from,
		    h->length * h->dim * sizeof(*to));
		if (sq_hidden_put(&s->entry, i, s->err) < 0)
			return -1;
	}
	return 0;
}

static void
whole_ffn(void *arg, long task, int thread)
{
	struct seat *a = &((struct sq_sequential *)arg)->seat[task];

	(void)thread;
	a->failed = pass(a, 0, sq_forward_ffn, 1) < 0;
}

static void
small_block(void *arg, long task, int thread)
{
	struct seat *a = &((struct sq_sequential *)arg)->seat[task];

	(void)thread;
	a->failed = pass(a, 1, sq_forward_block, 1) < 0;
}

/* The second half and what o.block does; then the second model passes the
 * whole block, from its beginning. */
static int
finish_block(struct sq_sequential *s, const struct sq_block *whole)
{
	struct sq_sequential_block b = { whole, &s->block, s->small.model,
	    &s->entry, &s->whole.hidden };
	struct sq_hidden mid = s->small.hidden;

	set_taps(s, NULL, NULL);
	if (!s->ahead && each_sample(s, whole_ffn, NULL) < 0)
		return -1;
	s->ahead = 0;
	if (s->o.block(s->o.block_arg, &b, s->err) < 0 ||
	    sq_block_bind(&s->block, s->small.model, s->err) < 0)
		return -1;
	s->small.hidden = s->entry;
	s->entry = mid;
	return each_sample(s, small_block, NULL);
}

static int
run_block(struct sq_sequential *s, const struct sq_block *whole)
{
	if (s->o.block != NULL && copy_states(s) < 0)
		return -1;
	if (sq_block_bind(&s->block, s->small.model, s->err) < 0 ||
	    do_input(s, SQ_IN_QKV) < 0 || do_input(s, SQ_IN_O) < 0 ||
	    finish_half(s, sq_forward_attention) < 0 ||
	    do_input(s, SQ_IN_FFN) < 0 || do_input(s, SQ_IN_DOWN) < 0)
		return -1;
	return s->o.block == NULL ? finish_half(s, sq_forward_ffn) :
	    finish_block(s, whole);
}

static int
end_block(struct sq_sequential *s)
{
	struct sq_block copy;
	int r = 0;

	if (s->block.n == 0)
		return 0;
	if (bind_whole(s, &copy) < 0 || run_block(s, &copy) < 0 || put_block(s) < 0)
		r = -1;
	sq_block_drop(&copy);
	sq_block_drop(&s->block);
	s->block.layer++;
	return r;
}

/* ---- the stream ---- */

struct sq_sequential *
sq_sequential_new(const struct sq_sequential_set *o)
{
	struct sq_sequential *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->o = *o;
	s->err = o->filter->err;
	s->whole.hidden.fd = s->small.hidden.fd = s->entry.fd = -1;
	s->inputs.fd = -1;
	return s;
}

static int
side_init(struct sq_sequential *s, struct side *side, int spill)
{
	const struct sq_config *c = &s->o.filter->inv.config;

	if ((side->model = sq_model_new(c, s->err)) == NULL)
		return -1;
	return sq_hidden_init(&side->hidden, samples(s),
	    (size_t)s->tokens.length, (size_t)c->dim, spill, s->err);
}

static int
seat_init(struct sq_sequential *s, struct seat *a)
{
	const struct sq_config *c = &s->o.filter->inv.config;
	size_t length = (size_t)s->tokens.length;
	struct sq_ctx *ctx = s->o.layer->ctx;

	a->s = s;
	a->ctx = s->seats == 1 ? ctx : &a->own;
	if (s->seats > 1 && sq_ctx_init_part(a->ctx, ctx, (int)s->seats) < 0)
		return sq_fail(s->err, "out of memory");
	a->one = malloc(length * (size_t)c->dim * sizeof(float));
	a->rows = malloc(SQ_LANE_ROWS * widest(c) * sizeof(float));
	if (a->one == NULL || a->rows == NULL)
		return sq_fail(s->err, "out of memory");
	if (sq_lane_init(&a->whole, s->whole.model, a->ctx, s->o.prec, length,
	    1, s->err) < 0 || sq_lane_init(&a->small, s->small.model, a->ctx,
	    s->o.prec, length, 1, s->err) < 0)
		return -1;
	a->whole.f.tap_arg = a->small.f.tap_arg = a;
	return 0;
}

static int
seats_init(struct sq_sequential *s)
{
	size_t i;

	if ((s->seat = calloc(s->seats, sizeof(*s->seat))) == NULL)
		return sq_fail(s->err, "out of memory");
	for (i = 0; i < s->seats; i++)
		if (seat_init(s, &s->seat[i]) < 0)
			return -1;
	return 0;
}

static void
seats_release(struct sq_sequential *s)
{
	struct seat *a;
	size_t i;

	for (i = 0; s->seat != NULL && i < s->seats; i++) {
		a = &s->seat[i];
		sq_lane_release(&a->whole);
		sq_lane_release(&a->small);
		free(a->one);
		free(a->rows);
		sq_ctx_release_part(&a->own);
	}
	free(s->seat);
}

int
sq_sequential_tokens(struct sq_sequential *s)
{
	struct sq_filter *f = s->o.filter;
	int spill;

	if (sq_tokens_read(&s->tokens, &f->in) < 0)
		return sq_fail(s->err, "%s: %s", f->name, f->in.err);
	if (sq_tokens_write(&s->tokens, &f->out) < 0)
		return sq_fail(s->err, "stdout: %s", f->out.err);
	if (f->inv.config.experts > 0)
		return sq_fail(s->err, "--sequential: not for a mixture of "
		    "experts");
	if (samples(s) < HOLD)
		return sq_fail(s->err, "--sequential: needs at least %d "
		    "samples, not %zu", HOLD, samples(s));
	if ((spill = plan_memory(s)) < 0)
		return -1;
	if (side_init(s, &s->whole, spill) < 0 ||
	    side_init(s, &s->small, spill) < 0 || seats_init(s) < 0)
		return -1;
	sq_inputs_open(&s->inputs, (size_t)s->tokens.length);
	return s->o.block == NULL ? 0 : sq_hidden_init(&s->entry, samples(s),
	    (size_t)s->tokens.length, (size_t)f->inv.config.dim, spill,
	    s->err);
}

static int
embedding(struct sq_sequential *s, const struct sq_tensor *t)
{
	struct sq_pass p = { &s->seat[0].whole, &s->whole.hidden, 0, NULL, 1,
	    NULL };
	unsigned char *payload = sq_in_payload(&s->o.filter->in,
	    SQ_MAX_PAYLOAD);
	int r = -1;

	if (payload == NULL)
		return sq_fail(s->err, "%s", s->o.filter->in.err);
	if (sq_payload_bind(s->whole.model, t, payload, s->err) == 0 &&
	    sq_pass_embed(&p, s->tokens.id, s->err) == 0) {
		p.hidden = &s->small.hidden;
		r = sq_pass_embed(&p, s->tokens.id, s->err);
	}
	if (r == 0)
		r = sq_payload_put(&s->o.filter->out, t, payload, s->err);
	free(payload);
	return r;
}

static int
beyond(struct sq_sequential *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	int r = end_block(s) < 0 ? -1 : sq_filter_wants(s->o.filter, t, slot);

	if (r > 0)
		return sq_fail(s->err, "tensor '%s': --sequential is for the "
		    "linear layers of blocks", t->name);
	return r < 0 ? -1 : sq_filter_copy(s->o.filter);
}

int
sq_sequential_tensor(struct sq_sequential *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	if (s->tokens.id == NULL)
		return sq_fail(s->err, "--sequential: no TOKENS; sq-calibrate "
		    "--tokens-only adds them");
	if (slot != NULL && slot->role == SQ_EMBED &&
	    !sq_select(&s->o.filter->select, t, slot))
		return embedding(s, t);
	if (slot == NULL || slot->role == SQ_NORM || slot->role == SQ_HEAD ||
	    slot->role == SQ_EMBED)
		return beyond(s, t, slot);
	if (slot->layer != s->block.layer && end_block(s) < 0)
		return -1;
	return sq_block_hold(&s->block, &s->o.filter->in, t, slot, s->err);
}

int
sq_sequential_end(struct sq_sequential *s)
{
	return end_block(s);
}

static void
side_release(struct side *side)
{
	sq_hidden_release(&side->hidden);
	sq_model_free(side->model);
}

void
sq_sequential_free(struct sq_sequential *s)
{
	if (s == NULL)
		return;
	input_release(s);
	seats_release(s);
	sq_block_drop(&s->block);
	side_release(&s->whole);
	side_release(&s->small);
	sq_hidden_release(&s->entry);
	sq_inputs_release(&s->inputs);
	sq_tokens_release(&s->tokens);
	free(s);
}
