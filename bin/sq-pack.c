/* sq-pack: the end of a pipeline; a stream becomes an artifact. */
#include <unistd.h>

#include "base/outfile.h"
#include "base/pool.h"
#include "base/tool.h"
#include "model/import.h"
#include "model/pack.h"

static const char usage[] =
    "[-qv] [-f sqa|hf] [-j N] [-k LEVEL] [-M SIZE] [-m MODEL] "
    "[--shard SIZE] -o OUT";

enum { OPT_SHARD = SQ_OPT(0) };

static const struct option longopts[] = {
	SQ_LONG,
	{ "format", required_argument, NULL, 'f' },
	{ "model", required_argument, NULL, 'm' },
	{ "output", required_argument, NULL, 'o' },
	{ "shard", required_argument, NULL, OPT_SHARD },
	{ NULL, 0, NULL, 0 }
};

static const char *const formats[] = { "sqa", "hf", NULL };

enum { SQA, HF };

static void
pack(struct sq_pack *p, int format, int fd, const char *input,
    const char *path)
{
	struct sq_progress progress;
	struct sq_outfile file;
	struct sq_in in;
	char err[SQ_ERR];
	int r;

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "%s: %s", input, in.err);
	r = format == SQA ? sq_outfile_open(&file, path) :
	    sq_outdir_open(&file, path, "config.json");
	if (r < 0)
		sq_die(SQ_EDATA, "%s", file.err);
	sq_tool_progress(&progress);
	p->progress = &progress;
	r = format == SQA ? sq_pack_sqa(p, &in, file.fd, err) :
	    sq_pack_hf(p, &in, file.fd, err);
	sq_progress_end(&progress);
	if (r < 0) {
		sq_outfile_abort(&file);
		sq_die(SQ_EDATA, "'%s' not written: %s", path, err);
	}
	if (sq_outfile_commit(&file) < 0)
		sq_die(SQ_EDATA, "%s", file.err);
	sq_in_release(&in);
}

int
main(int argc, char *argv[])
{
	struct sq_pack p = { .version = SQ_VERSION };
	const char *path = NULL, *model = NULL;
	const struct sq_kern *kern;
	struct sq_ctx ctx;
	char err[SQ_ERR];
	int c, fd = STDIN_FILENO, format = SQA;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "f:m:o:", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'f':
			format = sq_arg_choice("-f", optarg, formats);
			break;
		case 'm':
			model = optarg;
			break;
		case 'o':
			path = optarg;
			break;
		case OPT_SHARD:
			p.shard = sq_arg_bytes("--shard", optarg);
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc || path == NULL || (p.shard != 0 && format != HF))
		sq_usage();
	if (model != NULL &&
	    (fd = sq_import_pipe(model, SQ_VERSION, err)) < 0)
		sq_die(SQ_EDATA, "%s", err);
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	p.tool = sq_tool.name;
	p.ctx = &ctx;
	p.memory = sq_tool.memory;
	pack(&p, format, fd, sq_input_name(model), path);
	sq_note("%s: %ju tensors, %ju of them quantized, %ju bytes of weights "
	    "instead of %ju; %ju other records left out", path,
	    (uintmax_t)p.tensors, (uintmax_t)p.quantized, (uintmax_t)p.after,
	    (uintmax_t)p.before, (uintmax_t)p.dropped);
	return SQ_OK;
}
