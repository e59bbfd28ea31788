/*
 * Calibration: a model stream passes, and the text's hidden states move through
 * it block by block.  A block is held in memory while all samples run through
 * it; then it goes out, each of its inputs' statistics before the tensors that
 * they concern (sq-stream(5), STATS).
 */
#ifndef SQ_CALIB_CALIBRATE_H
#define SQ_CALIB_CALIBRATE_H

#include "base/progress.h"
#include "calib/text.h"
#include "formats/fmt_stream.h"
#include "kernels/kern.h"

enum sq_calib_mode { SQ_CALIB_FULL, SQ_CALIB_DIAG, SQ_CALIB_TOKENS };

struct sq_calibrate {
	struct sq_ctx *ctx;
	enum sq_prec prec;
	enum sq_calib_mode mode;
	size_t samples, length, skip;
	uint64_t memory;		/* bytes; 0: no ceiling */
	const char *text;
	size_t text_len;
	struct sq_text_report *report;	/* filled in, or NULL */
	/* Before the work: 0, or -1 with the reason, which ends it. */
	int (*begun)(struct sq_calibrate *, const struct sq_tokens *,
	    char *err);
	/* Each record of statistics, as it goes out. */
	void (*seen)(struct sq_calibrate *, const struct sq_stats *);
	struct sq_progress *progress;	/* counts tokens through blocks */
	/* results */
	size_t got, sample_length;	/* samples taken, tokens of each */
	int spilled;			/* hidden states went to a file */
	double seconds;			/* in blocks, without the stream */
	uint64_t flops;			/* of the linear layers and H */
};

/* Everything up to the end of in; the caller adds provenance and END. */
int	 sq_calibrate(struct sq_calibrate *, struct sq_in *, struct sq_out *,
	    char *err);

#endif
