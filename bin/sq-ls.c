/* sq-ls: what is in a stream, an artifact or a checkpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/tool.h"
#include "formats/fmt_json.h"
#include "formats/fmt_stats.h"
#include "model/source.h"

static const char usage[] = "[-v] [FILE]";

static const struct option longopts[] = {
	SQ_LONG,
	{ NULL, 0, NULL, 0 }
};

static void
shape_text(const struct sq_tensor *t, char text[128])
{
	size_t n = 0;
	int i;

	for (i = 0; i < t->ndim; i++)
		n += (size_t)snprintf(text + n, 128 - n, "%s%ju",
		    i == 0 ? "" : "x", (uintmax_t)t->dim[i]);
}

static void
list_tensor(const struct sq_tensor *t, uint64_t bytes)
{
	char shape[128], group[64] = "", act[64] = "", mask[32] = "";
	char text[SQ_SPARSE_TEXT];
	int i;

	shape_text(t, shape);
	if (t->grid != SQ_DENSE)
		snprintf(group, sizeof(group), "  %jux%ju%s",
		    (uintmax_t)t->group_rows, (uintmax_t)t->group_cols,
		    sq_grid_is_int(t->grid) && !t->symmetric ? " asym" : "");
	if (t->act.kind == SQ_ACTS)
		snprintf(act, sizeof(act), "  act unknown");
	else if (t->act.kind != SQ_ACT_NONE)
		snprintf(act, sizeof(act), "  act %s%s",
		    sq_act_name(t->act.kind), t->act.scale > 0 ? " static" :
		    "");
	if (sq_tensor_part(t, "mask") != NULL)
		snprintf(mask, sizeof(mask), "  mask %s",
		    sq_sparse_text(&t->sparse, text));
	printf("%-48s %-9s %-14s %12ju%s%s%s\n", t->name,
	    t->grid == SQ_DENSE ? sq_dtype_name(t->type) :
	    t->grid == SQ_GRIDS ? "unknown" : sq_grid_name(t->grid), shape,
	    (uintmax_t)bytes, group, act, mask);
	for (i = 0; sq_tool.verbose && i < t->nparts; i++)
		printf("    %-10s %-9s %12ju\n", t->part[i].name,
		    sq_dtype_name(t->part[i].type),
		    (uintmax_t)t->part[i].length);
}

static void
list_other(unsigned type, const json_t *desc, uint64_t bytes)
{
	char *json = sq_json_text(desc);

	printf("%-48s %-9s %-14s %12ju\n", sq_rtype_name(type), "", "",
	    (uintmax_t)bytes);
	if (sq_tool.verbose && json != NULL)
		printf("    %s\n", json);
	free(json);
}

/* The record whose channels differ most in size: hard to quantize. */
struct worst {
	double ratio;
	char tensor[SQ_NAME];
};

/* How much the largest magnitude stands out from the mean of all. */
static double
outlier(const struct sq_stats *s)
{
	double max = 0, mean = 0, a;
	size_t i;

	for (i = 0; s->max != NULL && s->min != NULL && s->absmean != NULL &&
	    i < s->channels; i++) {
		a = s->max[i] > -s->min[i] ? s->max[i] : -s->min[i];
		max = a > max ? a : max;
		mean += s->absmean[i] / (double)s->channels;
	}
	return mean > 0 ? max / mean : 0;
}

static size_t
dead_channels(const struct sq_stats *s)
{
	size_t i, n = 0;

	for (i = 0; s->absmean != NULL && i < s->channels; i++)
		n += s->absmean[i] == 0;
	return n;
}

/* What the statistics are of; with -v what they say. */
static void
list_stats(struct sq_in *in, const char *name, struct worst *worst)
{
	uint64_t bytes = in->length;
	char shape[64], label[SQ_NAME + 16];
	struct sq_stats s;
	double ratio;

	if (sq_stats_read(&s, in, SQ_MAX_PAYLOAD) < 0)
		sq_die(SQ_EDATA, "%s: %s", name, in->err);
	snprintf(label, sizeof(label), "STATS %s", s.tensor[0]);
	if (s.is_kv)
		snprintf(shape, sizeof(shape), "%jux%ju", (uintmax_t)s.heads,
		    (uintmax_t)s.dim);
	else
		snprintf(shape, sizeof(shape), "%s%ju", s.h != NULL ? "H " :
		    "diag ", (uintmax_t)s.channels);
	printf("%-48s %-9s %-14s %12ju  %ju tokens, %zu tensors\n", label,
	    s.is_kv ? "kv" : "linear", shape, (uintmax_t)bytes,
	    (uintmax_t)s.tokens, s.ntensors);
	if (!s.is_kv) {
		ratio = outlier(&s);
		if (sq_tool.verbose)
			printf("    greatest magnitude %.1f x the mean, %zu "
			    "channels never active\n", ratio,
			    dead_channels(&s));
		if (ratio > worst->ratio) {
			worst->ratio = ratio;
			memcpy(worst->tensor, s.tensor[0], SQ_NAME);
		}
	}
	sq_stats_release(&s);
}

/* Record by record: a stream may be longer than a model. */
static void
list_stream(int fd, const char *name)
{
	struct worst worst = { .ratio = 0 };
	struct sq_tensor t;
	char err[SQ_ERR];
	struct sq_in in;
	int r;

	if (sq_in_open(&in, fd) < 0)
		sq_die(SQ_EDATA, "%s: %s", name, in.err);
	while ((r = sq_in_next(&in)) > 0) {
		if (in.type == SQ_STATS) {
			list_stats(&in, name, &worst);
			continue;
		}
		if (in.type != SQ_TENSOR) {
			list_other(in.type, in.desc, in.length);
			continue;
		}
		if (sq_tensor_parse(&t, in.desc, in.length, err) < 0)
			sq_die(SQ_EDATA, "%s: %s", name, err);
		list_tensor(&t, in.length);
	}
	if (r < 0)
		sq_die(SQ_EDATA, "%s: %s", name, in.err);
	if (sq_tool.verbose && worst.ratio > 0)
		printf("worst outliers: %.1f x the mean, input of '%s'\n",
		    worst.ratio, worst.tensor);
	printf("%ju records, %ju bytes, digest %s\n", (uintmax_t)in.records,
	    (uintmax_t)in.pos, in.digest);
	sq_in_release(&in);
}

static void
list_source(const char *path)
{
	struct sq_source *s;
	uint64_t total = 0;
	char err[SQ_ERR];
	size_t i;

	if ((s = sq_source_open_any(path, err)) == NULL)
		sq_die(SQ_EDATA, "%s", err);
	for (i = 0; i < s->n; i++) {
		list_tensor(&s->tensor[i].t, s->tensor[i].t.length);
		total += s->tensor[i].t.length;
	}
	for (i = 0; i < json_array_size(s->provenance); i++)
		list_other(SQ_PROVENANCE, json_array_get(s->provenance, i), 0);
	if (sq_tool.verbose && s->files.h.model[0] != '\0')
		printf("model digest %s\n", s->files.h.model);
	printf("%zu tensors, %ju bytes, %s%s%s\n", s->n, (uintmax_t)total,
	    s->kind, s->config.arch == NULL ? "" : ", ",
	    s->config.arch == NULL ? "" : s->config.arch->name);
	sq_source_close(s);
}

int
main(int argc, char *argv[])
{
	const char *path;
	int c, fd;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1)
		sq_tool_option(c);
	if (argc - optind > 1)
		sq_usage();
	path = optind == argc ? "-" : argv[optind];
	if ((fd = sq_stream_fd(path)) >= 0)
		list_stream(fd, sq_input_name(path));
	else
		list_source(path);
	sq_flush();
	return SQ_OK;
}
