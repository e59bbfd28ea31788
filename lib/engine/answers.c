/* Answers in their order; see answers.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/answers.h"
#include "formats/fmt_csv.h"
#include "formats/fmt_json.h"

#define MAX_BEST	64

int
sq_answers_init(struct sq_answers *a, const struct sq_runner *b, FILE *out,
    enum sq_answer_form form, size_t logprobs, char *err)
{
	struct sq_sampling how = { .top_p = 1 };

	memset(a, 0, sizeof(*a));
	a->out = out;
	a->b = b;
	a->form = form;
	a->logprobs = logprobs;
	a->last = &a->first;
	if (form == SQ_ANSWER_CSV)
		fprintf(out, "position,rank,id,logprob,token\n");
	return sq_sampler_init(&a->best, &how,
	    (size_t)b->model->config.vocab, err);
}

static void
free_answer(struct sq_answer *w)
{
	if (w->mem != NULL)
		fclose(w->mem);
	if (w->text != NULL)
		fclose(w->text);
	free(w->buf);
	free(w->said);
	free(w);
}

void
sq_answers_release(struct sq_answers *a)
{
	struct sq_answer *w;

	while ((w = a->first) != NULL) {
		a->first = w->next;
		free_answer(w);
	}
	sq_sampler_release(&a->best);
	memset(a, 0, sizeof(*a));
}

struct sq_answer *
sq_answers_new(struct sq_answers *a)
{
	struct sq_answer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->all = a;
	w->index = ++a->n;
	w->shown = SIZE_MAX;
	if (a->first != NULL)
		w->mem = open_memstream(&w->buf, &w->len);
	if (a->form == SQ_ANSWER_JSON)
		w->text = open_memstream(&w->said, &w->nsaid);
	if ((a->first != NULL && w->mem == NULL) ||
	    (a->form == SQ_ANSWER_JSON && w->text == NULL)) {
		free_answer(w);
		return NULL;
	}
	*a->last = w;
	a->last = &w->next;
	return w;
}

static FILE *
file_of(const struct sq_answer *w)
{
	return w->mem != NULL ? w->mem : w->all->out;
}

/* Answers that are done leave; the first that is not streams from here on. */
static void
pass_on(struct sq_answers *a)
{
	struct sq_answer *w;

	while ((w = a->first) != NULL) {
		if (w->mem != NULL) {
			fclose(w->mem);
			w->mem = NULL;
			fwrite(w->buf, 1, w->len, a->out);
		}
		if (!w->done)
			break;
		a->first = w->next;
		if (a->first == NULL)
			a->last = &a->first;
		free_answer(w);
	}
	fflush(a->out);
}

/* CSV: the best at a position. */
static void
put_best(struct sq_answer *w, size_t position, const float *logits)
{
	struct sq_answers *a = w->all;
	struct sq_choice best[MAX_BEST];
	char err[SQ_ERR];
	const char *token;
	size_t i, len, n = a->logprobs;
	FILE *f = file_of(w);

	if (sq_sampler_best(&a->best, logits, n, best, err) < 0)
		return;			/* the request fails of itself */
	for (i = 0; i < n; i++) {
		fprintf(f, "%zu,%zu,%u,%.6f", position, i + 1, best[i].id,
		    (double)best[i].logit);
		token = sq_tokenizer_token(a->b->tok, best[i].id, &len);
		sq_csv_field(f, 0, token == NULL ? "" : token);
		putc('\n', f);
	}
}

static void
put_json(struct sq_answer *w, const struct sq_usage *u, const char *finish,
    const char *why)
{
	json_t *j;
	char *text;

	fclose(w->text);
	w->text = NULL;
	j = json_pack("{s:I, s:s%, s:s, s:{s:I, s:I, s:I}}", "index",
	    (json_int_t)w->index, "text", w->said, w->nsaid, "finish_reason",
	    finish, "usage", "prompt_tokens", (json_int_t)u->prompt,
	    "completion_tokens", (json_int_t)u->made, "reused_tokens",
	    (json_int_t)u->reused);
	if (j != NULL && why != NULL)
		json_object_set_new(j, "error", json_string(why));
	if (j != NULL && w->all->times && u->made > 0)
		json_object_set_new(j, "timings", json_pack("{s:f, s:f}",
		    "ttft_ms", 1e3 * (u->first - u->start), "tpot_ms",
		    u->made < 2 ? 0 : 1e3 * (u->last - u->first) /
		    (double)(u->made - 1)));
	text = j == NULL ? NULL : sq_json_text(j);
	if (text != NULL)
		fprintf(file_of(w), "%s\n", text);
	free(text);
	json_decref(j);
}

static void
finish(struct sq_answer *w, const struct sq_usage *u, const char *how,
    const char *why)
{
	struct sq_answers *a = w->all;

	a->ended++;
	if (why != NULL) {
		a->nfailed++;
		if (a->failed != NULL)
			a->failed(w->index, why);
	}
	if (a->form == SQ_ANSWER_JSON)
		put_json(w, u, how, why);
	else if (a->form == SQ_ANSWER_TEXT && why == NULL && w->shown > 0)
		putc('\n', file_of(w));
	a->sum.prompt += u->prompt;
	a->sum.reused += u->reused;
	a->sum.made += u->made;
	if (u->made > 0) {
		a->ttft += u->first - u->start;
		a->after += u->last - u->first;
		a->with_first++;
		a->later += u->made - 1;
	}
	w->done = 1;
	if (a->first == w)
		pass_on(a);
}

void
sq_answer_fail(struct sq_answer *w, const char *why)
{
	struct sq_usage none = { 0 };

	finish(w, &none, "error", why);
}

void
sq_answer_event(void *arg, const struct sq_event *ev)
{
	struct sq_answer *w = arg;
	struct sq_answers *a = w->all;

	if (a->form == SQ_ANSWER_CSV && ev->logits != NULL)
		put_best(w, ev->kind == SQ_EV_TOKEN ? ev->position - 1 :
		    ev->position, ev->logits);
	if (a->form != SQ_ANSWER_CSV && w->shown > 0 && ev->len > 0) {
		fwrite(ev->text, 1, ev->len, a->form == SQ_ANSWER_JSON ?
		    w->text : file_of(w));
		if (a->form == SQ_ANSWER_TEXT && w->mem == NULL)
			fflush(a->out);
	}
	if (ev->kind == SQ_EV_END)
		finish(w, ev->usage, sq_finish_name(ev->finish),
		    ev->finish == SQ_FAILED ? ev->why : NULL);
}
