/* sq-awq: weights that count become larger; see lib/quant/smooth.h. */
#include "quant/smooth.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-b BITS] [-g SIZE] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[-p PROFILE] [--asym] [--except GLOB]... [--only GLOB]... [--rows N] "
    "[--scale absmax|mse] [--type f32|keep]";

enum { OPT_ROWS = SQ_OPT(0), OPT_TYPE };

static const struct option longopts[] = {
	SQ_STAGE_LONG,
	SQ_RULES_LONG,
	{ "rows", required_argument, NULL, OPT_ROWS },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ NULL, 0, NULL, 0 }
};

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

	switch (c) {
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
	json_t *o = json_pack("{s:I,s:s}", "rows", (json_int_t)s->rows,
	    "type", types[k->keep]);

	sq_rules_describe(&k->f.rules, o);
	sq_smooth_init(k);
	sq_stage_run(&k->f, "sq-awq", o, s->ctx);
	sq_smooth_release(k);
}

int
main(int argc, char *argv[])
{
	struct sq_smooth k = { .by_mean = 1, .scaling = { .rows = 256 },
	    .f.rules.usual = { .grid = SQ_INT4, .symmetric = 1,
	    .group_rows = 1, .group_cols = 128 } };
	struct sq_ctx ctx;
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_STAGE_SHORT SQ_RULES_SHORT,
	    longopts, NULL)) != -1)
		option(&k, c);
	if (optind != argc)
		sq_usage();
	sq_stage_open(&k.f, &ctx);
	k.scaling.ctx = &ctx;
	k.memory = sq_tool.memory;
	k.said = say;
	sq_note("kernels: level %s", ctx.kern->name);
	run(&k);
	return SQ_OK;
}
