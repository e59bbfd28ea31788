/* sq-verify: are all bytes what they were? */
#include <stdio.h>
#include <unistd.h>

#include "base/tool.h"
#include "formats/fmt_sqa.h"
#include "model/source.h"

static const char usage[] = "[-q] [FILE ...]";

static const struct option longopts[] = {
	SQ_LONG,
	{ NULL, 0, NULL, 0 }
};

static int
verify_stream(int fd, const char *name)
{
	struct sq_tensor t;
	char err[SQ_ERR];
	struct sq_in in;
	int r;

	if ((r = sq_in_open(&in, fd)) == 0)
		while ((r = sq_in_next(&in)) > 0)
			if (in.type == SQ_TENSOR && sq_tensor_parse(&t,
			    in.desc, in.length, err) < 0) {
				r = sq_fail(in.err, "%s", err);
				break;
			}
	if (r < 0)
		sq_warn("%s: %s", name, in.err);
	else if (!sq_tool.quiet)
		printf("%s: ok, %ju records, digest %s\n", name,
		    (uintmax_t)in.records, in.digest);
	sq_in_release(&in);
	return r;
}

/* A stream has hashes, an artifact a MANIFEST; safetensors have no checksums,
 * and only their structure can be judged. */
static int
verify(const char *path)
{
	struct sq_source *s;
	char err[SQ_ERR];
	const char *what;
	int fd, r;

	if ((fd = sq_stream_fd(path)) >= 0) {
		r = verify_stream(fd, sq_input_name(path));
		if (fd != STDIN_FILENO)
			close(fd);
		return r;
	}
	if ((s = sq_source_open_any(path, err)) == NULL) {
		sq_warn("%s", err);
		return -1;
	}
	if (s->sqa != NULL && sq_sqa_verify(s->sqa, err) < 0) {
		sq_warn("'%s': %s", path, err);
		sq_source_close(s);
		return -1;
	}
	what = s->st != NULL ? "structure ok (no checksums)" : "ok";
	if (!sq_tool.quiet)
		printf("%s: %s, %s, %zu tensors\n", path, what, s->kind, s->n);
	sq_source_close(s);
	return 0;
}

int
main(int argc, char *argv[])
{
	int c, i, bad = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1)
		sq_tool_option(c);
	if (optind == argc)
		bad = verify("-") < 0;
	for (i = optind; i < argc; i++)
		if (verify(argv[i]) < 0)
			bad = 1;
	sq_flush();
	return bad ? SQ_EDATA : SQ_OK;
}
