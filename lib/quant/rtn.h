/*
 * Round to nearest: each weight goes to the closest point of its group's grid
 * (`quantize' in kernels/ops.def).  Needs no statistics and no memory: a tensor
 * passes in chunks of rows.
 */
#ifndef SQ_QUANT_RTN_H
#define SQ_QUANT_RTN_H

#include "quant/chunks.h"

struct sq_rtn {
	struct sq_ctx *ctx;
	int want_error;			/* compute `error' below */
	struct sq_chunks chunks;	/* rule, memory, progress are set */
	double error;			/* result: sum (w - q)^2 / sum w^2 */
	/* private */
	double sum, norm;
};

/* Rows in memory, as `quantize' of chunks.h. */
int	 sq_rtn_rows(struct sq_rtn *, const struct sq_mat *w,
	    const struct sq_qrule *rule, const struct sq_dst *q, char *err);

/* As sq_chunks_tensor() and sq_chunks_twin(). */
int	 sq_rtn_tensor(struct sq_rtn *, const struct sq_tensor *t,
	    struct sq_in *in, struct sq_out *out, char *err);
struct sq_twin *sq_rtn_twin(struct sq_rtn *, const struct sq_tensor *t,
	    const char *name, struct sq_in *in, struct sq_out *out, char *err);

#endif
