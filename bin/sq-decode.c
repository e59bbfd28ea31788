/* sq-decode: answers to prompts whose cache another process has computed. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/tool.h"
#include "engine/answers.h"
#include "engine/channel.h"
#include "engine/handoff.h"

static const char usage[] =
    "[-v] [-j N] [-k LEVEL] [-M BYTES] [-n TOKENS] [--batch N] "
    "[--connect ADDRESS | --listen ADDRESS] [--context N] [--f32] "
    "[--greedy] [--ignore-eos] [--json] [--kv SPEC] [--link-rate RATE] "
    "[--min-p P] [--seed N] [--stop TEXT]... [--temperature T] [--top-k K] "
    "[--top-p P] MODEL";

enum { OPT_CONNECT = SQ_OPT(0), OPT_JSON, OPT_LISTEN };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_GEN_LONG,
	SQ_GEN_SAMPLING_LONG,
	{ "connect", required_argument, NULL, OPT_CONNECT },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ NULL, 0, NULL, 0 }
};

#define AHEAD	65536			/* prompts that overtake one */

struct decode {
	struct sq_genopt opt;
	struct sq_receiver from;
	struct sq_answers answers;
	/* of prompt i + 1, until its cache has come: prompts overtake others */
	struct sq_answer **slot;
	size_t waiting;			/* slots that are taken */
};

static void
failed(size_t index, const char *why)
{
	sq_warn("prompt %zu: %s", index, why);
}

/* Answers are printed in the order of the prompts, which is not that of the
 * stream. */
static struct sq_answer *
slot_of(struct decode *d, uint64_t id)
{
	struct sq_answers *all = &d->answers;
	struct sq_answer *w;

	if (id > all->n && id - all->n < AHEAD) {
		d->slot = realloc(d->slot, id * sizeof(*d->slot));
		while (d->slot != NULL && all->n < id) {
			w = sq_answers_new(all);
			if (w == NULL)
				sq_die(SQ_EDATA, "out of memory");
			d->slot[all->n - 1] = w;
			d->waiting++;
		}
		if (d->slot == NULL)
			sq_die(SQ_EDATA, "out of memory");
	}
	if (id == 0 || id > all->n || d->slot[id - 1] == NULL)
		sq_die(SQ_EDATA, "the KV stream has no prompt %ju here",
		    (uintmax_t)id);
	w = d->slot[id - 1];
	d->slot[id - 1] = NULL;
	d->waiting--;
	return w;
}

static size_t
at_work(const struct decode *d)
{
	return d->answers.n - d->answers.ended - d->waiting;
}

static void
fail_waiting(struct decode *d)
{
	size_t i;

	for (i = 0; d->waiting > 0; i++)
		if (d->slot[i] != NULL)
			sq_answer_fail(slot_of(d, i + 1),
			    "its cache has not come");
}

static void
answer(struct decode *d, struct sq_arrival *a)
{
	struct sq_answer *w = slot_of(d, a->id);
	struct sq_genopt o = d->opt;
	struct sq_request q;
	char err[SQ_ERR];

	if (a->error != NULL) {
		sq_answer_fail(w, a->error);
		return;
	}
	if (a->request != NULL && sq_genopt_json(&o, a->request, err) < 0) {
		sq_answer_fail(w, err);
		return;
	}
	w->shown = o.n;
	q = (struct sq_request){ .ids = a->ids, .n = a->n, .max_tokens = o.n,
	    .sampling = o.how, .stop = o.stop, .nstop = o.nstop,
	    .ignore_eos = o.ignore_eos, .seq = &a->seq,
	    .event = sq_answer_event, .arg = w };
	if (sq_batcher_submit(d->from.b->engine, &q, err) == 0)
		sq_answer_fail(w, err);
}

static int
can_read(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* Records as they come, steps in between.  When the stream breaks, what has
 * arrived is still answered. */
static int
run(struct decode *d)
{
	struct sq_arrival *a;
	char err[SQ_ERR];
	int busy = 0, got = 2;

	while (busy || got > 0) {
		if (got > 0 && at_work(d) < 2 * d->opt.seqs && (!busy ||
		    can_read(d->from.in.fd))) {
			got = sq_receiver_next(&d->from, &a);
			if (got == 1)
				answer(d, a);
			sq_arrival_free(a);
			if (got < 0)
				sq_warn("%s", d->from.err);
		}
		if (at_work(d) == 0) {
			busy = 0;
			continue;
		}
		busy = sq_batcher_step(d->from.b->engine, err);
		if (busy < 0)
			sq_die(SQ_EDATA, "%s", err);
	}
	fail_waiting(d);
	return got;
}

static void
open_model(struct decode *d, const char *path)
{
	struct sq_backend_how how = { .threads = sq_tool.threads,
	    .fell = sq_tool_fell, .memory = sq_tool.memory, .opt = &d->opt };
	struct sq_runner *b;
	char err[SQ_ERR], text[SQ_KV_TEXT];

	if ((how.kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_receiver_head(&d->from) < 0)
		sq_die(SQ_EDATA, "%s", d->from.err);
	if (d->opt.kv == NULL)
		d->opt.kv = d->from.policy;
	if ((b = sq_backend_load_profile(path, NULL, &how, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_receiver_begin(&d->from, b) < 0)
		sq_die(SQ_EDATA, "%s", d->from.err);
	sq_kv_policy_text(&sq_batcher_cache(b->engine)->policy, text);
	sq_note("KV cache: %s, sent as %s", text, d->from.policy);
}

static void
say_figures(const struct decode *d)
{
	const struct sq_answers *a = &d->answers;
	const struct sq_handoff_counts *n = &d->from.n;

	sq_note("%zu sequences, %zu blocks: %zu came, %zu were there; %.1f MB",
	    n->sequences, n->blocks, n->sent, n->had,
	    (double)d->from.in.bytes / 1e6);
	if (a->later > 0)
		sq_note("TTFT %.1f ms after arrival, TPOT %.2f ms, made %zu "
		    "tokens", 1e3 * a->ttft / (double)a->with_first,
		    1e3 * a->after / (double)a->later, a->sum.made);
}

int
main(int argc, char *argv[])
{
	struct decode d = { .from = { .in.fd = STDIN_FILENO, .back.fd = -1 } };
	const char *connect = NULL, *listen = NULL;
	enum sq_answer_form form = SQ_ANSWER_TEXT;
	char err[SQ_ERR];
	int c, taken, got;

	sq_tool_init(argv[0], usage);
	sq_genopt_init(&d.opt);
	while ((c = getopt_long(argc, argv, SQ_SHORT "n:", longopts,
	    NULL)) != -1) {
		if ((taken = sq_genopt_take(&d.opt, c, optarg, err)) < 0)
			sq_die(SQ_EUSAGE, "%s", err);
		if (c == OPT_JSON)
			form = SQ_ANSWER_JSON;
		else if (c == OPT_CONNECT)
			connect = optarg;
		else if (c == OPT_LISTEN)
			listen = optarg;
		else if (!taken)
			sq_tool_option(c);
	}
	if (argc - optind != 1 || (connect != NULL && listen != NULL))
		sq_usage();
	if (connect != NULL || listen != NULL) {
		signal(SIGPIPE, SIG_IGN);
		d.from.in.fd = d.from.back.fd =
		    sq_channel_open(connect, listen, err);
		if (d.from.in.fd < 0)
			sq_die(SQ_EDATA, "%s", err);
	}
	sq_widen_pipe(d.from.in.fd);
	open_model(&d, argv[optind]);
	if (sq_answers_init(&d.answers, d.from.b, stdout, form, 0, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	d.answers.failed = failed;
	got = run(&d);
	say_figures(&d);
	sq_flush();
	c = got < 0 || d.answers.nfailed > 0 ? SQ_EDATA : SQ_OK;
	sq_answers_release(&d.answers);
	free(d.slot);
	sq_receiver_release(&d.from);
	sq_backend_free(d.from.b);
	return c;
}
