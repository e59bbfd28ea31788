/* sq-awq: weights that count become larger; see lib/quant/smooth.h. */
#include "quant/smooth_stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--except GLOB]... [--only GLOB]... [--rows N] "
    "[--scale absmax|mse] [--type f32|keep]";

static const struct option longopts[] = {
	SQ_SMOOTH_LONG,
	{ NULL, 0, NULL, 0 }
};

int
main(int argc, char *argv[])
{
	struct sq_smooth k = { .by_mean = 1, .scaling = { .rows = 256 },
	    .f.rules.usual = { .grid = SQ_INT4, .symmetric = 1,
	    .group_rows = 1, .group_cols = 128 } };
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		sq_smooth_option(&k, c);
	if (optind != argc)
		sq_usage();
	sq_smooth_stage(&k, "sq-awq", json_object());
	return SQ_OK;
}
