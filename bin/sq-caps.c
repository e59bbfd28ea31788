/* sq-caps: what this machine, and a model on it, can do. */
#include <stdio.h>
#include <stdlib.h>

#include "base/pool.h"
#include "base/tool.h"
#include "formats/fmt_json.h"
#include "schema/capability.h"

static const char usage[] =
    "[-v] [-j N] [-k LEVEL] [-M BYTES] [--batch N] [--context N] [--f32] "
    "[--instance prefill|decode|general] [--kv SPEC] [--link-rate RATE] "
    "[--no-measure] [MODEL]";

enum { OPT_INSTANCE = SQ_OPT(0), OPT_NO_MEASURE };

static const struct option longopts[] = {
	SQ_LONG,
	SQ_GEN_LONG,
	{ "instance", required_argument, NULL, OPT_INSTANCE },
	{ "no-measure", no_argument, NULL, OPT_NO_MEASURE },
	{ NULL, 0, NULL, 0 }
};

static const char *const instances[] = { "prefill", "decode", "general",
	NULL };

static json_t *
of_machine(const struct sq_kern *kern, char *err)
{
	struct sq_ctx ctx;
	json_t *j;

	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	j = sq_accelerator(&ctx, err);
	sq_pool_free(ctx.pool);
	sq_ctx_release(&ctx);
	return j;
}

static json_t *
of_model(const struct sq_kern *kern, const struct sq_genopt *opt,
    const char *path, const char *instance, int measure, char *err)
{
	struct sq_backend_how how = { .kern = kern, .threads =
	    sq_tool.threads, .fell = sq_tool_fell, .memory = sq_tool.memory,
	    .opt = opt };
	struct sq_runner *b = sq_backend_load_profile(path, NULL, &how, err);
	json_t *j = b == NULL ? NULL : sq_capability(b, instance, measure,
	    err);

	sq_backend_free(b);
	return j;
}

int
main(int argc, char *argv[])
{
	const char *instance = "general";
	const struct sq_kern *kern;
	struct sq_genopt opt;
	char err[SQ_ERR], *text;
	int c, taken, measure = 1;
	json_t *j;

	sq_tool_init(argv[0], usage);
	sq_genopt_init(&opt);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1) {
		if ((taken = sq_genopt_take(&opt, c, optarg, err)) < 0)
			sq_die(SQ_EUSAGE, "%s", err);
		if (c == OPT_INSTANCE)
			instance = instances[sq_arg_choice("--instance",
			    optarg, instances)];
		else if (c == OPT_NO_MEASURE)
			measure = 0;
		else if (!taken)
			sq_tool_option(c);
	}
	if (argc - optind > 1)
		sq_usage();
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	j = optind == argc ? of_machine(kern, err) : of_model(kern, &opt,
	    argv[optind], instance, measure, err);
	if (j == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if ((text = sq_json_pretty(j)) == NULL)
		sq_die(SQ_EDATA, "out of memory");
	fputs(text, stdout);
	free(text);
	json_decref(j);
	sq_flush();
	return SQ_OK;
}
