/* The page of a report; see page.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/compare.h"
#include "report/escape.h"
#include "report/page.h"
#include "report/plot.h"

const char *const sq_page_plots[] = { "accuracy-size", "throughput-latency",
	"speed-context", "layer-error", "needle", "energy", NULL };

static const char style[] =
    ":root{--ink:#1d2330;--soft:#5c6675;--line:#d9dee6;--bg:#f6f7f9;"
    "--card:#fff;--good:#1b8a5a;--bad:#c23b3b;--warn:#a87400}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#9aa5b5;"
    "--line:#39424f;--bg:#0e1217;--card:#151a21;--good:#5fd0a0;"
    "--bad:#ff8080;--warn:#e6be4f}}"
    "*{box-sizing:border-box}body{margin:0;padding:32px 24px 64px;"
    "background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}main{max-width:1360px;margin:auto}"
    "h1{font-size:26px;margin:0 0 4px}p{color:var(--soft);margin:4px 0 20px}"
    ".card{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;padding:14px;overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums}"
    "th,td{padding:7px 12px;text-align:right;"
    "border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{color:var(--soft);font-weight:600}tr:last-child td{border-bottom:0}"
    "th:first-child,td:first-child{text-align:left;font-weight:600}"
    "td small{color:var(--soft);margin-left:6px}"
    ".met small{color:var(--good)}.met::after{content:' \\2713';"
    "color:var(--good)}.missed small{color:var(--bad)}"
    ".missed::after{content:' \\2717';color:var(--bad)}"
    ".plots{display:grid;gap:18px;margin-top:18px;"
    "grid-template-columns:repeat(auto-fit,minmax(min(100%,540px),1fr))}"
    ".plots svg{width:100%;height:auto;display:block}"
    ".gap{color:var(--warn)}"
    "@media print{body{background:#fff;padding:0}.card{break-inside:avoid}}";

/* Points that are collected for one plot. */
struct points {
	struct sq_point *p;
	double *value;
	size_t n;
};

static int
add(struct points *s, double x, double y, size_t series, const char *label,
    double value)
{
	struct sq_point *p = realloc(s->p, (s->n + 1) * sizeof(*p));
	double *v = p == NULL ? NULL :
	    realloc(s->value, (s->n + 1) * sizeof(*v));

	if (p != NULL)
		s->p = p;
	if (v == NULL)
		return -1;
	s->value = v;
	p[s->n] = (struct sq_point){ x, y, series, label };
	v[s->n++] = value;
	return 0;
}

static int
by_series_x(const void *a, const void *b)
{
	const struct sq_point *p = a, *q = b;

	if (p->series != q->series)
		return p->series < q->series ? -1 : 1;
	return (p->x > q->x) - (p->x < q->x);
}

/* A variant's distance to the baseline: KL, or what its perplexity lost. */
static double
distance(const struct sq_figures *f, size_t v)
{
	double kl = sq_figures_get(f, v, "kl", NULL, NAN, NAN);

	return v == 0 ? 0 : !isnan(kl) ? kl : log(sq_figures_get(f, v, "ppl",
	    NULL, NAN, NAN) / sq_figures_get(f, 0, "ppl", NULL, NAN, NAN));
}

/* The longest prompt for which there is a throughput. */
static double
longest(const struct sq_figures *f)
{
	double x = 0;
	size_t i;

	for (i = 0; i < f->n; i++)
		if (strcmp(f->figure[i].metric, "throughput") == 0)
			x = fmax(x, f->figure[i].x);
	return x;
}

static int
collect(struct points *s, const struct sq_figures *f, const char *name)
{
	const struct sq_figure *p;
	double x, y, prompt = longest(f);
	size_t i, v;
	int r = 0;

	for (v = 0; v < f->nvariants; v++) {
		if (strcmp(name, sq_page_plots[0]) == 0) {
			x = sq_figures_get(f, v, "memory_weights", NULL, NAN,
			    NAN) * 1e-6;
			y = distance(f, v);
			if (!isnan(x) && !isnan(y))
				r |= add(s, x, y, v, f->variant[v], 0);
		} else if (strcmp(name, sq_page_plots[5]) == 0) {
			y = sq_figures_get(f, v, "energy", NULL, NAN, NAN);
			if (!isnan(y))
				r |= add(s, (double)v, y, v, NULL, 0);
		}
	}
	for (i = 0; i < f->n; i++) {
		p = &f->figure[i];
		if (strcmp(name, sq_page_plots[1]) == 0 &&
		    strcmp(p->metric, "throughput") == 0 && p->x == prompt) {
			x = sq_figures_get(f, p->variant, "tpot", NULL, p->x,
			    p->y);
			if (!isnan(x))
				r |= add(s, x, p->value, p->variant, NULL, 0);
		} else if (strcmp(name, sq_page_plots[2]) == 0 &&
		    strcmp(p->metric, "ttft") == 0 && p->y == 1) {
			r |= add(s, p->x, p->x / p->value * 1e3, p->variant,
			    NULL, 0);
		} else if (strcmp(name, sq_page_plots[3]) == 0 &&
		    strcmp(p->metric, "error") == 0 && p->value > 0) {
			r |= add(s, p->x, p->value, p->variant, NULL, 0);
		} else if (strcmp(name, sq_page_plots[4]) == 0 &&
		    strcmp(p->metric, "needle") == 0 &&
		    p->variant + 1 == f->nvariants) {
			r |= add(s, p->x, p->y, p->variant, NULL, p->value);
		}
	}
	return r;
}

int
sq_page_plot(FILE *out, const struct sq_figures *f, const char *name,
    int alone)
{
	static const struct sq_plot plots[] = {
		{ .title = "Accuracy against size", .x_name = "weights, MB",
		    .y_name = "distance to the baseline, nats", .y_zero = 1 },
		{ .title = "Throughput against latency", .x_name = "TPOT, ms",
		    .y_name = "throughput, tok/s", .lines = 1, .y_zero = 1 },
		{ .title = "Prefill speed against context",
		    .x_name = "tokens of the prompt", .y_name = "tok/s",
		    .lines = 1, .x_log = 1, .x_whole = 1, .y_zero = 1 },
		{ .title = "Error after each block", .x_name = "block",
		    .y_name = "relative squared error", .lines = 1,
		    .x_whole = 1, .y_log = 1 },
		{ .title = "Needle: found by length and depth (last variant)",
		    .x_name = "tokens of the prompt", .y_name = "depth" },
		{ .title = "Energy", .x_name = "", .y_name = "J/token" },
	};
	struct points s = { 0 };
	struct sq_plot p;
	size_t i;
	int r;

	for (i = 0; strcmp(sq_page_plots[i], name) != 0; i++)
		;
	p = plots[i];
	p.series = (const char *const *)f->variant;
	p.nseries = f->nvariants;
	r = collect(&s, f, name) < 0 ? -1 : s.n > 0;
	p.point = s.p;
	p.n = s.n;
	if (r > 0 && p.lines)
		qsort(s.p, s.n, sizeof(*s.p), by_series_x);
	if (r > 0 && i == 4)
		sq_plot_heat(out, &p, s.value, alone);
	else if (r > 0 && i == 5)
		sq_plot_bars(out, &p, alone);
	else if (r > 0)
		sq_plot_svg(out, &p, alone);
	free(s.p);
	free(s.value);
	return r;
}

static void
row(FILE *out, const struct sq_figures *f, const struct sq_line *l)
{
	static const char *const class[] = { "", "met", "missed", "" };
	double value, r;
	size_t v;

	for (v = 0; v < f->nvariants && isnan(sq_line_value(f, l, v)); v++)
		;
	if (v == f->nvariants)
		return;
	fprintf(out, "<tr><td>%s</td><td>%s</td><td>%s</td>", l->name, l->unit,
	    l->target_text == NULL ? "" : l->target_text);
	for (v = 0; v < f->nvariants; v++) {
		value = sq_line_value(f, l, v);
		r = sq_line_ratio(f, l, v);
		fprintf(out, "<td class=\"%s\">",
		    class[sq_line_verdict(f, l, v)]);
		if (isnan(value))
			fputs("&ndash;", out);
		else
			fprintf(out, l->format, value * l->scale);
		if (v > 0 && isfinite(r))
			fprintf(out, "<small>%+.1f %%</small>", 100 * (r - 1));
		fputs("</td>", out);
	}
	fputs("</tr>\n", out);
}

int
sq_page(FILE *out, const struct sq_figures *f, const char *title)
{
	size_t i, v;
	int r = 0;

	fputs("<!doctype html>\n<html lang=\"en\"><head><meta "
	    "charset=\"utf-8\">\n<meta name=\"viewport\" "
	    "content=\"width=device-width,initial-scale=1\">\n<title>", out);
	sq_escape(out, title);
	fprintf(out, "</title>\n<style>%s%s</style></head><body><main>\n<h1>",
	    style, sq_plot_style);
	sq_escape(out, title);
	fputs("</h1>\n<p>Each variant against the baseline, <b>", out);
	sq_escape(out, f->variant[0]);
	fputs("</b>. Green: the target is met.</p>\n"
	    "<div class=\"card\"><table><tr><th></th><th>unit</th>"
	    "<th>target</th>", out);
	for (v = 0; v < f->nvariants; v++) {
		fputs("<th>", out);
		sq_escape(out, f->variant[v]);
		fputs("</th>", out);
	}
	fputs("</tr>\n", out);
	for (i = 0; i < sq_nlines; i++)
		row(out, f, &sq_lines[i]);
	fputs("</table></div>\n", out);
	for (i = 0; i < f->ngaps; i++) {
		fputs("<p class=\"gap\">Missing: ", out);
		sq_escape(out, f->gap[i]);
		fputs("</p>\n", out);
	}
	fputs("<div class=\"plots\">\n", out);
	for (i = 0; r >= 0 && sq_page_plots[i] != NULL; i++) {
		char *svg = NULL;
		size_t len;
		FILE *m = open_memstream(&svg, &len);

		if (m == NULL)
			return -1;
		r = sq_page_plot(m, f, sq_page_plots[i], 0);
		if (fclose(m) != 0)
			r = -1;
		if (r > 0)
			fprintf(out, "<div class=\"card\">%s</div>\n", svg);
		free(svg);
	}
	fputs("</div></main></body></html>\n", out);
	return r < 0 ? -1 : 0;
}
