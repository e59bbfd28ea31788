/* One HTML page that needs nothing else: the comparison, and plots of it. */
#ifndef SQ_REPORT_PAGE_H
#define SQ_REPORT_PAGE_H

#include <stdio.h>

#include "report/figures.h"

/* -1 when there is no memory. */
int	 sq_page(FILE *, const struct sq_figures *, const char *title);

/* The plots of the page, each by its name; NULL at the end. */
extern const char *const sq_page_plots[];

/* One of them as an SVG file: 1; 0 when there are no figures for it; -1. */
int	 sq_page_plot(FILE *, const struct sq_figures *, const char *name,
	    int alone);

#endif
