/* What a distillation works with, for its own files; see distill.h. */
#ifndef SQ_DISTILL_DISTILL_WORK_H
#define SQ_DISTILL_DISTILL_WORK_H

#include "distill/distill.h"
#include "distill/recall.h"
#include "model/head.h"

struct sq_distill_work {
	struct sq_backward t, s;	/* teacher, student: a pass each */
	size_t group;			/* samples of a pass, at most, */
	size_t rows;			/* and their tokens */
	size_t slice;			/* rows of logits at a time */
	size_t length, layers, dim, vocab;
	int64_t *map;			/* [layers]: teacher's layer, or -1 */
	size_t mapped;
	float *want;			/* [layers][rows][dim], where there is
					   a map */
	float *dx, *dh;			/* [rows][dim] */
	float *tl, *sl;			/* [slice][vocab] */
	float *lse, *kl, *nll;		/* [slice] */
	struct sq_head th, sh;		/* their heads */
	uint32_t *ids;			/* [rows]: what is read now, */
	size_t *sample;			/* [group]: of which samples */
	struct sq_recall recall;	/* of the teacher, where that serves */
	double kl_sum, nll_sum;
	size_t held, learned;		/* samples; the first are held out */
	size_t *order;
	uint64_t epoch;			/* that `order' is of */
};

/*
 * The sample of a pass that is in its rows from `at' on: divergence and loss
 * are added up, or, to learn, the gradient of the loss by the student's last
 * states is in dx.
 */
int	 sq_distill_loss(struct sq_distill *, size_t at, int learn,
	    double weight, char *err);

#endif
