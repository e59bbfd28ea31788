/* sq-gptq: rounding whose errors make each other good; lib/quant/gptq.h. */
#include <string.h>

#include "base/pool.h"
#include "base/tool.h"
#include "quant/budget.h"
#include "quant/levels.h"
#include "quant/sequential.h"
#include "quant/tune_run.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--budget BITS] [--damp FRACTION] [--drop-stats] "
    "[--except GLOB]... [--f32] [--fixed-scales] [--grid GRID] "
    "[--only GLOB]... [--order natural|act] [--scale absmax|mse|weighted] "
    "[--sequential] [--state FILE] [--sweeps N] [--tune STEPS] "
    "[--tune-batch SAMPLES]";

enum {
	OPT_ASYM = SQ_OPT(0), OPT_BUDGET, OPT_DAMP, OPT_DROP, OPT_F32,
	OPT_FIXED, OPT_GRID, OPT_ORDER, OPT_SCALE, OPT_SEQUENTIAL, OPT_STATE,
	OPT_SWEEPS, OPT_TUNE, OPT_BATCH
};

static const struct option longopts[] = {
	SQ_LONG,
	SQ_FILTER_LONG,
	{ "asym", no_argument, NULL, OPT_ASYM },
	{ "bits", required_argument, NULL, 'b' },
	{ "budget", required_argument, NULL, OPT_BUDGET },
	{ "damp", required_argument, NULL, OPT_DAMP },
	{ "drop-stats", no_argument, NULL, OPT_DROP },
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "fixed-scales", no_argument, NULL, OPT_FIXED },
	{ "grid", required_argument, NULL, OPT_GRID },
	{ "group", required_argument, NULL, 'g' },
	{ "order", required_argument, NULL, OPT_ORDER },
	{ "scale", required_argument, NULL, OPT_SCALE },
	{ "sequential", no_argument, NULL, OPT_SEQUENTIAL },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "sweeps", required_argument, NULL, OPT_SWEEPS },
	{ "tune", required_argument, NULL, OPT_TUNE },
	{ "tune-batch", required_argument, NULL, OPT_BATCH },
	{ NULL, 0, NULL, 0 }
};

static const char *const scales[] = { "absmax", "mse", "weighted", NULL };
static const char *const orders[] = { "natural", "act", NULL };

struct filter {
	struct sq_filter f;		/* first: it is cast back */
	struct sq_gptq_layer layer;
	struct sq_tune_run tune;	/* tune.tune.steps 0: not wanted */
	int drop;			/* statistics are not passed on */
	struct sq_budget budget;	/* bits 0: none */
	int sequential;
	struct sq_sequential *seq;
	uint64_t warned;		/* channels that had too few tokens */
};

/* 1 when a tensor of that name is meant, whether it exists or not. */
static int
meant(const struct filter *f, const char *name)
{
	const struct sq_inventory *inv = &f->f.inv;
	struct sq_select s = f->f.select;
	struct sq_tensor t = { .ndim = 2 };

	snprintf(t.name, sizeof(t.name), "%s", name);
	return sq_select(&s, &t, sq_slot_find(inv->slot, inv->n, name));
}

/* Whether -M will do for all of them, of 16-bit values as most are. */
static int
begin(struct sq_filter *s)
{
	const struct sq_slot *slot = s->inv.slot, *most = NULL;
	struct filter *f = (struct filter *)s;
	uint64_t need, least = 0;
	size_t i;

	memcpy(f->layer.model, s->digest, sizeof(s->digest));
	for (i = 0; i < s->inv.n; i++) {
		if (!slot[i].linear || !meant(f, slot[i].name))
			continue;
		f->layer.rule = sq_rule(&s->rules, slot[i].name, 1);
		need = sq_gptq_memory(&f->layer, slot[i].dim[0],
		    slot[i].dim[1], 2, 1);
		if (need > least) {
			least = need;
			most = &slot[i];
		}
	}
	if (f->seq != NULL || f->layer.memory == 0 ||
	    f->layer.memory >= least)
		return 0;
	return sq_fail(s->err, "tensor '%s': -M: needs at least %juM",
	    most->name, (uintmax_t)(least + 0xfffff) >> 20);
}

static void
say_seen(struct filter *f)
{
	const struct sq_gptq_layer *l = &f->layer;
	const struct sq_stats *st = &l->stats;

	if (st->tokens < st->channels && st->channels > f->warned) {
		sq_warn("'%s': statistics of %ju tokens for %ju channels: the "
		    "damping has to make up for the rest", st->tensor[0],
		    (uintmax_t)st->tokens, (uintmax_t)st->channels);
		f->warned = st->channels;
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

static int
statistics(struct filter *f)
{
	struct sq_filter *s = &f->f;
	struct sq_stats st;
	size_t i, n = 0;
	int full;

	if (sq_stats_parse(&st, &s->in, &full, s->err) < 0)
		return -1;
	for (i = 0; !st.is_kv && i < st.ntensors; i++)
		n += (size_t)meant(f, st.tensor[i]);
	if (n == 0)
		return f->drop ? 0 : sq_filter_copy(s);
	if (sq_gptq_stats(&f->layer, &s->in, f->drop ? NULL : &s->out,
	    s->err) < 0)
		return -1;
	say_seen(f);
	return 0;
}

static int
record(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	if (f->seq != NULL && s->in.type == SQ_TOKENS)
		return sq_sequential_tokens(f->seq);
	if (s->in.type == SQ_STATS)
		return f->seq != NULL ? 0 : statistics(f);
	return sq_filter_copy(s);
}

static void
say_input(void *arg, double strength)
{
	const struct sq_gptq_layer *l = &((struct filter *)arg)->layer;

	if (l->factor.damp > l->damp)
		sq_warn("damping raised to %g of the mean diagonal",
		    l->factor.damp);
	sq_note("%zu channels, %zu of them never used, target at %.3f",
	    l->factor.n, l->factor.dead, strength);
}

static void
say_made(void *arg, const struct sq_tensor *t)
{
	const struct filter *f = arg;
	const struct sq_gptq *g = &f->layer.gptq;
	double norm = g->norm > 0 ? g->norm : 1;

	sq_note("%s: %s, groups of %ju x %ju, relative output error %.3e, of "
	    "rounding to nearest %.3e", t->name, sq_grid_name(t->grid),
	    (uintmax_t)t->group_rows, (uintmax_t)t->group_cols,
	    g->error / norm, g->rtn_error / norm);
}

/* How a tensor is quantized; the budget has its grid. */
static void
set_rule(void *arg, const struct sq_tensor *t, const struct sq_slot *slot)
{
	struct filter *f = arg;

	f->layer.rule = sq_filter_rule(&f->f, t, slot);
	if (f->budget.bits > 0)
		f->layer.rule.grid = sq_budget_of(&f->budget, slot);
}

static int
tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	struct filter *f = (struct filter *)s;
	int r;

	if (f->seq != NULL)
		return sq_sequential_tensor(f->seq, t, slot);
	if ((r = sq_filter_wants(s, t, slot)) < 0)
		return -1;
	if (r > 0) {
		set_rule(f, t, slot);
		if (sq_gptq_tensor(&f->layer, t, &s->in, &s->out, s->err) < 0)
			return -1;
		say_made(f, &f->layer.chunks.made);
		return 0;
	}
	if (sq_filter_copy(s) < 0)
		return -1;
	sq_progress_add(s->progress, s->in.length);
	return 0;
}

static int
end(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	return f->seq == NULL ? 0 : sq_sequential_end(f->seq);
}

static void
open_sequential(struct filter *f)
{
	struct sq_sequential_set set = { &f->f, &f->layer, SQ_PREC_BF16,
	    set_rule, say_input, say_made, f };

	if (f->sequential && f->tune.tune.steps == 0 &&
	    (f->seq = sq_sequential_new(&set)) == NULL)
		sq_die(SQ_EDATA, "out of memory");
}

/* ---- tuning ---- */

static int
tune_begin(struct sq_filter *s)
{
	struct filter *f = (struct filter *)s;

	memcpy(f->layer.model, s->digest, sizeof(s->digest));
	return 0;
}

static int
tune_record(struct sq_filter *s)
{
	return sq_tune_run_record(&((struct filter *)s)->tune);
}

static int
tune_tensor(struct sq_filter *s, const struct sq_tensor *t,
    const struct sq_slot *slot)
{
	return sq_tune_run_tensor(&((struct filter *)s)->tune, t, slot);
}

static int
tune_end(struct sq_filter *s)
{
	return sq_tune_run_end(&((struct filter *)s)->tune);
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

static void
set_tune(struct filter *f, json_t *o)
{
	struct sq_tune_run *r = &f->tune;
	struct sq_filter *s = &f->f;

	if (r->tune.steps == 0)
		return;
	json_object_set_new(o, "f32", json_boolean(r->prec == SQ_PREC_F32));
	json_object_set_new(o, "tune", json_integer(r->tune.steps));
	json_object_set_new(o, "tune-batch",
	    json_integer((json_int_t)r->tune.batch));
	r->filter = s;
	r->layer = &f->layer;
	r->told = say_tuned;
	if (sq_tune_run_init(r, s->err) < 0)
		sq_die(SQ_EDATA, "%s", s->err);
	s->begin = tune_begin;
	s->tensor = tune_tensor;
	s->record = tune_record;
	s->end = tune_end;
}

static void
plan_budget(struct filter *f)
{
	struct sq_filter *s = &f->f;

	if (f->budget.bits > 0 && f->tune.tune.steps > 0)
		sq_die(SQ_EUSAGE, "--budget does not go with --tune");
	if (f->budget.bits > 0 &&
	    (sq_budget_survey(&f->budget, s, &f->layer) < 0 ||
	    sq_budget_choose(&f->budget, s->err) < 0))
		sq_die(SQ_EDATA, "%s", s->err);
}

static void
run(struct filter *f)
{
	const struct sq_gptq_layer *l = &f->layer;
	const struct sq_qrule *rule = &f->f.rules.usual;
	struct sq_filter *s = &f->f;
	json_t *o = json_pack("{s:b,s:f,s:f,s:b,s:b,s:s,s:I,s:s,s:s,s:b,s:i}",
	    "asym", !rule->symmetric, "budget", f->budget.bits,
	    "damp", l->damp, "drop-stats", f->drop,
	    "fixed-scales", !l->refit, "grid", sq_grid_name(rule->grid),
	    "group", (json_int_t)rule->group_cols,
	    "order", orders[l->order == SQ_ACT],
	    "scale", scales[rule->scale], "sequential", f->sequential,
	    "sweeps", l->sweeps);

	s->begin = begin;
	s->tensor = tensor;
	s->record = record;
	s->end = end;
	set_tune(f, o);
	if (sq_filter_run(s) < 0 || sq_filter_finish(s, "sq-gptq", SQ_VERSION,
	    o, l->ctx->kern->name) < 0)
		sq_die(SQ_EDATA, "%s", s->err);
}

/* A grid by its name, with its groups where they are its own. */
static void
set_grid(struct sq_rules *rules, const char *name)
{
	struct sq_qrule *rule = &rules->usual;
	int g = strcmp(name, "q4_0") == 0 ? SQ_INT4 : sq_grid_find(name);

	if (g < 0 || !sq_levels_know((enum sq_grid)g))
		sq_die(SQ_EUSAGE, "--grid %s: not int2 to int6, int8, "
		    "fp8_e4m3, fp4, mxfp4, iq4_nl, q4_0, q4_k, q5_k or q6_k",
		    name);
	rule->grid = (enum sq_grid)g;
	rules->given |= SQ_GIVEN_GRID;
	if (strcmp(name, "q4_0") != 0 && sq_levels_group(rule->grid) == 0)
		return;
	rule->group_cols = strcmp(name, "q4_0") == 0 ? 32 :
	    sq_levels_group(rule->grid);
	rules->given |= SQ_GIVEN_GROUP;
}

static void
option(struct filter *f, int c)
{
	struct sq_gptq_layer *l = &f->layer;
	struct sq_rules *rules = &f->f.rules;
	int r;

	switch (c) {
	case 'b':
		r = sq_grid_of_bits((int)sq_arg_long("-b", optarg, 2, 8));
		if (r < 0)
			sq_die(SQ_EUSAGE, "-b %s: not 2, 3, 4, 5, 6 or 8",
			    optarg);
		rules->usual.grid = (enum sq_grid)r;
		rules->given |= SQ_GIVEN_GRID;
		break;
	case 'g':
		rules->usual.group_cols = (size_t)sq_arg_long("-g", optarg, 0,
		    1 << 30);
		rules->given |= SQ_GIVEN_GROUP;
		break;
	case OPT_ASYM:
		rules->usual.symmetric = 0;
		rules->given |= SQ_GIVEN_ZEROS;
		break;
	case OPT_BUDGET:
		f->budget.bits = sq_arg_real("--budget", optarg, 0, 16);
		break;
	case OPT_DAMP:
		l->damp = sq_arg_real("--damp", optarg, 0, 1);
		break;
	case OPT_DROP:
		f->drop = 1;
		break;
	case OPT_ORDER:
		l->order = sq_arg_choice("--order", optarg, orders) ? SQ_ACT :
		    SQ_NATURAL;
		break;
	case OPT_F32:
		f->tune.prec = SQ_PREC_F32;
		break;
	case OPT_STATE:
		f->tune.state_path = optarg;
		break;
	case OPT_TUNE:
		f->tune.tune.steps = (int)sq_arg_long("--tune", optarg, 1,
		    1000000);
		break;
	case OPT_BATCH:
		f->tune.tune.batch = (size_t)sq_arg_long("--tune-batch",
		    optarg, 1, 1 << 20);
		break;
	case OPT_SCALE:
		rules->usual.scale = (enum sq_scale_rule)sq_arg_choice(
		    "--scale", optarg, scales);
		rules->given |= SQ_GIVEN_SCALE;
		break;
	case OPT_FIXED:
		l->refit = 0;
		break;
	case OPT_GRID:
		set_grid(rules, optarg);
		break;
	case OPT_SEQUENTIAL:
		f->sequential = 1;
		break;
	case OPT_SWEEPS:
		l->sweeps = (int)sq_arg_long("--sweeps", optarg, 0, 1000);
		break;
	default:
		if ((r = sq_filter_option(&f->f, c, optarg)) < 0)
			sq_usage();
		if (r == 0)
			sq_tool_option(c);
	}
}

int
main(int argc, char *argv[])
{
	struct filter f = { .layer = { .order = SQ_ACT, .damp = 0.01,
	    .sweeps = 4, .refit = 1 }, .f.rules.usual = { .grid = SQ_INT4,
	    .scale = SQ_WEIGHTED, .symmetric = 1, .group_rows = 1,
	    .group_cols = 128 },
	    .tune = { .prec = SQ_PREC_BF16, .tune = { .batch = 4 } } };
	struct sq_gptq_layer *l = &f.layer;
	struct sq_progress progress;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT SQ_FILTER_SHORT "b:g:",
	    longopts, NULL)) != -1)
		option(&f, c);
	if (optind != argc)
		sq_usage();
	sq_need_pipe();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_filter_open(&f.f, SQ_VERSION) < 0)
		sq_die(SQ_EDATA, "%s", f.f.err);
	f.sequential |= f.f.profile.sequential;
	if ((l->lapack = sq_lapack_open(kern->name, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	f.f.progress = l->progress = &progress;
	l->ctx = &ctx;
	l->want_error = sq_tool.verbose;
	l->memory = sq_tool.memory;
	sq_note("kernels: quantize from level %s, OpenBLAS for %s",
	    kern->from[SQ_OP_quantize], sq_lapack_kernels(l->lapack));
	sq_tool_progress(&progress);
	plan_budget(&f);
	open_sequential(&f);
	run(&f);
	sq_budget_release(&f.budget);
	sq_sequential_free(f.seq);
	sq_progress_end(&progress);
	return SQ_OK;
}
