/*
 * A text of the teacher's own: each sample begins with a few tokens of the text
 * that there is, and goes on with what the teacher draws, at temperature 1 and
 * from all its tokens.  On such text a divergence is learned where it counts,
 * and there is as much of it as is asked for: none is learned by heart.
 */
#ifndef SQ_DISTILL_OWN_H
#define SQ_DISTILL_OWN_H

#include "base/progress.h"
#include "formats/fmt_stats.h"
#include "model/forward.h"

struct sq_own {
	const struct sq_model *teacher;	/* bound */
	struct sq_ctx *ctx;
	enum sq_prec prec;
	const struct sq_tokens *text;
	size_t length;			/* tokens of a sample, at most as many
					   as one of the text */
	uint64_t memory;		/* of keys and values, about, bytes; 0:
					   any; samples depend on it */
	struct sq_progress *progress;	/* tokens, or NULL */
};

/* id: [samples][length].  Threads do not change them. */
int	 sq_own_write(const struct sq_own *, uint32_t *id, size_t samples,
	    char *err);

#endif
