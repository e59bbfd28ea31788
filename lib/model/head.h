/*
 * A head for many rows at a time, there and back: its weight, which stays as it
 * is, is laid out once.
 */
#ifndef SQ_MODEL_HEAD_H
#define SQ_MODEL_HEAD_H

#include "model/forward.h"

struct sq_head {
	struct sq_ctx *ctx;
	const struct sq_model *model;
	enum sq_prec prec;
	struct sq_operand forth, back;	/* panels */
	int lent;			/* forth is another head's */
};

/* Of the model's last norm and head, which are bound; back: for
 * sq_head_back(), too.  `like', or NULL, lends its panels for as long as this
 * one is there, if its weight is the same.  Released also after -1. */
int	 sq_head_init(struct sq_head *, const struct sq_model *,
	    struct sq_ctx *, enum sq_prec, int back,
	    const struct sq_head *like, char *err);
void	 sq_head_release(struct sq_head *);
uint64_t sq_head_bytes(const struct sq_config *, enum sq_prec, int back);

/* sq_forward_logits(). */
int	 sq_head_logits(const struct sq_head *, struct sq_forward *, size_t row,
	    size_t n, const struct sq_mat *logits, char *err);

/*
 * dl: the gradient of the logits that x, rows of the last block's output, has;
 * dx becomes that of x, by way of spare, and of norm_grad, unless NULL, the
 * norm's is added.
 */
int	 sq_head_back(const struct sq_head *, const struct sq_mat *dl,
	    const struct sq_mat *x, const struct sq_mat *spare,
	    const struct sq_mat *dx, float *norm_grad, char *err);

#endif
