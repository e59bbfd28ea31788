/* What of a student is learned; see take.h. */
#include <stdlib.h>
#include <string.h>

#include "distill/take.h"

/* A dense weight becomes a parameter. */
static int
take_linear(struct sq_distill *d, struct sq_linear *l,
    struct sq_linear_grad *g, char *err)
{
	struct sq_mat m = { NULL, SQ_F32, l->w.rows, l->w.cols, l->w.cols };
	size_t n = m.rows * m.cols;

	if (l->w.data == NULL || l->w.grid != SQ_DENSE)
		return 0;
	if ((m.p = sq_params_add(&d->params, n, 1)) == NULL)
		return sq_fail(err, "out of memory");
	if (sq_dequantize(d->ctx, &l->w, 0, &m) != 0)
		return sq_no_kernel(err, SQ_OP_dequantize);
	l->w.type = SQ_F32;
	l->w.data = m.p;
	g->w = (float *)m.p + n;
	return 0;
}

/* A vector, too: *v was the model's own memory, and stays its copy. */
static int
take_vector(struct sq_distill *d, float **v, size_t n, float **g, char *err)
{
	float *p;

	if (*v == NULL)
		return 0;
	if ((p = sq_params_add(&d->params, n, 0)) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(p, *v, n * sizeof(*p));
	free(*v);
	*v = p;
	*g = p + n;
	return 0;
}

/* Norms and biases of a block. */
static int
take_vectors(struct sq_distill *d, struct sq_layer *l, struct sq_layer_grad *g,
    char *err)
{
	const struct sq_config *c = &d->student->config;
	struct sq_linear *lin;
	int i;

	for (i = 0; i < SQ_LINEARS; i++) {
		lin = sq_layer_linear(l, i);
		if (take_vector(d, &lin->bias, lin->w.rows,
		    &sq_layer_linear_grad(g, i)->bias, err) < 0)
			return -1;
	}
	if (take_vector(d, &l->attn_norm, (size_t)c->dim, &g->attn_norm,
	    err) < 0 ||
	    take_vector(d, &l->ffn_norm, (size_t)c->dim, &g->ffn_norm,
	    err) < 0 ||
	    take_vector(d, &l->q_norm, (size_t)c->head_dim, &g->q_norm,
	    err) < 0)
		return -1;
	return take_vector(d, &l->k_norm, (size_t)c->head_dim, &g->k_norm,
	    err);
}

static int
take_dense(struct sq_distill *d, size_t layer, char *err)
{
	int i;

	for (i = 0; i < SQ_LINEARS; i++)
		if (take_linear(d, sq_layer_linear(&d->student->layer[layer],
		    i), sq_layer_linear_grad(&d->grad[layer], i), err) < 0)
			return -1;
	return 0;
}

static int
take_codes(struct sq_distill *d, size_t layer, char *err)
{
	struct sq_layer *l = &d->student->layer[layer];
	struct sq_layer *t = d->teacher->config.layers ==
	    d->student->config.layers ? &d->teacher->layer[layer] : NULL;
	int i;

	for (i = 0; i < SQ_LINEARS; i++)
		if (sq_codes_take(&d->codes, d->ctx,
		    sq_layer_linear(l, i), t == NULL ? NULL :
		    &sq_layer_linear(t, i)->w,
		    sq_layer_linear_grad(&d->grad[layer], i), err) < 0)
			return -1;
	return 0;
}

int
sq_distill_take(struct sq_distill *d, char *err)
{
	const struct sq_distill_config *c = d->config;
	struct sq_model *m = d->student;
	int codes = c->train == SQ_TRAIN_CODES;
	size_t i;

	for (i = 0; i < m->config.layers; i++)
		if ((codes ? take_codes(d, i, err) : take_dense(d, i,
		    err)) < 0)
			return -1;
	if (codes && d->codes.n == 0)
		return sq_fail(err, "the student has no integers in groups of "
		    "a row, which alone are trained");
	if (codes && c->norm == 0)
		return 0;
	for (i = 0; i < m->config.layers; i++)
		if (take_vectors(d, &m->layer[i], &d->grad[i], err) < 0)
			return -1;
	return take_vector(d, &m->norm, (size_t)m->config.dim, &d->norm_grad,
	    err);
}

/* The student gives back the vectors that params own. */
void
sq_distill_leave(struct sq_model *m)
{
	struct sq_layer *l;
	size_t i;
	int n;

	for (i = 0; i < m->config.layers; i++) {
		l = &m->layer[i];
		l->attn_norm = l->ffn_norm = l->q_norm = l->k_norm = NULL;
		for (n = 0; n < SQ_LINEARS; n++)
			sq_layer_linear(l, n)->bias = NULL;
	}
	m->norm = NULL;
}
