/*
 * The baseline against each variant, line by line, with the targets that a
 * compressed model has to meet, as text, Markdown, CSV and for the page.
 */
#ifndef SQ_REPORT_COMPARE_H
#define SQ_REPORT_COMPARE_H

#include <stdio.h>

#include "report/figures.h"

enum sq_verdict { SQ_NO_TARGET, SQ_MET, SQ_MISSED, SQ_NO_DATA };

/* A line: one metric of all variants. */
struct sq_line {
	const char *metric;		/* as in the figures */
	const char *name, *unit;
	double scale;			/* of a value, for display */
	const char *format;
	int better;			/* 1: larger, -1: smaller, 0: neither */
	double target;			/* of the ratio to the baseline; 0: none */
	const char *target_text;
};

extern const struct sq_line sq_lines[];
extern const size_t sq_nlines;

/* The value of a line and its ratio to the baseline; NAN where unknown. */
double	 sq_line_value(const struct sq_figures *, const struct sq_line *,
	    size_t variant);
double	 sq_line_ratio(const struct sq_figures *, const struct sq_line *,
	    size_t variant);
enum sq_verdict sq_line_verdict(const struct sq_figures *,
	    const struct sq_line *, size_t variant);

/* As they are for people on a terminal; colour: with escape sequences. */
void	 sq_compare_text(FILE *, const struct sq_figures *, int colour);
void	 sq_compare_markdown(FILE *, const struct sq_figures *);

/* variant,metric,value,unit: the figures shown, the baseline first. */
void	 sq_compare_csv(FILE *, const struct sq_figures *);

#endif
