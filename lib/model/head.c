/* A head there and back; see head.h. */
#include <stdlib.h>
#include <string.h>

#include "kernels/panels.h"
#include "model/head.h"

static int
lay(struct sq_head *h, const struct sq_mat *dense, enum sq_lay lay,
    struct sq_operand *to, char *err)
{
	const struct sq_operand from = { *dense, lay };

	to->lay = SQ_PANELS;
	to->m = (struct sq_mat){ .type = sq_panel_type(h->prec),
	    .rows = sq_operand_rows(&from), .cols = sq_operand_cols(&from) };
	to->m.p = sq_mem_host.alloc(sq_panel_bytes(to->m.rows, to->m.cols,
	    to->m.type));
	if (to->m.p == NULL)
		return sq_fail(err, "out of memory");
	return sq_panels(h->ctx, &from, &to->m) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_panels);
}

/* Whether its panels are the ones that are wanted. */
static int
serves(const struct sq_head *like, const struct sq_weight *w,
    enum sq_prec prec)
{
	const struct sq_weight *v;

	if (like == NULL || like->prec != prec)
		return 0;
	v = &like->model->head.w;
	return v->grid == SQ_DENSE && w->grid == SQ_DENSE &&
	    v->type == w->type && v->rows == w->rows && v->cols == w->cols &&
	    memcmp(v->data, w->data, w->rows * w->cols *
	    sq_dtype_size(w->type)) == 0;
}

int
sq_head_init(struct sq_head *h, const struct sq_model *m, struct sq_ctx *ctx,
    enum sq_prec prec, int back, const struct sq_head *like, char *err)
{
	const struct sq_weight *w = &m->head.w;
	struct sq_mat f = { NULL, SQ_F32, w->rows, w->cols, w->cols };
	int r = 0;

	*h = (struct sq_head){ .ctx = ctx, .model = m, .prec = prec };
	if (serves(like, w, prec)) {
		h->forth = like->forth;
		h->lent = 1;
		if (!back)
			return 0;
	}
	f.p = malloc(w->rows * w->cols * sizeof(float));
	if (f.p == NULL)
		return sq_fail(err, "out of memory");
	if (sq_dequantize(ctx, w, 0, &f) != 0)
		r = sq_no_kernel(err, SQ_OP_dequantize);
	if (r == 0 && !h->lent)
		r = lay(h, &f, SQ_TURNED, &h->forth, err);
	if (r == 0 && back)
		r = lay(h, &f, SQ_AS_IS, &h->back, err);
	free(f.p);
	return r;
}

void
sq_head_release(struct sq_head *h)
{
	if (!h->lent)
		sq_mem_host.free(h->forth.m.p);
	sq_mem_host.free(h->back.m.p);
	memset(h, 0, sizeof(*h));
}

uint64_t
sq_head_bytes(const struct sq_config *c, enum sq_prec prec, int back)
{
	enum sq_dtype type = sq_panel_type(prec);

	return sq_panel_bytes((size_t)c->dim, (size_t)c->vocab, type) +
	    (back ? sq_panel_bytes((size_t)c->vocab, (size_t)c->dim, type) :
	    0);
}

int
sq_head_logits(const struct sq_head *h, struct sq_forward *f, size_t row,
    size_t n, const struct sq_mat *logits, char *err)
{
	const struct sq_model *m = h->model;
	struct sq_mat x = f->x;
	struct sq_operand y = { f->x, SQ_AS_IS };

	if (m->head.act.kind != SQ_ACT_NONE)
		return sq_forward_logits(f, row, n, logits, err);
	x.p = (float *)x.p + row * x.cols;
	x.rows = y.m.rows = n;
	y.m.p = f->normed;
	if (sq_rmsnorm(h->ctx, &x, m->norm, (float)m->config.eps, &y.m) != 0)
		return sq_no_kernel(err, SQ_OP_rmsnorm);
	if (sq_product(h->ctx, &y, &h->forth, h->prec, 0, logits) != 0)
		return sq_no_kernel(err, SQ_OP_product);
	if (m->head.bias != NULL && sq_add_bias(h->ctx, m->head.bias,
	    logits) != 0)
		return sq_no_kernel(err, SQ_OP_add_bias);
	return 0;
}

int
sq_head_back(const struct sq_head *h, const struct sq_mat *dl,
    const struct sq_mat *x, const struct sq_mat *spare,
    const struct sq_mat *dx, float *norm_grad, char *err)
{
	const struct sq_operand left = { *dl, SQ_AS_IS };

	if (sq_product(h->ctx, &left, &h->back, h->prec, 0, spare) != 0)
		return sq_no_kernel(err, SQ_OP_product);
	return sq_rmsnorm_backward(h->ctx, x, h->model->norm,
	    (float)h->model->config.eps, spare, dx, norm_grad) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_rmsnorm_backward);
}
