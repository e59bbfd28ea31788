/*
 * The way back through the head and the last norm: from the gradient of logits
 * to that of the last block's output.  The head's weight is held transposed.
 */
#ifndef SQ_MODEL_HEAD_BACK_H
#define SQ_MODEL_HEAD_BACK_H

#include "model/model.h"

struct sq_head_back {
	struct sq_ctx *ctx;
	enum sq_prec prec;
	size_t dim, vocab;
	void *turned;			/* [dim][vocab], BF16 or F32 */
};

/* Of the model's head, which is bound; released also after -1. */
int	 sq_head_back_init(struct sq_head_back *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, char *err);
void	 sq_head_back_release(struct sq_head_back *);

/*
 * dl: the gradient of the logits that x, rows of the last block's output, has;
 * dx becomes that of x, by way of spare, and of norm_grad, unless NULL, the
 * norm's is added.
 */
int	 sq_head_back_rows(const struct sq_head_back *,
	    const struct sq_model *, const struct sq_mat *dl,
	    const struct sq_mat *x, const struct sq_mat *spare,
	    const struct sq_mat *dx, float *norm_grad, char *err);

#endif
