/* Figures from CSV; see figures.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_csv.h"
#include "report/figures.h"

/* A column that is a figure, of the CSV that sq-eval -t writes. */
static const struct {
	const char *name, *unit;
} prediction[] = {
	{ "nll", "nats" }, { "ppl", "" }, { "kl", "nats" }, { "top1", "" },
	{ "kl_stderr", "nats" }, { "delta", "nats" },
	{ "delta_stderr", "nats" }, { "lost", "" }, { "won", "" },
	{ "top5", "" }, { "flips", "" },
};

void
sq_figures_release(struct sq_figures *f)
{
	size_t i;

	for (i = 0; i < f->nvariants; i++)
		free(f->variant[i]);
	for (i = 0; i < f->n; i++) {
		free(f->figure[i].metric);
		free(f->figure[i].unit);
		free(f->figure[i].where);
	}
	for (i = 0; i < f->ngaps; i++)
		free(f->gap[i]);
	free(f->variant);
	free(f->figure);
	free(f->gap);
	memset(f, 0, sizeof(*f));
}

void
sq_figures_gap(struct sq_figures *f, const char *text)
{
	char **p = realloc(f->gap, (f->ngaps + 1) * sizeof(*p));

	if (p == NULL)
		return;
	f->gap = p;
	if ((p[f->ngaps] = strdup(text)) != NULL)
		f->ngaps++;
}

/* The name without its folder and ".sqa". */
static size_t
variant(struct sq_figures *f, const char *path, char *err)
{
	const char *end = path + strlen(path), *base, *dot;
	char **p, name[128];
	size_t i;

	while (end > path && end[-1] == '/')
		end--;
	for (base = end; base > path && base[-1] != '/'; base--)
		;
	snprintf(name, sizeof(name), "%.*s", (int)(end - base), base);
	if ((dot = strrchr(name, '.')) != NULL && (strcmp(dot, ".sqa") == 0 ||
	    strcmp(dot, ".gguf") == 0))
		name[dot - name] = '\0';
	for (i = 0; i < f->nvariants; i++)
		if (strcmp(f->variant[i], name) == 0)
			return i;
	if ((p = realloc(f->variant, (i + 1) * sizeof(*p))) == NULL ||
	    (f->variant = p, p[i] = strdup(name)) == NULL) {
		sq_fail(err, "out of memory");
		return (size_t)-1;
	}
	return f->nvariants++;
}

static int
same_place(const struct sq_figure *a, size_t v, const char *metric,
    const char *where, double x, double y)
{
	return a->variant == v && strcmp(a->metric, metric) == 0 &&
	    strcmp(a->where, where) == 0 &&
	    (a->x == x || (isnan(a->x) && isnan(x))) &&
	    (a->y == y || (isnan(a->y) && isnan(y)));
}

int
sq_figures_put(struct sq_figures *f, size_t v, const char *metric,
    const char *unit, const char *where, double x, double y, double value,
    char *err)
{
	struct sq_figure *p;
	size_t i;

	for (i = 0; i < f->n; i++) {
		if (strcmp(f->figure[i].metric, metric) == 0 &&
		    strcmp(f->figure[i].unit, unit) != 0)
			return sq_fail(err, "'%s' in '%s' and in '%s'", metric,
			    f->figure[i].unit, unit);
		if (same_place(&f->figure[i], v, metric, where, x, y)) {
			f->figure[i].value = value;
			return 0;
		}
	}
	if ((p = realloc(f->figure, (f->n + 1) * sizeof(*p))) == NULL)
		return sq_fail(err, "out of memory");
	f->figure = p;
	p += f->n++;
	*p = (struct sq_figure){ v, strdup(metric), strdup(unit),
	    strdup(where), x, y, value };
	return p->metric == NULL || p->unit == NULL || p->where == NULL ?
	    sq_fail(err, "out of memory") : 0;
}

/* The number in a field: 1; 0 when it is empty; -1 when it is none. */
static int
number(const char *field, double *v)
{
	char *end;

	if (*field == '\0')
		return 0;
	*v = strtod(field, &end);
	return *end == '\0' && isfinite(*v) ? 1 : -1;
}

struct reader {
	struct sq_figures *f;
	const struct sq_csv *csv;
	const char *name;
	char *err;
};

static const char *
field(const struct reader *r, size_t row, const char *column)
{
	int c = sq_csv_column(r->csv, column);

	return c < 0 || (size_t)c >= r->csv->row[row].n ? "" :
	    r->csv->row[row].field[c];
}

static int
take(const struct reader *r, size_t row, size_t v, const char *metric,
    const char *unit, const char *where, double x, double y,
    const char *column)
{
	double value = 0;
	int got = number(field(r, row, column), &value);

	if (got < 0)
		return sq_fail(r->err, "'%s': line %zu: '%s' is no number",
		    r->name, row + 1, field(r, row, column));
	if (got == 1 && sq_figures_put(r->f, v, metric, unit, where, x, y,
	    value, r->err) < 0)
		return sq_fail(r->err, "'%s': line %zu: %s", r->name, row + 1,
		    r->err);
	return 0;
}

static double
coordinate(const struct reader *r, size_t row, const char *column)
{
	double v = NAN;

	return number(field(r, row, column), &v) == 1 ? v : NAN;
}

/* A row of sq-eval -t. */
static int
predicted(const struct reader *r, size_t row, size_t v)
{
	size_t i;

	for (i = 0; i < sizeof(prediction) / sizeof(prediction[0]); i++)
		if (take(r, row, v, prediction[i].name, prediction[i].unit,
		    field(r, row, "text"), NAN, NAN, prediction[i].name) < 0)
			return -1;
	return 0;
}

/* A row of sq-bench load. */
static int
loaded(const struct reader *r, size_t row, size_t v)
{
	static const struct {
		const char *column, *metric, *unit;
	} names[] = {
		{ "out_tok_s", "throughput", "tok/s" },
		{ "ttft_ms_mean", "ttft", "ms" }, { "ttft_ms_p99", "ttft_p99",
		    "ms" },
		{ "tpot_ms_mean", "tpot", "ms" }, { "tpot_ms_p99", "tpot_p99",
		    "ms" },
		{ "e2e_ms_mean", "e2e", "ms" },
		{ "goodput_req_s", "goodput", "1/s" },
		{ "memory_weights", "memory_weights", "bytes" },
		{ "memory_kv", "memory_kv", "bytes" },
		{ "memory_activations", "memory_activations", "bytes" },
		{ "energy_j_tok", "energy", "J/token" },
	};
	double y = coordinate(r, row, "max_concurrency");
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (take(r, row, v, names[i].metric, names[i].unit,
		    field(r, row, "scenario"), NAN, y, names[i].column) < 0)
			return -1;
	return 0;
}

/* A row of sq-eval --task. */
static int
answered(const struct reader *r, size_t row, size_t v)
{
	const char *group = field(r, row, "group"), *comma;
	const char *metric = field(r, row, "metric");

	if (strcmp(field(r, row, "task"), "needle") == 0 &&
	    (comma = strchr(group, ',')) != NULL)
		return strcmp(metric, "exact") != 0 ? 0 : take(r, row, v,
		    "needle", "", "", strtod(group, NULL),
		    strtod(comma + 1, NULL), "value");
	if (strcmp(group, "all") != 0)
		return 0;
	return take(r, row, v, metric, "", field(r, row, "task"), NAN, NAN,
	    "value");
}

static int
one_row(const struct reader *r, size_t row)
{
	size_t v;

	if (r->csv->row[row].n != r->csv->row[0].n)
		return sq_fail(r->err, "'%s': line %zu has %zu fields, not "
		    "%zu", r->name, row + 1, r->csv->row[row].n,
		    r->csv->row[0].n);
	if ((v = variant(r->f, field(r, row, "model"), r->err)) == (size_t)-1)
		return -1;
	if (sq_csv_column(r->csv, "layer") >= 0)
		return take(r, row, v, "error", "", field(r, row, "text"),
		    coordinate(r, row, "layer"), NAN, "error");
	if (sq_csv_column(r->csv, "task") >= 0)
		return answered(r, row, v);
	if (sq_csv_column(r->csv, "scenario") >= 0)
		return loaded(r, row, v);
	if (sq_csv_column(r->csv, "prompt") >= 0)
		return take(r, row, v, field(r, row, "metric"),
		    field(r, row, "unit"), "", coordinate(r, row, "prompt"),
		    coordinate(r, row, "batch"), "value");
	return predicted(r, row, v);
}

/* The headers that can be read, by the columns that tell them. */
static int
known(const struct sq_csv *csv)
{
	static const char *const kinds[][4] = {
		{ "layer", "error", "text" }, { "task", "group", "value" },
		{ "scenario", "out_tok_s", "ttft_ms_mean" },
		{ "prompt", "batch", "unit" }, { "text", "ppl", "nll" },
	};
	size_t i, j;

	if (csv->n == 0 || sq_csv_column(csv, "model") < 0)
		return 0;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (j = 0; kinds[i][j] != NULL &&
		    sq_csv_column(csv, kinds[i][j]) >= 0; j++)
			;
		if (kinds[i][j] == NULL)
			return 1;
	}
	return 0;
}

int
sq_figures_read(struct sq_figures *f, const char *text, size_t len,
    const char *name, char *err)
{
	struct sq_csv csv;
	struct reader r = { f, &csv, name, err };
	size_t i;
	int ret = 0;

	if (sq_csv_parse(&csv, text, len, err) < 0)
		return sq_fail(err, "'%s': %s", name, err);
	if (!known(&csv))
		ret = sq_fail(err, "'%s': not a CSV of sq-eval or sq-bench",
		    name);
	for (i = 1; ret == 0 && i < csv.n; i++)
		ret = one_row(&r, i);
	if (ret == 0 && csv.n < 2)
		ret = sq_fail(err, "'%s': no rows", name);
	sq_csv_release(&csv);
	return ret;
}

int
sq_figures_baseline(struct sq_figures *f, const char *name, char *err)
{
	size_t n = f->nvariants, i = variant(f, name, err), j;
	char *s;

	if (i == (size_t)-1)
		return -1;
	s = f->variant[i];
	memmove(f->variant + 1, f->variant, i * sizeof(*f->variant));
	f->variant[0] = s;
	for (j = 0; j < f->n; j++) {
		size_t *v = &f->figure[j].variant;

		*v = *v == i ? 0 : *v < i ? *v + 1 : *v;
	}
	if (n == f->nvariants)
		return 0;
	sq_fail(err, "no figures of the baseline '%s'", name);
	return 1;
}

double
sq_figures_get(const struct sq_figures *f, size_t v, const char *metric,
    const char *where, double x, double y)
{
	int logs = strcmp(metric, "ppl") == 0;
	double sum = 0;
	size_t i, n = 0;

	for (i = 0; i < f->n; i++) {
		const struct sq_figure *p = &f->figure[i];

		if (p->variant != v || strcmp(p->metric, metric) != 0 ||
		    (where != NULL && strcmp(p->where, where) != 0) ||
		    (!isnan(x) && p->x != x) || (!isnan(y) && p->y != y))
			continue;
		sum += logs ? log(p->value) : p->value;
		n++;
	}
	if (n == 0)
		return NAN;
	return logs ? exp(sum / (double)n) : sum / (double)n;
}

int
sq_figures_derive(struct sq_figures *f, const struct sq_price *price, char *err)
{
	char unit[64];
	size_t i, n = f->n;

	snprintf(unit, sizeof(unit), "%s/Mtok", price->currency);
	for (i = 0; i < n; i++) {
		const struct sq_figure p = f->figure[i];

		if (strcmp(p.metric, "throughput") == 0 &&
		    price->per_hour > 0 && sq_figures_put(f, p.variant, "cost",
		    unit, "", p.x, p.y, sq_price_of_million(price, p.value),
		    err) < 0)
			return -1;
	}
	return 0;
}
