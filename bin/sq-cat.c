/* sq-cat: one tensor of a model, or one of its files, to standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/pool.h"
#include "base/tool.h"
#include "model/tensor_values.h"

static const char usage[] = "[-k LEVEL] [-p PART | -t] MODEL NAME";

static const struct option longopts[] = {
	SQ_LONG,
	{ "part", required_argument, NULL, 'p' },
	{ "text", no_argument, NULL, 't' },
	{ NULL, 0, NULL, 0 }
};

static void
put(const void *buf, size_t n)
{
	if (n > 0 && fwrite(buf, n, 1, stdout) != 1)
		sq_flush();
}

static void
cat_part(const struct sq_source *s, const struct sq_source_tensor *t,
    const char *part)
{
	const struct sq_part *p = sq_tensor_part(&t->t, part);
	unsigned char piece[65536];
	char err[SQ_ERR];
	uint64_t at;
	size_t n;

	if (p == NULL)
		sq_die(SQ_EDATA, "'%s': has no part '%s'", t->t.name, part);
	for (at = 0; at < p->length; at += n) {
		n = p->length - at < sizeof(piece) ? (size_t)(p->length - at) :
		    sizeof(piece);
		if (sq_source_read(s, t, (int)(p - t->t.part), at, piece, n,
		    err) < 0)
			sq_die(SQ_EDATA, "%s", err);
		put(piece, n);
	}
}

/* float32, or a line for each row. */
static void
cat_values(const struct sq_source *s, const struct sq_source_tensor *t,
    int text)
{
	const struct sq_kern *kern;
	struct sq_values v;
	struct sq_ctx ctx;
	size_t row, n, i;
	char err[SQ_ERR];
	float *x;

	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(&ctx, kern, NULL) < 0)
		sq_die(SQ_EDATA, "out of memory");
	ctx.fell = sq_tool_fell;
	if (sq_values_open(&v, &ctx, s, t, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	n = SQ_VALUES_ROWS(v.cols);
	if ((x = malloc(n * v.cols * sizeof(*x))) == NULL)
		sq_die(SQ_EDATA, "out of memory");
	for (row = 0; row < v.rows; row += n) {
		n = v.rows - row < n ? v.rows - row : n;
		if (sq_values_read(&v, row, n, x, err) < 0)
			sq_die(SQ_EDATA, "%s", err);
		if (!text) {
			put(x, n * v.cols * sizeof(*x));
			continue;
		}
		for (i = 0; i < n * v.cols; i++)
			printf("%.9g%c", x[i],
			    i % v.cols == v.cols - 1 ? '\n' : ' ');
	}
	free(x);
	sq_values_release(&v);
	sq_ctx_release(&ctx);
}

int
main(int argc, char *argv[])
{
	const struct sq_source_tensor *t;
	const unsigned char *file;
	const char *part = NULL, *name;
	struct sq_source *s;
	char err[SQ_ERR];
	size_t size;
	int c, text = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT "p:t", longopts,
	    NULL)) != -1)
		switch (c) {
		case 'p':
			part = optarg;
			break;
		case 't':
			text = 1;
			break;
		default:
			sq_tool_option(c);
		}
	if (optind != argc - 2 || (part != NULL && text))
		sq_usage();
	if ((s = sq_source_open_any(argv[optind], err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	name = argv[optind + 1];
	if ((t = sq_source_find(s, name)) != NULL) {
		if (!text)
			sq_need_pipe();
		if (part != NULL)
			cat_part(s, t, part);
		else
			cat_values(s, t, text);
	} else if ((file = sq_files_find(&s->files, name, &size)) != NULL) {
		put(file, size);
	} else {
		sq_die(SQ_EDATA, "'%s': no tensor or file of that name",
		    name);
	}
	sq_flush();
	sq_source_close(s);
	return SQ_OK;
}
