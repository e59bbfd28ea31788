/* Continuous batching; see batcher.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/batcher.h"
#include "engine/textout.h"
#include "kv/kvconvert.h"
#include "kv/kvprefix.h"
#include "model/forward.h"

#define LOGITS	32		/* rows of a prompt's logits at a time */
#define EOS	16

enum state { WAITING, PREFILL, DECODE, ENDED };

struct req {
	uint64_t id;
	enum state state;
	enum sq_finish finish;
	char why[SQ_ERR];
	uint32_t *ids;			/* of the prompt */
	size_t n, max_tokens;
	uint32_t next;			/* the token that is fed next */
	int prompt_logits, ignore_eos, has_seq, cancelled, joined;
	struct sq_kvseq seq;
	struct sq_sampler sampler;
	struct sq_textout text;
	unsigned char *hash;		/* of the prompt's full blocks */
	size_t shared;			/* blocks that are indexed */
	uint64_t need;			/* bytes of the cache, at most */
	struct sq_usage usage;
	sq_event_fn *event;
	void *arg;
	struct req *link;
};

struct sq_batcher {
	struct sq_batcher_how how;
	uint32_t eos[EOS];
	struct sq_forward f;
	struct sq_kvcache cache, prompts;	/* prompts: only when split */
	unsigned char root[SQ_KV_HASH];
	struct req *first;		/* in the order of submission */
	struct sq_feed *feed;		/* [seqs] */
	struct req **fed;		/* [seqs] */
	float *logits;
	uint64_t last_id, committed;
	uint64_t limit;			/* bytes of each cache; 0: none */
	struct sq_batcher_totals totals;
};

const char *
sq_finish_name(enum sq_finish f)
{
	static const char *const names[] = { "stop", "length", "cancelled",
	    "error" };

	return names[f];
}

struct sq_kvcache *
sq_batcher_prefill_cache(struct sq_batcher *e)
{
	return e->how.split ? &e->prompts : &e->cache;
}

struct sq_kvcache *
sq_batcher_cache(struct sq_batcher *e)
{
	return &e->cache;
}

/* ---- the engine ---- */

static int
open_caches(struct sq_batcher *e, char *err)
{
	const struct sq_config *c = &e->how.model->config;
	struct sq_kv kv = { .heads = (size_t)c->kv_heads,
	    .dim = (size_t)c->head_dim, .page = SQ_BATCHER_PAGE };
	const struct sq_mem *mem = e->how.ctx->kern->mem;
	size_t page = SQ_BATCHER_PAGE;
	size_t tokens = (e->how.context + page - 1) / page * page *
	    e->how.seqs;
	char text[SQ_KV_TEXT];

	e->limit = e->how.memory / (e->how.split ? 2 : 1);
	if (sq_kvcache_init_policy(&e->cache, &kv, &e->how.kv, mem,
	    (size_t)c->layers, tokens, e->limit, err) < 0)
		return -1;
	if (e->how.split && mem->device)
		return sq_fail(err, "KV cache: a precision of prompts is for "
		    "the CPU");
	if (e->how.split && sq_kvcache_init_policy(&e->prompts, &kv,
	    &e->how.prefill, mem, (size_t)c->layers, tokens, e->limit,
	    err) < 0)
		return -1;
	sq_kv_policy_text(&sq_batcher_prefill_cache(e)->policy, text);
	sq_kvprefix_root(e->root, e->how.digest == NULL ? "" : e->how.digest,
	    text);
	return 0;
}

struct sq_batcher *
sq_batcher_new(const struct sq_batcher_how *how, char *err)
{
	struct sq_batcher *e = calloc(1, sizeof(*e));
	size_t vocab = (size_t)how->model->config.vocab, rows;

	if (e == NULL) {
		sq_fail(err, "out of memory");
		return NULL;
	}
	e->how = *how;
	e->how.neos = how->neos > EOS ? EOS : how->neos;
	if (how->neos > 0)
		memcpy(e->eos, how->eos, e->how.neos * sizeof(*e->eos));
	if (e->how.context > how->model->config.context)
		e->how.context = (size_t)how->model->config.context;
	rows = how->seqs > SQ_BATCHER_CHUNK ? how->seqs : SQ_BATCHER_CHUNK;
	if (rows > e->how.context && e->how.context > how->seqs)
		rows = e->how.context;
	e->feed = calloc(how->seqs, sizeof(*e->feed));
	e->fed = calloc(how->seqs, sizeof(*e->fed));
	e->logits = malloc((how->seqs > LOGITS ? how->seqs : LOGITS) * vocab *
	    sizeof(*e->logits));
	if (e->feed == NULL || e->fed == NULL || e->logits == NULL) {
		sq_fail(err, "out of memory");
	} else if (sq_forward_init(&e->f, how->model, how->ctx, how->prec,
	    rows, err) == 0 && open_caches(e, err) == 0) {
		return e;
	}
	sq_batcher_free(e);
	return NULL;
}

static void
free_req(struct req *r)
{
	sq_kvseq_release(&r->seq);
	sq_sampler_release(&r->sampler);
	sq_textout_release(&r->text);
	free(r->ids);
	free(r->hash);
	free(r);
}

void
sq_batcher_free(struct sq_batcher *e)
{
	struct req *r;

	if (e == NULL)
		return;
	while ((r = e->first) != NULL) {
		e->first = r->link;
		free_req(r);
	}
	sq_forward_release(&e->f);
	sq_kvcache_release(&e->cache);
	sq_kvcache_release(&e->prompts);
	free(e->feed);
	free(e->fed);
	free(e->logits);
	free(e);
}

void
sq_batcher_totals(const struct sq_batcher *e, struct sq_batcher_totals *t)
{
	*t = e->totals;
	t->evicted = e->cache.evicted + e->prompts.evicted;
	t->kv_held = e->cache.held + e->prompts.held;
	t->kv_peak = e->cache.peak + e->prompts.peak;
	t->kv_budget = e->cache.budget;
	t->activations = sq_forward_bytes(&e->f);
	t->seen = e->f.sparse.kept;
	t->seen_all = e->f.sparse.all;
}

/* ---- requests ---- */

/* What a prompt's blocks are called, and room for the tokens. */
static int
prepare(struct sq_batcher *e, struct req *r, const struct sq_request *how,
    char *err)
{
	size_t blocks = (how->n - 1) / SQ_BATCHER_PAGE;
	size_t vocab = (size_t)e->how.model->config.vocab, i;

	r->ids = malloc(how->n * sizeof(*r->ids));
	r->hash = malloc(blocks * SQ_KV_HASH + 1);
	if (r->ids == NULL || r->hash == NULL)
		return sq_fail(err, "out of memory");
	memcpy(r->ids, how->ids, how->n * sizeof(*r->ids));
	for (i = 0; i < how->n; i++)
		if (r->ids[i] >= vocab)
			return sq_fail(err, "token %u is not in the model's "
			    "vocabulary", r->ids[i]);
	sq_kvprefix_hash(e->root, r->ids, SQ_BATCHER_PAGE, blocks, r->hash);
	if (sq_sampler_init(&r->sampler, &how->sampling, vocab, err) < 0)
		return -1;
	if (e->how.tok != NULL && sq_textout_init(&r->text, e->how.tok,
	    how->stop, how->nstop) < 0)
		return sq_fail(err, "%s", r->text.err);
	return 0;
}

uint64_t
sq_batcher_submit(struct sq_batcher *e, const struct sq_request *how, char *err)
{
	struct req *r, **p;
	uint64_t prompt;
	size_t tokens;

	if (how->n == 0) {
		sq_fail(err, "the prompt is empty");
		return 0;
	}
	if (how->n > e->how.context) {
		sq_fail(err, "a prompt of %zu tokens is longer than the "
		    "context of %zu", how->n, e->how.context);
		return 0;
	}
	if ((r = calloc(1, sizeof(*r))) == NULL) {
		sq_fail(err, "out of memory");
		return 0;
	}
	r->n = how->n;
	r->max_tokens = how->max_tokens;
	tokens = how->max_tokens < e->how.context - how->n ?
	    how->n + how->max_tokens : e->how.context;
	r->need = sq_kvcache_predict(&e->cache, 1, tokens, SQ_BATCHER_CHUNK);
	prompt = !e->how.split ? 0 : sq_kvcache_predict(&e->prompts, 1,
	    how->n, SQ_BATCHER_CHUNK);
	if (prompt > r->need)
		r->need = prompt;
	r->prompt_logits = how->prompt_logits;
	r->ignore_eos = how->ignore_eos;
	r->event = how->event;
	r->arg = how->arg;
	r->usage.prompt = how->n;
	r->usage.start = sq_now();
	if (prepare(e, r, how, err) < 0) {
		free_req(r);
		return 0;
	}
	if (how->seq != NULL) {
		r->seq = *how->seq;
		memset(how->seq, 0, sizeof(*how->seq));
		r->has_seq = 1;
	}
	r->id = ++e->last_id;
	for (p = &e->first; *p != NULL; p = &(*p)->link)
		;
	*p = r;
	e->totals.requests++;
	if (r->need > e->totals.kv_need)
		e->totals.kv_need = r->need;
	return r->id;
}

void
sq_batcher_cancel(struct sq_batcher *e, uint64_t id)
{
	struct req *r;

	for (r = e->first; r != NULL; r = r->link)
		if (r->id == id)
			r->cancelled = 1;
}

static void
end(struct req *r, enum sq_finish finish, const char *why)
{
	if (r->state == ENDED)
		return;
	r->state = ENDED;
	r->finish = finish;
	if (why != NULL)
		sq_fail(r->why, "%s", why);
}

static void
tell(struct req *r, struct sq_event *ev)
{
	ev->id = r->id;
	ev->usage = &r->usage;
	if (r->event != NULL)
		r->event(r->arg, ev);
}

/* Requests that have ended are told so, and go. */
static void
sweep(struct sq_batcher *e)
{
	struct req **p = &e->first, *r;
	struct sq_event ev;

	while ((r = *p) != NULL) {
		if (r->cancelled)
			end(r, SQ_CANCELLED, NULL);
		if (r->state != ENDED) {
			p = &r->link;
			continue;
		}
		*p = r->link;
		if (r->joined)
			e->committed -= r->need;
		sq_kvseq_clear(&r->seq);
		ev = (struct sq_event){ .kind = SQ_EV_END, .text = "",
		    .finish = r->finish, .why = r->why,
		    .position = r->usage.prompt + r->usage.made };
		if (e->how.tok != NULL && r->finish != SQ_FAILED)
			ev.text = sq_textout_flush(&r->text, &ev.len);
		if (ev.text == NULL)
			ev.len = 0;
		tell(r, &ev);
		free_req(r);
		p = &e->first;		/* the callback may have submitted */
	}
}

/* ---- joining ---- */

/* The longest prefix that is there already. */
static int
reuse(struct sq_batcher *e, struct req *r, char *err)
{
	struct sq_kvcache *c = r->seq.cache;
	size_t n = (r->n - 1) / SQ_BATCHER_PAGE, found, m;

	r->seq.keep[0] = (struct sq_kvrange){ sq_kvprefix_window(c, n *
	    SQ_BATCHER_PAGE), n };
	if (e->how.no_reuse || r->prompt_logits)
		return 0;
	m = sq_kvprefix_match(c, r->hash, n, &found);
	/* many came this way: next time its near memory will be there */
	if (m < found)
		r->seq.keep[1] = (struct sq_kvrange){ sq_kvprefix_window(c,
		    found * SQ_BATCHER_PAGE), found };
	if (sq_kvprefix_adopt(&r->seq, r->hash, m, err) < 0)
		return -1;
	r->shared = m;
	r->usage.reused = m * SQ_BATCHER_PAGE;
	e->totals.reused += r->usage.reused;
	return 0;
}

static int
join(struct sq_batcher *e, struct req *r, char *err)
{
	if (r->has_seq) {
		r->state = PREFILL;
		return 0;
	}
	if (sq_kvseq_init(&r->seq, sq_batcher_prefill_cache(e),
	    e->how.context, err) < 0 || reuse(e, r, err) < 0)
		return -1;
	r->state = PREFILL;
	return 0;
}

/* Lets requests in, in their order, while there is room for all that they may
 * need. */
static void
admit(struct sq_batcher *e)
{
	struct req *r;
	size_t active = 0;
	char err[SQ_ERR];

	for (r = e->first; r != NULL; r = r->link)
		active += r->state == PREFILL || r->state == DECODE;
	for (r = e->first; r != NULL && active < e->how.seqs; r = r->link) {
		if (r->state != WAITING)
			continue;
		if (e->limit > 0 && r->need > e->limit) {
			sq_fail(err, "%ju bytes of KV cache are needed, the "
			    "budget is %ju", (uintmax_t)r->need,
			    (uintmax_t)e->limit);
			end(r, SQ_FAILED, err);
			continue;
		}
		if (e->limit > 0 && e->committed + r->need > e->limit)
			break;
		e->committed += r->need;
		r->joined = 1;
		if (join(e, r, err) < 0)
			end(r, SQ_FAILED, err);
		active++;
	}
}

/* ---- prompts ---- */

/* Tokens of the prompt that come next: up to a multiple of the chunk, and not
 * beyond the last full block together with what follows it. */
static size_t
chunk(const struct req *r)
{
	size_t at = r->seq.length, last = r->n - 1;
	size_t full = last / SQ_BATCHER_PAGE * SQ_BATCHER_PAGE;
	size_t stop = (at / SQ_BATCHER_CHUNK + 1) * SQ_BATCHER_CHUNK;

	if (at < full && stop > full)
		stop = full;
	return (stop < last ? stop : last) - at;
}

static int
show_logits(struct sq_batcher *e, struct req *r, size_t row, size_t n,
    char *err)
{
	size_t vocab = (size_t)e->how.model->config.vocab, i, j, m;
	struct sq_mat y = { e->logits, SQ_F32, 0, vocab, vocab };
	struct sq_event ev = { .kind = SQ_EV_LOGITS };

	for (i = 0; i < n; i += m) {
		m = n - i < LOGITS ? n - i : LOGITS;
		y.rows = m;
		if (sq_forward_logits(&e->f, row + i, m, &y, err) < 0)
			return -1;
		for (j = 0; j < m; j++) {
			ev.position = r->seq.length - n + i + j;
			ev.logits = e->logits + j * vocab;
			tell(r, &ev);
		}
	}
	return 0;
}

/* The prompt is in the cache: on to the answer. */
static int
begin_answer(struct sq_batcher *e, struct req *r, char *err)
{
	struct sq_event ev = { .kind = SQ_EV_CACHE, .seq = &r->seq,
	    .position = r->seq.length };
	struct sq_kvseq seq;

	e->totals.prompt += r->n;
	tell(r, &ev);
	if (r->max_tokens == 0) {
		end(r, SQ_LENGTH, NULL);
		return 0;
	}
	if (r->seq.cache != &e->cache) {
		if (sq_kvseq_init(&seq, &e->cache, e->how.context, err) < 0)
			return -1;
		if (sq_kv_convert(&seq, &r->seq, e->how.ctx, err) < 0) {
			sq_kvseq_release(&seq);
			return -1;
		}
		sq_kvseq_release(&r->seq);
		r->seq = seq;
	}
	r->next = r->ids[r->n - 1];
	r->state = DECODE;
	return 0;
}

/* After a chunk: what is full can be shared. */
static void
share(struct sq_batcher *e, struct req *r)
{
	size_t full = r->seq.length / SQ_BATCHER_PAGE;

	for (; !e->how.no_reuse && r->shared < full; r->shared++)
		sq_kvprefix_share(&r->seq, r->shared, r->hash + r->shared *
		    SQ_KV_HASH);
}

/* The prompts that wait, as many as fit a batch. */
static size_t
gather_prompts(struct sq_batcher *e)
{
	struct req *r;
	size_t n = 0, rows = 0, m;
	char err[SQ_ERR];

	for (r = e->first; r != NULL && n < e->how.seqs; r = r->link) {
		if (r->state != PREFILL || (m = chunk(r)) == 0)
			continue;
		if (rows + m > e->f.max_rows)
			break;
		if (sq_kvseq_reserve(&r->seq, m, err) < 0) {
			end(r, SQ_FAILED, err);
			continue;
		}
		e->fed[n] = r;
		e->feed[n++] = (struct sq_feed){ &r->seq, r->ids +
		    r->seq.length, m };
		rows += m;
	}
	return n;
}

static int
prefill(struct sq_batcher *e, char *err)
{
	size_t n = gather_prompts(e), i, row = 0;
	struct req *r;
	char why[SQ_ERR];

	e->how.ctx->batch = SQ_BATCH_CHUNK;
	if (n > 0 && sq_forward(&e->f, e->feed, n, err) < 0)
		return -1;
	for (i = 0; i < n; row += e->feed[i++].n) {
		share(e, e->fed[i]);
		if (e->fed[i]->prompt_logits && show_logits(e, e->fed[i], row,
		    e->feed[i].n, err) < 0)
			return -1;
	}
	for (r = e->first; r != NULL; r = r->link)
		if (r->state == PREFILL && r->seq.length == r->n - 1 &&
		    begin_answer(e, r, why) < 0)
			end(r, SQ_FAILED, why);
	return 0;
}

/* ---- answers ---- */

static int
is_eos(const struct sq_batcher *e, uint32_t id)
{
	size_t i;

	for (i = 0; i < e->how.neos; i++)
		if (e->eos[i] == id)
			return 1;
	return 0;
}

/* The token that follows these logits. */
static void
next_token(struct sq_batcher *e, struct req *r, const float *logits)
{
	struct sq_event ev = { .kind = SQ_EV_TOKEN, .logits = logits,
	    .position = r->seq.length, .text = "" };
	char err[SQ_ERR];

	if (sq_sampler_pick(&r->sampler, logits, &r->next, err) < 0) {
		end(r, SQ_FAILED, err);
		return;
	}
	r->usage.last = sq_now();
	if (r->usage.made++ == 0)
		r->usage.first = r->usage.last;
	e->totals.made++;
	ev.token = r->next;
	if (!r->ignore_eos && is_eos(e, r->next)) {
		tell(r, &ev);
		end(r, SQ_STOP, NULL);
		return;
	}
	if (e->how.tok != NULL) {
		ev.text = sq_textout_put(&r->text, r->next, &ev.len);
		if (ev.text == NULL) {
			end(r, SQ_FAILED, r->text.err);
			return;
		}
	}
	tell(r, &ev);
	if (r->text.stopped)
		end(r, SQ_STOP, NULL);
	else if (r->usage.made == r->max_tokens ||
	    r->seq.length == e->how.context)
		end(r, SQ_LENGTH, NULL);
}

static int
decode(struct sq_batcher *e, char *err)
{
	size_t vocab = (size_t)e->how.model->config.vocab, n = 0, i;
	struct sq_mat y = { e->logits, SQ_F32, 0, vocab, vocab };
	struct req *r;
	char why[SQ_ERR];

	for (r = e->first; r != NULL && n < e->how.seqs; r = r->link) {
		if (r->state != DECODE || r->cancelled)
			continue;
		if (sq_kvseq_reserve(&r->seq, 1, why) < 0) {
			end(r, SQ_FAILED, why);
			continue;
		}
		e->fed[n] = r;
		e->feed[n++] = (struct sq_feed){ &r->seq, &r->next, 1 };
	}
	if (n == 0)
		return 0;
	e->how.ctx->batch = SQ_BATCH_STEP;
	y.rows = n;
	if (sq_forward(&e->f, e->feed, n, err) < 0 ||
	    sq_forward_logits(&e->f, 0, n, &y, err) < 0)
		return -1;
	for (i = 0; i < n; i++)
		next_token(e, e->fed[i], e->logits + i * vocab);
	return 0;
}

int
sq_batcher_step(struct sq_batcher *e, char *err)
{
	struct req *r;
	int bad;

	sweep(e);
	admit(e);
	bad = prefill(e, err) < 0 || decode(e, err) < 0;
	e->how.ctx->batch = SQ_BATCH_AUTO;
	if (bad)
		for (r = e->first; r != NULL; r = r->link)
			end(r, SQ_FAILED, err);
	sweep(e);
	return bad ? -1 : e->first != NULL;
}

int
sq_batcher_run(struct sq_batcher *e, char *err)
{
	int r;

	while ((r = sq_batcher_step(e, err)) > 0)
		;
	return r;
}
