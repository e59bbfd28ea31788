/* GPTQ of a stream; see gptq_run.h. */
#include <stdio.h>
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
		return begin(s);
	return sq_fail(s->err, "tensor '%s': -M: needs at least %juM",
	    most->name, (uintmax_t)(least + 0xfffff) >> 20);
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
		n += (size_t)meant(g, st.tensor[i]);
	if (n == 0)
		return g->drop ? 0 : sq_filter_copy(s);
	if (sq_gptq_stats(&g->layer, &s->in, g->drop ? NULL : &s->out,
	    s->err) < 0)
		return -1;
	g->seen(g);
	return 0;
}

static int
record(struct sq_filter *s)
{
	return s->in.type != SQ_STATS ? sq_filter_copy(s) :
	    statistics((struct sq_gptq_run *)s);
}

/* How a tensor is quantized; the budget has its grid. */
static void
set_rule(void *arg, const struct sq_tensor *t, const struct sq_slot *slot)
{
	struct sq_gptq_run *g = arg;

	g->layer.rule = sq_filter_rule(&g->f, t, slot);
	if (g->budget.bits > 0)
		g->layer.rule.grid = sq_budget_of(&g->budget, slot);
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

static int
seq_record(struct sq_filter *s)
{
	struct sq_gptq_run *g = (struct sq_gptq_run *)s;

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
	struct sq_sequential_set set = { &g->f, &g->layer, SQ_PREC_BF16,
	    set_rule, g->input, g->made, g };
	struct sq_filter *s = &g->f;

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

static int
open_tune(struct sq_gptq_run *g)
{
	struct sq_filter *s = &g->f;

	g->tune.filter = s;
	g->tune.layer = &g->layer;
	s->begin = begin;
	s->record = tune_record;
	s->tensor = tune_tensor;
	s->end = tune_end;
	return sq_tune_run_init(&g->tune, s->err);
}

int
sq_gptq_run_init(struct sq_gptq_run *g)
{
	struct sq_filter *s = &g->f;

	if (g->budget.bits > 0 &&
	    (sq_budget_survey(&g->budget, s, &g->layer) < 0 ||
	    sq_budget_choose(&g->budget, s->err) < 0))
		return -1;
	if (g->tune.tune.steps > 0)
		return open_tune(g);
	if (g->sequential)
		return open_sequential(g);
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
	sq_budget_release(&g->budget);
	sq_sequential_free(g->seq);
}
