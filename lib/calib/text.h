/* Calibration text to samples of tokens. */
#ifndef SQ_CALIB_TEXT_H
#define SQ_CALIB_TEXT_H

#include "formats/fmt_records.h"
#include "formats/fmt_stats.h"
#include "model/config.h"

/*
 * The text (len bytes, changed here) as one stretch of tokens without BOS, cut
 * into consecutive samples of min(length, context) tokens, of which the first
 * `skip' are left out and at most `samples' kept.  A line that is
 * <|endoftext|> becomes empty.  -1 with the reason: not text, or fewer tokens
 * than one sample.
 */
int	 sq_calib_tokens(struct sq_tokens *, const struct sq_files *,
	    const struct sq_config *, char *text, size_t len, size_t samples,
	    size_t length, size_t skip, char *err);

#endif
