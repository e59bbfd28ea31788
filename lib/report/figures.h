/*
 * Figures of several models, collected from the CSV that sq-eval and sq-bench
 * write: what a report is made of.  The model that is named first is the
 * baseline, unless another is said to be.
 */
#ifndef SQ_REPORT_FIGURES_H
#define SQ_REPORT_FIGURES_H

#include <stddef.h>

#include "base/err.h"
#include "report/price.h"

/* One figure of a variant. */
struct sq_figure {
	size_t variant;
	char *metric, *unit;
	char *where;		/* text, task, or "" */
	double x;		/* layer, prompt's tokens; NAN: none */
	double y;		/* requests at a time, depth; NAN: none */
	double value;
};

struct sq_figures {
	char **variant;		/* names, the baseline first */
	size_t nvariants;
	struct sq_figure *figure;
	size_t n;
	char **gap;		/* what is missing or was not readable */
	size_t ngaps;
};

void	 sq_figures_release(struct sq_figures *);

/*
 * Takes the rows of a CSV text in.  name is for messages.  Units that differ
 * for one metric, values that are no numbers and headers that no tool writes
 * are reasons: -1.  A later figure replaces an earlier one of the same place.
 */
int	 sq_figures_read(struct sq_figures *, const char *text, size_t len,
	    const char *name, char *err);

/* One more thing that the report cannot show. */
void	 sq_figures_gap(struct sq_figures *, const char *text);

/* Makes that variant the first: 0; 1 with a reason when there is none of that
 * name: then the first is one without figures; -1. */
int	 sq_figures_baseline(struct sq_figures *, const char *name, char *err);

/*
 * The figure of a variant: where and x NULL or NAN for whichever; several make
 * their mean (of ppl: the geometric one).  NAN when there is none.
 */
double	 sq_figures_get(const struct sq_figures *, size_t variant,
	    const char *metric, const char *where, double x, double y);

/* Adds one. */
int	 sq_figures_put(struct sq_figures *, size_t variant,
	    const char *metric, const char *unit, const char *where, double x,
	    double y, double value, char *err);

/* What follows from others: the cost, where an hour has a price. */
int	 sq_figures_derive(struct sq_figures *, const struct sq_price *,
	    char *err);

#endif
