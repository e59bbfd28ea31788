/* GPTQ of a stream; see gptq_run.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/gptq_run.h"

/* 1 when a tensor of that name is meant, whether it exists or not. */
static int
meant(const struct sq_gptq_run *g, const char *name)
{
	const struct sq_inventory *inv = &g->f.inv;
	struct sq_select s = g->f.select;
	struct sq_tensor t = { .ndim = 2 };

	snprintf(t.name, sizeof(t.name), "%s", name);
	return sq_select(&s, &t, sq_slot_find(inv->slot, inv->n, name));
}

static int
begin(struct sq_filter *s)
{
	struct sq_gptq_run *g = (struct sq_gptq_run *)s;

	memcpy(g->layer.model, s->digest, sizeof(s->digest));
	return 0;
}

/* What all results of a run depend on. */
static int
set_key(struct sq_gptq_run *g)
{
	const struct sq_gptq_layer *l = &g->layer;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	int bad = f == NULL;

	if (f != NULL) {
		fprintf(f, "gptq %s %s %g %g %d %d %d %d\n",
		    l->ctx->kern->name, l->device.ctx == NULL ? "" :
		    l->device.ctx->kern->name, g->budget.bits, l->damp,
		    (int)l->order, l->sweeps, l->refit, l->pairs);
		bad = sq_filter_key(&g->f, f) < 0;
		bad |= fclose(f) != 0;
	}
	if (!bad)
		g->key = XXH3_128bits(text, n);
	free(text);
	return bad ? sq_fail(g->f.err, "out of memory") : 0;
}

/* Whether -M will do for all of them, of 16-bit values as most are. */
static int
begin_plain(struct sq_filter *s)
{
	const struct sq_slot *slot = s->inv.slot, *most = NULL;
	struct sq_gptq_run *g = (struct sq_gptq_run *)s;
	struct sq_gptq_layer *l = &g->layer;
	uint64_t need, least = 0;
	size_t i;

	for (i = 0; i < s->inv.n; i++) {
		if (!slot[i].linear || !meant(g, slot[i].name))
			continue;
		l->rule = sq_rule(&s->rules, slot[i].name, 1);
		need = sq_gptq_memory(l, slot[i].dim[0], slot[i].dim[1], 2, 1);
		if (need > least) {
			least = need;
			most = &slot[i];
		}
	}
	if (l->memory == 0 || l->memory >= least)
		return begin(s) < 0 || set_key(g) < 0 ? -1 : 0;
	return sq_fail(s->err, "tensor '%s': -M: needs at least %juM",
	    most->name, (uintmax_t)(least + 0xfffff) >> 20);
}

/* When somebody needs it: not for what an earlier run has finished. */
static int
make_factor(struct sq_gptq_run *g)
{
	if (sq_gptq_factor(&g->layer, g->f.err) < 0)
		return -1;
	g->seen(g);
	return 0;
}

/* How a tensor is quantized; the budget has its grid. */
static void
set_rule(void *arg, const struct sq_tensor *t, const struct sq_slot *slot)
{
	struct sq_gptq_run *g = arg;

	g->layer.rule = sq_filter_rule(&g->f, t, slot);
	if (g->budget.bits > 0)
		sq_budget_set(&g->budget, slot, &g->layer.rule);
}

/* The rule of a tensor that is still to come. */
static void
expect(struct sq_gptq_run *g, const char *name)
{
	const struct sq_inventory *inv = &g->f.inv;
	const struct sq_slot *slot = sq_slot_find(inv->slot, inv->n, name);
	struct sq_tensor t = { .ndim = 2 };

	snprintf(t.name, sizeof(t.name), "%s", name);
	if (slot != NULL)
		set_rule(g, &t, slot);
}

static int
statistics(struct sq_gptq_run *g)
{
	struct sq_filter *s = &g->f;
	struct sq_stats st;
	size_t i, n = 0;
	int full;

	if (sq_stats_parse(&st, &s->in, &full, s->err) < 0)
		return -1;
	for (i = 0; !st.is_kv && i < st.ntensors; i++)
		if (meant(g, st.tensor[i]) && n++ == 0)
			expect(g, st.tensor[i]);
	if (n == 0)
		return g->drop ? 0 : sq_filter_copy(s);
	if (sq_gptq_stats(&g->layer, &s->in, g->drop ? NULL : &s->out,
	    s->err) < 0)
		return -1;
	g->stats[0] = XXH3_64bits(s->in.json, s->in.json_len);
	g->stats[1] = sq_in_hash(&s->in);
	return g->state_path != NULL ? 0 : make_factor(g);
}

static int
record(struct sq_filter *s)
{
	return s->in.type != SQ_STATS ? sq_filter_copy(s) :
	    statistics((struct sq_gptq_run *)s);
}

/* ---- what an earlier run has finished ---- */

/* The key of the tensor whose payload has just been read. */
static XXH128_hash_t
tensor_key(const struct sq_gptq_run *g)
{
	const struct sq_in *in = &g->f.in;
	const uint64_t part[6] = { g->key.low64, g->key.high64, g->stats[0],
	    g->stats[1], XXH3_64bits(in->json, in->json_len), sq_in_hash(in) };

	return XXH3_128bits(part, sizeof(part));
}

static int
read_over(struct sq_in *in)
{
	char piece[65536];
	size_t n;

	while (in->left > 0) {
		n = in->left < sizeof(piece) ? (size_t)in->left :
		    sizeof(piece);
		if (sq_in_read(in, piece, n) < 0)
			return -1;
	}
	return 0;
}

static int
reuse(struct sq_gptq_run *g, const struct sq_tensor *made,
    unsigned char *payload)
{
	struct sq_filter *s = &g->f;

	if (read_over(&s->in) < 0)
		return sq_fail(s->err, "%s", s->in.err);
	if (sq_tune_state_get(&g->state, g->nth, tensor_key(g), payload,
	    (size_t)made->length, s->err) < 0)
		return -1;
	if (sq_out_tensor(&s->out, made) < 0 ||
	    sq_out_write(&s->out, payload, (size_t)made->length) < 0 ||
	    sq_out_end(&s->out) < 0)
		return sq_fail(s->err, "%s", s->out.err);
	sq_progress_add(s->progress, s->in.length);
	g->reused(g, made);
	return 0;
}

static int
finish(struct sq_gptq_run *g, const struct sq_tensor *t,
    unsigned char *payload)
{
	struct sq_gptq_layer *l = &g->layer;
	struct sq_filter *s = &g->f;
	int r;

	if (l->raw && make_factor(g) < 0)
		return -1;
	l->keep = payload;
	r = sq_gptq_tensor(l, t, &s->in, &s->out, s->err);
	l->keep = NULL;
	if (r < 0)
		return -1;
	g->made(g, &l->chunks.made);
	return sq_tune_state_put(&g->state, g->nth, tensor_key(g), payload,
	    (size_t)l->chunks.made.length, s->err);
}

static int
kept_tensor(struct sq_gptq_run *g, const struct sq_tensor *t)
{
	struct sq_filter *s = &g->f;
	struct sq_tensor made;
	unsigned char *payload;
	int r;

	if (sq_gptq_ready(&g->layer, t, s->err) < 0)
		return -1;
	sq_gptq_describe(&g->layer, t, &made);
	if ((payload = malloc((size_t)made.length)) == NULL)
		return sq_fail(s->err, "tensor '%s': out of memory", t->name);
	r = sq_tune_state_has(&g->state, g->nth) ?
	    reuse(g, &made, payload) : finish(g, t, payload);
	free(payload);
	g->nth++;
	return r;
}

static int
tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_gptq_run *g = (struct sq_gptq_run *)s;
	int r;

	if ((r = sq_filter_wants(s, t, slot)) < 0)
		return -1;
	if (r > 0) {
		set_rule(g, t, slot);
		if (g->state_path != NULL)
			return kept_tensor(g, t);
		if (sq_gptq_tensor(&g->layer, t, &s->in, &s->out, s->err) < 0)
			return -1;
		g->made(g, &g->layer.chunks.made);
		return 0;
	}
	if (sq_filter_copy(s) < 0)
		return -1;
	sq_progress_add(s->progress, s->in.length);
	return 0;
}

/* ---- one layer after the other ---- */

/* Is there what it takes?  This is asked at the first record that tells. */
static int
suits(const struct sq_filter *s)
{
	json_int_t tokens, length;

	if (s->in.type != SQ_TOKENS || s->inv.config.experts > 0)
		return 0;
	tokens = json_integer_value(json_object_get(s->in.desc, "tokens"));
	length = json_integer_value(json_object_get(s->in.desc, "length"));
	return length > 0 && tokens / length >= SQ_SEQUENTIAL_LEAST;
}

static int
seq_record(struct sq_filter *s)
{
	struct sq_gptq_run *g = (struct sq_gptq_run *)s;

	if (g->sequential == SQ_SEQ_WHERE && (s->in.type == SQ_TOKENS ||
	    s->in.type == SQ_STATS)) {
		g->sequential = suits(s) ? SQ_SEQ_YES : SQ_SEQ_NO;
		if (g->sequential == SQ_SEQ_NO) {
			g->plain(g);
			s->record = record;
			s->tensor = tensor;
			s->end = NULL;
			return record(s);
		}
	}
	if (s->in.type == SQ_STATS)
		return 0;
	return s->in.type == SQ_TOKENS ? sq_sequential_tokens(g->seq) :
	    sq_filter_copy(s);
}

static int
seq_tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return sq_sequential_tensor(((struct sq_gptq_run *)s)->seq, t, slot);
}

static int
seq_end(struct sq_filter *s)
{
	return sq_sequential_end(((struct sq_gptq_run *)s)->seq);
}

static int
open_sequential(struct sq_gptq_run *g)
{
	struct sq_sequential_set set = { .filter = &g->f, .layer = &g->layer,
	    .prec = g->tune.prec, .rule = set_rule, .input = g->input,
	    .made = g->made, .arg = g };
	struct sq_filter *s = &g->f;

	if (g->tune.tune.steps > 0) {
		set.block = sq_tune_run_block;
		set.memory = sq_tune_run_memory;
		set.block_arg = &g->tune;
	}
	if ((g->seq = sq_sequential_new(&set)) == NULL)
		return sq_fail(s->err, "out of memory");
	s->begin = begin;
	s->record = seq_record;
	s->tensor = seq_tensor;
	s->end = seq_end;
	return 0;
}

/* ---- tuning ---- */

static int
tune_record(struct sq_filter *s)
{
	return sq_tune_run_record(&((struct sq_gptq_run *)s)->tune);
}

static int
tune_tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return sq_tune_run_tensor(&((struct sq_gptq_run *)s)->tune, t, slot);
}

static int
tune_end(struct sq_filter *s)
{
	return sq_tune_run_end(&((struct sq_gptq_run *)s)->tune);
}

static void
open_tune(struct sq_gptq_run *g)
{
	struct sq_filter *s = &g->f;

	s->begin = begin;
	s->record = tune_record;
	s->tensor = tune_tensor;
	s->end = tune_end;
}

int
sq_gptq_run_init(struct sq_gptq_run *g)
{
	struct sq_filter *s = &g->f;

	if (g->budget.bits > 0 &&
	    (sq_budget_survey(&g->budget, s, &g->layer) < 0 ||
	    sq_budget_choose(&g->budget, s->err) < 0))
		return -1;
	g->tune.state_path = g->state_path;
	if (g->tune.tune.steps > 0) {
		g->tune.filter = s;
		g->tune.layer = &g->layer;
		if (sq_tune_run_init(&g->tune, s->err) < 0)
			return -1;
	}
	if (g->sequential == SQ_SEQ_WHERE && (g->budget.bits > 0 ||
	    (g->state_path != NULL && g->tune.tune.steps == 0)))
		g->sequential = SQ_SEQ_NO;
	if (g->sequential)
		return open_sequential(g);
	if (g->tune.tune.steps > 0) {
		open_tune(g);
		return 0;
	}
	if (sq_tune_state_open(&g->state, g->state_path, s->err) < 0)
		return -1;
	g->layer.keeps = g->state_path != NULL;
	s->begin = begin_plain;
	s->record = record;
	s->tensor = tensor;
	return 0;
}

void
sq_gptq_run_release(struct sq_gptq_run *g)
{
	if (g->tune.tune.steps > 0)
		sq_tune_run_release(&g->tune);
	else if (g->state_path != NULL)
		sq_tune_state_release(&g->state);
	sq_budget_release(&g->budget);
	sq_sequential_free(g->seq);
}
