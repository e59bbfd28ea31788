/* Requests to a model, timed; see bench_model.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/rng.h"
#include "eval/bench_model.h"
#include "eval/energy.h"
#include "eval/series.h"
#include "kernels/limits.h"
#include "model/forward.h"

#define ROWS	512			/* tokens of a pass */
#define PAGE	64

struct job {
	const struct sq_bench_model *b;
	struct sq_forward f;
	struct sq_kvcache cache;
	struct sq_kvseq *kv;		/* [batch] */
	struct sq_feed *feed;
	uint32_t *ids, *next;		/* prompts; the last token of each */
	double *first, *last;		/* of each request, seconds */
	struct sq_mat logits;
	struct sq_series ttft, tpot, itl, e2e, out, total, joules;
	struct sq_series products, limit, part;	/* of prompts */
	struct sq_energy energy;
};

/* Logits of n rows from `row' on, and what each says next. */
static int
pick(struct job *j, size_t row, size_t n, uint32_t *next, char *err)
{
	j->logits.rows = n;
	if (sq_forward_logits(&j->f, row, n, &j->logits, err) < 0)
		return -1;
	if (sq_nll(j->b->ctx, &j->logits, NULL, NULL, next) != 0)
		return sq_fail(err, "no kernel for 'nll'");
	return 0;
}

static int
prefill(struct job *j, size_t i, char *err)
{
	const struct sq_bench_model *b = j->b;
	struct sq_feed feed = { .kv = &j->kv[i] };
	size_t at;

	for (at = 0; at < b->prompt; at += feed.n) {
		feed.ids = j->ids + i * b->prompt + at;
		feed.n = b->prompt - at < ROWS ? b->prompt - at : ROWS;
		if (sq_forward(&j->f, &feed, 1, err) < 0)
			return -1;
	}
	return pick(j, j->f.x.rows - 1, 1, &j->next[i], err);
}

static int
decode(struct job *j, char *err)
{
	const struct sq_bench_model *b = j->b;
	size_t i, step;
	double t;

	for (step = 1; step < b->generate; step++) {
		for (i = 0; i < b->batch; i++)
			j->feed[i] = (struct sq_feed){ &j->kv[i],
			    &j->next[i], 1 };
		if (sq_forward(&j->f, j->feed, b->batch, err) < 0 ||
		    pick(j, 0, b->batch, j->next, err) < 0)
			return -1;
		t = sq_now();
		for (i = 0; i < b->batch; i++) {
			if (sq_series_add(&j->itl, 1e3 * (t - j->last[i])) < 0)
				return sq_fail(err, "out of memory");
			j->last[i] = t;
		}
	}
	return 0;
}

static int
collect(struct job *j, double start, double joules, char *err)
{
	const struct sq_bench_model *b = j->b;
	double end = 0, made = (double)(b->batch * b->generate);
	size_t i;
	int r = 0;

	for (i = 0; i < b->batch; i++) {
		end = fmax(end, j->last[i]);
		r |= sq_series_add(&j->ttft, 1e3 * (j->first[i] - start));
		r |= sq_series_add(&j->e2e, 1e3 * (j->last[i] - start));
		if (b->generate > 1)
			r |= sq_series_add(&j->tpot, 1e3 * (j->last[i] -
			    j->first[i]) / (double)(b->generate - 1));
	}
	r |= sq_series_add(&j->out, made / (end - start));
	r |= sq_series_add(&j->total, (made + (double)(b->batch *
	    b->prompt)) / (end - start));
	if (!isnan(joules))
		r |= sq_series_add(&j->joules, joules / made);
	return r < 0 ? sq_fail(err, "out of memory") : 0;
}

/* Operations of the products of a token's rows with the weights, as if all of
 * their values were stored. */
static double
token_operations(const struct sq_model *m)
{
	double n = 0;
	size_t i, k;

	for (i = 0; i < (size_t)m->config.layers; i++) {
		const struct sq_layer *l = &m->layer[i];
		const struct sq_linear *all[] = { &l->q, &l->k, &l->v, &l->o,
		    &l->gate, &l->up, &l->down };

		for (k = 0; k < sizeof(all) / sizeof(*all); k++)
			n += 2. * (double)all[k]->w.rows *
			    (double)all[k]->w.cols;
	}
	return n;
}

/* What such products can come to just now; NAN: not known. */
static double
product_limit(const struct sq_bench_model *b)
{
	enum sq_limit kind = b->prec == SQ_PREC_F32 ? SQ_LIMIT_F32 :
	    b->model->layer[0].down.act.kind == SQ_ACT_INT8 ? SQ_LIMIT_INT8 :
	    SQ_LIMIT_BF16;
	const char *level = b->ctx->kern->name;
	double rate;

	if (b->ctx->kern->mem->device || b->model->config.experts > 0)
		return NAN;
	if (sq_limit_loaded(b->ctx->pool, level, kind, &rate) == 0 ||
	    sq_limit_ops(b->ctx->pool, level, kind, &rate) == 0)
		return rate;
	return NAN;
}

/* How fast the prompts' products were, which took so many seconds. */
static int
collect_products(struct job *j, double seconds, double limit)
{
	const struct sq_bench_model *b = j->b;
	double rate = token_operations(b->model) * (double)(b->batch *
	    b->prompt) / seconds;

	if (isnan(limit))
		return 0;
	return sq_series_add(&j->products, rate) |
	    sq_series_add(&j->limit, limit) |
	    sq_series_add(&j->part, rate / limit);
}

static int
one_run(struct job *j, int counts, char *err)
{
	double limit = product_limit(j->b), start = sq_now();
	double joules = sq_energy_read(&j->energy);
	size_t i;

	if (!counts)
		j->itl.n = 0;
	for (i = 0; i < j->b->batch; i++) {
		sq_kvseq_clear(&j->kv[i]);
		if (prefill(j, i, err) < 0)
			return -1;
		j->first[i] = j->last[i] = sq_now();
	}
	if (decode(j, err) < 0)
		return -1;
	joules = sq_energy_read(&j->energy) - joules;
	if (counts) {
		limit = (limit + product_limit(j->b)) / 2;
		if (collect_products(j, j->first[j->b->batch - 1] - start,
		    limit) < 0)
			return sq_fail(err, "out of memory");
		return collect(j, start, joules, err);
	}
	j->itl.n = 0;
	return 0;
}

static void
spread(struct sq_series *s, const char *name, sq_bench_figure_fn *put,
    void *arg)
{
	static const struct {
		const char *name;
		double share;
	} ranks[] = { { "p50", .5 }, { "p90", .9 }, { "p99", .99 } };
	char metric[32];
	size_t i;

	if (s->n == 0)
		return;
	sq_series_sort(s);
	put(arg, name, sq_series_mean(s), "ms");
	for (i = 0; i < 3; i++) {
		snprintf(metric, sizeof(metric), "%s_%s", name, ranks[i].name);
		put(arg, metric, sq_series_rank(s, ranks[i].share), "ms");
	}
}

/* Bytes that a step of decoding reads of the weights: all but the rows of the
 * embedding. */
static double
step_bytes(const struct sq_model *m)
{
	const struct sq_source_tensor *t;
	double n = (double)sq_source_bytes(m->source);

	t = sq_source_find(m->source, "model.embed_tokens.weight");
	return t == NULL || m->config.tied ? n : n - (double)t->t.length;
}

/* How fast weights are read, at the median step, and how fast memory can be. */
static void
report_reading(struct job *j, sq_bench_figure_fn *put, void *arg)
{
	const struct sq_bench_model *b = j->b;
	double limit;

	if (j->itl.n == 0 || b->ctx->kern->mem->device ||
	    b->model->config.experts > 0 ||
	    sq_limit_read(b->ctx->pool, &limit) < 0)
		return;
	put(arg, "weights_read", step_bytes(b->model) /
	    (1e-3 * sq_series_rank(&j->itl, .5)), "bytes/s");
	put(arg, "read_limit", limit, "bytes/s");
}

/* Of the prompts' products, medians. */
static void
report_products(struct job *j, sq_bench_figure_fn *put, void *arg)
{
	if (j->part.n == 0)
		return;
	sq_series_sort(&j->products);
	sq_series_sort(&j->limit);
	sq_series_sort(&j->part);
	put(arg, "prefill_products", sq_series_rank(&j->products, .5), "op/s");
	put(arg, "product_limit", sq_series_rank(&j->limit, .5), "op/s");
	put(arg, "prefill_part", sq_series_rank(&j->part, .5), "fraction");
}

static void
report(struct job *j, sq_bench_figure_fn *put, void *arg)
{
	const struct sq_bench_model *b = j->b;
	struct rusage u;

	spread(&j->ttft, "ttft", put, arg);
	spread(&j->tpot, "tpot", put, arg);
	spread(&j->itl, "itl", put, arg);
	spread(&j->e2e, "e2e", put, arg);
	sq_series_sort(&j->out);
	sq_series_sort(&j->total);
	put(arg, "throughput", sq_series_rank(&j->out, .5), "tok/s");
	put(arg, "throughput_total", sq_series_rank(&j->total, .5), "tok/s");
	put(arg, "memory_weights", (double)sq_source_bytes(b->model->source), "bytes");
	put(arg, "memory_kv", (double)j->cache.peak, "bytes");
	put(arg, "memory_activations", (double)sq_forward_bytes(&j->f),
	    "bytes");
	getrusage(RUSAGE_SELF, &u);
	put(arg, "memory_peak", (double)u.ru_maxrss * 1024, "bytes");
	report_products(j, put, arg);
	report_reading(j, put, arg);
	if (j->joules.n > 0)
		put(arg, "energy", sq_series_mean(&j->joules), "J/token");
}

static int
open_job(struct job *j, const struct sq_bench_model *b, char *err)
{
	const struct sq_config *c = &b->model->config;
	struct sq_kv kv = { .type = sq_forward_kv_type(b->prec),
	    .heads = (size_t)c->kv_heads, .dim = (size_t)c->head_dim,
	    .page = PAGE };
	size_t each = b->prompt + b->generate, i, n = b->batch * b->prompt;
	size_t rows = b->batch > ROWS ? b->batch : ROWS;
	struct sq_rng rng = { b->seed };
	struct sq_kv_policy policy;

	sq_kv_policy_plain(&policy, kv.type);
	if (b->kv != NULL)
		policy = *b->kv;
	j->b = b;
	sq_energy_open(&j->energy, NULL);
	if (b->prompt == 0 || b->batch == 0 || b->generate == 0)
		return sq_fail(err, "nothing to do");
	if (each > c->context)
		return sq_fail(err, "%zu tokens are more than the context of "
		    "%ju", each, (uintmax_t)c->context);
	j->kv = calloc(b->batch, sizeof(*j->kv));
	j->feed = calloc(b->batch, sizeof(*j->feed));
	j->next = calloc(b->batch, sizeof(*j->next));
	j->first = calloc(b->batch, sizeof(*j->first));
	j->last = calloc(b->batch, sizeof(*j->last));
	j->ids = calloc(n, sizeof(*j->ids));
	j->logits = (struct sq_mat){ malloc(b->batch * (size_t)c->vocab *
	    sizeof(float)), SQ_F32, b->batch, (size_t)c->vocab,
	    (size_t)c->vocab };
	if (j->kv == NULL || j->feed == NULL || j->next == NULL ||
	    j->first == NULL || j->last == NULL || j->ids == NULL ||
	    j->logits.p == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < n; i++)
		j->ids[i] = (uint32_t)(sq_rng_next(&rng) % c->vocab);
	each = (each + PAGE - 1) / PAGE * PAGE;
	if (sq_forward_init(&j->f, b->model, b->ctx, b->prec, rows, err) < 0 ||
	    sq_kv_policy_check(&policy, (size_t)c->layers, kv.dim, PAGE,
	    err) < 0 ||
	    sq_kvcache_init_policy(&j->cache, &kv, &policy,
	    b->ctx->kern->mem, (size_t)c->layers, b->batch * each, 0,
	    err) < 0)
		return -1;
	for (i = 0; i < b->batch; i++)
		if (sq_kvseq_init(&j->kv[i], &j->cache, each, err) < 0)
			return -1;
	return 0;
}

static void
close_job(struct job *j)
{
	size_t i;

	for (i = 0; j->kv != NULL && i < j->b->batch; i++)
		sq_kvseq_release(&j->kv[i]);
	sq_energy_close(&j->energy);
	sq_kvcache_release(&j->cache);
	sq_forward_release(&j->f);
	free(j->kv);
	free(j->feed);
	free(j->next);
	free(j->first);
	free(j->last);
	free(j->ids);
	free(j->logits.p);
	sq_series_release(&j->ttft);
	sq_series_release(&j->tpot);
	sq_series_release(&j->itl);
	sq_series_release(&j->e2e);
	sq_series_release(&j->out);
	sq_series_release(&j->total);
	sq_series_release(&j->joules);
	sq_series_release(&j->products);
	sq_series_release(&j->limit);
	sq_series_release(&j->part);
}

int
sq_bench_model(const struct sq_bench_model *b, sq_bench_figure_fn *put,
    void *arg, char *err)
{
	struct job j = { 0 };
	size_t i;
	int r = open_job(&j, b, err);

	for (i = 0; r == 0 && i <= b->runs; i++)
		r = one_run(&j, i > 0, err);
	if (r == 0)
		report(&j, put, arg);
	close_job(&j);
	return r;
}
