/* Plots as SVG; see plot.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/escape.h"
#include "report/plot.h"

#define WIDTH	640
#define HEIGHT	340
#define LEFT	72
#define RIGHT	16
#define TOP	40
#define BOTTOM	52

const char sq_plot_style[] =
    "svg{--ink:#1d2330;--soft:#5c6675;--line:#d9dee6;--bg:#fff;"
    "--c0:#1f5fbf;--c1:#d1571b;--c2:#1b8a5a;--c3:#8c3fb0;--c4:#b8860b;"
    "--c5:#0f8a9c;--c6:#c2376b;--c7:#606a78;"
    "font:12px system-ui,sans-serif;background:var(--bg)}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e8ebf0;--soft:#9aa5b5;"
    "--line:#39424f;--bg:#151a21;--c0:#6fa8ff;--c1:#ff9a5c;--c2:#5fd0a0;"
    "--c3:#cf94ee;--c4:#e6be4f;--c5:#5ccfe0;--c6:#ff86b0;--c7:#a9b3c1}}"
    ".t{fill:var(--ink);font-size:14px;font-weight:600}"
    ".l{fill:var(--soft)}.g{stroke:var(--line);stroke-width:1}"
    ".s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}"
    ".s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}"
    ".s6{--c:var(--c6)}.s7{--c:var(--c7)}"
    ".p{fill:var(--c)}.k{stroke:var(--c);stroke-width:2;fill:none}"
    ".n{fill:var(--ink);font-size:11px}";

/* An axis: values lo .. hi to pixels from .. to. */
struct axis {
	double lo, hi, from, to;
	int log, whole;			/* whole: no tick between numbers */
};

static double
place(const struct axis *a, double v)
{
	double lo = a->log ? log10(a->lo) : a->lo;
	double hi = a->log ? log10(a->hi) : a->hi;

	v = a->log ? log10(v) : v;
	return a->from + (a->to - a->from) * (hi > lo ? (v - lo) / (hi - lo) :
	    .5);
}

/* 1, 2 or 5 times a power of ten, about a fifth of the range. */
static double
step(double range)
{
	double p = pow(10, floor(log10(range / 5))), m = range / 5 / p;

	return p * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

static void
fit(struct axis *a, double lo, double hi, int zero)
{
	double room;

	if (a->log) {
		a->lo = lo / pow(hi / lo, .08) / 1.05;
		a->hi = hi * pow(hi / lo, .08) * 1.05;
		return;
	}
	if (zero && lo > 0)
		lo = 0;
	room = hi > lo ? (hi - lo) * .08 : fabs(hi) * .1 + 1e-9;
	a->lo = zero && lo == 0 ? 0 : lo - room;
	a->hi = hi + room;
}

static void
number(FILE *f, double v)
{
	double a = fabs(v);

	if (a >= 1e9)
		fprintf(f, "%.3gG", v / 1e9);
	else if (a >= 1e6)
		fprintf(f, "%.3gM", v / 1e6);
	else if (a >= 1e4)
		fprintf(f, "%.3gk", v / 1e3);
	else if (a >= 1e3)
		fprintf(f, "%.0f", v);
	else
		fprintf(f, "%.3g", a < 1e-12 ? 0 : v);
}

static void
tick(FILE *f, const struct axis *a, double v, int across)
{
	double p = place(a, v);

	if (across) {
		fprintf(f, "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" "
		    "y1=\"%d\" y2=\"%d\"/><text class=\"l\" x=\"%.1f\" "
		    "y=\"%d\" text-anchor=\"middle\">", p, p, TOP,
		    HEIGHT - BOTTOM, p, HEIGHT - BOTTOM + 16);
	} else {
		fprintf(f, "<line class=\"g\" x1=\"%d\" x2=\"%d\" "
		    "y1=\"%.1f\" y2=\"%.1f\"/><text class=\"l\" x=\"%d\" "
		    "y=\"%.1f\" text-anchor=\"end\">", LEFT, WIDTH - RIGHT, p,
		    p, LEFT - 6, p + 4);
	}
	number(f, v);
	fputs("</text>\n", f);
}

static void
ticks(FILE *f, const struct axis *a, int across)
{
	static const double leads[] = { 1, 2, 5 };
	double v, p;
	int i, all = a->hi / a->lo < 100;

	/* of a short logarithmic axis the tens alone would say too little */
	if (!a->log || a->hi / a->lo < 6) {
		p = step(a->hi - a->lo);
		p = a->whole && p < 1 ? 1 : p;
		for (v = ceil(a->lo / p) * p; v <= a->hi + p * 1e-9; v += p)
			tick(f, a, v, across);
		return;
	}
	for (p = pow(10, floor(log10(a->lo))); p <= a->hi; p *= 10)
		for (i = 0; i < (all ? 3 : 1); i++)
			if ((v = p * leads[i]) >= a->lo && v <= a->hi)
				tick(f, a, v, across);
}

static void
open_svg(FILE *f, const struct sq_plot *p, int alone)
{
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" "
	    "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
	sq_escape(f, p->title);
	fputs("\">\n", f);
	if (alone)
		fprintf(f, "<style>%s</style>\n", sq_plot_style);
	fprintf(f, "<text class=\"t\" x=\"%d\" y=\"20\">", LEFT);
	sq_escape(f, p->title);
	fputs("</text>\n", f);
}

static void
names(FILE *f, const struct sq_plot *p)
{
	fprintf(f, "<text class=\"l\" x=\"%d\" y=\"%d\" "
	    "text-anchor=\"middle\">", (LEFT + WIDTH - RIGHT) / 2,
	    HEIGHT - BOTTOM + 36);
	sq_escape(f, p->x_name);
	fprintf(f, "</text>\n<text class=\"l\" transform=\"translate(16 %d) "
	    "rotate(-90)\" text-anchor=\"middle\">",
	    (TOP + HEIGHT - BOTTOM) / 2);
	sq_escape(f, p->y_name);
	fputs("</text>\n", f);
}

/* Which series is which, at the right of the title's line. */
static void
key(FILE *f, const struct sq_plot *p)
{
	double x = WIDTH - RIGHT;
	size_t i;

	for (i = p->nseries; i-- > 0;) {
		x -= 7.2 * (double)strlen(p->series[i]) + 22;
		fprintf(f, "<circle class=\"p s%zu\" cx=\"%.1f\" cy=\"%d\" "
		    "r=\"4\"/><text class=\"l\" x=\"%.1f\" y=\"%d\">",
		    i % SQ_PLOT_COLORS, x, TOP - 7, x + 8, TOP - 3);
		sq_escape(f, p->series[i]);
		fputs("</text>\n", f);
	}
}

static void
axes(const struct sq_plot *p, struct axis *x, struct axis *y)
{
	double lo[2] = { INFINITY, INFINITY }, hi[2] = { -INFINITY, -INFINITY };
	size_t i;

	for (i = 0; i < p->n; i++) {
		lo[0] = fmin(lo[0], p->point[i].x);
		hi[0] = fmax(hi[0], p->point[i].x);
		lo[1] = fmin(lo[1], p->point[i].y);
		hi[1] = fmax(hi[1], p->point[i].y);
	}
	*x = (struct axis){ .from = LEFT, .to = WIDTH - RIGHT,
	    .log = p->x_log && lo[0] > 0, .whole = p->x_whole };
	*y = (struct axis){ .from = HEIGHT - BOTTOM, .to = TOP,
	    .log = p->y_log && lo[1] > 0 };
	fit(x, lo[0], hi[0], 0);
	fit(y, lo[1], hi[1], p->y_zero);
}

void
sq_plot_svg(FILE *f, const struct sq_plot *p, int alone)
{
	struct axis x, y;
	size_t i, s, m;

	axes(p, &x, &y);
	open_svg(f, p, alone);
	ticks(f, &x, 1);
	ticks(f, &y, 0);
	names(f, p);
	key(f, p);
	for (s = 0; p->lines && s < p->nseries; s++) {
		for (i = m = 0; i < p->n; i++) {
			if (p->point[i].series != s)
				continue;
			if (m++ == 0)
				fprintf(f, "<polyline class=\"k s%zu\" "
				    "points=\"", s % SQ_PLOT_COLORS);
			fprintf(f, "%.1f,%.1f ", place(&x, p->point[i].x),
			    place(&y, p->point[i].y));
		}
		if (m > 0)
			fputs("\"/>\n", f);
	}
	for (i = 0; i < p->n; i++) {
		const struct sq_point *q = &p->point[i];
		double px = place(&x, q->x), py = place(&y, q->y);
		int end = px > WIDTH - 150;

		fprintf(f, "<circle class=\"p s%zu\" cx=\"%.1f\" cy=\"%.1f\" "
		    "r=\"%d\"><title>", q->series % SQ_PLOT_COLORS, px, py,
		    p->lines ? 3 : 5);
		sq_escape(f, p->series[q->series]);
		fprintf(f, ": %.4g, %.4g</title></circle>\n", q->x, q->y);
		if (q->label == NULL)
			continue;
		fprintf(f, "<text class=\"n\" x=\"%.1f\" y=\"%.1f\" "
		    "text-anchor=\"%s\">", end ? px - 8 : px + 8, py + 4,
		    end ? "end" : "start");
		sq_escape(f, q->label);
		fputs("</text>\n", f);
	}
	fputs("</svg>\n", f);
}

void
sq_plot_bars(FILE *f, const struct sq_plot *p, int alone)
{
	double width = (double)(WIDTH - LEFT - RIGHT) / (double)p->n, top;
	struct axis x, y;
	size_t i;

	axes(p, &x, &y);
	fit(&y, 0, y.hi, 1);
	open_svg(f, p, alone);
	ticks(f, &y, 0);
	names(f, p);
	for (i = 0; i < p->n; i++) {
		double at = LEFT + width * (double)i;

		top = place(&y, p->point[i].y);
		fprintf(f, "<rect class=\"p s%zu\" x=\"%.1f\" y=\"%.1f\" "
		    "width=\"%.1f\" height=\"%.1f\" rx=\"2\"/>\n"
		    "<text class=\"n\" x=\"%.1f\" y=\"%.1f\" "
		    "text-anchor=\"middle\">",
		    p->point[i].series % SQ_PLOT_COLORS, at + width * .15, top,
		    width * .7, HEIGHT - BOTTOM - top, at + width / 2,
		    top - 4);
		number(f, p->point[i].y);
		fprintf(f, "</text>\n<text class=\"l\" x=\"%.1f\" y=\"%d\" "
		    "text-anchor=\"middle\">", at + width / 2,
		    HEIGHT - BOTTOM + 16);
		sq_escape(f, p->series[p->point[i].series]);
		fputs("</text>\n", f);
	}
	fputs("</svg>\n", f);
}

/* The place of v among the different values of x or y, and how many. */
static size_t
order(const struct sq_plot *p, double v, int of_y, size_t *n)
{
	size_t i, j, below = 0;

	for (i = *n = 0; i < p->n; i++) {
		double w = of_y ? p->point[i].y : p->point[i].x;

		for (j = 0; j < i && (of_y ? p->point[j].y :
		    p->point[j].x) != w; j++)
			;
		if (j < i)
			continue;
		++*n;
		below += w < v;
	}
	return below;
}

void
sq_plot_heat(FILE *f, const struct sq_plot *p, const double *value, int alone)
{
	size_t i, nx, ny, cx, cy;
	double w, h, x, y;

	open_svg(f, p, alone);
	names(f, p);
	for (i = 0; i < p->n; i++) {
		cx = order(p, p->point[i].x, 0, &nx);
		cy = order(p, p->point[i].y, 1, &ny);
		w = (double)(WIDTH - LEFT - RIGHT) / (double)nx;
		h = (double)(HEIGHT - TOP - BOTTOM) / (double)ny;
		x = LEFT + w * (double)cx;
		y = TOP + h * (double)cy;
		fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		    "height=\"%.1f\" fill=\"hsl(%.0f 60%% 45%%)\"><title>"
		    "%.4g, %.4g: %.2f</title></rect>\n<text x=\"%.1f\" "
		    "y=\"%.1f\" fill=\"#fff\" text-anchor=\"middle\">%.0f %%"
		    "</text>\n", x + 1, y + 1, w - 2, h - 2, 120 * value[i],
		    p->point[i].x, p->point[i].y, value[i], x + w / 2,
		    y + h / 2 + 4, 100 * value[i]);
		if (cy + 1 == ny) {
			fprintf(f, "<text class=\"l\" x=\"%.1f\" y=\"%d\" "
			    "text-anchor=\"middle\">", x + w / 2,
			    HEIGHT - BOTTOM + 16);
			number(f, p->point[i].x);
			fputs("</text>\n", f);
		}
		if (cx == 0)
			fprintf(f, "<text class=\"l\" x=\"%d\" y=\"%.1f\" "
			    "text-anchor=\"end\">%.0f %%</text>\n", LEFT - 6,
			    y + h / 2 + 4, 100 * p->point[i].y);
	}
	fputs("</svg>\n", f);
}
