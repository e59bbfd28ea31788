/* sq-eval: what did it cost?  Perplexity, and distance to a reference. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/pool.h"
#include "engine/executor.h"
#include "eval/layers.h"
#include "eval/perplexity.h"
#include "eval/task_all.h"
#include "formats/fmt_csv.h"
#include "model/act.h"
#include "model/files.h"
#include "quant/rule.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qv] [-j N] [-k LEVEL] [-p PROFILE] [--act TYPE] [--attention KEYS] "
    "[--csv] [--f32] [--kv SPEC] [--layers] [--length N] [--protocol windows|llama] "
    "[--reference MODEL] [--shard K/N] [--tokens N] -t TEXT [-t TEXT]... MODEL ...\n"
    "[-qv] [-j N] [-k LEVEL] [-p PROFILE] [--act TYPE] [--attention KEYS] "
    "[--batch N] [--csv] [--depths N] "
    "[--each N] [--f32] [--items FILE] [--kv SPEC] [--lengths MIN:MAX] "
    "[--limit N] [--make N] [--no-bos] [--reference MODEL] [--seed N] "
    "[--shard K/N] [--shots N] [--special] "
    "--task KIND=FILE [--task KIND=FILE]... MODEL ...";

enum { OPT_ACT = SQ_OPT(0), OPT_ATTENTION, OPT_BATCH, OPT_CSV, OPT_DEPTHS,
	OPT_EACH, OPT_F32, OPT_ITEMS, OPT_KV, OPT_LAYERS, OPT_LENGTH, OPT_LENGTHS,
	OPT_LIMIT, OPT_MAKE, OPT_NO_BOS, OPT_PROTOCOL, OPT_REFERENCE, OPT_SEED,
	OPT_SHARD, OPT_SHOTS, OPT_SPECIAL, OPT_TASK, OPT_TOKENS };

static const struct option longopts[] = {
	SQ_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "attention", required_argument, NULL, OPT_ATTENTION },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "depths", required_argument, NULL, OPT_DEPTHS },
	{ "each", required_argument, NULL, OPT_EACH },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "items", required_argument, NULL, OPT_ITEMS },
	{ "kv", required_argument, NULL, OPT_KV },
	{ "layers", no_argument, NULL, OPT_LAYERS },
	{ "length", required_argument, NULL, OPT_LENGTH },
	{ "lengths", required_argument, NULL, OPT_LENGTHS },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "make", required_argument, NULL, OPT_MAKE },
	{ "no-bos", no_argument, NULL, OPT_NO_BOS },
	{ "profile", required_argument, NULL, 'p' },
	{ "protocol", required_argument, NULL, OPT_PROTOCOL },
	{ "reference", required_argument, NULL, OPT_REFERENCE },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "shard", required_argument, NULL, OPT_SHARD },
	{ "shots", required_argument, NULL, OPT_SHOTS },
	{ "special", no_argument, NULL, OPT_SPECIAL },
	{ "task", required_argument, NULL, OPT_TASK },
	{ "text", required_argument, NULL, 't' },
	{ "tokens", required_argument, NULL, OPT_TOKENS },
	{ NULL, 0, NULL, 0 }
};

#define MAX_TEXTS	64
#define WINDOW		2048

static const char *const protocols[] = { "windows", "llama", NULL };

struct eval {
	struct sq_ctx ctx;
	struct sq_ppl ppl;
	struct sq_progress progress;
	struct sq_tasks tasks;
	struct sq_act_choice act;
	struct sq_attn_choice attention;
	struct sq_kv_policy kv;
	const char *text[MAX_TEXTS];
	int ntexts, csv, layers;
	size_t tokens, length;
};

static void
note(void *path, const char *line)
{
	sq_note("'%s': %s", (const char *)path, line);
}

static struct sq_model *
open_model(const struct eval *e, const char *path)
{
	char err[SQ_ERR];
	struct sq_model *m = sq_model_open(path, err);

	if (m == NULL || sq_model_place(m, e->ctx.kern->mem, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_executor_sparse(m, &e->ctx, note, (void *)(uintptr_t)path);
	return m;
}

static void
encode(const struct eval *e, const struct sq_tokenizer *t, const char *path,
    struct sq_ids *ids)
{
	char err[SQ_ERR], *text;
	size_t len;

	memset(ids, 0, sizeof(*ids));
	text = sq_read_file(AT_FDCWD, path, SQ_TOK_TEXT_MAX, &len, err);
	if (text == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_tokenizer_encode(t, text, len, SQ_TOK_SPECIAL, ids, err) < 0)
		sq_die(SQ_EDATA, "'%s': %s", path, err);
	free(text);
	if (ids->n < 2)
		sq_die(SQ_EDATA, "'%s': a text of %zu tokens", path, ids->n);
	if (e->tokens > 0 && ids->n > e->tokens)
		ids->n = e->tokens;
}

/* A number, or nothing where it was not computed. */
static void
number(char text[32], const char *format, double v)
{
	text[0] = '\0';
	if (!isnan(v))
		snprintf(text, 32, format, v);
}

static void
print_header(const struct eval *e)
{
	if (e->layers && e->csv)
		printf("model,text,layer,error,cosine\n");
	else if (e->layers)
		printf("%-24s %-20s %5s %12s %10s\n", "model", "text",
		    "layer", "error", "cosine");
	else if (e->csv)
		printf("model,text,protocol,tokens,nll,nll_stderr,ppl,kl,"
		    "top1,kl_stderr,delta,delta_stderr,p,lost,won,"
		    "model_digest,precision,top5,flips\n");
	else
		printf("%-24s %-20s %9s %9s %9s %10s %10s %7s\n", "model",
		    "text", "tokens", "nll", "+-", "ppl", "kl", "top1");
}

static void
print_row(const struct eval *e, const char *model, const char *text,
    const struct sq_ppl_result *r)
{
	char nll[32], se[32], ppl[32], kl[32], top1[32], n[32];
	char more[8][32], digest[SQ_DIGEST];
	const double v[] = { r->kl_stderr, r->delta, r->delta_stderr, r->p,
	    r->lost, r->won, r->top5, r->lost + r->won };
	const char *f[] = { model, text, protocols[e->ppl.protocol], n, nll,
	    se, ppl, kl, top1, more[0], more[1], more[2], more[3], more[4],
	    more[5], digest, e->ppl.prec == SQ_PREC_F32 ? "f32" : "bf16",
	    more[6], more[7] };
	size_t i;

	sq_source_identity(e->ppl.model->source, digest);
	for (i = 0; i < 8; i++)
		number(more[i], i == 3 ? "%.4g" : "%.8f", v[i]);

	snprintf(n, sizeof(n), "%ju", (uintmax_t)r->tokens);
	number(nll, e->csv ? "%.7f" : "%.5f", r->nll);
	number(se, e->csv ? "%.7f" : "%.5f", r->nll_stderr);
	number(ppl, e->csv ? "%.6f" : "%.4f", exp(r->nll));
	number(kl, e->csv ? "%.8f" : "%.6f", r->kl);
	number(top1, e->csv ? "%.6f" : "%.4f", r->top1);
	if (!e->csv) {
		printf("%-24s %-20s %9s %9s %9s %10s %10s %7s\n", model, text,
		    n, nll, se, ppl, kl, top1);
	} else {
		for (i = 0; i < sizeof(f) / sizeof(f[0]); i++)
			sq_csv_field(stdout, i == 0, f[i]);
		putchar('\n');
	}
	fflush(stdout);
}

/* The error after each block, instead of that of the predictions. */
static void
eval_layers(struct eval *e, const struct sq_ids *ids, const char *model,
    const char *text)
{
	size_t i, n = (size_t)e->ppl.model->config.layers;
	struct sq_layer_error *error = calloc(n, sizeof(*error));
	char err[SQ_ERR];

	if (error == NULL)
		sq_die(SQ_EDATA, "out of memory");
	if (sq_layers_run(&e->ppl, ids->id, ids->n, error, err) < 0) {
		sq_progress_end(&e->progress);
		sq_die(SQ_EDATA, "'%s' on '%s': %s", model, text, err);
	}
	sq_progress_end(&e->progress);
	for (i = 0; i < n; i++) {
		if (e->csv) {
			sq_csv_field(stdout, 1, model);
			sq_csv_field(stdout, 0, text);
			printf(",%zu,%.6e,%.8f\n", i, error[i].error,
			    error[i].cosine);
		} else
			printf("%-24s %-20s %5zu %12.4e %10.6f\n", model,
			    text, i, error[i].error, error[i].cosine);
	}
	free(error);
}

static void
eval_text(struct eval *e, const struct sq_tokenizer *t, const char *model,
    const char *text)
{
	struct sq_ppl *p = &e->ppl;
	struct sq_ppl_result r;
	struct sq_ids ids;
	char err[SQ_ERR];

	encode(e, t, text, &ids);
	p->length = e->length < p->model->config.context ? e->length :
	    (size_t)p->model->config.context;
	if (p->length > ids.n)
		p->length = ids.n;
	sq_tool_progress(&e->progress);
	e->progress.bytes = (sq_shard_end(&p->shard, ids.n / p->length) -
	    sq_shard_start(&p->shard, ids.n / p->length)) * p->length;
	e->progress.unit = "tokens";
	if (e->layers) {
		eval_layers(e, &ids, model, text);
		sq_ids_release(&ids);
		return;
	}
	if (sq_ppl_run(p, ids.id, ids.n, &r, err) < 0) {
		sq_progress_end(&e->progress);
		sq_die(SQ_EDATA, "'%s' on '%s': %s", model, text, err);
	}
	sq_progress_end(&e->progress);
	print_row(e, model, text, &r);
	sq_ids_release(&ids);
}

static void
eval_model(struct eval *e, const char *path)
{
	struct sq_model *m = open_model(e, path);
	struct sq_tokenizer *t;
	char err[SQ_ERR];
	int i;

	if (sq_model_choose_act(m, &e->act, err) < 0)
		sq_die(SQ_EDATA, "'%s': --act: %s", path, err);
	m->attention = e->attention;
	if ((t = sq_files_tokenizer(&m->source->files, err)) == NULL)
		sq_die(SQ_EDATA, "'%s': %s", path, err);
	if (e->ppl.protocol == SQ_LLAMA && m->config.bos < 0)
		sq_die(SQ_EDATA, "'%s': the llama protocol needs a "
		    "bos_token_id", path);
	e->ppl.model = m;
	e->ppl.bos = (uint32_t)m->config.bos;
	for (i = 0; i < e->ntexts; i++)
		eval_text(e, t, path, e->text[i]);
	sq_tokenizer_free(t);
	sq_model_free(m);
}

static void
ask_model(struct eval *e, const char *path, int baseline)
{
	struct sq_model *m = open_model(e, path);
	char err[SQ_ERR];

	if (!baseline) {
		m->attention = e->attention;
		if (sq_model_choose_act(m, &e->act, err) < 0)
			sq_die(SQ_EDATA, "'%s': --act: %s", path, err);
	}
	sq_tool_progress(&e->progress);
	e->progress.unit = "items";
	memset(e->tasks.seen, 0, sizeof(e->tasks.seen));
	if (sq_tasks_model(&e->tasks, m, path, baseline, err) < 0) {
		sq_progress_end(&e->progress);
		sq_die(SQ_EDATA, "%s", err);
	}
	if (e->tasks.seen[1] > 0)
		sq_note("'%s': sparse_attention: %ju of %ju blocks of keys "
		    "seen, %.3f", path, (uintmax_t)e->tasks.seen[0],
		    (uintmax_t)e->tasks.seen[1], (double)e->tasks.seen[0] /
		    (double)e->tasks.seen[1]);
	sq_model_free(m);
}

/* "MIN:MAX", or one length. */
static void
lengths(struct sq_task_options *o, char *arg)
{
	char *colon = strchr(arg, ':');

	if (colon != NULL)
		*colon++ = '\0';
	o->least = (size_t)sq_arg_long("--lengths", arg, 128, 1 << 24);
	o->most = colon == NULL ? o->least : (size_t)sq_arg_long("--lengths",
	    colon, (long)o->least, 1 << 24);
}

/* "2/8": the second of eight. */
static void
shard(struct sq_shard *s, char *arg)
{
	char *slash = strchr(arg, '/');

	if (slash == NULL)
		sq_die(SQ_EUSAGE, "--shard '%s': not K/N", arg);
	*slash++ = '\0';
	s->of = (size_t)sq_arg_long("--shard", slash, 1, 1 << 20);
	s->at = (size_t)sq_arg_long("--shard", arg, 1, (long)s->of) - 1;
}

/* One of the options of tasks: 0 when it is none. */
static int
task_option(struct sq_tasks *t, int c, char *arg)
{
	struct sq_task_options *o = &t->options;
	char err[SQ_ERR];

	switch (c) {
	case OPT_BATCH:
		t->batch = (size_t)sq_arg_long("--batch", arg, 1, 512);
		return 1;
	case OPT_DEPTHS:
		o->depths = (size_t)sq_arg_long("--depths", arg, 1, 1000);
		return 1;
	case OPT_EACH:
		o->each = (size_t)sq_arg_long("--each", arg, 1, 1000);
		return 1;
	case OPT_ITEMS:
		t->items = arg;
		return 1;
	case OPT_LENGTHS:
		lengths(o, arg);
		return 1;
	case OPT_LIMIT:
		o->limit = (size_t)sq_arg_long("--limit", arg, 1, 1L << 40);
		return 1;
	case OPT_MAKE:
		o->make = (size_t)sq_arg_long("--make", arg, 1, 1 << 20);
		return 1;
	case OPT_NO_BOS:
		t->bos = 0;
		return 1;
	case OPT_SEED:
		o->seed = (uint64_t)sq_arg_long("--seed", arg, 0, INT64_MAX);
		return 1;
	case OPT_SHOTS:
		o->shots = (size_t)sq_arg_long("--shots", arg, 0, 100);
		return 1;
	case OPT_SPECIAL:
		t->special = 1;
		return 1;
	case OPT_TASK:
		if (sq_tasks_want(t, arg, err) < 0)
			sq_die(SQ_EUSAGE, "--task: %s", err);
		return 1;
	}
	return 0;
}

static void
ask_all(struct eval *e, const char *reference, char *model[])
{
	e->tasks.ctx = &e->ctx;
	e->tasks.prec = e->ppl.prec;
	e->tasks.kv = e->ppl.kv;
	e->tasks.csv = e->csv;
	e->tasks.progress = &e->progress;
	e->tasks.out = stdout;
	sq_task_header(stdout, e->csv);
	if (reference != NULL)
		ask_model(e, reference, 1);
	for (; *model != NULL; model++)
		ask_model(e, *model, 0);
	sq_tasks_release(&e->tasks);
}

/* What a profile says of activations and of the cache, unless options did. */
static void
take_profile(struct eval *e, const char *name)
{
	struct sq_profile p;
	struct sq_act act;
	char err[SQ_ERR], *spec;

	if (sq_profile_load(&p, name, err) < 0)
		sq_die(SQ_EUSAGE, "%s", err);
	act = sq_rule_act(&p);
	if (!e->act.given) {
		e->act = (struct sq_act_choice){ 1, act.scale < 0, act.kind };
		e->tasks.act = sq_act_name(act.kind);
	}
	spec = sq_profile_kv_spec(&p, 0);
	if (spec != NULL && e->ppl.kv == NULL) {
		if (sq_kv_policy_parse(&e->kv, spec, err) < 0)
			sq_die(SQ_EUSAGE, "'%s': %s", name, err);
		e->ppl.kv = &e->kv;
	}
	free(spec);
	sq_profile_release(&p);
}

int
main(int argc, char *argv[])
{
	struct eval e = { .length = WINDOW, .ppl.prec = SQ_PREC_BF16,
	    .tasks = { .bos = 1, .options = { .least = 1024, .most = 1024,
	    .depths = 5, .each = 4 } } };
	const char *reference = NULL, *profile = NULL;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "p:t:", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'p':
			profile = optarg;
			break;
		case 't':
			if (e.ntexts == MAX_TEXTS)
				sq_usage();
			e.text[e.ntexts++] = optarg;
			break;
		case OPT_ACT:
			if (sq_act_choose(&e.act, optarg) < 0)
				sq_die(SQ_EUSAGE, "--act: '%s' is not none, "
				    "int8, fp8, int8:static or fp8:static",
				    optarg);
			e.tasks.act = optarg;
			break;
		case OPT_ATTENTION:
			if (sq_attn_choose(&e.attention, optarg) < 0)
				sq_die(SQ_EUSAGE, "--attention: '%s' is not "
				    "all, window:W, window:W+sink:S, pooled:D "
				    "or vertical-slash:D", optarg);
			e.tasks.attention = optarg;
			break;
		case OPT_CSV:
			e.csv = 1;
			break;
		case OPT_F32:
			e.ppl.prec = SQ_PREC_F32;
			break;
		case OPT_KV:
			if (sq_kv_policy_parse(&e.kv, optarg, err) < 0)
				sq_die(SQ_EUSAGE, "--kv %s", err);
			e.ppl.kv = &e.kv;
			break;
		case OPT_LAYERS:
			e.layers = 1;
			break;
		case OPT_LENGTH:
			e.length = (size_t)sq_arg_long("--length", optarg, 2,
			    1 << 28);
			break;
		case OPT_PROTOCOL:
			e.ppl.protocol = (enum sq_protocol)sq_arg_choice(
			    "--protocol", optarg, protocols);
			break;
		case OPT_REFERENCE:
			reference = optarg;
			break;
		case OPT_SHARD:
			shard(&e.ppl.shard, optarg);
			e.tasks.options.shard = e.ppl.shard;
			break;
		case OPT_TOKENS:
			e.tokens = (size_t)sq_arg_long("--tokens", optarg, 2,
			    1L << 40);
			break;
		default:
			if (!task_option(&e.tasks, c, optarg))
				sq_tool_option(c);
		}
	if (optind == argc || (e.ntexts == 0) == (e.tasks.n == 0))
		sq_usage();
	if (profile != NULL)
		take_profile(&e, profile);
	if (e.layers && reference == NULL)
		sq_die(SQ_EUSAGE, "--layers needs a --reference");
	sq_stage_kernels(&e.ctx);
	sq_note("kernels: level %s", e.ctx.kern->name);
	e.ppl.ctx = &e.ctx;
	e.ppl.progress = &e.progress;
	if (e.tasks.n > 0) {
		ask_all(&e, reference, argv + optind);
		sq_flush();
		return SQ_OK;
	}
	if (reference != NULL)
		e.ppl.reference = open_model(&e, reference);
	print_header(&e);
	for (; optind < argc; optind++)
		eval_model(&e, argv[optind]);
	sq_flush();
	return SQ_OK;
}
