/*
 * The integers of a quantized student, and their scales, as what is learned
 * (quant/tune_weight.h): they are bound, a byte each, as they are now.
 */
#ifndef SQ_DISTILL_CODES_H
#define SQ_DISTILL_CODES_H

#include "model/backward.h"
#include "quant/tune_weight.h"

struct sq_codes_entry {
	struct sq_weight from;		/* as it was bound */
	struct sq_tune_weight weight;
};

struct sq_codes {
	struct sq_codes_entry *entry;
	size_t n;
	struct sq_tune_file file;
};

/* Their places are in memory as far as they take SQ_TUNE_CALM bytes. */
void	 sq_codes_init(struct sq_codes *);

/* A linear layer's weight, when it is of integers in groups of a row: it is
 * bound anew, and its gradient has a place.  Else nothing.  A code is the
 * readier to change the nearer the weight that it was made of, in `like' or
 * NULL, lies to the next one; `like' does not count where it is another. */
int	 sq_codes_take(struct sq_codes *, struct sq_ctx *, struct sq_linear *,
	    const struct sq_weight *like, struct sq_linear_grad *, char *err);

/* What their state, set from elsewhere, stands for. */
int	 sq_codes_apply(struct sq_codes *, char *err);

/* A step along the gradients, which become 0. */
int	 sq_codes_step(struct sq_codes *, const struct sq_tune_rate *,
	    char *err);

/* Codes and scales as they are now go where they came from. */
int	 sq_codes_put(struct sq_codes *, char *err);

void	 sq_codes_release(struct sq_codes *);
uint64_t sq_codes_bytes(uint64_t weights, size_t threads);

#endif
