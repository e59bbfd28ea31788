/* sq-import: a model on disk, or a stream, becomes a stream. */
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "model/import.h"
#include "quant/stage.h"

static const char usage[] = "[-qvz] [-j N] [-k LEVEL] [--dense] MODEL | -";

enum { OPT_DENSE = SQ_OPT(0) };

static const struct option longopts[] = {
	SQ_LONG,
	{ "dense", no_argument, NULL, OPT_DENSE },
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

/* A stream: verified, and passed on with all that is in it. */
static void
pass(int fd, const char *name, struct sq_out *out)
{
	struct sq_in in;
	int r;

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "%s: %s", name, in.err);
	while ((r = sq_in_next(&in)) > 0)
		if (sq_out_copy(out, &in) < 0)
			sq_die(SQ_EDATA, "%s", out->err);
	if (r < 0)
		sq_die(SQ_EDATA, "%s: %s", name, in.err);
	if (sq_out_provenance(out, "sq-import", SQ_VERSION, json_object(),
	    NULL, in.digest) < 0 || sq_out_finish(out) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out->err);
	sq_in_release(&in);
}

static void
warn_lossy(const struct sq_source *s, const char *path)
{
	size_t i, n = 0;

	for (i = 0; i < s->n; i++)
		n += s->tensor[i].t.grid != SQ_DENSE;
	if (n > 0)
		sq_warn("warning: '%s': %zu tensors were quantized already: "
		    "quantized again, they have the errors of both", path, n);
}

static void
import(const char *path, struct sq_out *out, int dense)
{
	struct sq_progress progress;
	struct sq_source *s;
	char err[SQ_ERR];
	struct sq_ctx ctx;

	if ((s = sq_source_open(path, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	if (dense) {
		sq_stage_kernels(&ctx);
		warn_lossy(s, path);
	}
	sq_note("%s: %s, %s, %zu tensors, %ju bytes", path, s->kind,
	    s->config.arch->name, s->n, (uintmax_t)s->files.h.bytes);
	sq_tool_progress(&progress);
	if (sq_import(s, out, dense ? &ctx : NULL, SQ_VERSION, &progress,
	    err) < 0) {
		sq_progress_end(&progress);
		sq_die(SQ_EDATA, "%s", err);
	}
	sq_progress_end(&progress);
	sq_source_close(s);
}

int
main(int argc, char *argv[])
{
	struct sq_out out;
	int c, fd = -1, compress = 0, dense = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "z", longopts,
	    NULL)) != -1)
		switch (c) {
		case OPT_DENSE:
			dense = 1;
			break;
		case 'z':
			compress = 1;
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc - 1 || (dense && strcmp(argv[optind], "-") == 0))
		sq_usage();
	sq_need_pipe();
	if (sq_out_open(&out, STDOUT_FILENO, compress) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out.err);
	if (!dense && (fd = sq_stream_fd(argv[optind])) >= 0)
		pass(fd, sq_input_name(argv[optind]), &out);
	else
		import(argv[optind], &out, dense);
	sq_note("wrote %ju records, %ju bytes, digest %s",
	    (uintmax_t)out.records, (uintmax_t)out.pos, out.digest);
	sq_out_release(&out);
	return SQ_OK;
}
