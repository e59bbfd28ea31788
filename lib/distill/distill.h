/*
 * A student learns from its teacher over the same text:
 *
 *	T^2 KL(teacher || student, both at temperature T)
 *	+ ce (the text's own negative log-likelihood)
 *	+ hidden (mean over the mapped layers of |h - t|^2 / mean(t^2))
 *
 * for each token on average.  What is trained are the dense weights, biases
 * and norms of the blocks and the last norm, or else the integers of the blocks
 * with their scales (codes.h), and norms and biases; the embedding and the head
 * stay.
 * Samples of a step pass side by side, as many as make 512 tokens, and what
 * blocks leave behind is held (trail.h).
 */
#ifndef SQ_DISTILL_DISTILL_H
#define SQ_DISTILL_DISTILL_H

#include "base/progress.h"
#include "distill/codes.h"
#include "distill/distill_config.h"
#include "distill/params.h"
#include "formats/fmt_stats.h"
#include "model/backward.h"

struct sq_distill {
	/* the caller's */
	const struct sq_distill_config *config;
	struct sq_model *teacher, *student;	/* bound */
	struct sq_ctx *ctx;
	enum sq_prec prec;
	const struct sq_tokens *tokens;
	uint64_t length;		/* tokens of a sample: those of the
					   text, or of own */
	uint32_t *own;			/* [config->own][length], or NULL:
					   in place of the text */
	uint64_t hold;			/* bytes for what blocks leave behind,
					   see trail.h */
	struct sq_progress *progress;		/* tokens */
	const char *state_path;			/* NULL: none */
	XXH128_hash_t key;			/* of all that counts */
	void (*told)(void *arg, const struct sq_distill *);
	void *arg;
	/* results: of the samples that are not learned from, at `step' */
	uint64_t step;
	double kl, nll;
	double first;			/* kl at step 0 */
	uint64_t learned, wrote;	/* tokens of this run, */
	double learning, writing;	/* and seconds */
	/* private */
	struct sq_params params;
	struct sq_codes codes;
	struct sq_layer_grad *grad;		/* [layers] */
	float *norm_grad;
	struct sq_distill_work *work;
};

#define SQ_DISTILL_HOLD	((uint64_t)128 << 20)	/* where nobody minds */

/* Options are set.  The student's dense weights move into params, where they
 * are bound from then on. */
int	 sq_distill_init(struct sq_distill *, char *err);
void	 sq_distill_release(struct sq_distill *);

/* Operations of a token that is learned from, in products with weights. */
double	 sq_distill_work_of(const struct sq_distill *);

/* All steps that are left. */
int	 sq_distill_run(struct sq_distill *, char *err);

/* Bytes that it takes beside the two models. */
uint64_t sq_distill_bytes(const struct sq_distill_config *,
	    const struct sq_config *teacher,
	    const struct sq_config *student, enum sq_prec, size_t length,
	    size_t threads, uint64_t hold);

#endif
