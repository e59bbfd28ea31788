/* sq-smooth: large inputs become small ones; see lib/quant/smooth.h. */
#include "quant/smooth.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--act none|int8|int8:static] [--asym] [--data-free] "
    "[--except GLOB]... [--only GLOB]... [--rows N] [--scale absmax|mse] "
    "[--type f32|keep]";

enum { OPT_ACT = SQ_OPT(0), OPT_FREE, OPT_ROWS, OPT_TYPE };

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	SQ_RULES_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "data-free", no_argument, NULL, OPT_FREE },
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ NULL, 0, NULL, 0 }
};

static const char *const acts[] = { "none", "int8", "int8:static", NULL };
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
	struct sq_scaling *s = &k->scaling;
	int r;

	switch (c) {
	case OPT_ACT:
		r = sq_arg_choice("--act", optarg, acts);
		s->act = r == 0 ? SQ_ACT_NONE : SQ_ACT_INT8;
		s->act_static = r == 2;
		break;
	case OPT_FREE:
		k->data_free = s->even = 1;
		break;
	case OPT_ROWS:
		s->rows = (size_t)sq_arg_long("--rows", optarg, 0, 1 << 30);
		break;
	case OPT_TYPE:
		k->keep = sq_arg_choice("--type", optarg, types);
		break;
	default:
		if (!sq_rules_option(&k->f.rules, c, 0))
			sq_stage_option(&k->f, c);
	}
}

static void
run(struct sq_smooth *k)
{
	const struct sq_scaling *s = &k->scaling;
	json_t *o = json_pack("{s:s,s:b,s:I,s:s}",
	    "act", acts[s->act == SQ_ACT_NONE ? 0 : 1 + s->act_static],
	    "data-free", k->data_free, "rows", (json_int_t)s->rows,
	    "type", types[k->keep]);

	sq_rules_describe(&k->f.rules, o);
	sq_smooth_init(k);
	sq_stage_run(&k->f, "sq-smooth", o, s->ctx);
	sq_smooth_release(k);
}

int
main(int argc, char *argv[])
{
	struct sq_smooth k = { .scaling = { .act = SQ_ACT_INT8, .by_both = 1,
	    .rows = 256 }, .f.rules.usual = { .grid = SQ_INT8,
	    .symmetric = 1, .group_rows = 1 } };
	struct sq_ctx ctx;
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		option(&k, c);
	if (optind != argc)
		sq_usage();
	if (k.data_free)	/* nothing is known of a token */
		k.scaling.act = SQ_ACT_NONE;
	sq_stage_open(&k.f, &ctx);
	k.scaling.ctx = &ctx;
	k.memory = sq_tool.memory;
	k.said = say;
	sq_note("kernels: level %s", ctx.kern->name);
	run(&k);
	return SQ_OK;
}
