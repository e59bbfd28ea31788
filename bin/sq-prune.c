/* sq-prune: fewer heads, channels and layers; lib/prune/pruning.h. */
#include "prune/pruning.h"
#include "quant/stage.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] [--channels RATIO] "
    "[--damp FRACTION] [--heads RATIO] [--layers N]";

enum { OPT_CHANNELS = SQ_OPT(0), OPT_DAMP, OPT_HEADS, OPT_LAYERS };

static const struct option longopts[] = {
	SQ_LONG,
	{ "channels", required_argument, NULL, OPT_CHANNELS },
	{ "damp", required_argument, NULL, OPT_DAMP },
	{ "heads", required_argument, NULL, OPT_HEADS },
	{ "layers", required_argument, NULL, OPT_LAYERS },
	{ "model", required_argument, NULL, 'm' },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

static void
say_made(void *arg, const struct sq_tensor *t, const struct sq_shrink *s)
{
	double norm = s->norm > 0 ? s->norm : 1;

	(void)arg;
	sq_note("%s: %zu of %zu columns, relative output error %.3e, of "
	    "dropping alone %.3e", t->name, s->keep * s->unit, s->n,
	    s->error / norm, s->alone / norm);
}

static void
say_layers(const struct sq_influence *s)
{
	uint64_t i;

	for (i = 0; i < s->layers; i++)
		sq_note("layer %ju: turns its input by %.4f%s", (uintmax_t)i,
		    s->turn[i], s->dropped[i] ? ", dropped" : "");
}

static void
option(struct sq_pruning *k, int c)
{
	switch (c) {
	case OPT_CHANNELS:
		k->channels = sq_arg_real("--channels", optarg, 0, 0.99);
		break;
	case OPT_DAMP:
		k->damp = sq_arg_real("--damp", optarg, 0, 1);
		break;
	case OPT_HEADS:
		k->heads = sq_arg_real("--heads", optarg, 0, 0.99);
		break;
	case OPT_LAYERS:
		k->layers.drop = (uint64_t)sq_arg_long("--layers", optarg, 0,
		    SQ_MAX_LAYERS);
		break;
	default:
		sq_stage_option(&k->f, c);
	}
}

int
main(int argc, char *argv[])
{
	struct sq_pruning k = { .damp = 0.01, .made = say_made };
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:z", longopts,
	    NULL)) != -1)
		option(&k, c);
	if (optind != argc)
		sq_usage();
	if (k.heads == 0 && k.channels == 0 && k.layers.drop == 0)
		sq_die(SQ_EUSAGE, "nothing to drop: --heads, --channels or "
		    "--layers");
	sq_stage_open(&k.f, &ctx);
	if ((k.lapack = sq_lapack_open(ctx.kern->name, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	k.ctx = &ctx;
	k.memory = sq_tool.memory;
	sq_note("kernels: dequantize from level %s, OpenBLAS for %s",
	    ctx.kern->from[SQ_OP_dequantize], sq_lapack_kernels(k.lapack));
	sq_pruning_init(&k);
	if (k.layers.drop > 0) {
		if (sq_influence_survey(&k.layers, &k.f, &ctx) < 0)
			sq_die(SQ_EDATA, "%s", k.f.err);
		say_layers(&k.layers);
	}
	sq_stage_run(&k.f, "sq-prune", json_pack("{s:f,s:f,s:f,s:I}",
	    "channels", k.channels, "damp", k.damp, "heads", k.heads,
	    "layers", (json_int_t)k.layers.drop), &ctx);
	sq_pruning_release(&k);
	return SQ_OK;
}
