/*
 * A weight whose rounding and scales are learned.
 *
 * Each weight has a place u on the axis of the codes, and each group the log a
 * of a factor on its first scale s0:
 *
 *	w = s (round(u) - z),  s = s0 exp(a) rounded to F16
 *
 * Rounding passes the gradient on as if it were not there, where u is within
 * the codes; so a step moves u by what w would have it, and s by what the
 * codes as they are would have it.  Steps are Adam's (Kingma, Ba 2014).
 */
#ifndef SQ_QUANT_TUNE_WEIGHT_H
#define SQ_QUANT_TUNE_WEIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kern.h"
#include "quant/tune_rows.h"

struct sq_tune_weight {
	size_t rows, cols, group, across;	/* columns, groups of a row */
	int bits;
	float *w, *g;			/* [rows][cols]: weight (NULL: as
					   noted), gradient */
	/* private */
	struct sq_pool *pool;
	struct sq_tune_rows u;		/* of each [3][cols]: places, moments */
	float *a, *a1, *a2;		/* [rows][across] */
	uint16_t *s0, *best_s;
	uint8_t *z, *best;		/* zero points, codes */
	float *mem;
};

/* How far a step goes, at most or so: on the axis of codes, in ln s. */
struct sq_tune_rate {
	int step;			/* 1 .. */
	float place, scale;
};

/* Bytes that one takes, with w and its places, and without. */
uint64_t sq_tune_weight_bytes(size_t rows, size_t cols, size_t group);
uint64_t sq_tune_weight_rest(size_t rows, size_t cols, size_t group);

/*
 * From the dense weight (F32, without gaps) and how it was quantized: u begins
 * where the weight lies, but within `slack' of its code.  file: NULL, or for
 * places: who gave it asks sq_tune_file_check(), there is no w, and all that
 * would change it notes what it is.
 */
int	 sq_tune_weight_init(struct sq_tune_weight *, struct sq_pool *,
	    struct sq_tune_file *file, const struct sq_mat *dense,
	    const struct sq_qrule *, const struct sq_qdst *, float slack,
	    char *err);
void	 sq_tune_weight_release(struct sq_tune_weight *);

/* What was noted last, as a weight whose codes have a byte each; it is what is
 * noted later, too, as long as the weight is there. */
struct sq_weight sq_tune_weight_now(const struct sq_tune_weight *);

/* w from u and a. */
void	 sq_tune_weight_apply(struct sq_tune_weight *);

/* All that steps change, piece by piece: fn reads it, or, where `set', sets
 * it, before sq_tune_weight_apply().  -1 as soon as fn says so. */
int	 sq_tune_weight_state(struct sq_tune_weight *, int set,
	    int (*fn)(void *arg, float *p, size_t n), void *arg);

/* What a change of ln s of a group (counted over all rows) does to the loss,
 * by g. */
float	 sq_tune_weight_by_scale(const struct sq_tune_weight *, size_t group);

/* A step along g, which becomes 0; w follows. */
void	 sq_tune_weight_step(struct sq_tune_weight *,
	    const struct sq_tune_rate *);

/* Notes codes and scales as they are now; codes and scales (the places of
 * a struct sq_qdst) of what was noted last. */
void	 sq_tune_weight_note(struct sq_tune_weight *);
void	 sq_tune_weight_noted(const struct sq_tune_weight *,
	    const struct sq_qdst *);

#endif
