/* Back through the head; see head_back.h. */
#include <stdlib.h>
#include <string.h>

#include "model/head_back.h"

static enum sq_dtype
turned_type(enum sq_prec prec)
{
	return prec == SQ_PREC_BF16 ? SQ_BF16 : SQ_F32;
}

int
sq_head_back_init(struct sq_head_back *h, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, char *err)
{
	const struct sq_weight *w = &m->head.w;
	struct sq_mat f = { NULL, SQ_F32, w->rows, w->cols, w->cols };
	struct sq_mat t = { NULL, turned_type(prec), w->cols, w->rows,
	    w->rows };
	int r = 0;

	*h = (struct sq_head_back){ ctx, prec, w->cols, w->rows, NULL };
	f.p = malloc(w->rows * w->cols * sizeof(float));
	t.p = h->turned = malloc(w->rows * w->cols * sq_dtype_size(t.type));
	if (f.p == NULL || t.p == NULL)
		r = sq_fail(err, "out of memory");
	else if (sq_dequantize(ctx, w, 0, &f) != 0)
		r = sq_no_kernel(err, SQ_OP_dequantize);
	else if (sq_transpose(ctx, &f, &t) != 0)
		r = sq_no_kernel(err, SQ_OP_transpose);
	free(f.p);
	return r;
}

void
sq_head_back_release(struct sq_head_back *h)
{
	free(h->turned);
	memset(h, 0, sizeof(*h));
}

int
sq_head_back_rows(const struct sq_head_back *h, const struct sq_model *m,
    const struct sq_mat *dl, const struct sq_mat *x,
    const struct sq_mat *spare, const struct sq_mat *dx, float *norm_grad,
    char *err)
{
	const struct sq_weight w = { .grid = SQ_DENSE, .rows = h->dim,
	    .cols = h->vocab, .type = turned_type(h->prec),
	    .data = h->turned };

	if (sq_matmul(h->ctx, &w, dl, h->prec, spare) != 0)
		return sq_no_kernel(err, SQ_OP_matmul);
	return sq_rmsnorm_backward(h->ctx, x, m->norm, (float)m->config.eps,
	    spare, dx, norm_grad) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_rmsnorm_backward);
}
