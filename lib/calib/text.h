/* Calibration text to samples of tokens. */
#ifndef SQ_CALIB_TEXT_H
#define SQ_CALIB_TEXT_H

#include "calib/corpus.h"
#include "formats/fmt_records.h"
#include "formats/fmt_stats.h"
#include "model/config.h"

/* What became of the text: for who wants to know. */
struct sq_text_report {
	struct sq_corpus corpus;	/* its documents */
	size_t *tokens;			/* of each by itself */
	size_t total;			/* of the whole text */
	size_t bos;			/* tokens that are the model's BOS */
};

void	 sq_text_report_release(struct sq_text_report *);

/*
 * The text (len bytes; sq_corpus_read() says in which forms) as one stretch of
 * tokens, cut into consecutive samples of min(length, context) tokens, of which
 * the first `skip' are left out and at most `samples' kept.  No BOS is added.
 * report: filled in and the caller's to release, or NULL.  -1 with the reason:
 * not text, or fewer tokens than one sample.
 */
int	 sq_calib_tokens(struct sq_tokens *, const struct sq_files *,
	    const struct sq_config *, const char *text, size_t len,
	    size_t samples, size_t length, size_t skip,
	    struct sq_text_report *report, char *err);

#endif
