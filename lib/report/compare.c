/* The baseline against each variant; see compare.h. */
#include <math.h>
#include <string.h>

#include "formats/fmt_csv.h"
#include "report/compare.h"

const struct sq_line sq_lines[] = {
	{ "ppl", "perplexity", "", 1, "%.4g", -1, 1.05, "within 5 %" },
	{ "kl", "KL to the baseline", "nats", 1, "%.4f", -1, 0, NULL },
	{ "top1", "same first choice", "%", 100, "%.1f", 1, 0, NULL },
	{ "exact", "retrieval, exact", "%", 100, "%.1f", 1, .95,
	    "within 5 %" },
	{ "acc", "choice, accuracy", "%", 100, "%.1f", 1, .95, "within 5 %" },
	{ "ttft", "TTFT", "ms", 1, "%.4g", -1, .8, "-20 %" },
	{ "tpot", "TPOT", "ms", 1, "%.4g", -1, .8, "-20 %" },
	{ "throughput", "throughput", "tok/s", 1, "%.4g", 1, 2, "200 %" },
	{ "memory_prefill", "memory, prefill", "MB", 1e-6, "%.4g", -1, .6,
	    "-40 %" },
	{ "memory_decode", "memory, decode", "MB", 1e-6, "%.4g", -1, .7,
	    "-30 %" },
	{ "memory_weights", "weights", "MB", 1e-6, "%.4g", -1, 0, NULL },
	{ "energy", "energy", "J/token", 1, "%.4g", -1, .7, "-30 %" },
	{ "cost", "cost", "per Mtok", 1, "%.4g", -1, .7, "-30 %" },
};
const size_t sq_nlines = sizeof(sq_lines) / sizeof(sq_lines[0]);

/* Memory in a phase: weights and keys and values, prefill with the activations
 * of a pass besides. */
static double
memory(const struct sq_figures *f, size_t v, int prefill)
{
	double m = sq_figures_get(f, v, "memory_weights", NULL, NAN, NAN) +
	    sq_figures_get(f, v, "memory_kv", NULL, NAN, NAN);

	return prefill ? m + sq_figures_get(f, v, "memory_activations", NULL,
	    NAN, NAN) : m;
}

/* Latency is that of one request at a time where it was measured, throughput
 * the best that any number of requests reached, and cost goes with it. */
static double
speed(const struct sq_figures *f, const struct sq_line *l, size_t v)
{
	double best = NAN, one;
	size_t i;

	if (strcmp(l->metric, "ttft") == 0 || strcmp(l->metric, "tpot") == 0) {
		one = sq_figures_get(f, v, l->metric, NULL, NAN, 1);
		return !isnan(one) ? one : sq_figures_get(f, v, l->metric,
		    NULL, NAN, NAN);
	}
	for (i = 0; i < f->n; i++)
		if (f->figure[i].variant == v &&
		    strcmp(f->figure[i].metric, l->metric) == 0)
			best = l->better > 0 ? fmax(best, f->figure[i].value) :
			    fmin(best, f->figure[i].value);
	return best;
}

double
sq_line_value(const struct sq_figures *f, const struct sq_line *l, size_t v)
{
	static const char *const timed[] = { "ttft", "tpot", "throughput",
		"cost", "energy" };
	size_t i;

	for (i = 0; i < sizeof(timed) / sizeof(timed[0]); i++)
		if (strcmp(l->metric, timed[i]) == 0)
			return speed(f, l, v);
	if (strcmp(l->metric, "memory_prefill") == 0)
		return memory(f, v, 1);
	if (strcmp(l->metric, "memory_decode") == 0)
		return memory(f, v, 0);
	return sq_figures_get(f, v, l->metric, NULL, NAN, NAN);
}

double
sq_line_ratio(const struct sq_figures *f, const struct sq_line *l, size_t v)
{
	return sq_line_value(f, l, v) / sq_line_value(f, l, 0);
}

enum sq_verdict
sq_line_verdict(const struct sq_figures *f, const struct sq_line *l, size_t v)
{
	double r = sq_line_ratio(f, l, v);

	if (l->target == 0 || v == 0)
		return SQ_NO_TARGET;
	if (isnan(r))
		return SQ_NO_DATA;
	return (l->better > 0 ? r >= l->target : r <= l->target) ? SQ_MET :
	    SQ_MISSED;
}

/* 1 when some variant has a value. */
static int
has_data(const struct sq_figures *f, const struct sq_line *l)
{
	size_t v;

	for (v = 0; v < f->nvariants; v++)
		if (!isnan(sq_line_value(f, l, v)))
			return 1;
	return 0;
}

static void
cell(char text[64], const struct sq_figures *f, const struct sq_line *l,
    size_t v)
{
	double value = sq_line_value(f, l, v), r = sq_line_ratio(f, l, v);
	int n;

	if (isnan(value)) {
		snprintf(text, 64, "-");
		return;
	}
	n = snprintf(text, 64, l->format, value * l->scale);
	if (v > 0 && !isnan(r) && isfinite(r) && n > 0 && n < 40)
		snprintf(text + n, 64 - (size_t)n, " (%+.1f %%)",
		    100 * (r - 1));
}

void
sq_compare_text(FILE *out, const struct sq_figures *f, int colour)
{
	static const char *const mark[] = { " ", "+", "!", "?" };
	static const char *const paint[] = { "", "\033[32m", "\033[31m",
	    "\033[33m" };
	char text[64];
	size_t i, v;

	fprintf(out, "%-20s %-9s %-12s", "", "unit", "target");
	for (v = 0; v < f->nvariants; v++)
		fprintf(out, " %24.24s", f->variant[v]);
	putc('\n', out);
	for (i = 0; i < sq_nlines; i++) {
		const struct sq_line *l = &sq_lines[i];

		if (!has_data(f, l))
			continue;
		fprintf(out, "%-20s %-9s %-12s", l->name, l->unit,
		    l->target_text == NULL ? "" : l->target_text);
		for (v = 0; v < f->nvariants; v++) {
			enum sq_verdict d = sq_line_verdict(f, l, v);

			cell(text, f, l, v);
			fprintf(out, " %s%22s %s%s", colour ? paint[d] : "",
			    text, mark[d], colour && d ? "\033[0m" : "");
		}
		putc('\n', out);
	}
	fputs("+ target met, ! missed, ? cannot be told\n", out);
	for (i = 0; i < f->ngaps; i++)
		fprintf(out, "missing: %s\n", f->gap[i]);
}

void
sq_compare_markdown(FILE *out, const struct sq_figures *f)
{
	static const char *const mark[] = { "", " ✓", " ✗", " ?" };
	char text[64];
	size_t i, v;

	fputs("| | unit | target |", out);
	for (v = 0; v < f->nvariants; v++)
		fprintf(out, " %s |", f->variant[v]);
	fputs("\n|---|---|---|", out);
	for (v = 0; v < f->nvariants; v++)
		fputs("---:|", out);
	putc('\n', out);
	for (i = 0; i < sq_nlines; i++) {
		const struct sq_line *l = &sq_lines[i];

		if (!has_data(f, l))
			continue;
		fprintf(out, "| %s | %s | %s |", l->name, l->unit,
		    l->target_text == NULL ? "" : l->target_text);
		for (v = 0; v < f->nvariants; v++) {
			cell(text, f, l, v);
			fprintf(out, " %s%s |", text,
			    mark[sq_line_verdict(f, l, v)]);
		}
		putc('\n', out);
	}
	for (i = 0; i < f->ngaps; i++)
		fprintf(out, "\nMissing: %s\n", f->gap[i]);
}

void
sq_compare_csv(FILE *out, const struct sq_figures *f)
{
	size_t i, v;

	fputs("variant,metric,value,unit\n", out);
	for (v = 0; v < f->nvariants; v++)
		for (i = 0; i < sq_nlines; i++) {
			const struct sq_line *l = &sq_lines[i];
			double value = sq_line_value(f, l, v) * l->scale;

			if (isnan(value))
				continue;
			sq_csv_field(out, 1, f->variant[v]);
			fprintf(out, ",%s,%.9g", l->metric, value);
			sq_csv_field(out, 0, l->unit);
			putc('\n', out);
		}
}
