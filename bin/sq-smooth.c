/* sq-smooth: large inputs become small ones; see lib/quant/smooth.h. */
#include "quant/smooth_stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--act none|int8|int8:static] [--asym] [--data-free] "
    "[--except GLOB]... [--only GLOB]... [--rows N] [--scale absmax|mse] "
    "[--type f32|keep]";

enum { OPT_ACT = SQ_OPT(0), OPT_FREE };

static const struct option longopts[] = {
	SQ_SMOOTH_LONG,
	{ "act", required_argument, NULL, OPT_ACT },
	{ "data-free", no_argument, NULL, OPT_FREE },
	{ NULL, 0, NULL, 0 }
};

static const char *const acts[] = { "none", "int8", "int8:static", NULL };

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
	default:
		sq_smooth_option(k, c);
	}
}

int
main(int argc, char *argv[])
{
	struct sq_smooth k = { .scaling = { .act = SQ_ACT_INT8, .by_both = 1,
	    .rows = 256 }, .f.rules.usual = { .grid = SQ_INT8,
	    .symmetric = 1, .group_rows = 1 } };
	const struct sq_scaling *s = &k.scaling;
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		option(&k, c);
	if (optind != argc)
		sq_usage();
	if (k.data_free)	/* nothing is known of a token */
		k.scaling.act = SQ_ACT_NONE;
	sq_smooth_stage(&k, "sq-smooth", json_pack("{s:s,s:b}",
	    "act", acts[s->act == SQ_ACT_NONE ? 0 : 1 + s->act_static],
	    "data-free", k.data_free));
	return SQ_OK;
}
