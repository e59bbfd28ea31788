/* sq-calibrate: a text runs through a model, and leaves statistics. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/pool.h"
#include "base/tool.h"
#include "calib/calibrate.h"
#include "formats/fmt_records.h"
#include "model/import.h"

static const char usage[] =
    "[-qvz] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] [--f32] [--length N] "
    "[--samples N] [--skip N] [--stats full|diag] [--tokens-only] -t TEXT";

enum { OPT_F32 = SQ_OPT(0), OPT_LENGTH, OPT_SAMPLES, OPT_SKIP, OPT_STATS,
	OPT_TOKENS_ONLY };

static const struct option longopts[] = {
	SQ_LONG,
	{ "f32", no_argument, NULL, OPT_F32 },
	{ "length", required_argument, NULL, OPT_LENGTH },
	{ "model", required_argument, NULL, 'm' },
	{ "samples", required_argument, NULL, OPT_SAMPLES },
	{ "skip", required_argument, NULL, OPT_SKIP },
	{ "stats", required_argument, NULL, OPT_STATS },
	{ "text", required_argument, NULL, 't' },
	{ "tokens-only", no_argument, NULL, OPT_TOKENS_ONLY },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

static const char *const stats[] = { "full", "diag", NULL };

#define MAX_TEXT	((size_t)1 << 30)

static void
provenance(const struct sq_calibrate *o, struct sq_out *out,
    const struct sq_in *in)
{
	static const char *const modes[] = { "full", "diag", "tokens-only" };
	json_t *j = json_pack("{s:b,s:I,s:I,s:I,s:s}",
	    "f32", o->prec == SQ_PREC_F32, "length", (json_int_t)o->length,
	    "samples", (json_int_t)o->samples, "skip", (json_int_t)o->skip,
	    "stats", modes[o->mode]);

	if (sq_out_provenance(out, "sq-calibrate", SQ_VERSION, j,
	    o->ctx->kern->name, in->digest) < 0 || sq_out_finish(out) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out->err);
}

static void
report(const struct sq_calibrate *o)
{
	if (o->got < o->samples)
		sq_warn("the text has %zu samples of %zu tokens, not %zu",
		    o->got, o->sample_length, o->samples);
	if (o->mode == SQ_CALIB_TOKENS)
		return;
	sq_note("%zu samples of %zu tokens, hidden states in %s", o->got,
	    o->sample_length, o->spilled ? "a file" : "memory");
	sq_note("%.1f s in the blocks, %.0f tokens/s through all of them, "
	    "%.0f GFLOP/s", o->seconds,
	    (double)(o->got * o->sample_length) / o->seconds,
	    (double)o->flops / o->seconds / 1e9);
}

static void
run(struct sq_calibrate *o, int fd, int compress)
{
	struct sq_out out;
	struct sq_in in;
	char err[SQ_ERR];

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "stdin: %s", in.err);
	if (sq_out_open(&out, STDOUT_FILENO, compress) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out.err);
	if (sq_calibrate(o, &in, &out, err) < 0) {
		sq_progress_end(o->progress);
		sq_die(SQ_EDATA, "%s", err);
	}
	sq_progress_end(o->progress);
	report(o);
	provenance(o, &out, &in);
	sq_in_release(&in);
	sq_out_release(&out);
}

int
main(int argc, char *argv[])
{
	struct sq_calibrate o = { .prec = SQ_PREC_BF16, .samples = 128,
	    .length = 2048 };
	const char *path = NULL, *model = NULL;
	struct sq_progress progress;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c, fd = STDIN_FILENO, compress = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "m:t:z", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'm':
			model = optarg;
			break;
		case 't':
			path = optarg;
			break;
		case 'z':
			compress = 1;
			break;
		case OPT_F32:
			o.prec = SQ_PREC_F32;
			break;
		case OPT_LENGTH:
			o.length = (size_t)sq_arg_long("--length", optarg, 1,
			    1 << 24);
			break;
		case OPT_SAMPLES:
			o.samples = (size_t)sq_arg_long("--samples", optarg,
			    1, 1 << 24);
			break;
		case OPT_SKIP:
			o.skip = (size_t)sq_arg_long("--skip", optarg, 0,
			    1 << 24);
			break;
		case OPT_STATS:
			o.mode = sq_arg_choice("--stats", optarg, stats) ?
			    SQ_CALIB_DIAG : SQ_CALIB_FULL;
			break;
		case OPT_TOKENS_ONLY:
			o.mode = SQ_CALIB_TOKENS;
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc || path == NULL)
		sq_usage();
	sq_need_pipe();
	o.text = sq_read_file(AT_FDCWD, path, MAX_TEXT, &o.text_len, err);
	if (o.text == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (model != NULL &&
	    (fd = sq_import_pipe(model, SQ_VERSION, err)) < 0)
		sq_die(SQ_EDATA, "%s", err);
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	o.ctx = &ctx;
	o.memory = sq_tool.memory;
	sq_tool_progress(&progress);
	progress.unit = "tokens";
	o.progress = &progress;
	run(&o, fd, compress);
	return SQ_OK;
}
