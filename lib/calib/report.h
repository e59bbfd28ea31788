/*
 * What calibration has seen, for people and for thresholds: documents, tokens,
 * and channels that were never active.
 */
#ifndef SQ_CALIB_REPORT_H
#define SQ_CALIB_REPORT_H

#include <stdio.h>

#include "calib/text.h"

struct sq_calib_idle {
	char tensor[SQ_NAME];		/* the first that has this input */
	uint64_t channels, idle;	/* always zero: these many of them */
};

struct sq_calib_report {
	struct sq_text_report text;
	uint64_t taken, length;		/* tokens in samples, of a sample */
	struct sq_calib_idle *input;
	size_t n;
	int failed;			/* there was no memory */
};

void	 sq_calib_report_release(struct sq_calib_report *);

/* Notes a record of statistics. */
void	 sq_calib_report_add(struct sq_calib_report *, const struct sq_stats *);

/* The most idle channels of an input. */
uint64_t sq_calib_report_idle(const struct sq_calib_report *);

/* A CSV with the columns what, name, value. */
void	 sq_calib_report_write(const struct sq_calib_report *, FILE *);

/* A file of tokens, as sq_corpus_read() takes them: a line for each sample. */
void	 sq_calib_tokens_write(const struct sq_tokens *, FILE *);

#endif
