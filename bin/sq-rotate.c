/* sq-rotate: no channel stands out; see lib/quant/rotate.h. */
#include "base/pool.h"
#include "base/tool.h"
#include "quant/rotate.h"

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
	if (sq_filter_run(&k->f) < 0 || sq_filter_finish(&k->f, "sq-rotate",
	    SQ_VERSION, o, k->ctx->kern->name) < 0)
		sq_die(SQ_EDATA, "%s", k->f.err);
	sq_rotate_release(k);
}

int
main(int argc, char *argv[])
{
	struct sq_rotate k = { .type = SQ_ROTATE_LINEAR };
	struct sq_progress progress;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
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
	sq_need_pipe();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_filter_open(&k.f, SQ_VERSION) < 0)
		sq_die(SQ_EDATA, "%s", k.f.err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	k.f.progress = &progress;
	k.ctx = &ctx;
	k.memory = sq_tool.memory;
	sq_note("kernels: level %s", kern->name);
	sq_tool_progress(&progress);
	run(&k, part);
	sq_progress_end(&progress);
	return SQ_OK;
}
