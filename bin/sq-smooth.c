/* sq-smooth: large inputs become small ones; see lib/quant/smooth.h. */
#include "base/pool.h"
#include "base/tool.h"
#include "quant/smooth.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--act none|int8|int8:static] [--asym] [--data-free] "
    "[--except GLOB]... [--only GLOB]... [--rows N] [--scale absmax|mse] "
    "[--type f32|keep]";

enum { OPT_ACT = SQ_OPT(0), OPT_ASYM, OPT_FREE, OPT_ROWS, OPT_SCALE, OPT_TYPE };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_FILTER_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "asym", no_argument, NULL, OPT_ASYM },
	{ "bits", required_argument, NULL, 'b' },
	{ "data-free", no_argument, NULL, OPT_FREE },
	{ "group", required_argument, NULL, 'g' },
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "scale", required_argument, NULL, OPT_SCALE },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ NULL, 0, NULL, 0 }
};

static const char *const acts[] = { "none", "int8", "int8:static", NULL };
static const char *const scales[] = { "absmax", "mse", NULL };
static const char *const types[] = { "f32", "keep", NULL };

static void
say(const struct sq_smooth *k, const char *tensor)
{
	const struct sq_scaling *s = &k->scaling;
	double norm = s->norm > 0 ? s->norm : 1;

	sq_note("%s: alpha %.2f, beta %.2f, relative output error %.3e, "
	    "unscaled %.3e", tensor, s->alpha, s->beta, s->after / norm,
	    s->before / norm);
}

static void
option(struct sq_smooth *k, int c)
{
	struct sq_rules *rules = &k->f.rules;
	struct sq_scaling *s = &k->scaling;
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
	case OPT_ACT:
		r = sq_arg_choice("--act", optarg, acts);
		s->act = r == 0 ? SQ_ACT_NONE : SQ_ACT_INT8;
		s->act_static = r == 2;
		break;
	case OPT_ASYM:
		rules->usual.symmetric = 0;
		rules->given |= SQ_GIVEN_ZEROS;
		break;
	case OPT_FREE:
		k->data_free = s->even = 1;
		break;
	case OPT_ROWS:
		s->rows = (size_t)sq_arg_long("--rows", optarg, 0, 1 << 30);
		break;
	case OPT_SCALE:
		rules->usual.scale = sq_arg_choice("--scale", optarg,
		    scales) ? SQ_MSE : SQ_ABSMAX;
		rules->given |= SQ_GIVEN_SCALE;
		break;
	case OPT_TYPE:
		k->keep = sq_arg_choice("--type", optarg, types);
		break;
	default:
		if ((r = sq_filter_option(&k->f, c, optarg)) < 0)
			sq_usage();
		if (r == 0)
			sq_tool_option(c);
	}
}

static void
run(struct sq_smooth *k)
{
	const struct sq_qrule *rule = &k->f.rules.usual;
	const struct sq_scaling *s = &k->scaling;
	json_t *o = json_pack("{s:s,s:b,s:b,s:s,s:I,s:I,s:s,s:s}",
	    "act", acts[s->act == SQ_ACT_NONE ? 0 : 1 + s->act_static],
	    "asym", !rule->symmetric, "data-free", k->data_free,
	    "grid", sq_grid_name(rule->grid),
	    "group", (json_int_t)rule->group_cols,
	    "rows", (json_int_t)s->rows,
	    "scale", scales[rule->scale == SQ_MSE],
	    "type", types[k->keep]);

	sq_smooth_init(k);
	if (sq_filter_run(&k->f) < 0 || sq_filter_finish(&k->f, "sq-smooth",
	    SQ_VERSION, o, s->ctx->kern->name) < 0)
		sq_die(SQ_EDATA, "%s", k->f.err);
	sq_smooth_release(k);
}

int
main(int argc, char *argv[])
{
	struct sq_smooth k = { .scaling = { .act = SQ_ACT_INT8, .by_both = 1,
	    .rows = 256 }, .f.rules.usual = { .grid = SQ_INT8,
	    .symmetric = 1, .group_rows = 1 } };
	struct sq_progress progress;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT SQ_FILTER_SHORT "b:g:",
	    longopts, NULL)) != -1)
		option(&k, c);
	if (optind != argc)
		sq_usage();
	if (k.data_free)	/* nothing is known of a token */
		k.scaling.act = SQ_ACT_NONE;
	sq_need_pipe();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_filter_open(&k.f, SQ_VERSION) < 0)
		sq_die(SQ_EDATA, "%s", k.f.err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	k.f.progress = &progress;
	k.scaling.ctx = &ctx;
	k.memory = sq_tool.memory;
	k.said = say;
	sq_note("kernels: level %s", kern->name);
	sq_tool_progress(&progress);
	run(&k);
	sq_progress_end(&progress);
	return SQ_OK;
}
