/* sq-bench: how fast, beside what the machine can do. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "eval/bench_decoder.h"
#include "eval/bench_kernels.h"
#include "eval/bench_model.h"
#include "eval/load_all.h"
#include "formats/fmt_csv.h"
#include "quant/stage.h"

static const char usage[] =
    "[-j N] [-k LEVEL] [--csv] [--op NAME] [--seconds S] kernels\n"
    "-k DEVICE [-n N] [--context N] [--csv] [--ids LIST] [--kv TYPE] "
    "[--load LIST] [--min-p P] [--mode MODE] [--rows N] [--seed N] "
    "[--slots N] [--table FILE] [--temperature T] [--top-k K] [--top-p P] "
    "decoder [MODEL]\n"
    "[-j N] [-k LEVEL] [--attention KEYS] [--batch LIST] [--csv] [--f32] "
    "[--generate N] [--kv SPEC] [--prompt LIST] [--runs N] [--seed N] model "
    "MODEL ...\n"
    "[-qv] [-j N] [-k LEVEL] [--arrival KIND] [--at-once N] [--csv] [--f32] "
    "[--generate N] [--header LINE]... [--json] [--kv SPEC] [--label TEXT] "
    "[--name MODEL] [--price FILE] [--prompt N] [--rate R] [--requests N] "
    "[--seed N] [--slo LIMITS] [--text FILE] [--timeout S] "
    "[--tokenizer MODEL] [--trace FILE] load MODEL|URL";

enum { OPT_ARRIVAL = SQ_OPT(0), OPT_AT_ONCE, OPT_ATTENTION, OPT_BATCH,
	OPT_CONTEXT, OPT_CSV, OPT_F32, OPT_GENERATE, OPT_HEADER, OPT_IDS,
	OPT_JSON, OPT_KV, OPT_LABEL, OPT_LOAD, OPT_MIN_P, OPT_MODE, OPT_NAME,
	OPT_OP, OPT_PRICE, OPT_PROMPT, OPT_RATE, OPT_REQUESTS, OPT_ROWS,
	OPT_RUNS, OPT_SECONDS, OPT_SEED, OPT_SLO, OPT_SLOTS, OPT_TABLE,
	OPT_TEMPERATURE, OPT_TEXT, OPT_TIMEOUT, OPT_TOKENIZER, OPT_TOP_K,
	OPT_TOP_P, OPT_TRACE };

static const struct option longopts[] = {
	SQ_LONG,
	{ "arrival", required_argument, NULL, OPT_ARRIVAL },
	{ "at-once", required_argument, NULL, OPT_AT_ONCE },
	{ "attention", required_argument, NULL, OPT_ATTENTION },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "context", required_argument, NULL, OPT_CONTEXT },
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "generate", required_argument, NULL, OPT_GENERATE },
	{ "header", required_argument, NULL, OPT_HEADER },
	{ "ids", required_argument, NULL, OPT_IDS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "kv", required_argument, NULL, OPT_KV },
	{ "label", required_argument, NULL, OPT_LABEL },
	{ "load", required_argument, NULL, OPT_LOAD },
	{ "min-p", required_argument, NULL, OPT_MIN_P },
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "op", required_argument, NULL, OPT_OP },
	{ "price", required_argument, NULL, OPT_PRICE },
	{ "prompt", required_argument, NULL, OPT_PROMPT },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "requests", required_argument, NULL, OPT_REQUESTS },
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "runs", required_argument, NULL, OPT_RUNS },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "slo", required_argument, NULL, OPT_SLO },
	{ "slots", required_argument, NULL, OPT_SLOTS },
	{ "table", required_argument, NULL, OPT_TABLE },
	{ "temperature", required_argument, NULL, OPT_TEMPERATURE },
	{ "text", required_argument, NULL, OPT_TEXT },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "tokenizer", required_argument, NULL, OPT_TOKENIZER },
	{ "top-k", required_argument, NULL, OPT_TOP_K },
	{ "top-p", required_argument, NULL, OPT_TOP_P },
	{ "trace", required_argument, NULL, OPT_TRACE },
	{ NULL, 0, NULL, 0 }
};

static int csv;

static void
print_limit(void *arg, const char *level, const struct sq_bench_limits *l)
{
	(void)arg;
	if (csv)
		return;
	printf("%s: limits measured now: %.0f GFLOP/s in f32, %.0f in bf16, "
	    "%.0f GOP/s in int16, %.0f in int8, %.1f GB/s read\n", level,
	    l->f32 / 1e9, l->bf16 / 1e9, l->int16 / 1e9, l->int8 / 1e9,
	    l->read / 1e9);
}

static void
print_row(void *arg, const struct sq_bench_row *r)
{
	char text[5][32];
	int i;

	(void)arg;
	snprintf(text[3], sizeof(text[3]), "%.3f", r->speedup);
	snprintf(text[4], sizeof(text[4]), "%.3f", r->loaded);
	snprintf(text[0], sizeof(text[0]), "%.6f", r->seconds * 1e3);
	snprintf(text[1], sizeof(text[1]), "%.2f", r->rate / 1e9);
	snprintf(text[2], sizeof(text[2]), "%.3f", r->fraction);
	if (!csv) {
		printf("  %-11s %-38s %10.3f ms %9.2f %s", r->op, r->shape,
		    r->seconds * 1e3, r->rate / 1e9,
		    r->is_flops ? "GFLOP/s" : "GB/s");
		if (!isnan(r->fraction))
			printf("%*s %5.0f %%", r->is_flops ? 0 : 3, "",
			    100 * r->fraction);
		if (!isnan(r->loaded))
			printf(" (%.0f %% loaded)", 100 * r->loaded);
		if (!isnan(r->speedup))
			printf(", %.2f x dense%s", r->speedup, r->speedup < 1 ?
			    ": does not pay here" : "");
		putchar('\n');
		fflush(stdout);
		return;
	}
	sq_csv_field(stdout, 1, r->op);
	sq_csv_field(stdout, 0, r->level);
	sq_csv_field(stdout, 0, r->shape);
	for (i = 0; i < 2; i++)
		sq_csv_field(stdout, 0, text[i]);
	sq_csv_field(stdout, 0, r->is_flops ? "GFLOP/s" : "GB/s");
	sq_csv_field(stdout, 0, isnan(r->fraction) ? "" : text[2]);
	sq_csv_field(stdout, 0, isnan(r->speedup) ? "" : text[3]);
	sq_csv_field(stdout, 0, isnan(r->loaded) ? "" : text[4]);
	putchar('\n');
}

static int
known_op(const char *name)
{
	int op;

	for (op = 0; op < SQ_OPS; op++)
		if (strcmp(sq_op_name((enum sq_op)op), name) == 0)
			return 1;
	return 0;
}

/* ---- the decoder ---- */

struct decoder {
	struct sq_dec_shape shape;
	struct sq_dec_sampling how;
	const char *model, *load;
	const char *ids;		/* --ids: show what follows */
	size_t n;
};

static struct sq_model *
decoder_open(struct sq_bench_decoder *b, const struct decoder *o)
{
	struct sq_model *m = NULL;
	char err[SQ_ERR];

	if (o->model != NULL && (m = sq_model_open(o->model, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_bench_decoder_open(b, sq_tool.kernel, m, &o->shape, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	b->how = o->how;
	return m;
}

static void
show_tokens(struct sq_bench_decoder *b, const struct decoder *o)
{
	uint32_t *prompt = malloc(strlen(o->ids) * sizeof(*prompt) + 4);
	uint32_t *ids = malloc(o->n * sizeof(*ids));
	char err[SQ_ERR], *end;
	const char *p;
	size_t len = 0, i;

	if (prompt == NULL || ids == NULL)
		sq_die(SQ_EDATA, "out of memory");
	for (p = o->ids; *p != '\0'; p = *end == ',' ? end + 1 : end) {
		prompt[len] = (uint32_t)strtoul(p, &end, 10);
		if (end == p || prompt[len++] >= b->shape.vocab)
			sq_die(SQ_EUSAGE, "--ids '%s': not token numbers with "
			    "commas between them", o->ids);
	}
	if (sq_bench_decoder_make(b, prompt, len, ids, o->n, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	for (i = 0; i < o->n; i++)
		printf("%s%u", i == 0 ? "" : ",", ids[i]);
	putchar('\n');
	free(prompt);
	free(ids);
}

static void
put_metric(const char *work, const char *metric, double v, const char *unit)
{
	if (isnan(v))
		return;
	printf(csv ? "%s,%s,%.4f,%s\n" : "%-16s %-10s %12.4f %s\n", work,
	    metric, v, unit);
}

/* A load is wanted by its name, in a list with commas. */
static int
in_list(const char *list, const char *name)
{
	size_t n = strlen(name);
	const char *p;

	for (p = list; p != NULL; p = (p = strchr(p, ',')) ? p + 1 : NULL)
		if (strncmp(p, name, n) == 0 && (p[n] == '\0' || p[n] == ','))
			return 1;
	return list == NULL;
}

static void
bench_decoder(struct decoder *o)
{
	struct sq_bench_decoder b;
	struct sq_dec_result r;
	const struct sq_dec_load *l;
	struct sq_model *m;
	char err[SQ_ERR];

	m = decoder_open(&b, o);
	if (o->ids != NULL)
		show_tokens(&b, o);
	else if (csv)
		printf("work,metric,value,unit\n");
	for (l = sq_dec_loads; o->ids == NULL && l->name != NULL; l++) {
		if (!in_list(o->load, l->name) || (o->load == NULL &&
		    (l->in + l->out > o->shape.context ||
		    l->in > o->shape.rows)))
			continue;
		if (sq_bench_decoder_run(&b, l, 5, &r, err) < 0) {
			sq_warn("%s: %s", l->name, err);
			continue;
		}
		put_metric(l->name, "ttft", r.ttft * 1e3, "ms");
		put_metric(l->name, "tpot", r.tpot * 1e3, "ms");
		put_metric(l->name, "spread", r.spread * 100, "%");
		put_metric(l->name, "out_tok_s", r.out_rate, "tok/s");
		put_metric(l->name, "energy", r.joule, "J/token");
		put_metric(l->name, "failed", r.failed, "requests");
		put_metric(l->name, "memory", r.bytes / (1 << 30), "GiB");
		put_metric(l->name, "at_once", r.out_rate > 0 ?
		    (double)r.at_once : NAN, "sequences");
		fflush(stdout);
	}
	sq_bench_decoder_close(&b);
	sq_model_free(m);
}

static void
bench_kernels(struct sq_bench_kernels *b)
{
	const struct sq_kern *kern;
	char err[SQ_ERR];

	if (b->op != NULL && !known_op(b->op))
		sq_die(SQ_EUSAGE, "--op '%s': no such operation", b->op);
	if (strcmp(sq_tool.kernel, "auto") != 0) {
		if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
			sq_die(SQ_EUSAGE, "%s", err);
		b->level = kern->name;
	}
	if ((b->pool = sq_pool_new(sq_tool.threads)) == NULL)
		sq_die(SQ_EDATA, "out of memory");
	if (csv)
		printf("op,level,shape,milliseconds,rate,unit,fraction,speedup,"
		    "loaded\n");
	if (sq_bench_kernels(b, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
}

/* ---- whole models ---- */

#define MAX_SIZES	16

struct models {
	struct sq_bench_model b;
	size_t batch[MAX_SIZES], prompt[MAX_SIZES];
	size_t nbatches, nprompts;
	struct sq_attn_choice attention;
	const char *name;
};

/* "1,8,32" */
static size_t
sizes(const char *option, char *arg, size_t list[MAX_SIZES])
{
	char *p, *save;
	size_t n = 0;

	for (p = strtok_r(arg, ",", &save); p != NULL && n < MAX_SIZES;
	    p = strtok_r(NULL, ",", &save))
		list[n++] = (size_t)sq_arg_long(option, p, 1, 1 << 24);
	if (n == 0)
		sq_usage();
	return n;
}

static void
print_figure(void *arg, const char *metric, double value, const char *unit)
{
	const struct models *o = arg;

	if (csv) {
		sq_csv_field(stdout, 1, o->name);
		printf(",%zu,%zu,%zu,%s,%.9g,%s\n", o->b.batch, o->b.prompt,
		    o->b.generate, metric, value, unit);
	} else
		printf("%-24s %6zu %7zu %8zu %-20s %14.6g %s\n", o->name,
		    o->b.batch, o->b.prompt, o->b.generate, metric, value,
		    unit);
}

static void
bench_models(struct models *o, const char *kv, char *model[])
{
	struct sq_kv_policy policy;
	struct sq_model *m;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	size_t i, j;

	if (kv != NULL && sq_kv_policy_parse(&policy, kv, err) < 0)
		sq_die(SQ_EUSAGE, "--kv '%s': %s", kv, err);
	o->b.kv = kv != NULL ? &policy : NULL;
	sq_stage_kernels(&ctx);
	o->b.ctx = &ctx;
	printf(csv ? "model,batch,prompt,generate,metric,value,unit\n" :
	    "model                     batch  prompt generate metric"
	    "                        value unit\n");
	for (; *model != NULL; model++) {
		if ((m = sq_model_open(*model, err)) == NULL)
			sq_die(SQ_EDATA, "%s", err);
		m->attention = o->attention;
		o->b.model = m;
		o->name = *model;
		for (i = 0; i < o->nprompts; i++)
			for (j = 0; j < o->nbatches; j++) {
				o->b.prompt = o->prompt[i];
				o->b.batch = o->batch[j];
				if (sq_bench_model(&o->b, print_figure, o,
				    err) < 0)
					sq_die(SQ_EDATA, "'%s': %s", *model,
					    err);
				fflush(stdout);
			}
		sq_model_free(m);
	}
	sq_ctx_release(&ctx);
}

/* One of the options of bench_models(): 0 when it is none. */
static int
model_option(struct models *o, int c, char *arg)
{
	switch (c) {
	case OPT_ATTENTION:
		if (sq_attn_choose(&o->attention, arg) < 0)
			sq_die(SQ_EUSAGE, "--attention: '%s' is not all, "
			    "window:W, window:W+sink:S, pooled:D or "
			    "vertical-slash:D", arg);
		return 1;
	case OPT_BATCH:
		o->nbatches = sizes("--batch", arg, o->batch);
		return 1;
	case OPT_F32:
		o->b.prec = SQ_PREC_F32;
		return 1;
	case OPT_GENERATE:
		o->b.generate = (size_t)sq_arg_long("--generate", arg, 1,
		    1 << 24);
		return 1;
	case OPT_PROMPT:
		o->nprompts = sizes("--prompt", arg, o->prompt);
		return 1;
	case OPT_RUNS:
		o->b.runs = (size_t)sq_arg_long("--runs", arg, 1, 1000);
		return 1;
	case OPT_SEED:
		o->b.seed = (uint64_t)sq_arg_long("--seed", arg, 0, INT64_MAX);
		return 1;
	}
	return 0;
}

/* ---- a load ---- */

/* One of the options of bench_decoder(): 0 when it is none. */
static int
decoder_option(struct decoder *o, int c, char *arg)
{
	static const char *const modes[] = { "bf16", "fp8", "w4", NULL };

	switch (c) {
	case 'n':
		o->n = (size_t)sq_arg_long("-n", arg, 1, 1 << 20);
		return 1;
	case OPT_CONTEXT:
		o->shape.context = (size_t)sq_arg_long("--context", arg, 1,
		    1 << 24);
		return 1;
	case OPT_IDS:
		o->ids = arg;
		return 1;
	case OPT_LOAD:
		o->load = arg;
		return 1;
	case OPT_MIN_P:
		o->how.min_p = sq_arg_real("--min-p", arg, 0, 1);
		return 1;
	case OPT_MODE:
		o->shape.mode = (enum sq_dec_mode)sq_arg_choice("--mode", arg,
		    modes);
		return 1;
	case OPT_ROWS:
		o->shape.rows = (size_t)sq_arg_long("--rows", arg, 1, 1 << 20);
		return 1;
	case OPT_SLOTS:
		o->shape.slots = (size_t)sq_arg_long("--slots", arg, 1, 1024);
		return 1;
	case OPT_TABLE:
		o->shape.table = arg;
		return 1;
	case OPT_TEMPERATURE:
		o->how.temperature = sq_arg_real("--temperature", arg, 0, 100);
		return 1;
	case OPT_TOP_K:
		o->how.top_k = (size_t)sq_arg_long("--top-k", arg, 0, 1 << 24);
		return 1;
	case OPT_TOP_P:
		o->how.top_p = sq_arg_real("--top-p", arg, 0, 1);
		return 1;
	}
	return 0;
}

/* One of the options of bench_load(): 0 when it is none. */
static int
load_option(struct sq_load_all *o, int c, char *arg)
{
	struct sq_load_how *h = &o->how;
	char err[SQ_ERR];

	switch (c) {
	case OPT_ARRIVAL:
		h->arrival = (enum sq_arrival)sq_arg_choice("--arrival", arg,
		    sq_arrivals);
		return 1;
	case OPT_AT_ONCE:
		h->at_once = (size_t)sq_arg_long("--at-once", arg, 1, 4096);
		return 1;
	case OPT_HEADER:
		if (o->http.nheaders == SQ_LOAD_HEADERS)
			sq_usage();
		o->header[o->http.nheaders++] = arg;
		return 1;
	case OPT_JSON:
		o->form = SQ_LOAD_JSON;
		return 1;
	case OPT_LABEL:
		o->label = arg;
		return 1;
	case OPT_NAME:
		o->http.model = arg;
		return 1;
	case OPT_PRICE:
		if (sq_price_read(&o->price, arg, err) < 0)
			sq_die(SQ_EDATA, "%s", err);
		return 1;
	case OPT_RATE:
		h->rate = sq_arg_real("--rate", arg, 1e-6, 1e6);
		return 1;
	case OPT_REQUESTS:
		h->requests = (size_t)sq_arg_long("--requests", arg, 1,
		    1 << 24);
		return 1;
	case OPT_SLO:
		if (sq_load_slo(h, arg, err) < 0)
			sq_die(SQ_EUSAGE, "--slo %s", err);
		return 1;
	case OPT_TEXT:
		h->text = arg;
		return 1;
	case OPT_TIMEOUT:
		o->http.timeout = sq_arg_real("--timeout", arg, 0, 1e6);
		return 1;
	case OPT_TOKENIZER:
		o->tokenizer = arg;
		return 1;
	case OPT_TRACE:
		h->trace = arg;
		return 1;
	}
	return 0;
}

static void
bench_load(struct sq_load_all *o, const struct models *m, const char *target)
{
	struct sq_progress progress;
	struct sq_ctx ctx;
	char err[SQ_ERR];

	sq_stage_kernels(&ctx);
	sq_tool_progress(&progress);
	progress.unit = "requests";
	o->ctx = &ctx;
	o->progress = &progress;
	o->prec = m->b.prec;
	o->version = SQ_VERSION;
	o->how.prompt = m->prompt[0];
	o->how.generate = m->b.generate;
	o->how.seed = m->b.seed;
	if (csv)
		o->form = SQ_LOAD_CSV;
	if (sq_is_url(target))
		o->http.url = target;
	else
		o->model = target;
	if (sq_load_all(o, stdout, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	sq_ctx_release(&ctx);
	if (o->failed > 0) {
		sq_flush();
		sq_die(SQ_EDATA, "%zu requests failed; %s", o->failed, o->why);
	}
}

int
main(int argc, char *argv[])
{
	static const char *const caches[] = { "bf16", "fp8", "int4",
	    NULL };
	struct sq_load_all load = { 0 };
	struct sq_bench_kernels b = { .seconds = .3, .row = print_row,
	    .limit = print_limit };
	struct decoder o = { .n = 32, .how.top_p = 1,
	    .shape = { 32, 4096, 14336, 32, 8, 128, 128256, 1e-5f, SQ_DEC_W4,
	    SQ_DEC_KV_FP8, 256, 9216, 0, 16384, NULL } };
	struct models models = { .b = { .prec = SQ_PREC_BF16, .generate = 64,
	    .runs = 3 }, .batch = { 1 }, .nbatches = 1, .prompt = { 512 },
	    .nprompts = 1 };
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "n:", longopts,
	    NULL)) != -1)
		switch (c) {
		case OPT_CSV:
			csv = 1;
			break;
		case OPT_KV:
			load.kv = optarg;
			break;
		case OPT_OP:
			b.op = optarg;
			break;
		case OPT_SECONDS:
			b.seconds = sq_arg_real("--seconds", optarg, 0, 3600);
			break;
		default:
			if (!decoder_option(&o, c, optarg) &&
			    !model_option(&models, c, optarg) &&
			    !load_option(&load, c, optarg))
				sq_tool_option(c);
		}
	if (argc - optind > 1 && strcmp(argv[optind], "model") == 0)
		bench_models(&models, load.kv, argv + optind + 1);
	else if (argc - optind == 1 && strcmp(argv[optind], "kernels") == 0)
		bench_kernels(&b);
	else if ((argc - optind == 1 || argc - optind == 2) &&
	    strcmp(argv[optind], "decoder") == 0) {
		o.model = argv[optind + 1];
		o.how.seed = models.b.seed;
		if (load.kv != NULL)
			o.shape.kv = (enum sq_dec_kv)sq_arg_choice("--kv",
			    load.kv, caches);
		bench_decoder(&o);
	} else if (argc - optind == 2 && strcmp(argv[optind], "load") == 0)
		bench_load(&load, &models, argv[optind + 1]);
	else
		sq_usage();
	sq_flush();
	return SQ_OK;
}
