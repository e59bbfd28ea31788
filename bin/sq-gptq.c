/* sq-gptq: rounding whose errors make each other good; lib/quant/gptq.h. */
#include <string.h>

#include "quant/gptq_run.h"
#include "quant/learn_stage.h"
#include "quant/levels.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--budget BITS] [--damp FRACTION] [--drop-stats] "
    "[--except GLOB]... [--f32] [--fixed-scales] [--grid GRID] "
    "[--grids LIST] "
    "[--mask PATTERN] [--no-pairs] [--no-sequential | --sequential] "
    "[--only GLOB]... "
    "[--order natural|act] [--scale absmax|mse|weighted] [--sparsity RATIO] "
    "[--state FILE] [--sweeps N] [--tune STEPS | --tune-blocks STEPS] "
    "[--tune-batch SAMPLES]";

enum {
	OPT_BUDGET = SQ_OPT(0), OPT_DAMP, OPT_DROP, OPT_F32,
	OPT_FIXED, OPT_GRID, OPT_GRIDS, OPT_MASK, OPT_NOT, OPT_ORDER,
	OPT_PAIRS, OPT_SEQUENTIAL,
	OPT_SPARSITY, OPT_STATE, OPT_SWEEPS, OPT_TUNE, OPT_BLOCKS,
	OPT_BATCH
};

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	SQ_RULES_LONG,
	{ "budget", required_argument, NULL, OPT_BUDGET },
	{ "damp", required_argument, NULL, OPT_DAMP },
	{ "drop-stats", no_argument, NULL, OPT_DROP },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "fixed-scales", no_argument, NULL, OPT_FIXED },
	{ "grid", required_argument, NULL, OPT_GRID },
	{ "grids", required_argument, NULL, OPT_GRIDS },
	{ "mask", required_argument, NULL, OPT_MASK },
	{ "order", required_argument, NULL, OPT_ORDER },
	{ "no-pairs", no_argument, NULL, OPT_PAIRS },
	{ "no-sequential", no_argument, NULL, OPT_NOT },
	{ "sequential", no_argument, NULL, OPT_SEQUENTIAL },
	{ "sparsity", required_argument, NULL, OPT_SPARSITY },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "sweeps", required_argument, NULL, OPT_SWEEPS },
	{ "tune", required_argument, NULL, OPT_TUNE },
	{ "tune-blocks", required_argument, NULL, OPT_BLOCKS },
	{ "tune-batch", required_argument, NULL, OPT_BATCH },
	{ NULL, 0, NULL, 0 }
};

static int said_sequential;		/* by an option: not the profile's */
static const char *grids;		/* that a budget may choose among */
static struct sq_learn_stage learn;
static long batch;			/* samples of a step; 0: the default */
static json_t *described;		/* the options, for the provenance */

static const char *const orders[] = { "natural", "act", NULL };

static void
say_seen(void *arg)
{
	static uint64_t warned;		/* channels that had too few tokens */
	const struct sq_gptq_layer *l = &((struct sq_gptq_run *)arg)->layer;
	const struct sq_stats *st = &l->stats;

	if (st->tokens < st->channels && st->channels > warned) {
		sq_warn("'%s': statistics of %ju tokens for %ju channels: the "
		    "damping has to make up for the rest", st->tensor[0],
		    (uintmax_t)st->tokens, (uintmax_t)st->channels);
		warned = st->channels;
	}
	if (!l->full)
		return;
	if (l->factor.damp > l->damp)
		sq_warn("'%s': damping raised to %g of the mean diagonal",
		    st->tensor[0], l->factor.damp);
	sq_note("'%s': %ju tokens, %zu channels, %zu of them never used",
	    st->tensor[0], (uintmax_t)st->tokens, l->factor.n,
	    l->factor.dead);
}

static void
say_input(void *arg, double strength)
{
	const struct sq_gptq_layer *l = &((struct sq_gptq_run *)arg)->layer;

	if (l->factor.damp > l->damp)
		sq_warn("damping raised to %g of the mean diagonal",
		    l->factor.damp);
	sq_note("%zu channels, %zu of them never used, target at %.3f",
	    l->factor.n, l->factor.dead, strength);
}

static void
say_made(void *arg, const struct sq_tensor *t)
{
	const struct sq_gptq_layer *l = &((struct sq_gptq_run *)arg)->layer;
	double norm = l->gptq.norm > 0 ? l->gptq.norm : 1;

	sq_note("%s: %s, groups of %ju x %ju, relative output error %.3e, of "
	    "rounding to nearest %.3e", t->name, sq_grid_name(t->grid),
	    (uintmax_t)t->group_rows, (uintmax_t)t->group_cols,
	    l->gptq.error / norm, l->gptq.rtn_error / norm);
}

static void
say_reused(void *arg, const struct sq_tensor *t)
{
	sq_note("%s: reused from '%s'", t->name,
	    ((struct sq_gptq_run *)arg)->state_path);
}

static void
say_plain(void *arg)
{
	(void)arg;
	sq_note("not sequential, as the profile wishes: that takes tokens, %d "
	    "samples at least, and a model without experts",
	    SQ_SEQUENTIAL_LEAST);
	json_object_set_new(described, "sequential", json_false());
	json_object_del(described, "f32");
}

static void
say_tuned(void *arg, const struct sq_tune_run *r, int reused)
{
	(void)arg;
	if (reused)
		sq_note("block %ju: reused from '%s'", (uintmax_t)r->block,
		    r->state_path);
	else
		sq_note("block %ju: error %.4e, tuned %.4e at step %d of %d",
		    (uintmax_t)r->block, r->tune.before, r->tune.after,
		    r->tune.best, r->tune.steps);
}

static json_t *
options(const struct sq_gptq_run *g)
{
	const struct sq_gptq_layer *l = &g->layer;
	json_t *o = json_pack("{s:f,s:f,s:b,s:b,s:s,s:b,s:b,s:i}",
	    "budget", g->budget.bits, "damp", l->damp, "drop-stats", g->drop,
	    "fixed-scales", !l->refit, "order", orders[l->order == SQ_ACT],
	    "pairs", l->pairs, "sequential", g->sequential != SQ_SEQ_NO,
	    "sweeps", l->sweeps);
	char text[SQ_SPARSE_TEXT];

	sq_rules_describe(&g->f.rules, o);
	if (g->tune.tune.steps > 0 || g->sequential)
		json_object_set_new(o, "f32",
		    json_boolean(g->tune.prec == SQ_PREC_F32));
	if (l->choose.kind != SQ_MASK_NONE) {
		json_object_set_new(o, "mask", json_string(
		    sq_sparse_text(&l->choose, text)));
		json_object_set_new(o, "sparsity", json_real(l->sparsity));
	}
	if (g->budget.bits > 0)
		json_object_set_new(o, "grids", json_string(grids));
	if (g->tune.tune.steps == 0)
		return o;
	json_object_set_new(o, "tune-blocks", json_integer(g->tune.tune.steps));
	json_object_set_new(o, "tune-batch",
	    json_integer((json_int_t)g->tune.tune.batch));
	return o;
}

/* A grid by its name, with its groups where they are its own. */
static void
set_grid(struct sq_rules *rules, const char *name)
{
	struct sq_qrule *rule = &rules->usual;
	size_t group;
	int g = sq_levels_named(name, &group);

	if (g < 0)
		sq_die(SQ_EUSAGE, "--grid %s: not int2 to int6, int8, "
		    "fp8_e4m3, fp4, mxfp4, iq4_nl, iq4_xs, q4_0, q4_k, q5_k "
		    "or q6_k", name);
	rule->grid = (enum sq_grid)g;
	rules->given |= SQ_GIVEN_GRID;
	if (group == 0)
		return;
	rule->group_cols = group;
	rules->given |= SQ_GIVEN_GROUP;
}

static void
option(struct sq_gptq_run *g, int c)
{
	struct sq_gptq_layer *l = &g->layer;

	switch (c) {
	case OPT_BUDGET:
		g->budget.bits = sq_arg_real("--budget", optarg, 0, 16);
		break;
	case OPT_DAMP:
		l->damp = sq_arg_real("--damp", optarg, 0, 1);
		break;
	case OPT_DROP:
		g->drop = 1;
		break;
	case OPT_MASK:
		if (sq_sparse_parse(&l->choose, optarg) < 0 ||
		    l->choose.kind == SQ_MASK_BLOCKS)
			sq_die(SQ_EUSAGE, "--mask %s: not N:M or unstructured",
			    optarg);
		l->run = l->choose.m;
		break;
	case OPT_ORDER:
		l->order = sq_arg_choice("--order", optarg, orders) ? SQ_ACT :
		    SQ_NATURAL;
		break;
	case OPT_F32:
		g->tune.prec = SQ_PREC_F32;
		break;
	case OPT_STATE:
		g->state_path = optarg;
		break;
	case OPT_TUNE:
		learn.steps = sq_arg_long("--tune", optarg, 1, 1000000);
		break;
	case OPT_BLOCKS:
		g->tune.tune.steps = (int)sq_arg_long("--tune-blocks", optarg,
		    1, 1000000);
		break;
	case OPT_BATCH:
		batch = sq_arg_long("--tune-batch", optarg, 1, 1 << 16);
		break;
	case OPT_FIXED:
		l->refit = 0;
		break;
	case OPT_GRID:
		set_grid(&g->f.rules, optarg);
		break;
	case OPT_GRIDS:
		grids = optarg;
		break;
	case OPT_PAIRS:
		l->pairs = 0;
		break;
	case OPT_NOT:
	case OPT_SEQUENTIAL:
		g->sequential = c == OPT_NOT ? SQ_SEQ_NO : SQ_SEQ_YES;
		said_sequential = 1;
		break;
	case OPT_SPARSITY:
		l->sparsity = sq_arg_real("--sparsity", optarg, 0, 1);
		break;
	case OPT_SWEEPS:
		l->sweeps = (int)sq_arg_long("--sweeps", optarg, 0, 1000);
		break;
	default:
		if (!sq_rules_option(&g->f.rules, c, 1))
			sq_stage_option(&g->f, c);
	}
}

/* Behind this tool, for --tune. */
static void
begin_learning(struct sq_gptq_run *g)
{
	g->tune.tune.batch = batch > 0 ? (size_t)batch :
	    learn.steps > 0 ? 8 : 4;
	if (learn.steps == 0)
		return;
	learn.batch = (long)g->tune.tune.batch;
	learn.f32 = g->tune.prec == SQ_PREC_F32;
	learn.state_path = g->state_path;
	g->state_path = NULL;
	sq_learn_begin(&learn, &g->f);
}

/* The kernels of the host's part: those of a device work in its memory. */
static struct sq_ctx *
open_host(struct sq_ctx *host, struct sq_ctx *ctx)
{
	const struct sq_kern *kern;
	char err[SQ_ERR];

	if (!ctx->kern->mem->device)
		return ctx;
	if ((kern = sq_kern_find("auto", err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(host, kern, ctx->pool) < 0)
		sq_die(SQ_EDATA, "out of memory");
	return host;
}

/* After the budget, which the host plans. */
static void
open_device(struct sq_gptq_layer *l, struct sq_ctx *ctx)
{
	if (!ctx->kern->mem->device)
		return;
	l->device.ctx = ctx;
	sq_note("kernels: %s for integers in groups of up to %d, weighted "
	    "scales, no mask, order act; the host for all else",
	    ctx->kern->name, SQ_ROUND_COLS);
}

int
main(int argc, char *argv[])
{
	struct sq_gptq_run g = { .layer = { .order = SQ_ACT, .damp = 0.01,
	    .sweeps = 4, .refit = 1, .pairs = 1, .sparsity = 0.5 },
	    .f.rules.usual = { .grid = SQ_INT4, .scale = SQ_WEIGHTED, .symmetric = 1, .group_rows = 1,
	    .group_cols = 128 },
	    .tune = { .prec = SQ_PREC_BF16 } };
	struct sq_gptq_layer *l = &g.layer;
	struct sq_ctx ctx, host;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		option(&g, c);
	if (optind != argc)
		sq_usage();
	if (grids != NULL && g.budget.bits == 0)
		sq_die(SQ_EUSAGE, "--grids goes with --budget");
	if (grids == NULL)
		grids = SQ_BUDGET_GRIDS;
	if (sq_budget_allow(&g.budget, grids, err) < 0)
		sq_die(SQ_EUSAGE, "--grids: %s", err);
	if (g.budget.bits > 0 && g.tune.tune.steps > 0)
		sq_die(SQ_EUSAGE, "--budget does not go with --tune-blocks");
	if (learn.steps > 0 && g.tune.tune.steps > 0)
		sq_die(SQ_EUSAGE, "--tune does not go with --tune-blocks");
	begin_learning(&g);
	sq_stage_open(&g.f, &ctx);
	if (!said_sequential && g.f.profile.sequential)
		g.sequential = SQ_SEQ_WHERE;
	if (g.sequential == SQ_SEQ_YES && g.tune.tune.steps == 0 && g.state_path != NULL)
		sq_die(SQ_EUSAGE, "--state does not go with --sequential");
	l->ctx = open_host(&host, &ctx);
	if ((l->lapack = sq_lapack_open(l->ctx->kern->name, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	l->progress = g.f.progress;
	l->want_error = sq_tool.verbose;
	l->memory = sq_tool.memory;
	sq_note("kernels: quantize from level %s, OpenBLAS for %s",
	    l->ctx->kern->from[SQ_OP_quantize], sq_lapack_kernels(l->lapack));
	g.seen = say_seen;
	g.input = say_input;
	g.made = say_made;
	g.reused = say_reused;
	g.plain = say_plain;
	g.tune.told = say_tuned;
	if (sq_gptq_run_init(&g) < 0)
		sq_die(SQ_EDATA, "%s", g.f.err);
	open_device(l, &ctx);
	described = options(&g);
	sq_stage_run(&g.f, "sq-gptq", described, &ctx);
	sq_gptq_run_release(&g);
	return sq_learn_end(&learn);
}
