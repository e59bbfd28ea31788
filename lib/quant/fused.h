/*
 * Engines make one matrix of q, k and v, and one of gate and up.  Where a whole
 * tensor has one scale these must have the same, or an engine rounds all but
 * one of them again: they wait here for each other, with what stands between
 * them, and are rounded to nearest as one tensor.
 */
#ifndef SQ_QUANT_FUSED_H
#define SQ_QUANT_FUSED_H

#include "model/config.h"
#include "quant/rtn.h"

struct sq_held;

struct sq_fused {
	struct sq_rtn *rtn;
	void (*made)(void *arg, const struct sq_tensor *);
	void *arg;
	/* private */
	struct sq_slot first;		/* of those that wait */
	struct sq_qrule rule;
	struct sq_held *held;		/* in the order of the stream */
	size_t n;
	unsigned char *rows;		/* the weights among them */
	uint64_t nrows, cols, size;	/* size: of the rows, bytes */
	enum sq_dtype type;
};

/*
 * What to do with a tensor; rule: how it is to be quantized, NULL when it is
 * not.  1: it waits now, or was put with the others; 0: the caller goes on with
 * it, and what has waited is put; -1.
 */
int	 sq_fused_tensor(struct sq_fused *, const struct sq_tensor *,
	    const struct sq_slot *, const struct sq_qrule *rule,
	    struct sq_in *in, struct sq_out *out, char *err);

/* Puts what waits. */
int	 sq_fused_put(struct sq_fused *, struct sq_out *out, char *err);

#endif
