/* Rows of tasks, and the log of their items; see task_report.h. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "eval/significance.h"
#include "eval/task_report.h"
#include "formats/fmt_csv.h"

static const char *const log_columns[] = { "model_digest", "task", "settings",
	"item", "group", "tokens", "value", "value2", "said", NULL };

void
sq_task_header(FILE *f, int csv)
{
	if (csv)
		fputs("model,model_digest,task,group,metric,n,value,stderr,"
		    "ci_low,ci_high,delta,p,settings\n", f);
	else
		fprintf(f, "%-24s %-16s %-20s %-9s %6s %8s %8s %17s %9s %7s\n",
		    "model", "task", "group", "metric", "n", "value", "+-",
		    "95 %", "delta", "p");
}

/* Takes over the rows of the log that are this run's own. */
static void
take_over(struct sq_task_report *r, const struct sq_csv *csv)
{
	const char *want[] = { r->digest, r->task->name, r->settings };
	size_t i, j;

	for (i = 1; i < csv->n && r->done < r->task->n; i++) {
		char **f = csv->row[i].field;

		if (csv->row[i].n != 9)
			continue;
		for (j = 0; j < 3 && strcmp(f[j], want[j]) == 0; j++)
			;
		if (j < 3 || strcmp(f[3], r->task->item[r->done].id) != 0)
			continue;
		r->tokens[r->done] = strtoul(f[5], NULL, 10);
		r->value[0][r->done] = strtod(f[6], NULL);
		r->value[1][r->done++] = strtod(f[7], NULL);
	}
}

static int
open_log(struct sq_task_report *r, const char *path, char *err)
{
	struct sq_csv csv;
	size_t len = 0, i;
	char *text = sq_read_file(AT_FDCWD, path, (size_t)1 << 30, &len, err);

	if (text == NULL && errno != ENOENT)
		return -1;
	/* a line that was cut off is no line */
	while (text != NULL && len > 0 && text[len - 1] != '\n')
		len--;
	if (len > 0) {
		if (sq_csv_parse(&csv, text, len, err) < 0) {
			free(text);
			return sq_fail(err, "'%s': %s", path, err);
		}
		take_over(r, &csv);
		sq_csv_release(&csv);
	}
	if ((r->log = fopen(path, len > 0 ? "r+" : "w")) == NULL ||
	    (len > 0 && (ftruncate(fileno(r->log), (off_t)len) < 0 ||
	    fseek(r->log, 0, SEEK_END) < 0))) {
		free(text);
		return sq_fail_errno(err, "'%s'", path);
	}
	free(text);
	for (i = 0; len == 0 && log_columns[i] != NULL; i++)
		sq_csv_field(r->log, i == 0, log_columns[i]);
	if (len == 0)
		putc('\n', r->log);
	return 0;
}

int
sq_task_report_init(struct sq_task_report *r, const char *items, char *err)
{
	size_t n = r->task->n;

	r->value[0] = calloc(n, sizeof(double));
	r->value[1] = calloc(n, sizeof(double));
	r->tokens = calloc(n, sizeof(*r->tokens));
	r->done = 0;
	r->log = NULL;
	if (r->value[0] == NULL || r->value[1] == NULL || r->tokens == NULL)
		return sq_fail(err, "out of memory");
	return items == NULL ? 0 : open_log(r, items, err);
}

void
sq_task_report_release(struct sq_task_report *r)
{
	free(r->value[0]);
	free(r->value[1]);
	free(r->tokens);
	if (r->log != NULL)
		fclose(r->log);
}

int
sq_task_report_add(void *arg, size_t item, const struct sq_outcome *o)
{
	struct sq_task_report *r = arg;
	const struct sq_item *it = &r->task->item[item];
	char number[64];

	r->value[0][item] = o->value[0];
	r->value[1][item] = o->value[1];
	r->tokens[item] = o->tokens;
	r->done = item + 1;
	if (r->log == NULL)
		return 0;
	sq_csv_field(r->log, 1, r->digest);
	sq_csv_field(r->log, 0, r->task->name);
	sq_csv_field(r->log, 0, r->settings);
	sq_csv_field(r->log, 0, it->id);
	sq_csv_field(r->log, 0, it->group == NULL ? "" : it->group);
	snprintf(number, sizeof(number), "%zu", o->tokens);
	sq_csv_field(r->log, 0, number);
	snprintf(number, sizeof(number), "%.9g", o->value[0]);
	sq_csv_field(r->log, 0, number);
	snprintf(number, sizeof(number), "%.9g", o->value[1]);
	sq_csv_field(r->log, 0, number);
	sq_csv_field(r->log, 0, o->said == NULL ? "" : o->said);
	putc('\n', r->log);
	return fflush(r->log) == 0 ? 0 : -1;
}

/* The group of an item: its own, or its prompt's length in tokens rounded up to
 * a power of two. */
static void
group_of(const struct sq_task_report *r, size_t i, char text[64])
{
	const char *g = r->task->item[i].group;
	size_t n = 1;

	if (g != NULL || r->task->kind != SQ_FREE) {
		snprintf(text, 64, "%s", g == NULL ? "" : g);
		return;
	}
	while (n < r->tokens[i])
		n *= 2;
	snprintf(text, 64, "%zu", n);
}

static void
row(const struct sq_task_report *r, const char *group, const char *metric,
    const struct sq_interval *s, double delta, double p)
{
	char d[32] = "", q[32] = "";

	if (!isnan(delta)) {
		snprintf(d, sizeof(d), r->csv ? "%.6f" : "%+.4f", delta);
		snprintf(q, sizeof(q), r->csv ? "%.6f" : "%.4f", p);
	}
	if (!r->csv) {
		fprintf(r->out, "%-24s %-16s %-20s %-9s %6zu %8.4f %8.4f "
		    "%8.4f %8.4f %9s %7s\n", r->model, r->task->name, group,
		    metric, s->n, s->mean, s->stderror, s->low, s->high, d, q);
		return;
	}
	sq_csv_field(r->out, 1, r->model);
	sq_csv_field(r->out, 0, r->digest);
	sq_csv_field(r->out, 0, r->task->name);
	sq_csv_field(r->out, 0, group);
	sq_csv_field(r->out, 0, metric);
	fprintf(r->out, ",%zu,%.6f,%.6f,%.6f,%.6f,%s,%s", s->n, s->mean,
	    s->stderror, s->low, s->high, d, q);
	sq_csv_field(r->out, 0, r->settings);
	putc('\n', r->out);
}

/* One figure over the items whose group is that (all: NULL). */
static struct sq_interval
figure(const struct sq_task_report *r, const struct sq_task_report *base,
    const char *group, int k)
{
	size_t i, n = 0;
	double *v = malloc(2 * (r->task->n + 1) * sizeof(*v));
	double *b = v + r->task->n, delta = NAN, p = NAN;
	const char *name = sq_task_metrics(r->task->kind)[k];
	struct sq_interval s = { 0 };
	char g[64];

	if (v == NULL)
		return s;
	for (i = 0; i < r->task->n; i++) {
		group_of(r, i, g);
		if (group != NULL && strcmp(g, group) != 0)
			continue;
		v[n] = r->value[k][i];
		if (base != NULL)
			b[n] = base->value[k][i];
		n++;
	}
	s = sq_interval_of(v, n);
	if (base != NULL && base != r)
		p = sq_paired(b, v, n, &delta);
	row(r, group == NULL ? "all" : group, name, &s, delta, p);
	free(v);
	return s;
}

/* The mean of the groups' means, each counting the same. */
static void
macro(const struct sq_task_report *r, const double *means, size_t n, int k)
{
	struct sq_interval s = sq_interval_of(means, n);

	row(r, "macro", sq_task_metrics(r->task->kind)[k], &s, NAN, NAN);
}

void
sq_task_report_rows(const struct sq_task_report *r,
    const struct sq_task_report *base)
{
	char (*group)[64] = calloc(r->task->n, sizeof(*group)), g[64];
	double *means = malloc(r->task->n * sizeof(*means));
	size_t i, j, n = 0;
	int k;

	if (group == NULL || means == NULL)
		goto out;
	for (i = 0; i < r->task->n; i++) {
		group_of(r, i, g);
		for (j = 0; j < n && strcmp(group[j], g) != 0; j++)
			;
		if (j == n)
			memcpy(group[n++], g, sizeof(g));
	}
	for (k = 0; k < 2 && sq_task_metrics(r->task->kind)[k] != NULL; k++) {
		for (j = 0; n > 1 && j < n; j++)
			means[j] = figure(r, base, group[j], k).mean;
		if (n > 1 && (r->task->kind == SQ_MMLU ||
		    r->task->kind == SQ_LONGBENCH))
			macro(r, means, n, k);
		figure(r, base, NULL, k);
	}
out:
	free(group);
	free(means);
	fflush(r->out);
}
