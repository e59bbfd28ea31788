/* sq-report: what compression brought and what it cost, at a glance. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/outfile.h"
#include "base/tool.h"
#include "report/compare.h"
#include "report/page.h"
#include "report/price.h"

static const char usage[] =
    "[-q] [--baseline NAME] [--csv FILE] [--html FILE] [--markdown FILE] "
    "[--price FILE] [--svg DIR] [--title TEXT] [--watch] CSV ...";

enum { OPT_BASELINE = SQ_OPT(0), OPT_CSV, OPT_HTML, OPT_MARKDOWN, OPT_PRICE,
	OPT_SVG, OPT_TITLE, OPT_WATCH };

static const struct option longopts[] = {
	SQ_LONG,
	{ "baseline", required_argument, NULL, OPT_BASELINE },
	{ "csv", required_argument, NULL, OPT_CSV },
	{ "html", required_argument, NULL, OPT_HTML },
	{ "markdown", required_argument, NULL, OPT_MARKDOWN },
	{ "price", required_argument, NULL, OPT_PRICE },
	{ "svg", required_argument, NULL, OPT_SVG },
	{ "title", required_argument, NULL, OPT_TITLE },
	{ "watch", no_argument, NULL, OPT_WATCH },
	{ NULL, 0, NULL, 0 }
};

#define MAX_CSV	((size_t)256 << 20)

struct report {
	const char *baseline, *csv, *html, *markdown, *svg, *title;
	struct sq_price price;
	int watch, bad;			/* a file could not be read */
	char **input;
};

static void
missing(struct report *r, struct sq_figures *f, const char *why)
{
	r->bad = 1;
	sq_figures_gap(f, why);
	if (!r->watch)
		sq_warn("%s", why);
}

/* All that can be read; what cannot is a gap in the report. */
static void
collect(struct report *r, struct sq_figures *f)
{
	char err[SQ_ERR], *text;
	size_t len;
	char **in;
	int found;

	memset(f, 0, sizeof(*f));
	r->bad = 0;
	for (in = r->input; *in != NULL; in++) {
		text = sq_read_file(AT_FDCWD, *in, MAX_CSV, &len, err);
		/* a line that is being written has no end yet */
		while (text != NULL && r->watch && len > 0 &&
		    text[len - 1] != '\n')
			len--;
		if (text == NULL || sq_figures_read(f, text, len, *in,
		    err) < 0)
			missing(r, f, err);
		free(text);
	}
	if (f->nvariants == 0) {
		if (r->watch)
			return;
		sq_die(SQ_EDATA, "no figures in any of the files");
	}
	if (r->baseline != NULL) {
		found = sq_figures_baseline(f, r->baseline, err);
		if (found < 0)
			sq_die(SQ_EDATA, "%s", err);
		if (found > 0)
			missing(r, f, err);
	}
	if (sq_figures_derive(f, &r->price, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
}

enum kind { HTML, MARKDOWN, CSV };

/* One file, whole or not at all; svg: the name of a plot. */
static void
write_file(const struct report *r, const struct sq_figures *f,
    const char *path, enum kind kind, const char *svg)
{
	char *text = NULL;
	size_t len = 0;
	FILE *m = open_memstream(&text, &len);
	char err[SQ_ERR];
	int bad = m == NULL;

	if (!bad && svg != NULL)
		bad = sq_page_plot(m, f, svg, 1) < 0;
	else if (!bad && kind == HTML)
		bad = sq_page(m, f, r->title) < 0;
	else if (!bad && kind == MARKDOWN)
		sq_compare_markdown(m, f);
	else if (!bad)
		sq_compare_csv(m, f);
	if (bad || fclose(m) != 0)
		sq_die(SQ_EDATA, "out of memory");
	if (len > 0 && sq_outfile_put(path, text, len, err) < 0)
		sq_die(SQ_EDATA, "%s", err);
	free(text);
}

static void
write_files(const struct report *r, const struct sq_figures *f)
{
	char path[4096];
	size_t i;

	if (f->nvariants == 0)
		return;
	if (r->html != NULL)
		write_file(r, f, r->html, HTML, NULL);
	if (r->markdown != NULL)
		write_file(r, f, r->markdown, MARKDOWN, NULL);
	if (r->csv != NULL)
		write_file(r, f, r->csv, CSV, NULL);
	if (r->svg == NULL)
		return;
	if (mkdir(r->svg, 0777) < 0 && errno != EEXIST)
		sq_die(SQ_EDATA, "'%s': %s", r->svg, strerror(errno));
	for (i = 0; sq_page_plots[i] != NULL; i++) {
		snprintf(path, sizeof(path), "%s/%s.svg", r->svg,
		    sq_page_plots[i]);
		write_file(r, f, path, HTML, sq_page_plots[i]);
	}
}

static void
show(struct report *r)
{
	struct sq_figures f;
	int tty = isatty(STDOUT_FILENO);

	collect(r, &f);
	if (r->watch && tty)
		fputs("\033[H\033[2J", stdout);
	if (f.nvariants > 0)
		sq_compare_text(stdout, &f, tty);
	write_files(r, &f);
	sq_figures_release(&f);
}

/* When any of the files was last changed. */
static double
changed(const struct report *r)
{
	struct stat st;
	double last = 0;
	char **in;

	for (in = r->input; *in != NULL; in++)
		if (stat(*in, &st) == 0)
			last = fmax(last, (double)st.st_mtim.tv_sec +
			    1e-9 * (double)st.st_mtim.tv_nsec);
	return last;
}

int
main(int argc, char *argv[])
{
	struct report r = { .title = "What compression cost" };
	char err[SQ_ERR];
	double seen;
	int c;

	sq_tool_init(argv[0], usage);
	while ((c = getopt_long(argc, argv, SQ_SHORT, longopts, NULL)) != -1)
		switch (c) {
		case OPT_BASELINE:
			r.baseline = optarg;
			break;
		case OPT_CSV:
			r.csv = optarg;
			break;
		case OPT_HTML:
			r.html = optarg;
			break;
		case OPT_MARKDOWN:
			r.markdown = optarg;
			break;
		case OPT_PRICE:
			if (sq_price_read(&r.price, optarg, err) < 0)
				sq_die(SQ_EDATA, "%s", err);
			break;
		case OPT_SVG:
			r.svg = optarg;
			break;
		case OPT_TITLE:
			r.title = optarg;
			break;
		case OPT_WATCH:
			r.watch = 1;
			break;
		default:
			sq_tool_option(c);
		}
	if (optind == argc)
		sq_usage();
	r.input = argv + optind;
	show(&r);
	while (r.watch) {
		seen = changed(&r);
		fflush(stdout);
		while (changed(&r) == seen)
			usleep(500000);
		show(&r);
	}
	sq_flush();
	return r.bad ? SQ_EDATA : SQ_OK;
}
