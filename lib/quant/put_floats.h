/* Float values into a record, in the type of its tensor. */
#ifndef SQ_QUANT_PUT_FLOATS_H
#define SQ_QUANT_PUT_FLOATS_H

#include "formats/fmt_stream.h"
#include "kernels/kern.h"

/* n values, rounded to F32, F16 or BF16; -1 with the reason, also when one is
 * not finite or too large. */
int	 sq_put_floats(struct sq_out *, struct sq_ctx *, const float *v,
	    size_t n, const struct sq_tensor *, char *err);

#endif
