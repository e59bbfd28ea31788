/* sq-merge: what was quantized in parts becomes one model again. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/tool.h"
#include "formats/fmt_records.h"
#include "model/merge.h"

static const char usage[] = "[-qz] STREAM ...";

static const struct option longopts[] = {
	SQ_LONG,
	{ "zstd", no_argument, NULL, 'z' },
	{ NULL, 0, NULL, 0 }
};

static void
merge(struct sq_in *in, char *path[], size_t n, struct sq_out *out)
{
	struct sq_progress progress;
	char err[SQ_ERR];
	size_t i;
	int fd;

	for (i = 0; i < n; i++) {
		if ((fd = open(path[i], O_RDONLY | O_CLOEXEC)) < 0)
			sq_die(SQ_EDATA, "'%s': %s", path[i], strerror(errno));
		if (sq_in_open(&in[i], fd) < 0)
			sq_die(SQ_EDATA, "%s: %s", path[i], in[i].err);
	}
	sq_tool_progress(&progress);
	if (sq_merge(in, (const char *const *)path, n, out, &progress,
	    err) < 0) {
		sq_progress_end(&progress);
		sq_die(SQ_EDATA, "%s", err);
	}
	sq_progress_end(&progress);
	if (sq_out_provenance(out, "sq-merge", SQ_VERSION, json_object(),
	    NULL, in[0].digest) < 0 || sq_out_finish(out) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out->err);
}

int
main(int argc, char *argv[])
{
	static struct sq_in in[SQ_MAX_MERGE];
	struct sq_out out;
	int c, compress = 0;
	size_t n, i;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "z", longopts,
	    NULL)) != -1)
		if (c == 'z')
			compress = 1;
		else
			sq_tool_option(c);
	n = (size_t)(argc - optind);
	if (n == 0 || n > SQ_MAX_MERGE)
		sq_usage();
	sq_need_pipe();
	if (sq_out_open(&out, STDOUT_FILENO, compress) < 0)
		sq_die(SQ_EDATA, "stdout: %s", out.err);
	merge(in, argv + optind, n, &out);
	sq_out_release(&out);
	for (i = 0; i < n; i++)
		sq_in_release(&in[i]);
	return SQ_OK;
}
