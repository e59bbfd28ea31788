/* sq-run: a model continues texts, or talks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>

#include "base/tool.h"
#include "engine/answers.h"
#include "engine/executor.h"
#include "engine/lines.h"
#include "engine/prompts.h"

static const char usage[] =
    "[-v] [-j N] [-k LEVEL] [-M BYTES] [-n TOKENS] [-p PROFILE] "
    "[--act TYPE] [--attention KEYS] [--batch N] [--context N] [--f32] "
    "[--greedy] [--ignore-eos] [--json] [--kv SPEC] [--kv-prefill SPEC] "
    "[--link-rate RATE] [--logprobs N] [--min-p P] [--no-bos] [--seed N] "
    "[--stop TEXT]... [--temperature T] [--times] [--top-k K] [--top-p P] "
    "MODEL [PROMPT]";

enum { OPT_JSON = SQ_OPT(0), OPT_LOGPROBS, OPT_TIMES };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_GEN_LONG,
	SQ_GEN_SAMPLING_LONG,
	{ "act", required_argument, NULL, SQ_GEN_ACT },
	{ "attention", required_argument, NULL, SQ_GEN_ATTENTION },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "kv-prefill", required_argument, NULL, SQ_GEN_KV_PREFILL },
	{ "logprobs", required_argument, NULL, OPT_LOGPROBS },
	{ "no-bos", no_argument, NULL, SQ_GEN_NO_BOS },
	{ "profile", required_argument, NULL, 'p' },
	{ "times", no_argument, NULL, OPT_TIMES },
	{ NULL, 0, NULL, 0 }
};

struct run {
	struct sq_runner *b;
	struct sq_genopt opt;
	struct sq_answers answers;
	struct sq_chat *chat;		/* NULL: no template is known */
	struct sq_chat template;
	const char *profile;
};

static void
failed(size_t index, const char *why)
{
	sq_warn("prompt %zu: %s", index, why);
}

static void
event(void *arg, const struct sq_event *ev)
{
	sq_answer_event(arg, ev);
}

/* A prompt goes to the engine; what is wrong with it is its answer. */
static void
ask(struct run *r, struct sq_prompt *p)
{
	struct sq_answer *w = sq_answers_new(&r->answers);
	struct sq_ids ids = { NULL, 0, 0 };
	struct sq_request q;
	char err[SQ_ERR];

	if (w == NULL)
		sq_die(SQ_EDATA, "out of memory");
	w->shown = p->opt.n;
	if (sq_backend_request(r->b, p, &ids, &q, err) < 0) {
		sq_answer_fail(w, err);
		return;
	}
	q.event = event;
	q.arg = w;
	if (r->answers.logprobs > 0) {
		q.prompt_logits = 1;
		q.max_tokens = q.max_tokens == 0 ? 1 : q.max_tokens;
	}
	if (sq_batcher_submit(r->b->engine, &q, err) == 0)
		sq_answer_fail(w, err);
	sq_ids_release(&ids);
}

static int
step(struct run *r)
{
	char err[SQ_ERR];
	int more = sq_batcher_step(r->b->engine, err);

	if (more < 0)
		sq_die(SQ_EDATA, "%s", err);
	return more;
}

static void
ask_line(struct run *r, const char *line, size_t len)
{
	struct sq_prompt p;
	char err[SQ_ERR];
	struct sq_answer *w;

	if (sq_prompt_read(&p, line, len, &r->opt, r->chat, err) == 0) {
		ask(r, &p);
	} else {
		if ((w = sq_answers_new(&r->answers)) == NULL)
			sq_die(SQ_EDATA, "out of memory");
		sq_answer_fail(w, err);
	}
	sq_prompt_release(&p);
}

/* Prompts of standard input join as they come. */
static void
batch(struct run *r)
{
	struct sq_lines in = { .fd = STDIN_FILENO };
	struct sq_answers *a = &r->answers;
	char err[SQ_ERR], *line;
	int got = SQ_LINE_READ, busy = 0;
	size_t len;

	do {
		while (got != SQ_LINE_END && a->n - a->ended <
		    2 * r->opt.seqs) {
			got = sq_lines_next(&in, !busy, &line, &len, err);
			if (got < 0)
				sq_die(SQ_EDATA, "stdin: %s", err);
			if (got != SQ_LINE_READ)
				break;
			ask_line(r, line, len);
			busy = 1;
		}
		busy = step(r);
	} while (busy || got != SQ_LINE_END);
	sq_lines_release(&in);
	if (r->answers.n == 0)
		sq_die(SQ_EDATA, "stdin: the prompt is empty");
}

/* A conversation: every line is a turn, and the answers are part of what
 * follows. */
static void
talk(struct run *r)
{
	struct sq_lines in = { .fd = STDIN_FILENO };
	json_t *messages = json_array(), *ask_for;
	struct sq_generation g;
	char err[SQ_ERR], *line;
	struct sq_prompt p;
	struct sq_answer *w;
	size_t len;
	int got;

	if (r->chat == NULL)
		sq_warn("no chat template is known for this model: it "
		    "continues what you write");
	for (;;) {
		fputs("> ", stderr);
		got = sq_lines_next(&in, 1, &line, &len, err);
		if (got != SQ_LINE_READ)
			break;
		json_array_append_new(messages, json_pack("{s:s, s:s}",
		    "role", "user", "content", line));
		ask_for = json_pack("{s:O}", "messages", messages);
		if (ask_for == NULL || sq_prompt_json(&p, ask_for, &r->opt,
		    r->chat, err) < 0)
			sq_die(SQ_EDATA, "%s", ask_for == NULL ?
			    "the line is not UTF-8" : err);
		w = sq_answers_new(&r->answers);
		if (w == NULL)
			sq_die(SQ_EDATA, "out of memory");
		if (sq_backend_say(r->b, &p, w, sq_answer_event, &g,
		    err) < 0)
			sq_answer_fail(w, err);
		else
			json_array_append_new(messages, json_pack(
			    "{s:s, s:s%}", "role", "assistant", "content",
			    g.text == NULL ? "" : g.text, g.len));
		sq_generation_release(&g);
		sq_prompt_release(&p);
		json_decref(ask_for);
	}
	json_decref(messages);
	sq_lines_release(&in);
}

static void
note(void *arg, const char *line)
{
	(void)arg;
	sq_note("%s", line);
}

static void
say_plan(const struct run *r)
{
	char *line, *save = NULL;
	char why[SQ_WHY];

	if (!sq_tool.verbose)
		return;
	memcpy(why, r->b->why, sizeof(why));
	for (line = strtok_r(why, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save))
		sq_note("KV cache: %s", line);
	sq_executor_plan(r->b->model, &r->b->ctx, r->opt.prec,
	    sq_batcher_cache(r->b->engine), note, NULL);
}

static void
say_figures(const struct run *r)
{
	const struct sq_answers *a = &r->answers;
	struct sq_batcher_totals t;
	struct rusage u;

	if (!sq_tool.verbose)
		return;
	sq_batcher_totals(r->b->engine, &t);
	getrusage(RUSAGE_SELF, &u);
	if (t.seen_all > 0)
		sq_note("sparse_attention: %ju of %ju blocks of keys seen, "
		    "%.3f", (uintmax_t)t.seen, (uintmax_t)t.seen_all,
		    (double)t.seen / (double)t.seen_all);
	if (a->with_first > 0)
		sq_note("TTFT %.1f ms, %zu prompt tokens, %zu of them reused",
		    1e3 * a->ttft / (double)a->with_first, a->sum.prompt,
		    a->sum.reused);
	if (a->later > 0)
		sq_note("TPOT %.2f ms, made %zu tokens, %.1f tokens/s after "
		    "the first", 1e3 * a->after / (double)a->later,
		    a->sum.made, (double)a->later / a->after);
	sq_note("KV cache: %.1f MB held at most, %.1f MB predicted for the "
	    "longest, budget %.1f MB, %zu blocks evicted",
	    (double)t.kv_peak / 1e6, (double)t.kv_need / 1e6,
	    (double)t.kv_budget / 1e6, t.evicted);
	sq_note("peak memory %.1f MB", (double)u.ru_maxrss / 1024);
}

static void
open_run(struct run *r, const char *path)
{
	struct sq_backend_how how = { .threads = sq_tool.threads,
	    .fell = sq_tool_fell, .memory = sq_tool.memory, .opt = &r->opt };
	char err[SQ_ERR];

	if ((how.kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	r->b = sq_backend_load_profile(path, r->profile, &how, err);
	if (r->b == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_chat_init(&r->template, &r->b->model->source->files, err) == 0)
		r->chat = &r->template;
	say_plan(r);
}

int
main(int argc, char *argv[])
{
	struct run r = { .chat = NULL };
	enum sq_answer_form form = SQ_ANSWER_TEXT;
	struct sq_prompt p;
	size_t logprobs = 0;
	char err[SQ_ERR];
	int c, taken, times = 0;

	sq_tool_init(argv[0], usage);
	sq_genopt_init(&r.opt);
	while ((c = getopt_long(argc, argv, SQ_SHORT "n:p:", longopts,
	    NULL)) != -1) {
		taken = sq_genopt_take(&r.opt, c, optarg, err);
		if (taken < 0)
			sq_die(SQ_EUSAGE, "%s", err);
		if (c == 'p') {
			r.profile = optarg;
		} else if (c == OPT_JSON) {
			form = SQ_ANSWER_JSON;
		} else if (c == OPT_LOGPROBS) {
			logprobs = (size_t)sq_arg_long("--logprobs", optarg,
			    1, 64);
			form = SQ_ANSWER_CSV;
		} else if (c == OPT_TIMES) {
			times = 1;
		} else if (!taken) {
			sq_tool_option(c);
		}
	}
	if (argc - optind != 1 && argc - optind != 2)
		sq_usage();
	open_run(&r, argv[optind]);
	if (logprobs > r.b->model->config.vocab)
		sq_usage();
	if (sq_answers_init(&r.answers, r.b, stdout, form, logprobs, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	r.answers.failed = failed;
	r.answers.times = times;
	if (argv[optind + 1] != NULL) {
		p = (struct sq_prompt){ .text = argv[optind + 1],
		    .len = strlen(argv[optind + 1]), .opt = r.opt,
		    .flags = SQ_TOK_SPECIAL | (r.opt.no_bos ? 0 :
		    SQ_TOK_POST) };
		ask(&r, &p);
		while (step(&r))
			;
	} else if (isatty(STDIN_FILENO)) {
		talk(&r);
	} else {
		batch(&r);
	}
	say_figures(&r);
	sq_flush();
	c = r.answers.nfailed > 0 ? SQ_EDATA : SQ_OK;
	sq_answers_release(&r.answers);
	sq_backend_free(r.b);
	return c;
}
