/* Sensitivity to patterns; see analyze.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "calib/block.h"
#include "formats/fmt_csv.h"
#include "prune/analyze.h"
#include "report/plot.h"
#include "schema/engine.h"

static const struct {
	const char *text;
	enum sq_sparsity is;		/* what engines call it */
} patterns[SQ_PATTERNS] = {
	{ "2:4", SQ_SPARSE_2_4 },
	{ "4:8", SQ_SPARSE_4_8 },
	{ "8:16", SQ_SPARSE_UNSTRUCTURED },
	{ "1x16", SQ_SPARSE_BLOCK },
	{ "32x32", SQ_SPARSE_BLOCK },
	{ "64x64", SQ_SPARSE_BLOCK },
	{ "unstructured", SQ_SPARSE_UNSTRUCTURED },
};

/* (w - q)^2 over w^2, q the values of a record. */
static int
weigh(struct sq_masking *k, const struct sq_tensor *t, const float *w,
    const unsigned char *payload, double *error, char *err)
{
	float *q = sq_masking_values(k, t, payload, err);
	double sum = 0, all = 0;
	size_t i;

	if (q == NULL)
		return -1;
	for (i = 0; i < t->dim[0] * t->dim[1]; i++) {
		sum += (double)(w[i] - q[i]) * (w[i] - q[i]);
		all += (double)w[i] * w[i];
	}
	free(q);
	*error = all > 0 ? sum / all : 0;
	return 0;
}

static int
measure(struct sq_analysis *a, const struct sq_tensor *t, const float *w,
    int i, struct sq_sensitivity *s, char *err)
{
	struct sq_masking *k = &a->masking;
	const struct sq_gptq *g = &k->layer->gptq;
	unsigned char *payload;
	struct sq_tensor made;
	int r = 0;

	s->alone[i] = s->error[i] = NAN;
	if (sq_sparse_parse(&k->pattern, patterns[i].text) < 0)
		return sq_fail(err, "'%s': no pattern", patterns[i].text);
	if (k->pattern.kind == SQ_MASK_RUNS &&
	    t->dim[1] % k->pattern.m != 0)
		return 0;
	if (sq_masking_make(k, t, w, &made, &payload, err) < 0)
		return -1;
	if (a->with_stats) {
		s->alone[i] = g->norm > 0 ? g->rtn_error / g->norm : 0;
		s->error[i] = g->norm > 0 ? g->error / g->norm : 0;
	} else {
		r = weigh(k, &made, w, payload, &s->alone[i], err);
		s->error[i] = s->alone[i];
	}
	free(payload);
	return r;
}

static int
add_row(struct sq_analysis *a, const struct sq_tensor *t, const float *w,
    char *err)
{
	size_t n = a->room == 0 ? 64 : 2 * a->room;
	struct sq_sensitivity *row;
	int i;

	if (a->n == a->room) {
		if ((row = realloc(a->row, n * sizeof(*row))) == NULL)
			return sq_fail(err, "out of memory");
		a->row = row;
		a->room = n;
	}
	row = &a->row[a->n];
	memcpy(row->name, t->name, sizeof(row->name));
	for (i = 0; i < SQ_PATTERNS; i++)
		if (measure(a, t, w, i, row, err) < 0)
			return -1;
	a->n++;
	return 0;
}

int
sq_analysis_tensor(struct sq_analysis *a, struct sq_filter *f,
    const struct sq_tensor *t)
{
	int with = sq_gptq_concerns(a->masking.layer, t->name);
	float *w;
	int r;

	if (a->n > 0 && with != a->with_stats)
		return sq_fail(f->err, "tensor '%s': with%s statistics, unlike "
		    "those before it", t->name, with ? "" : "out");
	a->with_stats = with;
	a->masking.criterion = with ? SQ_BY_SPARSEGPT : SQ_BY_MAGNITUDE;
	a->masking.sparsity = a->sparsity;
	if ((w = sq_masking_read(&a->masking, &f->in, t, f->err)) == NULL)
		return -1;
	r = add_row(a, t, w, f->err);
	free(w);
	sq_progress_add(f->progress, t->length);
	return r;
}

void
sq_analysis_release(struct sq_analysis *a)
{
	free(a->row);
	a->row = NULL;
}

/* ---- the table ---- */

static double
ratio(const struct sq_analysis *a, int i)
{
	return strchr(patterns[i].text, ':') != NULL ? 0.5 : a->sparsity;
}

static void
print_csv(const struct sq_analysis *a, FILE *out)
{
	const struct sq_sensitivity *s;
	size_t n;
	int i;

	fprintf(out, "tensor,pattern,sparsity,error_mask,error\n");
	for (n = 0; n < a->n; n++)
		for (i = 0; i < SQ_PATTERNS; i++) {
			s = &a->row[n];
			if (isnan(s->error[i]))
				continue;
			sq_csv_field(out, 1, s->name);
			sq_csv_field(out, 0, patterns[i].text);
			fprintf(out, ",%g,%.4e,%.4e\n", ratio(a, i),
			    s->alone[i], s->error[i]);
		}
}

static void
print_row(FILE *out, int width, const char *name, const double *error)
{
	int i;

	fprintf(out, "%-*s", width, name);
	for (i = 0; i < SQ_PATTERNS; i++)
		if (isnan(error[i]))
			fprintf(out, " %12s", "-");
		else
			fprintf(out, " %12.4f", error[i]);
	fputc('\n', out);
}

/* The patterns that each engine has kernels for. */
static int
print_engines(FILE *out, char *err)
{
	struct sq_engine *e = malloc(sizeof(*e));
	const char *name;
	size_t n;
	int i, r = 0;

	if (e == NULL)
		return sq_fail(err, "out of memory");
	for (n = 0; r == 0 && (name = sq_engine_name(n)) != NULL; n++) {
		if ((r = sq_engine_load(e, name, err)) < 0)
			break;
		fprintf(out, "%s:", name);
		for (i = SQ_SPARSE_2_4; sq_sparsity_names[i] != NULL; i++)
			if (e->sparsity >> i & 1)
				fprintf(out, " %s", sq_sparsity_names[i]);
		fputs(e->sparsity >> SQ_SPARSE_2_4 ? "\n" : " none\n", out);
	}
	free(e);
	return r;
}

int
sq_analysis_print(const struct sq_analysis *a, FILE *out, int csv, char *err)
{
	double sum[SQ_PATTERNS] = { 0 };
	int width = 6, i;
	size_t n;

	if (csv) {
		print_csv(a, out);
		return 0;
	}
	for (n = 0; n < a->n; n++)
		if ((int)strlen(a->row[n].name) > width)
			width = (int)strlen(a->row[n].name);
	fprintf(out, "%-*s", width, "tensor");
	for (i = 0; i < SQ_PATTERNS; i++)
		fprintf(out, " %12s", patterns[i].text);
	fputc('\n', out);
	for (n = 0; n < a->n; n++) {
		print_row(out, width, a->row[n].name, a->row[n].error);
		for (i = 0; i < SQ_PATTERNS; i++)
			sum[i] += a->row[n].error[i] / (double)a->n;
	}
	print_row(out, width, "mean", sum);
	fputs("\nengines, and the patterns that they have kernels for:\n",
	    out);
	return print_engines(out, err);
}

/* ---- the plot ---- */

int
sq_analysis_plot(const struct sq_analysis *a, FILE *out, char *err)
{
	struct sq_point *point = calloc(a->n * SQ_PATTERNS + 1,
	    sizeof(*point)), *top[SQ_PATTERNS] = { NULL }, *p = point;
	const char *name[SQ_PATTERNS];
	struct sq_plot plot = { .title = "Sensitivity to patterns",
	    .x_name = "tensor", .y_name = a->with_stats ?
	    "error of the output" : "error of the weights",
	    .series = name, .nseries = SQ_PATTERNS, .point = point,
	    .lines = 1, .x_whole = 1, .y_log = 1 };
	size_t n;
	int i;

	if (point == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < SQ_PATTERNS; i++) {
		name[i] = patterns[i].text;
		for (n = 0; n < a->n; n++) {
			if (!(a->row[n].error[i] > 0))
				continue;	/* none, or not on this scale */
			*p = (struct sq_point){ (double)(n + 1),
			    a->row[n].error[i], (size_t)i, NULL };
			if (top[i] == NULL || p->y > top[i]->y) {
				if (top[i] != NULL)
					top[i]->label = NULL;
				top[i] = p;
				p->label = a->row[n].name;
			}
			p++;
		}
	}
	plot.n = (size_t)(p - point);
	if (plot.n > 0)
		sq_plot_svg(out, &plot, 1);
	free(point);
	return plot.n > 0 ? 0 : sq_fail(err, "no tensor to plot");
}
