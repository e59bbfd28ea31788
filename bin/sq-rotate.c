/* sq-rotate: no channel stands out; see lib/quant/rotate.h. */
#include "quant/rotate.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[--part both|residual|heads] [--seed N] [--type linear|f32|keep]";

enum { OPT_PART = SQ_OPT(0), OPT_SEED, OPT_TYPE };

static const struct option longopts[] = {
	SQ_LONG,
	{ "model", required_argument, NULL, 'm' },
	{ "part", required_argument, NULL, OPT_PART },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

static const char *const parts[] = { "both", "residual", "heads", NULL };
static const char *const types[] = { "linear", "f32", "keep", NULL };

static void
run(struct sq_rotate *k, int part)
{
	json_t *o = json_pack("{s:s,s:I,s:s}", "part", parts[part],
	    "seed", (json_int_t)k->seed, "type", types[k->type]);

	k->residual = part != 2;
	k->heads = part != 1;
	sq_rotate_init(k);
	sq_stage_run(&k->f, "sq-rotate", o, k->ctx);
	sq_rotate_release(k);
}

int
main(int argc, char *argv[])
{
	struct sq_rotate k = { .type = SQ_ROTATE_LINEAR };
	struct sq_ctx ctx;
	int c, part = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:z", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'm':
		case 'z':
			(void)sq_filter_option(&k.f, c, optarg);
			break;
		case OPT_PART:
			part = sq_arg_choice("--part", optarg, parts);
			break;
		case OPT_SEED:
			k.seed = (uint64_t)sq_arg_long("--seed", optarg, 0,
			    1L << 52);
			break;
		case OPT_TYPE:
			k.type = (enum sq_rotate_type)sq_arg_choice("--type",
			    optarg, types);
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc)
		sq_usage();
	sq_stage_open(&k.f, &ctx);
	k.ctx = &ctx;
	k.memory = sq_tool.memory;
	sq_note("kernels: level %s", ctx.kern->name);
	run(&k, part);
	return SQ_OK;
}
