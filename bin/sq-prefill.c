/* sq-prefill: the cache of prompts, computed and sent. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/tool.h"
#include "engine/channel.h"
#include "engine/handoff.h"
#include "engine/lines.h"
#include "engine/prompts.h"

static const char usage[] =
    "[-vz] [-j N] [-k LEVEL] [-M BYTES] [-p PROFILE] [--batch N] "
    "[--connect ADDRESS | --listen ADDRESS] [--context N] [--f32] "
    "[--kv SPEC] [--link-rate RATE] [--no-bos] MODEL";

enum { OPT_CONNECT = SQ_OPT(0), OPT_LISTEN };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_GEN_LONG,
	{ "compress", no_argument, NULL, 'z' },
	{ "connect", required_argument, NULL, OPT_CONNECT },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "no-bos", no_argument, NULL, SQ_GEN_NO_BOS },
	{ "profile", required_argument, NULL, 'p' },
	{ NULL, 0, NULL, 0 }
};

struct prefill {
	struct sq_genopt opt;
	struct sq_sender to;
	struct sq_chat *chat;		/* NULL: no template is known */
	struct sq_chat template;
	const char *profile;
	size_t asked, done, failed;
};

/* A prompt at work. */
struct job {
	struct prefill *p;
	size_t index;
	struct sq_ids ids;
	json_t *request;		/* or NULL */
};

static void
free_job(struct job *j)
{
	sq_ids_release(&j->ids);
	json_decref(j->request);
	free(j);
}

/* What cannot be computed is told to the other side too. */
static void
refuse(struct job *j, const char *why)
{
	sq_warn("prompt %zu: %s", j->index, why);
	j->p->failed++;
	j->p->done++;
	if (sq_sender_error(&j->p->to, j->index, why) < 0)
		sq_die(SQ_EDATA, "%s", j->p->to.err);
	free_job(j);
}

static void
event(void *arg, const struct sq_event *ev)
{
	struct job *j = arg;

	if (ev->kind == SQ_EV_CACHE) {
		if (sq_sender_seq(&j->p->to, j->index, ev->seq, j->ids.id,
		    j->ids.n, j->request) < 0)
			sq_die(SQ_EDATA, "%s", j->p->to.err);
	} else if (ev->kind == SQ_EV_END && ev->finish == SQ_FAILED) {
		refuse(j, ev->why);
	} else if (ev->kind == SQ_EV_END) {
		j->p->done++;
		free_job(j);
	}
}

static void
ask(struct prefill *p, const char *line, size_t len)
{
	struct job *j = calloc(1, sizeof(*j));
	struct sq_request q;
	struct sq_prompt t;
	char err[SQ_ERR];
	int ok;

	if (j == NULL)
		sq_die(SQ_EDATA, "out of memory");
	*j = (struct job){ .p = p, .index = ++p->asked };
	ok = sq_prompt_read(&t, line, len, &p->opt, p->chat, err) == 0 &&
	    sq_backend_request(p->to.b, &t, &j->ids, &q, err) == 0;
	if (ok) {
		j->request = json_incref(t.json);
		q.max_tokens = 0;
		q.event = event;
		q.arg = j;
		ok = sq_batcher_submit(p->to.b->engine, &q, err) != 0;
	}
	sq_prompt_release(&t);
	if (!ok)
		refuse(j, err);
}

static void
all_prompts(struct prefill *p)
{
	struct sq_lines in = { .fd = STDIN_FILENO };
	int got = SQ_LINE_READ, busy = 0;
	char err[SQ_ERR], *line;
	size_t len;

	do {
		while (got != SQ_LINE_END && p->asked - p->done <
		    2 * p->opt.seqs) {
			got = sq_lines_next(&in, !busy, &line, &len, err);
			if (got < 0)
				sq_die(SQ_EDATA, "stdin: %s", err);
			if (got != SQ_LINE_READ)
				break;
			ask(p, line, len);
			busy = 1;
		}
		busy = sq_batcher_step(p->to.b->engine, err);
		if (busy < 0)
			sq_die(SQ_EDATA, "%s", err);
	} while (busy || got != SQ_LINE_END);
	sq_lines_release(&in);
	if (p->asked == 0)
		sq_die(SQ_EDATA, "stdin: the prompt is empty");
}

static void
open_model(struct prefill *p, const char *path)
{
	struct sq_backend_how how = { .threads = sq_tool.threads,
	    .fell = sq_tool_fell, .memory = sq_tool.memory, .opt = &p->opt };
	char err[SQ_ERR], *line, *save = NULL;

	if ((how.kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	p->to.b = sq_backend_load_profile(path, p->profile, &how, err);
	if (p->to.b == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_chat_init(&p->template, &p->to.b->model->source->files,
	    err) == 0)
		p->chat = &p->template;
	for (line = strtok_r(p->to.b->why, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save))
		sq_note("KV cache: %s", line);
}

int
main(int argc, char *argv[])
{
	struct prefill p = { .to = { .out.fd = STDOUT_FILENO, .back.fd = -1 } };
	const char *connect = NULL, *listen = NULL;
	struct sq_batcher_totals t;
	char err[SQ_ERR];
	int c, taken;

	sq_tool_init(argv[0], usage);
	sq_genopt_init(&p.opt);
	while ((c = getopt_long(argc, argv, SQ_SHORT "p:z", longopts,
	    NULL)) != -1) {
		if ((taken = sq_genopt_take(&p.opt, c, optarg, err)) < 0)
			sq_die(SQ_EUSAGE, "%s", err);
		if (c == 'p')
			p.profile = optarg;
		else if (c == 'z')
			p.to.out.compress = 1;
		else if (c == OPT_CONNECT)
			connect = optarg;
		else if (c == OPT_LISTEN)
			listen = optarg;
		else if (!taken)
			sq_tool_option(c);
	}
	if (argc - optind != 1 || (connect != NULL && listen != NULL))
		sq_usage();
	if (connect == NULL && listen == NULL)
		sq_need_pipe();
	open_model(&p, argv[optind]);
	if (connect != NULL || listen != NULL) {
		signal(SIGPIPE, SIG_IGN);
		p.to.out.fd = p.to.back.fd =
		    sq_channel_open(connect, listen, err);
		if (p.to.out.fd < 0)
			sq_die(SQ_EDATA, "%s", err);
	}
	sq_widen_pipe(p.to.out.fd);
	if (sq_sender_head(&p.to) < 0)
		sq_die(SQ_EDATA, "%s", p.to.err);
	all_prompts(&p);
	if (sq_sender_end(&p.to) < 0)
		sq_die(SQ_EDATA, "%s", p.to.err);
	sq_batcher_totals(p.to.b->engine, &t);
	sq_note("%zu prompts, %zu tokens, %zu of them reused; %zu blocks sent, "
	    "%zu were there; %.1f MB", p.asked, t.prompt, t.reused,
	    p.to.n.sent, p.to.n.had, (double)p.to.out.bytes / 1e6);
	sq_kvin_release(&p.to.back);
	sq_backend_free(p.to.b);
	return p.failed > 0 ? SQ_EDATA : SQ_OK;
}
