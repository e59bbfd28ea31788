/* Float values into a record; see put_floats.h. */
#include <float.h>
#include <math.h>

#include "quant/put_floats.h"

#define PIECE	16384		/* values */

static int
all_fit(const float *v, size_t n, enum sq_dtype type)
{
	float most = type == SQ_F16 ? 65504 : FLT_MAX;
	size_t i;

	for (i = 0; i < n; i++)
		if (!(fabsf(v[i]) <= most))
			return 0;
	return 1;
}

int
sq_put_floats(struct sq_out *out, struct sq_ctx *ctx, const float *v,
    size_t n, const struct sq_tensor *t, char *err)
{
	float piece[PIECE];
	struct sq_weight w = { .grid = SQ_DENSE, .type = SQ_F32, .rows = 1 };
	struct sq_mat to = { piece, t->type, 1, 0, 0 };
	size_t m;

	for (; n > 0; n -= m, v += m) {
		m = n < PIECE ? n : PIECE;
		if (!all_fit(v, m, t->type))
			return sq_fail(err, "tensor '%s': holds infinity, NaN "
			    "or values that are too large for %s", t->name,
			    sq_dtype_name(t->type));
		w.data = v;
		w.cols = to.cols = to.stride = m;
		if (sq_dequantize(ctx, &w, 0, &to) != 0)
			return sq_fail(err, "tensor '%s': no kernel writes %s",
			    t->name, sq_dtype_name(t->type));
		if (sq_out_write(out, piece, m * sq_dtype_size(t->type)) < 0)
			return sq_fail(err, "%s", out->err);
	}
	return 0;
}
