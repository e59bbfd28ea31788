/* sq-mask: weights that are dropped in a pattern; lib/prune/masking.h. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/outfile.h"
#include "calib/block.h"
#include "prune/analyze.h"
#include "prune/movement.h"
#include "prune/permute.h"
#include "prune/spread.h"
#include "quant/sequential.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[--allocate uniform|sensitivity] "
    "[--criterion magnitude|wanda|sparsegpt|movement] [--damp FRACTION] "
    "[--drop-stats] [--except GLOB]... [--keep-mask] [--only GLOB]... "
    "[--order natural|act] [--pattern PATTERN] [--rounds N] [--sequential] "
    "[--sparsity RATIO] [--sweeps N]\n"
    "--analyze [-qv] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] [--csv] "
    "[--damp FRACTION] [--except GLOB]... [--only GLOB]... "
    "[--plot FILE] [--sparsity RATIO]\n"
    "--permute [-qvz] [-j N] [-k LEVEL] [-m MODEL] "
    "[--criterion magnitude|wanda|sparsegpt] [--except GLOB]... "
    "[--only GLOB]... [--pattern N:M]";

enum {
	OPT_ALLOCATE = SQ_OPT(0), OPT_ANALYZE, OPT_CRITERION, OPT_CSV,
	OPT_DAMP, OPT_DROP, OPT_KEEP, OPT_ORDER, OPT_PATTERN, OPT_PERMUTE,
	OPT_PLOT, OPT_ROUNDS, OPT_SEQUENTIAL, OPT_SPARSITY, OPT_SWEEPS
};

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	{ "allocate", required_argument, NULL, OPT_ALLOCATE },
	{ "analyze", no_argument, NULL, OPT_ANALYZE },
	{ "criterion", required_argument, NULL, OPT_CRITERION },
	{ "csv", no_argument, NULL, OPT_CSV },
	{ "damp", required_argument, NULL, OPT_DAMP },
	{ "drop-stats", no_argument, NULL, OPT_DROP },
	{ "keep-mask", no_argument, NULL, OPT_KEEP },
	{ "order", required_argument, NULL, OPT_ORDER },
	{ "pattern", required_argument, NULL, OPT_PATTERN },
	{ "permute", no_argument, NULL, OPT_PERMUTE },
	{ "plot", required_argument, NULL, OPT_PLOT },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "sequential", no_argument, NULL, OPT_SEQUENTIAL },
	{ "sparsity", required_argument, NULL, OPT_SPARSITY },
	{ "sweeps", required_argument, NULL, OPT_SWEEPS },
	{ NULL, 0, NULL, 0 }
};

static const char *const criteria[] = { "magnitude", "wanda", "sparsegpt",
    "movement", NULL };
static const char *const allocations[] = { "uniform", "sensitivity", NULL };
static const char *const orders[] = { "natural", "act", NULL };

struct filter {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_gptq_layer layer;
	struct sq_masking masking;
	struct sq_spread spread;
	struct sq_movement movement;
	struct sq_analysis analysis;
	struct sq_permute permute;
	const char *plot;		/* a file, or NULL */
	int analyze, csv, by_sensitivity, drop, sequential, permutes;
	double asked;			/* --sparsity, before the spread */
	struct sq_sequential *seq;
};

static int
begin(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	memcpy(f->layer.model, s->digest, sizeof(s->digest));
	return 0;
}

static int
statistics(struct filter *f)
{
	struct sq_gptq_layer *l = &f->layer;
	struct sq_filter *s = &f->f;
	struct sq_stats st;
	int full;

	if (sq_stats_parse(&st, &s->in, &full, s->err) < 0)
		return -1;
	if (st.is_kv)
		return f->drop ? 0 : sq_filter_copy(s);
	if (sq_gptq_stats(l, &s->in, f->drop ? NULL : &s->out, s->err) < 0 ||
	    sq_gptq_factor(l, s->err) < 0)
		return -1;
	if (l->full && l->factor.damp > l->damp)
		sq_warn("'%s': damping raised to %g of the mean diagonal",
		    l->stats.tensor[0], l->factor.damp);
	return 0;
}

static int
record(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	if (f->permutes)
		return sq_permute_record(&f->permute);
	if (f->seq != NULL && s->in.type == SQ_TOKENS)
		return sq_sequential_tokens(f->seq);
	if (s->in.type == SQ_STATS)
		return f->seq != NULL ? 0 : statistics(f);
	return sq_filter_copy(s);
}

static void
say_made(void *arg, const struct sq_tensor *t)
{
	const struct filter *f = arg;
	const struct sq_gptq *g = &f->layer.gptq;
	char text[SQ_SPARSE_TEXT];

	sq_note("%s: %s, %.3f of the weights dropped, relative output error "
	    "%.3e, of the mask alone %.3e", t->name,
	    sq_sparse_text(&t->sparse, text), sq_masking_ratio(&f->masking),
	    g->norm > 0 ? g->error / g->norm : 0,
	    g->norm > 0 ? g->rtn_error / g->norm : 0);
}

static void
say_round(void *arg, int round, double nll, double sparsity)
{
	(void)arg;
	sq_note("round %d: loss %.4f, %.3f of the weights dropped", round + 1,
	    nll, sparsity);
}

static void
say_input(void *arg, double strength)
{
	(void)arg;
	sq_note("target at %.3f", strength);
}

static void
say_order(const char *tensor, const struct sq_permutation *p)
{
	sq_note("%s: %.5f of the scores kept, %.5f before", tensor,
	    p->all > 0 ? p->after / p->all : 1,
	    p->all > 0 ? p->before / p->all : 1);
}

/* How a tensor is masked. */
static void
set_rule(void *arg, const struct sq_tensor *t, const struct sq_slot *slot)
{
	struct filter *f = arg;

	(void)slot;
	f->masking.sparsity = f->by_sensitivity ?
	    sq_spread_of(&f->spread, t->name, f->asked) : f->asked;
	sq_masking_begin(&f->masking, t);
}

/* -1 when it is masked already. */
static int
wants(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	int r = sq_filter_wants(s, t, slot);

	if (r > 0 && sq_tensor_part(t, "mask") != NULL)
		return sq_fail(s->err, "tensor '%s': is masked already",
		    t->name);
	return r;
}

static int
mask(struct filter *f, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct sq_filter *s = &f->f;
	unsigned char *payload;
	struct sq_tensor made;
	float *w;
	int r;

	set_rule(f, t, slot);
	if (sq_masking_needs_stats(&f->masking) &&
	    sq_gptq_ready(&f->layer, t, s->err) < 0)
		return -1;
	if ((w = sq_masking_read(&f->masking, &s->in, t, s->err)) == NULL)
		return -1;
	r = sq_masking_make(&f->masking, t, w, &made, &payload, s->err);
	free(w);
	if (r < 0)
		return -1;
	say_made(f, &made);
	r = sq_payload_put(&s->out, &made, payload, s->err);
	free(payload);
	sq_progress_add(s->progress, t->length);
	return r;
}

static int
tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct filter *f = (struct filter *)s;
	int r;

	if (f->permutes)
		return sq_permute_tensor(&f->permute, t, slot);
	if ((r = wants(s, t, slot)) < 0)
		return -1;
	if (f->seq != NULL)
		return sq_sequential_tensor(f->seq, t, slot);
	if (r > 0 && f->analyze)
		return sq_analysis_tensor(&f->analysis, s, t);
	if (r > 0)
		return mask(f, t, slot);
	if (sq_filter_copy(s) < 0)
		return -1;
	sq_progress_add(s->progress, s->in.length);
	return 0;
}

static int
end(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	if (f->permutes)
		return sq_permute_end(&f->permute);
	return f->seq == NULL ? 0 : sq_sequential_end(f->seq);
}

static void
open_sequential(struct filter *f)
{
	struct sq_sequential_set set = { .filter = &f->f,
	    .layer = &f->layer, .prec = SQ_PREC_BF16, .rule = set_rule,
	    .input = say_input, .made = say_made, .arg = f };

	if (f->sequential && (f->seq = sq_sequential_new(&set)) == NULL)
		sq_die(SQ_EDATA, "out of memory");
}

static json_t *
options(const struct filter *f)
{
	const struct sq_masking *k = &f->masking;
	const struct sq_gptq_layer *l = &f->layer;
	char text[SQ_SPARSE_TEXT];

	if (f->permutes)
		return json_pack("{s:b,s:s,s:s}", "permute", 1,
		    "criterion", criteria[k->criterion],
		    "pattern", sq_sparse_text(&k->pattern, text));
	return json_pack("{s:s,s:s,s:f,s:b,s:b,s:s,s:s,s:i,s:b,s:f,s:i}",
	    "allocate", allocations[f->by_sensitivity],
	    "criterion", criteria[k->criterion], "damp", l->damp,
	    "drop-stats", f->drop, "keep-mask", k->keep_mask,
	    "order", orders[l->order == SQ_ACT],
	    "pattern", sq_sparse_text(&k->pattern, text),
	    "rounds", k->criterion == SQ_BY_MOVEMENT ? f->movement.rounds : 0,
	    "sequential", f->sequential, "sparsity", f->asked,
	    "sweeps", l->sweeps);
}

/* The table goes where the stream would, and that nowhere. */
static FILE *
open_table(void)
{
	FILE *out = fdopen(dup(STDOUT_FILENO), "w");
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (out == NULL || null < 0 || dup2(null, STDOUT_FILENO) < 0)
		sq_die(SQ_EDATA, "stdout: cannot be set aside");
	close(null);
	return out;
}

static void
write_plot(struct filter *f)
{
	char *text = NULL;
	size_t len;
	FILE *m = open_memstream(&text, &len);

	if (m == NULL || sq_analysis_plot(&f->analysis, m, f->f.err) < 0)
		sq_die(SQ_EDATA, "'%s': %s", f->plot, m == NULL ?
		    "out of memory" : f->f.err);
	if (fclose(m) != 0)
		sq_die(SQ_EDATA, "out of memory");
	if (sq_outfile_put(f->plot, text, len, f->f.err) < 0)
		sq_die(SQ_EDATA, "%s", f->f.err);
	free(text);
}

static void
print_table(struct filter *f, FILE *out)
{
	if (sq_analysis_print(&f->analysis, out, f->csv, f->f.err) < 0)
		sq_die(SQ_EDATA, "%s", f->f.err);
	if (fclose(out) != 0)
		sq_die(SQ_EDATA, "stdout: cannot be written");
	if (f->plot != NULL)
		write_plot(f);
	sq_analysis_release(&f->analysis);
}

static void
option(struct filter *f, int c)
{
	struct sq_masking *k = &f->masking;
	struct sq_gptq_layer *l = &f->layer;

	switch (c) {
	case OPT_ALLOCATE:
		f->by_sensitivity = sq_arg_choice("--allocate", optarg,
		    allocations);
		break;
	case OPT_ANALYZE:
		f->analyze = 1;
		break;
	case OPT_CRITERION:
		k->criterion = (enum sq_criterion)sq_arg_choice("--criterion",
		    optarg, criteria);
		break;
	case OPT_CSV:
		f->csv = 1;
		break;
	case OPT_DAMP:
		l->damp = sq_arg_real("--damp", optarg, 0, 1);
		break;
	case OPT_DROP:
		f->drop = 1;
		break;
	case OPT_KEEP:
		k->keep_mask = 1;
		break;
	case OPT_ORDER:
		l->order = sq_arg_choice("--order", optarg, orders) ? SQ_ACT :
		    SQ_NATURAL;
		break;
	case OPT_PATTERN:
		if (sq_sparse_parse(&k->pattern, optarg) < 0)
			sq_die(SQ_EUSAGE, "--pattern %s: not N:M, RxC or "
			    "unstructured", optarg);
		break;
	case OPT_PERMUTE:
		f->permutes = 1;
		break;
	case OPT_PLOT:
		f->plot = optarg;
		break;
	case OPT_ROUNDS:
		f->movement.rounds = (int)sq_arg_long("--rounds", optarg, 1,
		    1000);
		break;
	case OPT_SEQUENTIAL:
		f->sequential = 1;
		break;
	case OPT_SPARSITY:
		f->asked = sq_arg_real("--sparsity", optarg, 0, 1);
		break;
	case OPT_SWEEPS:
		l->sweeps = (int)sq_arg_long("--sweeps", optarg, 0, 1000);
		break;
	default:
		sq_stage_option(&f->f, c);
	}
}

/* What options say together. */
static void
check(struct filter *f)
{
	struct sq_masking *k = &f->masking;
	int runs = k->pattern.kind == SQ_MASK_RUNS;

	k->sparsity = f->asked < 0 ? 0.5 : f->asked;
	if (runs && f->asked >= 0 && f->asked != sq_masking_ratio(k))
		sq_die(SQ_EUSAGE, "--sparsity %g: %u:%u drops %g", f->asked,
		    k->pattern.n, k->pattern.m, sq_masking_ratio(k));
	if (runs && f->by_sensitivity)
		sq_die(SQ_EUSAGE, "--allocate: %u:%u drops as much of every "
		    "tensor", k->pattern.n, k->pattern.m);
	if (f->permutes && (!runs || k->criterion == SQ_BY_MOVEMENT ||
	    f->analyze || f->sequential))
		sq_die(SQ_EUSAGE, "--permute: takes N:M by magnitude, wanda "
		    "or sparsegpt, and nothing is masked");
	if (f->plot != NULL && !f->analyze)
		sq_die(SQ_EUSAGE, "--plot: of --analyze");
	if (k->criterion == SQ_BY_MOVEMENT && f->sequential)
		sq_die(SQ_EUSAGE, "--sequential: movement takes the whole "
		    "model's gradient");
	if (f->layer.sweeps < 0)
		f->layer.sweeps = k->criterion == SQ_BY_SPARSEGPT ? 8 : 0;
	f->asked = sq_masking_ratio(k);
	f->layer.any_diagonal = !f->analyze && f->layer.sweeps == 0 &&
	    k->criterion != SQ_BY_SPARSEGPT;
	f->layer.run = runs ? k->pattern.m : 0;
	if (f->analyze) {		/* patterns of all sorts of one H */
		f->layer.order = SQ_NATURAL;
		f->layer.sweeps = 0;
	}
}

/* What is to be known of the whole model first. */
static void
survey(struct filter *f)
{
	struct sq_masking *k = &f->masking;

	if (f->analyze || f->permutes)
		return;
	f->movement.masking = k;
	f->movement.ctx = f->layer.ctx;
	f->movement.prec = SQ_PREC_BF16;
	f->movement.memory = sq_tool.memory;
	f->movement.told = say_round;
	if (k->criterion == SQ_BY_MOVEMENT) {
		if (sq_movement_survey(&f->movement, &f->f) < 0)
			sq_die(SQ_EDATA, "%s", f->f.err);
		k->movement = &f->movement;
	}
	if (f->by_sensitivity &&
	    sq_spread_survey(&f->spread, &f->f, k, f->asked) < 0)
		sq_die(SQ_EDATA, "%s", f->f.err);
}

int
main(int argc, char *argv[])
{
	struct filter f = { .layer = { .order = SQ_ACT, .damp = 0.01,
	    .sweeps = -1 }, .asked = -1, .movement.rounds = 4, .masking = {
	    .criterion = SQ_BY_SPARSEGPT,
	    .pattern = { SQ_MASK_RUNS, 2, 4 } } };
	struct sq_gptq_layer *l = &f.layer;
	FILE *table = NULL;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT, longopts,
	    NULL)) != -1)
		option(&f, c);
	if (optind != argc)
		sq_usage();
	check(&f);
	if (f.analyze)
		table = open_table();
	sq_stage_open(&f.f, &ctx);
	if ((l->lapack = sq_lapack_open(ctx.kern->name, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	f.permute = (struct sq_permute){ .f = &f.f, .ctx = &ctx,
	    .keep = f.masking.pattern.n, .run = f.masking.pattern.m,
	    .weighs = f.masking.criterion != SQ_BY_MAGNITUDE,
	    .said = say_order };
	f.masking.layer = f.analysis.masking.layer = l;
	f.analysis.sparsity = f.masking.sparsity;
	f.f.begin = begin;
	f.f.tensor = tensor;
	f.f.record = record;
	f.f.end = end;
	l->progress = f.f.progress;
	l->ctx = &ctx;
	l->want_error = sq_tool.verbose || f.analyze;
	l->memory = sq_tool.memory;
	sq_note("kernels: dequantize from level %s, OpenBLAS for %s",
	    ctx.kern->from[SQ_OP_dequantize], sq_lapack_kernels(l->lapack));
	survey(&f);
	open_sequential(&f);
	sq_stage_run(&f.f, "sq-mask", options(&f), &ctx);
	if (f.analyze)
		print_table(&f, table);
	sq_permute_release(&f.permute);
	sq_movement_release(&f.movement);
	sq_spread_release(&f.spread);
	sq_sequential_free(f.seq);
	return SQ_OK;
}
