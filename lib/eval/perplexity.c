/* Perplexity and distance to a reference; see perplexity.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/perplexity.h"
#include "eval/significance.h"
#include "eval/top.h"
#include "model/lane.h"

#define LOGITS	((size_t)8 << 20)	/* values of logits at a time */

/* A model with what it needs to run over windows. */
struct runner {
	struct sq_lane lane;
	struct sq_mat logits;
};

struct job {
	const struct sq_ppl *p;
	struct runner m, ref;
	size_t step;			/* rows of logits at a time */
	float *nll, *ref_nll, *kl;
	uint32_t *top, *ref_top;
	uint32_t *five, *ref_five;	/* SQ_TOP of each row */
	/* sums over scored tokens */
	uint64_t tokens, agree, agree5, lost, won;
	double sum, sum2, kl_sum, kl_sum2, delta_sum, delta_sum2;
};

static int
runner_open(struct runner *r, const struct sq_ppl *p,
    const struct sq_model *m, const struct sq_kv_policy *kv, size_t step,
    char *err)
{
	const struct sq_config *c = &m->config;

	r->logits = (struct sq_mat){ p->ctx->kern->mem->alloc(step *
	    (size_t)c->vocab * sizeof(float)), SQ_F32, step, (size_t)c->vocab,
	    (size_t)c->vocab };
	if (r->logits.p == NULL)
		return sq_fail(err, "out of memory");
	return sq_lane_init_kv(&r->lane, m, p->ctx, p->prec, kv, p->length,
	    (size_t)c->layers, err);
}

static void
runner_close(struct runner *r, const struct sq_ctx *ctx)
{
	sq_lane_release(&r->lane);
	ctx->kern->mem->free(r->logits.p);
}

static int
pass(struct runner *r, const uint32_t *ids, size_t n, char *err)
{
	struct sq_feed feed = { &r->lane.seq, ids, n };

	return sq_forward(&r->lane.f, &feed, 1, err);
}

static int
logits(struct runner *r, size_t row, size_t n, char *err)
{
	r->logits.rows = n;
	return sq_forward_logits(&r->lane.f, row, n, &r->logits, err);
}

static int
add_scores(struct job *j, const uint32_t *target, size_t n, char *err)
{
	double delta;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!isfinite(j->nll[i]))
			return sq_fail(err, "the model's output is not "
			    "finite");
		j->sum += j->nll[i];
		j->sum2 += (double)j->nll[i] * j->nll[i];
		if (j->p->reference == NULL)
			continue;
		j->agree += j->top[i] == j->ref_top[i];
		j->agree5 += sq_top_common(j->five + i * SQ_TOP,
		    j->ref_five + i * SQ_TOP);
		j->kl_sum += j->kl[i];
		j->kl_sum2 += (double)j->kl[i] * j->kl[i];
		delta = (double)j->nll[i] - j->ref_nll[i];
		j->delta_sum += delta;
		j->delta_sum2 += delta * delta;
		j->lost += j->ref_top[i] == target[i] && j->top[i] != target[i];
		j->won += j->ref_top[i] != target[i] && j->top[i] == target[i];
	}
	j->tokens += n;
	return 0;
}

/* Rows row .. row+n-1 of the batch predict target[0 .. n-1]. */
static int
score(struct job *j, size_t row, size_t n, const uint32_t *target, char *err)
{
	struct sq_ctx *c = j->p->ctx;
	size_t m;

	for (; n > 0; row += m, target += m, n -= m) {
		m = n < j->step ? n : j->step;
		if (logits(&j->m, row, m, err) < 0)
			return -1;
		if (sq_nll(c, &j->m.logits, target, j->nll, j->top) != 0)
			return sq_fail(err, "no kernel for 'nll'");
		if (j->p->reference != NULL) {
			if (logits(&j->ref, row, m, err) < 0)
				return -1;
			if (sq_nll(c, &j->ref.logits, target, j->ref_nll,
			    j->ref_top) != 0 || sq_kl(c, &j->ref.logits,
			    &j->m.logits, j->kl) != 0)
				return sq_fail(err, "no kernel for 'kl'");
			if (sq_top(c, &j->m.logits, j->five) < 0 ||
			    sq_top(c, &j->ref.logits, j->ref_five) < 0)
				return sq_fail(err, "no %d likeliest tokens",
				    SQ_TOP);
		}
		if (add_scores(j, target, m, err) < 0)
			return -1;
	}
	return 0;
}

/* One window: ids[first] is the first token that is scored. */
static int
window(struct job *j, const uint32_t *ids, size_t first, char *err)
{
	size_t length = j->p->length, at, n, from, to;

	sq_kvseq_clear(&j->m.lane.seq);
	if (j->p->reference != NULL)
		sq_kvseq_clear(&j->ref.lane.seq);
	for (at = 0; at < length; at += n) {
		n = length - at < j->m.lane.rows ? length - at :
		    j->m.lane.rows;
		if (pass(&j->m, ids + at, n, err) < 0)
			return -1;
		if (j->p->reference != NULL &&
		    pass(&j->ref, ids + at, n, err) < 0)
			return -1;
		/* the row of token t predicts token t + 1 */
		from = first - 1 > at ? first - 1 : at;
		to = at + n < length - 1 ? at + n : length - 1;
		if (from < to && score(j, from - at, to - from,
		    ids + from + 1, err) < 0)
			return -1;
		if (j->p->progress != NULL)
			sq_progress_add(j->p->progress, n);
	}
	return 0;
}

static int
open_job(struct job *j, const struct sq_ppl *p, char *err)
{
	size_t vocab = (size_t)p->model->config.vocab;

	memset(j, 0, sizeof(*j));
	j->p = p;
	j->step = LOGITS / vocab < 16 ? 16 : LOGITS / vocab;
	j->step = j->step > SQ_LANE_ROWS ? SQ_LANE_ROWS : j->step;
	j->nll = malloc(j->step * sizeof(*j->nll));
	j->ref_nll = malloc(j->step * sizeof(*j->ref_nll));
	j->kl = malloc(j->step * sizeof(*j->kl));
	j->top = malloc(j->step * sizeof(*j->top));
	j->ref_top = malloc(j->step * sizeof(*j->ref_top));
	j->five = malloc(j->step * SQ_TOP * sizeof(*j->five));
	j->ref_five = malloc(j->step * SQ_TOP * sizeof(*j->ref_five));
	if (j->nll == NULL || j->ref_nll == NULL || j->kl == NULL ||
	    j->top == NULL || j->ref_top == NULL || j->five == NULL ||
	    j->ref_five == NULL)
		return sq_fail(err, "out of memory");
	if (runner_open(&j->m, p, p->model, p->kv, j->step, err) < 0)
		return -1;
	if (p->reference == NULL)
		return 0;
	if (p->reference->config.vocab != vocab)
		return sq_fail(err, "the reference has another vocabulary");
	return runner_open(&j->ref, p, p->reference, NULL, j->step, err);
}

/* The mean, and the standard error of it. */
static double
mean(double sum, double sum2, uint64_t n, double *stderror)
{
	double m = sum / (double)n, var = sum2 / (double)n - m * m;

	*stderror = n > 1 ? sqrt(fmax(var, 0) / (double)(n - 1)) : 0;
	return m;
}

static void
finish(const struct job *j, struct sq_ppl_result *r)
{
	r->tokens = j->tokens;
	r->nll = mean(j->sum, j->sum2, j->tokens, &r->nll_stderr);
	r->kl = r->kl_stderr = r->top1 = r->top5 = NAN;
	r->delta = r->delta_stderr = r->p = r->lost = r->won = NAN;
	if (j->p->reference == NULL)
		return;
	r->kl = mean(j->kl_sum, j->kl_sum2, j->tokens, &r->kl_stderr);
	r->top1 = (double)j->agree / (double)j->tokens;
	r->top5 = (double)j->agree5 / (double)j->tokens / SQ_TOP;
	r->delta = mean(j->delta_sum, j->delta_sum2, j->tokens,
	    &r->delta_stderr);
	r->p = r->delta_stderr == 0 ? r->delta == 0 :
	    sq_p_of_z(r->delta / r->delta_stderr);
	r->lost = (double)j->lost / (double)j->tokens;
	r->won = (double)j->won / (double)j->tokens;
}

static int
all_windows(struct job *j, const uint32_t *ids, size_t n, char *err)
{
	const struct sq_ppl *p = j->p;
	uint32_t *copy = malloc(p->length * sizeof(*copy));
	size_t at, end, first = 1;
	int r = 0;

	if (copy == NULL)
		return sq_fail(err, "out of memory");
	if (p->protocol == SQ_LLAMA)
		first = p->length / 2;
	at = sq_shard_start(&p->shard, n / p->length) * p->length;
	end = sq_shard_end(&p->shard, n / p->length) * p->length;
	for (; r == 0 && at < end; at += p->length) {
		memcpy(copy, ids + at, p->length * sizeof(*copy));
		if (p->protocol == SQ_LLAMA)
			copy[0] = p->bos;
		r = window(j, copy, first, err);
	}
	free(copy);
	return r;
}

int
sq_ppl_run(const struct sq_ppl *p, const uint32_t *ids, size_t n,
    struct sq_ppl_result *result, char *err)
{
	struct job j;
	int r = -1;

	if (p->length < 2 || n < p->length)
		return sq_fail(err, "%zu tokens are fewer than a window of "
		    "%zu", n, p->length < 2 ? 2 : p->length);
	if (sq_shard_start(&p->shard, n / p->length) ==
	    sq_shard_end(&p->shard, n / p->length))
		return sq_fail(err, "fewer windows than shards");
	if (open_job(&j, p, err) == 0 && all_windows(&j, ids, n, err) == 0) {
		finish(&j, result);
		r = 0;
	}
	runner_close(&j.m, p->ctx);
	runner_close(&j.ref, p->ctx);
	free(j.nll);
	free(j.ref_nll);
	free(j.kl);
	free(j.top);
	free(j.ref_top);
	free(j.five);
	free(j.ref_five);
	return r;
}
