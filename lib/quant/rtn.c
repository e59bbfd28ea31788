/* Round to nearest; see rtn.h. */
#include <stdlib.h>

#include "quant/rtn.h"

/* Adds a chunk's squared error and squared norm, in the order of the rows. */
static int
add_error(struct sq_rtn *q, const struct sq_mat *w, const double *row_error,
    float *values)
{
	struct sq_weight dense = { .grid = SQ_DENSE, .rows = w->rows,
	    .cols = w->cols, .type = w->type, .data = w->p };
	struct sq_mat f = { values, SQ_F32, w->rows, w->cols, w->cols };
	size_t i, n = w->rows * w->cols;

	if (sq_dequantize(q->ctx, &dense, 0, &f) != 0)
		return -1;
	for (i = 0; i < w->rows; i++)
		q->sum += row_error[i];
	for (i = 0; i < n; i++)
		q->norm += (double)values[i] * values[i];
	return 0;
}

static int
quantize_rows(void *arg, const struct sq_mat *w, const struct sq_qrule *rule,
    const struct sq_dst *dst, char *err)
{
	struct sq_rtn *q = arg;
	struct sq_qdst d = { .codes = dst->codes, .scales = dst->scales,
	    .zeros = dst->zeros };
	float *values = NULL;
	int r = 0;

	if (q->want_error) {
		d.error = malloc(w->rows * sizeof(*d.error));
		values = malloc(w->rows * w->cols * sizeof(*values));
		if (d.error == NULL || values == NULL)
			r = sq_fail(err, "are too many: out of memory");
	}
	if (r == 0 && sq_quantize(q->ctx, w, rule, &d) != 0)
		r = sq_fail(err, SQ_CHUNKS_BAD);
	if (r == 0 && q->want_error && add_error(q, w, d.error, values) < 0)
		r = sq_fail(err, "find no kernel");
	free(d.error);
	free(values);
	return r;
}

static struct sq_chunks *
begin(struct sq_rtn *q, const struct sq_tensor *t)
{
	q->error = q->sum = q->norm = 0;
	q->chunks.quantize = quantize_rows;
	q->chunks.arg = q;
	q->chunks.per_row = q->want_error ? t->dim[1] * sizeof(float) +
	    sizeof(double) : 0;
	return &q->chunks;
}

static void
finish(struct sq_rtn *q)
{
	q->error = q->norm > 0 ? q->sum / q->norm : 0;
}

int
sq_rtn_rows(struct sq_rtn *q, const struct sq_mat *w,
    const struct sq_qrule *rule, const struct sq_dst *dst, char *err)
{
	int r;

	q->error = q->sum = q->norm = 0;
	r = quantize_rows(q, w, rule, dst, err);
	finish(q);
	return r;
}

int
sq_rtn_tensor(struct sq_rtn *q, const struct sq_tensor *t, struct sq_in *in,
    struct sq_out *out, char *err)
{
	int r = sq_chunks_tensor(begin(q, t), t, in, out, err);

	finish(q);
	return r;
}

struct sq_twin *
sq_rtn_twin(struct sq_rtn *q, const struct sq_tensor *t, const char *name,
    struct sq_in *in, struct sq_out *out, char *err)
{
	struct sq_twin *w = sq_chunks_twin(begin(q, t), t, name, in, out,
	    err);

	finish(q);
	return w;
}
