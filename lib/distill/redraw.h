/*
 * A text that is not the same twice: some of its tokens become what the
 * teacher, having read what stands before them, might have written there.  A
 * short text teaches a student itself; varied, it teaches more of the teacher.
 */
#ifndef SQ_DISTILL_REDRAW_H
#define SQ_DISTILL_REDRAW_H

#include "kernels/kern.h"

struct sq_redraw {
	double part;			/* of the tokens, 0 .. 1 */
	uint64_t seed;			/* of the sample and its round */
};

/* The tokens after rows row .. of a sample: from logits and the logarithms of
 * their sums of exponentials.  Does not depend on how rows are cut. */
void	 sq_redraw(const struct sq_redraw *, struct sq_pool *,
	    const struct sq_mat *logits, const float *lse, size_t row,
	    uint32_t *next);

#endif
