/*
 * sq-diff: which tensors of two models differ, and by how much.  Exits as
 * diff(1) does: 0 none, 1 some, 2 trouble.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/tool.h"
#include "calib/stats_diff.h"
#include "model/tensor_values.h"
#include "model/weight.h"

static const char usage[] = "[-qv] [-j N] [-k LEVEL] [--stats | --values] A B";

enum { OPT_STATS = SQ_OPT(0), OPT_VALUES };

static const struct option longopts[] = {
	SQ_LONG,
	{ "stats", no_argument, NULL, OPT_STATS },
	{ "values", no_argument, NULL, OPT_VALUES },
	{ NULL, 0, NULL, 0 }
};

enum { SAME, DIFFER, TROUBLE };

/* How b differs from a, value by value. */
struct diff {
	double max, error, norm;	/* max |b-a|, sum (b-a)^2, sum a^2 */
	uint64_t count;			/* values that differ */
};

static struct sq_ctx ctx;
static int values_alone;		/* types and groups do not count */

/* The same form, and the same bytes in every part? */
static int
same_bytes(const struct sq_source *a, const struct sq_source_tensor *ta,
    const struct sq_source *b, const struct sq_source_tensor *tb)
{
	static unsigned char x[1 << 18], y[1 << 18];
	uint64_t at, n;
	char err[SQ_ERR];
	int i;

	if (ta->t.grid != tb->t.grid || ta->t.type != tb->t.type ||
	    ta->t.nparts != tb->t.nparts ||
	    ta->t.group_rows != tb->t.group_rows ||
	    ta->t.group_cols != tb->t.group_cols)
		return 0;
	for (i = 0; i < ta->t.nparts; i++) {
		if (ta->t.part[i].length != tb->t.part[i].length ||
		    ta->t.part[i].type != tb->t.part[i].type)
			return 0;
		for (at = 0; at < ta->t.part[i].length; at += n) {
			n = ta->t.part[i].length - at;
			n = n < sizeof(x) ? n : sizeof(x);
			if (sq_source_read(a, ta, i, at, x, n, err) < 0 ||
			    sq_source_read(b, tb, i, at, y, n, err) < 0)
				sq_die(TROUBLE, "%s", err);
			if (memcmp(x, y, n) != 0)
				return 0;
		}
	}
	return 1;
}

static void
compare(const float *a, const float *b, size_t n, struct diff *d)
{
	double e;
	size_t i;

	for (i = 0; i < n; i++) {
		e = (double)b[i] - a[i];
		d->error += e * e;
		d->norm += (double)a[i] * a[i];
		d->count += e != 0;
		if (fabs(e) > d->max || isnan(e))
			d->max = fabs(e);
	}
}

static void
values_diff(const struct sq_source *a, const struct sq_source_tensor *ta,
    const struct sq_source *b, const struct sq_source_tensor *tb,
    struct diff *d)
{
	struct sq_values va, vb;
	size_t row, n, rows;
	char err[SQ_ERR];
	float *x, *y;

	memset(d, 0, sizeof(*d));
	if (sq_values_open(&va, &ctx, a, ta, err) < 0 ||
	    sq_values_open(&vb, &ctx, b, tb, err) < 0)
		sq_die(TROUBLE, "%s", err);
	rows = SQ_VALUES_ROWS(va.cols);
	x = malloc(rows * va.cols * sizeof(*x));
	y = malloc(rows * va.cols * sizeof(*y));
	if (x == NULL || y == NULL)
		sq_die(TROUBLE, "out of memory");
	for (row = 0; row < va.rows; row += n) {
		n = va.rows - row < rows ? va.rows - row : rows;
		if (sq_values_read(&va, row, n, x, err) < 0 ||
		    sq_values_read(&vb, row, n, y, err) < 0)
			sq_die(TROUBLE, "%s", err);
		compare(x, y, n * va.cols, d);
	}
	sq_values_release(&va);
	sq_values_release(&vb);
	free(x);
	free(y);
}

static const char *
form(const struct sq_tensor *t)
{
	return t->grid == SQ_DENSE ? sq_dtype_name(t->type) :
	    t->grid == SQ_GRIDS ? "unknown" : sq_grid_name(t->grid);
}

/* Are there kernels that make float32 of it? */
static int
has_values(const struct sq_tensor *t)
{
	const void *part[SQ_PARTS] = { NULL };
	struct sq_weight w;
	char err[SQ_ERR];

	return sq_weight_init_parts(&w, t, part, err) == 0;
}

static int
diff_tensor(const struct sq_source *a, const struct sq_source_tensor *ta,
    const struct sq_source *b)
{
	const struct sq_source_tensor *tb = sq_source_find(b, ta->t.name);
	struct diff d;

	if (tb == NULL) {
		printf("%-48s only in A\n", ta->t.name);
		return DIFFER;
	}
	if (ta->t.ndim != tb->t.ndim || memcmp(ta->t.dim, tb->t.dim,
	    (size_t)ta->t.ndim * sizeof(ta->t.dim[0])) != 0) {
		printf("%-48s shapes differ\n", ta->t.name);
		return DIFFER;
	}
	if (same_bytes(a, ta, b, tb)) {
		if (sq_tool.verbose)
			printf("%-48s same\n", ta->t.name);
		return SAME;
	}
	if (!has_values(&ta->t) || !has_values(&tb->t)) {
		printf("%-48s %-8s %-8s bytes differ\n", ta->t.name,
		    form(&ta->t), form(&tb->t));
		return DIFFER;
	}
	values_diff(a, ta, b, tb, &d);
	if (values_alone && d.count == 0) {
		if (sq_tool.verbose)
			printf("%-48s %-8s %-8s same values\n", ta->t.name,
			    form(&ta->t), form(&tb->t));
		return SAME;
	}
	printf("%-48s %-8s %-8s max %.3e  relative %.3e  %.1f%%\n",
	    ta->t.name, form(&ta->t), form(&tb->t), d.max,
	    d.error == 0 ? 0 : d.error / d.norm,
	    100 * (double)d.count / (double)sq_tensor_count(&ta->t));
	return DIFFER;
}

static void
open_stream(struct sq_in *in, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		sq_die(SQ_EUSAGE, "'%s': cannot open", path);
	if (sq_in_open(in, fd) < 0)
		sq_die(SQ_EUSAGE, "'%s': %s", path, in->err);
}

/* The statistics of two streams: how many records differ. */
static size_t
diff_stats(const char *a, const char *b)
{
	struct sq_stats_diff d, worst = { .h = -1 };
	size_t n = 0, differ = 0;
	struct sq_in ia, ib;
	char err[SQ_ERR];
	int r;

	open_stream(&ia, a);
	open_stream(&ib, b);
	while ((r = sq_stats_diff_next(&d, &ia, &ib, err)) > 0) {
		n++;
		differ += !d.same;
		if (!d.same || sq_tool.verbose)
			printf("%-48s %9ju %9ju tokens  H %.3e  mean %.3e\n",
			    d.tensor, (uintmax_t)d.tokens_a,
			    (uintmax_t)d.tokens_b, d.h, d.mean);
		if (d.h > worst.h)
			worst = d;
	}
	if (r < 0)
		sq_die(SQ_EUSAGE, "%s", err);
	if (!sq_tool.quiet && differ > 0)
		printf("worst: '%s', H differs by %.3e of its norm\n",
		    worst.tensor, worst.h);
	if (!sq_tool.quiet)
		printf("%zu of %zu statistics differ\n", differ, n);
	sq_in_release(&ia);
	sq_in_release(&ib);
	return differ;
}

static struct sq_source *
open_model(const char *path)
{
	char err[SQ_ERR];
	struct sq_source *s = sq_source_open_any(path, err);

	if (s == NULL)
		sq_die(TROUBLE, "%s", err);
	return s;
}

int
main(int argc, char *argv[])
{
	const struct sq_kern *kern;
	struct sq_source *a, *b;
	size_t i, differ = 0;
	char err[SQ_ERR];
	int c, stats = 0;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1)
		if (c == OPT_STATS)
			stats = 1;
		else if (c == OPT_VALUES)
			values_alone = 1;
		else
			sq_tool_option(c);
	if (optind != argc - 2 || (stats && values_alone))
		sq_usage();
	if (stats) {
		differ = diff_stats(argv[optind], argv[optind + 1]);
		sq_flush();
		return differ > 0 ? 1 : SQ_OK;
	}
	if ((kern = sq_kern_find(sq_tool.kernel, err)) == NULL)
		sq_die(SQ_EUSAGE, "%s", err);
	if (sq_ctx_init(&ctx, kern, sq_pool_new(sq_tool.threads)) < 0)
		sq_die(TROUBLE, "out of memory");
	ctx.fell = sq_tool_fell;
	a = open_model(argv[optind]);
	b = open_model(argv[optind + 1]);
	for (i = 0; i < a->n; i++)
		differ += diff_tensor(a, &a->tensor[i], b) == DIFFER;
	for (i = 0; i < b->n; i++)
		if (sq_source_find(a, b->tensor[i].t.name) == NULL) {
			printf("%-48s only in B\n", b->tensor[i].t.name);
			differ++;
		}
	if (!sq_tool.quiet)
		printf("%zu of %zu tensors differ\n", differ, a->n);
	sq_flush();
	return differ > 0 ? 1 : SQ_OK;
}
