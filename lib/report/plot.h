/*
 * Plots as SVG: points and lines on two axes, bars, heat maps.  Colours are
 * classes (s0 .. s7, text, grid), which the page or plot_style defines, so that
 * they follow light and dark.
 */
#ifndef SQ_REPORT_PLOT_H
#define SQ_REPORT_PLOT_H

#include <stddef.h>
#include <stdio.h>

#define SQ_PLOT_COLORS	8

struct sq_point {
	double x, y;
	size_t series;		/* its colour, and what the key calls it */
	const char *label;	/* beside it, or NULL */
};

struct sq_plot {
	const char *title, *x_name, *y_name;
	const char *const *series;	/* names */
	size_t nseries;
	const struct sq_point *point;	/* of a series in the order of x */
	size_t n;
	int lines;			/* join the points of a series */
	int x_log, y_log;
	int x_whole;			/* x counts something */
	int y_zero;			/* begin at 0 */
};

/* The style that a file of its own needs. */
extern const char sq_plot_style[];

/* alone: a file of its own, with that style. */
void	 sq_plot_svg(FILE *, const struct sq_plot *, int alone);

/* One bar for each series: point[i].y. */
void	 sq_plot_bars(FILE *, const struct sq_plot *, int alone);

/* A cell for each point; y goes from 0 to 1 in colour `value[i]'. */
void	 sq_plot_heat(FILE *, const struct sq_plot *, const double *value,
	    int alone);

#endif
