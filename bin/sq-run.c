/* sq-run: a model continues a text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>

#include "base/io.h"
#include "base/pool.h"
#include "base/tool.h"
#include "engine/session.h"
#include "formats/fmt_csv.h"
#include "model/act.h"
#include "model/files.h"
#include "model/sampler.h"

static const char usage[] =
    "[-v] [-j N] [-k LEVEL] [-n TOKENS] [--act TYPE] [--f32] [--greedy] "
    "[--logprobs N] [--min-p P] [--no-bos] [--seed N] [--temperature T] [--top-k K] "
    "[--top-p P] MODEL [PROMPT]";

enum { OPT_ACT = SQ_OPT(0), OPT_F32, OPT_GREEDY, OPT_LOGPROBS, OPT_MIN_P,
	OPT_NO_BOS, OPT_SEED, OPT_TEMPERATURE, OPT_TOP_K, OPT_TOP_P };

static const struct option longopts[] = {
	SQ_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "greedy", no_argument, NULL, OPT_GREEDY },
	{ "logprobs", required_argument, NULL, OPT_LOGPROBS },
	{ "min-p", required_argument, NULL, OPT_MIN_P },
	{ "no-bos", no_argument, NULL, OPT_NO_BOS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "temperature", required_argument, NULL, OPT_TEMPERATURE },
	{ "tokens", required_argument, NULL, 'n' },
	{ "top-k", required_argument, NULL, OPT_TOP_K },
	{ "top-p", required_argument, NULL, OPT_TOP_P },
	{ NULL, 0, NULL, 0 }
};

#define MAX_PROMPT	((size_t)64 << 20)

struct run {
	struct sq_ctx ctx;
	struct sq_model *model;
	struct sq_tokenizer *tok;
	struct sq_session session;
	struct sq_sampler sampler;
	struct sq_sampling how;
	struct sq_detok detok;
	enum sq_prec prec;
	struct sq_act_choice act;
	size_t n;			/* tokens to make */
	size_t logprobs;		/* alternatives to print, or 0 */
	unsigned tok_flags;
	uint32_t eos[SQ_MAX_EOS];
	size_t neos;
	double start, first, last;	/* seconds */
	size_t made;
};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* CSV: the N best after each position of the text. */
static int
print_best(void *arg, size_t position, const float *logits)
{
	struct run *r = arg;
	struct sq_choice best[64];
	const char *token;
	char err[SQ_ERR];
	size_t i, len;

	if (sq_sampler_best(&r->sampler, logits, r->logprobs, best, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	for (i = 0; i < r->logprobs; i++) {
		printf("%zu,%zu,%u,%.6f", position, i + 1, best[i].id,
		    (double)best[i].logit);
		token = sq_tokenizer_token(r->tok, best[i].id, &len);
		sq_csv_field(stdout, 0, token == NULL ? "" : token);
		putchar('\n');
	}
	return 0;
}

static char *
read_prompt(size_t *len)
{
	char *text = malloc(MAX_PROMPT + 1);
	ssize_t n = text == NULL ? -1 :
	    sq_read_full(STDIN_FILENO, text, MAX_PROMPT + 1);

	if (n < 0)
		sq_die(SQ_EDATA, "stdin: cannot be read");
	if ((size_t)n > MAX_PROMPT)
		sq_die(SQ_EDATA, "stdin: a prompt of more than %zu bytes",
		    MAX_PROMPT);
	*len = (size_t)n;
	return text;
}

static int
is_eos(const struct run *r, uint32_t id)
{
	size_t i;

	for (i = 0; i < r->neos; i++)
		if (r->eos[i] == id)
			return 1;
	return 0;
}

static void
put_text(const char *text, size_t len)
{
	fwrite(text, 1, len, stdout);
	fflush(stdout);
}

/* Token by token until the end, n, or the context is full. */
static void
generate(struct run *r)
{
	struct sq_session *s = &r->session;
	const char *text;
	char err[SQ_ERR];
	uint32_t id;
	size_t len;

	while (r->made < r->n && s->lane.seq.length < s->context) {
		if (sq_sampler_pick(&r->sampler, s->logits, &id, err) < 0)
			sq_die(SQ_EDATA, "%s", err);
		if (r->made++ == 0)
			r->first = now();
		r->last = now();
		if (is_eos(r, id))
			break;
		if (r->logprobs == 0) {
			text = sq_detok_put(&r->detok, id, &len);
			if (text == NULL)
				sq_die(SQ_EDATA, "%s", r->detok.err);
			put_text(text, len);
		}
		if (r->made == r->n)
			break;
		if (sq_session_feed(s, &id, 1, r->logprobs ? print_best : NULL,
		    r, err) < 0)
			sq_die(SQ_EDATA, "%s", err);
	}
	if (r->logprobs > 0)
		return;
	if ((text = sq_detok_flush(&r->detok, &len)) != NULL)
		put_text(text, len);
	put_text("\n", 1);
}

static void
run(struct run *r, const char *prompt)
{
	const struct sq_config *c = &r->model->config;
	struct sq_ids ids = { NULL, 0, 0 };
	char err[SQ_ERR], *text = NULL;
	size_t len;

	if (prompt == NULL)
		prompt = text = read_prompt(&len);
	else
		len = strlen(prompt);
	if (sq_tokenizer_encode(r->tok, prompt, len, r->tok_flags, &ids,
	    err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	free(text);
	if (ids.n > c->context)
		sq_die(SQ_EDATA, "a prompt of %zu tokens is longer than the "
		    "context of %ju", ids.n, (uintmax_t)c->context);
	if (sq_session_init(&r->session, r->model, &r->ctx, r->prec,
	    ids.n + r->n, err) < 0 ||
	    sq_sampler_init(&r->sampler, &r->how, (size_t)c->vocab, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	if (r->logprobs > 0)
		printf("position,rank,id,logprob,token\n");
	r->start = now();
	if (sq_session_feed(&r->session, ids.id, ids.n, r->logprobs > 0 ?
	    print_best : NULL, r, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_detok_init(&r->detok, r->tok, SQ_DETOK_SKIP_SPECIAL);
	if (r->n > 0)
		generate(r);
	if (r->made > 0)
		sq_note("prompt %zu tokens, %.1f tokens/s, TTFT %.1f ms",
		    ids.n, (double)ids.n / (r->first - r->start),
		    1e3 * (r->first - r->start));
	sq_ids_release(&ids);
}

static void
say_figures(const struct run *r)
{
	struct rusage u;
	int op;

	if (!sq_tool.verbose)
		return;
	getrusage(RUSAGE_SELF, &u);
	if (r->made > 1)
		sq_note("made %zu tokens, %.1f tokens/s after the first",
		    r->made, (double)(r->made - 1) / (r->last - r->first));
	sq_note("peak memory %.1f MB", (double)u.ru_maxrss / 1024);
	for (op = 0; op < SQ_OPS; op++)
		sq_note("kernel %-10s %s", sq_op_name((enum sq_op)op),
		    r->ctx.kern->from[op]);
}

static void
open_model(struct run *r, const char *path)
{
	char err[SQ_ERR];

	if ((r->model = sq_model_open(path, err)) == NULL ||
	    sq_model_place(r->model, r->ctx.kern->mem, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_model_choose_act(r->model, &r->act, err) < 0)
		sq_die(SQ_EDATA, "'%s': --act: %s", path, err);
	if ((r->tok = sq_files_tokenizer(&r->model->source->files,
	    err)) == NULL)
		sq_die(SQ_EDATA, "'%s': %s", path, err);
	r->neos = sq_files_eos(&r->model->source->files, &r->model->config,
	    r->eos);
}

int
main(int argc, char *argv[])
{
	struct run r = { .n = 128, .prec = SQ_PREC_BF16,
	    .tok_flags = SQ_TOK_SPECIAL | SQ_TOK_POST,
	    .how = { .temperature = .8, .top_k = 0, .top_p = .95 } };
	const struct sq_kern *kern;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "n:", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'n':
			r.n = (size_t)sq_arg_long("-n", optarg, 0, 1 << 28);
			break;
		case OPT_ACT:
			if (sq_act_choose(&r.act, optarg) < 0)
				sq_die(SQ_EUSAGE, "--act: '%s' is not none, "
				    "int8, fp8, int8:static or fp8:static",
				    optarg);
			break;
		case OPT_F32:
			r.prec = SQ_PREC_F32;
			break;
		case OPT_GREEDY:
			r.how.temperature = 0;
			break;
		case OPT_LOGPROBS:
			r.logprobs = (size_t)sq_arg_long("--logprobs", optarg,
			    1, 64);
			break;
		case OPT_MIN_P:
			r.how.min_p = sq_arg_real("--min-p", optarg, 0, 1);
			break;
		case OPT_NO_BOS:
			r.tok_flags &= ~SQ_TOK_POST;
			break;
		case OPT_SEED:
			r.how.seed = (uint64_t)sq_arg_long("--seed", optarg,
			    0, INT64_MAX);
			break;
		case OPT_TEMPERATURE:
			r.how.temperature = sq_arg_real("--temperature",
			    optarg, 0, 100);
			break;
		case OPT_TOP_K:
			r.how.top_k = (size_t)sq_arg_long("--top-k", optarg,
			    0, 1 << 24);
			break;
		case OPT_TOP_P:
			r.how.top_p = sq_arg_real("--top-p", optarg, 0, 1);
			break;
		default:
			sq_tool_option(c);
		}
	if (argc - optind != 1 && argc - optind != 2)
		sq_usage();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(&r.ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	r.ctx.fell = sq_tool_fell;
	open_model(&r, argv[optind]);
	if (r.logprobs > r.model->config.vocab)
		sq_usage();
	run(&r, argv[optind + 1]);
	say_figures(&r);
	sq_flush();
	return SQ_OK;
}
