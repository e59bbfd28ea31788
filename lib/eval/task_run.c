/*
 * Putting items to a model, several at a time: prompts pass first, all but
 * their last token, and stay in the cache; then come the options, one after the
 * other over the same prompt, or an answer, token by token.  Prompts and options
 * are computed as SQ_BATCH_CHUNK, answers as SQ_BATCH_STEP, so that an outcome
 * does not depend on the items beside it: a run that goes on, and a shard, give
 * the same bits.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "eval/task.h"
#include "kv/kvprefix.h"
#include "model/forward.h"

#define ROWS	512			/* tokens of a pass */
#define LOGITS	((size_t)8 << 20)	/* values of logits at a time, about */
#define CACHE	((size_t)1 << 15)	/* tokens of the cache, about */
#define PAGE	64

/* An item at work. */
struct seat {
	const struct sq_item *item;
	struct sq_kvseq kv;
	struct sq_ids prompt;		/* ids */
	struct sq_ids *option;		/* [noptions] */
	size_t left;			/* of the prompt, not yet passed */
	struct sq_detok detok;
	char *said;
	size_t nsaid;
	uint32_t last;			/* the token to pass next */
	size_t made;
	int busy;
	double *logprob;		/* [noptions] */
	int greedy;			/* option 0 is what it would write */
	struct sq_outcome out;
};

struct job {
	const struct sq_task_run *r;
	struct sq_forward f;
	struct sq_kvcache cache;
	struct sq_mat logits;
	size_t step;			/* rows of logits at a time */
	float *nll;			/* [step] */
	uint32_t *top;			/* [step] */
	struct seat *seat;
	struct sq_feed *feed;		/* [seats] */
	size_t *who, *row;		/* of each feed */
	size_t seats, context;
	uint32_t *ids, *target;		/* [ROWS]: of the feeds at work */
};

const char *const *
sq_task_metrics(enum sq_task_kind kind)
{
	static const char *const choice[] = { "acc", "acc_norm" };
	static const char *const lambada[] = { "acc", "nll" };
	static const char *const written[] = { "exact", "f1" };
	static const char *const score[] = { "score", NULL };

	return kind == SQ_LAMBADA ? lambada : kind == SQ_LONGBENCH ? score :
	    kind == SQ_FREE || kind == SQ_NEEDLE ? written : choice;
}

static int
encode(const struct job *j, const char *text, size_t len, struct sq_ids *ids,
    char *err)
{
	unsigned flags = SQ_TOK_SPECIAL | (j->r->bos ? SQ_TOK_POST : 0);

	ids->n = 0;
	return sq_tokenizer_encode(j->r->tok, text, len, flags, ids, err);
}

/* Option i as tokens: those of prompt and option together that come after the
 * prompt's own.  Space at the prompt's end belongs to the option. */
static int
encode_option(struct job *j, struct seat *s, size_t i, size_t prompt, char *err)
{
	const struct sq_item *it = s->item;
	size_t n = strlen(it->prompt + prompt), m = strlen(it->option[i]);
	char *whole = malloc(prompt + n + m + 1);
	struct sq_ids *ids = &s->option[i];
	int r;

	if (whole == NULL)
		return sq_fail(err, "out of memory");
	memcpy(whole, it->prompt, prompt + n);
	memcpy(whole + prompt + n, it->option[i], m + 1);
	r = encode(j, whole, prompt + n + m, ids, err);
	free(whole);
	if (r < 0)
		return -1;
	if (ids->n <= s->prompt.n)
		return sq_fail(err, "'%s': an option without tokens", it->id);
	ids->n -= s->prompt.n;
	memmove(ids->id, ids->id + s->prompt.n, ids->n * sizeof(*ids->id));
	return 0;
}

/* Takes a seat: 1, or 0 where the item does not fit. */
static int
sit(struct job *j, struct seat *s, const struct sq_item *it, char *err)
{
	size_t prompt = strlen(it->prompt), i, most = it->make;

	s->item = it;
	s->nsaid = s->made = 0;
	s->busy = s->greedy = 0;
	memset(&s->out, 0, sizeof(s->out));
	if (it->noptions > 0)
		while (prompt > 0 &&
		    isspace((unsigned char)it->prompt[prompt - 1]))
			prompt--;
	if (encode(j, it->prompt, prompt, &s->prompt, err) < 0)
		return -1;
	if (s->prompt.n == 0)
		return sq_fail(err, "'%s': a prompt without tokens", it->id);
	s->option = calloc(it->noptions + 1, sizeof(*s->option));
	s->logprob = calloc(it->noptions + 1, sizeof(*s->logprob));
	if (s->option == NULL || s->logprob == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < it->noptions; i++) {
		if (encode_option(j, s, i, prompt, err) < 0)
			return -1;
		most = s->option[i].n > most ? s->option[i].n : most;
	}
	s->out.tokens = s->prompt.n;
	if (s->prompt.n + most > j->context) {
		s->out.skipped = 1;
		return 0;
	}
	s->left = s->prompt.n - 1;
	s->last = s->prompt.id[s->prompt.n - 1];
	/* after an option it begins again at the prompt's end: plain values
	 * that the window reaches from there must not go */
	s->kv.keep[0] = (struct sq_kvrange){ sq_kvprefix_window(&j->cache,
	    s->left), SIZE_MAX };
	s->busy = 1;
	return 1;
}

static void
stand(struct seat *s)
{
	size_t i;

	for (i = 0; s->option != NULL && i < s->item->noptions; i++)
		sq_ids_release(&s->option[i]);
	free(s->option);
	free(s->logprob);
	s->option = NULL;
	s->logprob = NULL;
	sq_kvseq_clear(&s->kv);
}

static int
pass(struct job *j, size_t nfeeds, char *err)
{
	return nfeeds == 0 ? 0 : sq_forward(&j->f, j->feed, nfeeds, err);
}

/* Forgets what came after the prompt. */
static void
rewind_to_prompt(struct seat *s)
{
	s->kv.length = s->prompt.n - 1;
	if (s->kv.near > s->kv.keep[0].from)
		s->kv.near = s->kv.keep[0].from;
}

/* All prompts up to their last token. */
static int
pass_prompts(struct job *j, char *err)
{
	size_t i, n, rows, feeds;

	j->r->ctx->batch = SQ_BATCH_CHUNK;
	do {
		for (i = rows = feeds = 0; i < j->seats && rows < ROWS; i++) {
			struct seat *s = &j->seat[i];

			if (!s->busy || s->left == 0)
				continue;
			n = s->left < ROWS - rows ? s->left : ROWS - rows;
			j->feed[feeds++] = (struct sq_feed){ &s->kv,
			    s->prompt.id + s->prompt.n - 1 - s->left, n };
			s->left -= n;
			rows += n;
		}
		if (pass(j, feeds, err) < 0)
			return -1;
	} while (feeds > 0);
	return 0;
}

/* Adds what a token of option k cost: row `row' of the batch, i of the logits. */
static void
price(struct job *j, struct seat *s, size_t k, size_t row, size_t i)
{
	s->logprob[k] -= (double)j->nll[i];
	if (k == 0 && j->top[i] != j->target[row])
		s->greedy = 0;
}

/* What the tokens of option k cost in all feeds at work, whose rows follow each
 * other: the head takes as many rows at a time as there is room for. */
static int
price_all(struct job *j, size_t k, size_t nfeeds, size_t rows, char *err)
{
	size_t at, n, i, feed = 0;

	for (at = 0; at < rows; at += n) {
		n = rows - at < j->step ? rows - at : j->step;
		j->logits.rows = n;
		if (sq_forward_logits(&j->f, at, n, &j->logits, err) < 0)
			return -1;
		if (sq_nll(j->r->ctx, &j->logits, j->target + at, j->nll,
		    j->top) != 0)
			return sq_fail(err, "no kernel for 'nll'");
		for (i = 0; i < n; i++) {
			while (feed + 1 < nfeeds && at + i >= j->row[feed + 1])
				feed++;
			price(j, &j->seat[j->who[feed]], k, at + i, i);
		}
	}
	return 0;
}

/* Option k of as many seats, from `first' on, as go into a pass. */
static int
some_options(struct job *j, size_t k, size_t *first, char *err)
{
	size_t i, rows = 0, feeds = 0, n;

	for (i = *first; i < j->seats; i++) {
		struct seat *s = &j->seat[i];

		if (!s->busy || k >= s->item->noptions)
			continue;
		n = s->option[k].n;
		if (n > ROWS)
			return sq_fail(err, "'%s': an option of %zu tokens",
			    s->item->id, n);
		if (rows + n > ROWS)
			break;
		j->ids[rows] = s->last;
		memcpy(j->ids + rows + 1, s->option[k].id,
		    (n - 1) * sizeof(*j->ids));
		memcpy(j->target + rows, s->option[k].id,
		    n * sizeof(*j->target));
		rewind_to_prompt(s);
		s->greedy |= k == 0;
		j->who[feeds] = i;
		j->row[feeds] = rows;
		j->feed[feeds++] = (struct sq_feed){ &s->kv, j->ids + rows,
		    n };
		rows += n;
	}
	*first = i;
	if (pass(j, feeds, err) < 0)
		return -1;
	return price_all(j, k, feeds, rows, err);
}

static int
pass_options(struct job *j, char *err)
{
	size_t i, k, most = 0, first;

	j->r->ctx->batch = SQ_BATCH_CHUNK;
	for (i = 0; i < j->seats; i++)
		if (j->seat[i].busy && j->seat[i].item->noptions > most)
			most = j->seat[i].item->noptions;
	for (k = 0; k < most; k++)
		for (first = 0; first < j->seats;)
			if (some_options(j, k, &first, err) < 0)
				return -1;
	return 0;
}

static int
is_eos(const struct sq_task_run *r, uint32_t id)
{
	size_t i;

	for (i = 0; i < r->neos; i++)
		if (r->eos[i] == id)
			return 1;
	return 0;
}

static int
say(struct seat *s, const char *text, size_t len, char *err)
{
	char *p = text == NULL ? NULL : realloc(s->said, s->nsaid + len + 1);

	if (p == NULL)
		return sq_fail(err, "out of memory");
	s->said = p;
	memcpy(p + s->nsaid, text, len);
	s->nsaid += len;
	p[s->nsaid] = '\0';
	return 0;
}

/* One more token for each seat that writes: how many did, or -1. */
static long
write_tokens(struct job *j, char *err)
{
	size_t i, feeds = 0, len, n, at;
	const char *text;

	for (i = 0; i < j->seats; i++) {
		struct seat *s = &j->seat[i];

		if (!s->busy || s->item->noptions > 0)
			continue;
		j->who[feeds] = i;
		j->feed[feeds++] = (struct sq_feed){ &s->kv, &s->last, 1 };
	}
	if (pass(j, feeds, err) < 0)
		return -1;
	for (at = 0; at < feeds; at += n) {
		n = feeds - at < j->step ? feeds - at : j->step;
		j->logits.rows = n;
		if (sq_forward_logits(&j->f, at, n, &j->logits, err) < 0)
			return -1;
		if (sq_nll(j->r->ctx, &j->logits, NULL, NULL, j->top) != 0)
			return sq_fail(err, "no kernel for 'nll'");
		for (i = 0; i < n; i++) {
			struct seat *s = &j->seat[j->who[at + i]];

			s->last = j->top[i];
			s->made++;
			if (is_eos(j->r, s->last)) {
				s->busy = 0;
				if (!j->r->special)
					continue;
			}
			text = sq_detok_put(&s->detok, s->last, &len);
			if (say(s, text, text == NULL ? 0 : len, err) < 0)
				return -1;
			if (s->made == s->item->make)
				s->busy = 0;
		}
	}
	return (long)feeds;
}

static int
pass_answers(struct job *j, char *err)
{
	const char *text;
	size_t i, len;
	long n;

	for (i = 0; i < j->seats; i++) {
		sq_detok_init(&j->seat[i].detok, j->r->tok, j->r->special ? 0 :
		    SQ_DETOK_SKIP_SPECIAL);
		if (j->seat[i].item != NULL &&
		    say(&j->seat[i], "", 0, err) < 0)
			return -1;
	}
	j->r->ctx->batch = SQ_BATCH_STEP;
	while ((n = write_tokens(j, err)) > 0)
		;
	for (i = 0; i < j->seats; i++) {
		text = sq_detok_flush(&j->seat[i].detok, &len);
		if (n == 0 && text != NULL && say(&j->seat[i], text, len,
		    err) < 0)
			n = -1;
		sq_detok_release(&j->seat[i].detok);
	}
	return n < 0 ? -1 : 0;
}

/* Characters of an option, the space before it aside. */
static double
characters(const char *s)
{
	size_t n = 0;

	for (s += *s == ' '; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n == 0 ? 1 : (double)n;
}

static void
judge(enum sq_task_kind kind, struct seat *s)
{
	const struct sq_item *it = s->item;
	size_t i, plain = 0, norm = 0;
	double *v = s->out.value;

	if (s->out.skipped)
		return;
	if (it->noptions == 0) {
		s->out.said = s->said;
		v[0] = sq_answer_score(it, it->rule, s->said);
		if (kind != SQ_LONGBENCH)
			v[1] = sq_answer_score(it, SQ_F1_LINE, s->said);
		return;
	}
	if (kind == SQ_LAMBADA) {
		v[0] = s->greedy;
		v[1] = -s->logprob[0];
		return;
	}
	for (i = 1; i < it->noptions; i++) {
		if (s->logprob[i] > s->logprob[plain])
			plain = i;
		if (s->logprob[i] / characters(it->option[i]) >
		    s->logprob[norm] / characters(it->option[norm]))
			norm = i;
	}
	v[0] = plain == it->gold;
	v[1] = norm == it->gold;
}

/* Items first .. first+n-1, at most one a seat. */
static int
table(struct job *j, const struct sq_task *t, size_t first, size_t n, char *err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < j->seats; i++)
		j->seat[i].item = NULL, j->seat[i].busy = 0;
	for (i = 0; r >= 0 && i < n; i++)
		r = sit(j, &j->seat[i], &t->item[first + i], err);
	if (r < 0 || pass_prompts(j, err) < 0 || pass_options(j, err) < 0 ||
	    pass_answers(j, err) < 0)
		r = -1;
	for (i = 0; i < n; i++) {
		struct seat *s = &j->seat[i];

		if (r >= 0) {
			judge(t->kind, s);
			if (j->r->each(j->r->arg, first + i, &s->out) < 0)
				r = sq_fail(err, "stopped");
			if (j->r->progress != NULL)
				sq_progress_add(j->r->progress, 1);
		}
		if (s->item != NULL)
			stand(s);
	}
	return r < 0 ? -1 : 0;
}

/* The longest that an item can take, by a byte a token at least. */
static size_t
longest(const struct sq_task *t, size_t context)
{
	size_t i, k, n, option, most = 1;

	for (i = 0; i < t->n; i++) {
		const struct sq_item *it = &t->item[i];

		n = strlen(it->prompt) + it->make + 2;
		for (k = option = 0; k < it->noptions; k++)
			if (strlen(it->option[k]) > option)
				option = strlen(it->option[k]);
		most = n + option > most ? n + option : most;
	}
	return most < context ? most : context;
}

static int
open_job(struct job *j, const struct sq_task_run *r, const struct sq_task *t,
    char *err)
{
	const struct sq_config *c = &r->model->config;
	struct sq_kv kv = { .type = sq_forward_kv_type(r->prec),
	    .heads = (size_t)c->kv_heads, .dim = (size_t)c->head_dim,
	    .page = PAGE };
	struct sq_kv_policy plain;
	size_t i, each;

	sq_kv_policy_plain(&plain, kv.type);
	j->r = r;
	j->context = (size_t)c->context;
	each = (longest(t, j->context) + PAGE - 1) / PAGE * PAGE;
	j->seats = r->batch == 0 ? 24 : r->batch;
	if (j->seats > CACHE / each)
		j->seats = CACHE / each == 0 ? 1 : CACHE / each;
	j->seat = calloc(j->seats, sizeof(*j->seat));
	j->feed = calloc(j->seats, sizeof(*j->feed));
	j->who = calloc(j->seats, sizeof(*j->who));
	j->row = calloc(j->seats, sizeof(*j->row));
	j->ids = calloc(ROWS, sizeof(*j->ids));
	j->target = calloc(ROWS, sizeof(*j->target));
	j->step = LOGITS / (size_t)c->vocab < 64 ? 64 :
	    LOGITS / (size_t)c->vocab > ROWS ? ROWS : LOGITS / (size_t)c->vocab;
	j->nll = malloc(j->step * sizeof(*j->nll));
	j->top = malloc(j->step * sizeof(*j->top));
	j->logits = (struct sq_mat){ r->ctx->kern->mem->alloc(j->step *
	    (size_t)c->vocab * sizeof(float)), SQ_F32, j->step,
	    (size_t)c->vocab, (size_t)c->vocab };
	if (j->seat == NULL || j->feed == NULL || j->who == NULL ||
	    j->row == NULL || j->ids == NULL || j->target == NULL ||
	    j->nll == NULL || j->top == NULL || j->logits.p == NULL)
		return sq_fail(err, "out of memory");
	if (sq_forward_init(&j->f, r->model, r->ctx, r->prec, ROWS, err) < 0 ||
	    sq_kvcache_init_policy(&j->cache, &kv, r->kv == NULL ? &plain :
	    r->kv, r->ctx->kern->mem, (size_t)c->layers, j->seats * each, 0,
	    err) < 0)
		return -1;
	for (i = 0; i < j->seats; i++)
		if (sq_kvseq_init(&j->seat[i].kv, &j->cache, each, err) < 0)
			return -1;
	return 0;
}

static void
close_job(struct job *j)
{
	size_t i;

	for (i = 0; j->seat != NULL && i < j->seats; i++) {
		sq_kvseq_release(&j->seat[i].kv);
		sq_ids_release(&j->seat[i].prompt);
		free(j->seat[i].said);
	}
	sq_kvcache_release(&j->cache);
	if (j->r->seen != NULL) {
		j->r->seen[0] += j->f.sparse.kept;
		j->r->seen[1] += j->f.sparse.all;
	}
	sq_forward_release(&j->f);
	free(j->seat);
	free(j->feed);
	free(j->who);
	free(j->row);
	free(j->ids);
	free(j->target);
	free(j->nll);
	free(j->top);
	j->r->ctx->kern->mem->free(j->logits.p);
}

int
sq_task_ask(const struct sq_task_run *r, const struct sq_task *t, size_t first,
    char *err)
{
	struct job j = { 0 };
	size_t n;
	int ret;

	if ((ret = open_job(&j, r, t, err)) == 0)
		for (; ret == 0 && first < t->n; first += n) {
			n = t->n - first < j.seats ? t->n - first : j.seats;
			ret = table(&j, t, first, n, err);
		}
	r->ctx->batch = SQ_BATCH_AUTO;
	close_job(&j);
	return ret;
}
