/* sq-import: a model on disk, or a stream, becomes a stream. */
#include <string.h>
#include <unistd.h>

#include "base/tool.h"
#include "model/import.h"

static const char usage[] = "[-qvz] MODEL | -";

static const struct option longopts[] = {
	SQ_LONG,
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
import(const char *path, struct sq_out *out)
{
	struct sq_progress progress;
	struct sq_source *s;
	char err[SQ_ERR];

	if ((s = sq_source_open(path, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	sq_note("%s: %s, %s, %zu tensors, %ju bytes", path, s->kind,
	    s->config.arch->name, s->n, (uintmax_t)s->files.h.bytes);
	sq_tool_progress(&progress);
	if (sq_import(s, out, SQ_VERSION, &progress, err) < 0) {
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
	int c, fd, compress = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "z", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'z':
			compress = 1;
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc - 1)
		sq_usage();
	sq_need_pipe();
	if (sq_out_open(&out, STDOUT_FILENO, compress) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out.err);
	if ((fd = sq_stream_fd(argv[optind])) >= 0)
		pass(fd, sq_input_name(argv[optind]), &out);
	else
		import(argv[optind], &out);
	sq_note("wrote %ju records, %ju bytes, digest %s",
	    (uintmax_t)out.records, (uintmax_t)out.pos, out.digest);
	sq_out_release(&out);
	return SQ_OK;
}
