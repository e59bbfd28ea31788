/*
 * A block in float64, written down plainly, for the tests of gradients by finite
 * differences: its parameters, and what it makes of hidden states.
 */
#ifndef TESTS_BLOCK_REF_H
#define TESTS_BLOCK_REF_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/rope.h"

#define LENGTH	24			/* tokens of a sequence */

enum { Q, K, V, O, GATE, UP, DOWN, BQ, BK, BV, NORM1, NORM2, NQ, NK, X,
	PARAMS };

struct ref {
	const struct sq_config *c;
	size_t rows, window, count[PARAMS];
	double *p[PARAMS];		/* NULL: the model has none */
	float *angles;
};

/* y = x w^T + bias */
static void
linear(const double *x, const double *w, const double *bias, size_t rows,
    size_t in, size_t out, double *y)
{
	size_t i, j, k;

	for (i = 0; i < rows; i++)
		for (j = 0; j < out; j++) {
			y[i * out + j] = bias == NULL ? 0 : bias[j];
			for (k = 0; k < in; k++)
				y[i * out + j] += x[i * in + k] *
				    w[j * in + k];
		}
}

static void
norm(const double *x, const double *w, size_t rows, size_t n, double eps,
    double *y)
{
	double s;
	size_t i, j;

	for (i = 0; i < rows; i++) {
		for (s = 0, j = 0; j < n; j++)
			s += x[i * n + j] * x[i * n + j];
		s = 1 / sqrt(s / (double)n + eps);
		for (j = 0; j < n; j++)
			y[i * n + j] = x[i * n + j] * s * w[j];
	}
}

static void
rope(const struct ref *r, double *x, size_t heads)
{
	size_t d = (size_t)r->c->head_dim, i, h, e;
	const float *a;
	double u, v, *p;

	for (i = 0; i < r->rows; i++)
		for (h = 0; h < heads; h++)
			for (e = 0; e < d / 2; e++) {
				a = r->angles + i % LENGTH * d;
				p = x + (i * heads + h) * d;
				u = p[e];
				v = p[d / 2 + e];
				p[e] = u * a[e] - v * a[d / 2 + e];
				p[d / 2 + e] = v * a[e] + u * a[d / 2 + e];
			}
}

static void
attend(const struct ref *r, const double *q, const double *k,
    const double *v, double *y)
{
	size_t d = (size_t)r->c->head_dim, nh = (size_t)r->c->heads;
	size_t nk = (size_t)r->c->kv_heads, i, j, h, g, e, from;
	double p[LENGTH], total;

	memset(y, 0, r->rows * nh * d * sizeof(*y));
	for (i = 0; i < r->rows; i++)
		for (h = 0; h < nh; h++) {
			g = h / (nh / nk);
			from = i - i % LENGTH;
			if (r->window != 0 && i - from >= r->window)
				from = i + 1 - r->window;
			for (total = 0, j = from; j <= i; j++) {
				p[j - from] = 0;
				for (e = 0; e < d; e++)
					p[j - from] += q[(i * nh + h) * d +
					    e] * k[(j * nk + g) * d + e];
				p[j - from] = exp(p[j - from] /
				    sqrt((double)d));
				total += p[j - from];
			}
			for (j = from; j <= i; j++)
				for (e = 0; e < d; e++)
					y[(i * nh + h) * d + e] +=
					    p[j - from] / total *
					    v[(j * nk + g) * d + e];
		}
}

/* The block's output, [rows][dim]; out may be its input. */
static void
block_of(const struct ref *r, double *out)
{
	const struct sq_config *c = r->c;
	size_t n = r->rows, dim = (size_t)c->dim, ffn = (size_t)c->ffn, i;
	size_t d = (size_t)c->head_dim, nq = (size_t)c->heads * d;
	size_t nkv = (size_t)c->kv_heads * d;
	double *h = malloc(n * dim * sizeof(*h)), *x = malloc(n * dim *
	    sizeof(*x)), *q = malloc(n * nq * sizeof(*q)), *att = malloc(n *
	    nq * sizeof(*att)), *k = malloc(n * nkv * sizeof(*k)), *v =
	    malloc(n * nkv * sizeof(*v)), *gate = malloc(n * ffn *
	    sizeof(*gate)), *up = malloc(n * ffn * sizeof(*up));

	norm(r->p[X], r->p[NORM1], n, dim, c->eps, h);
	linear(h, r->p[Q], r->p[BQ], n, dim, nq, q);
	linear(h, r->p[K], r->p[BK], n, dim, nkv, k);
	linear(h, r->p[V], r->p[BV], n, dim, nkv, v);
	if (r->p[NQ] != NULL) {
		norm(q, r->p[NQ], n * nq / d, d, c->eps, q);
		norm(k, r->p[NK], n * nkv / d, d, c->eps, k);
	}
	rope(r, q, nq / d);
	rope(r, k, nkv / d);
	attend(r, q, k, v, att);
	linear(att, r->p[O], NULL, n, nq, dim, x);
	for (i = 0; i < n * dim; i++)
		x[i] += r->p[X][i];
	norm(x, r->p[NORM2], n, dim, c->eps, h);
	linear(h, r->p[GATE], NULL, n, dim, ffn, gate);
	linear(h, r->p[UP], NULL, n, dim, ffn, up);
	for (i = 0; i < n * ffn; i++)
		gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	linear(gate, r->p[DOWN], NULL, n, ffn, dim, h);
	for (i = 0; i < n * dim; i++)
		out[i] = x[i] + h[i];
	free(h), free(x), free(q), free(att), free(k), free(v), free(gate),
	    free(up);
}

static double *
doubles(const float *f, size_t n)
{
	double *d = malloc(n * sizeof(*d));
	size_t i;

	for (i = 0; i < n; i++)
		d[i] = (double)f[i];
	return d;
}

static void
take_vector(struct ref *r, int which, const float *v, size_t n)
{
	if (v == NULL)
		return;
	r->count[which] = n;
	r->p[which] = doubles(v, n);
}

static void
take_weight(struct ref *r, int which, struct sq_ctx *ctx,
    const struct sq_linear *l)
{
	size_t n = l->w.rows * l->w.cols;
	float *f = malloc(n * sizeof(*f));
	struct sq_mat m = { f, SQ_F32, l->w.rows, l->w.cols, l->w.cols };

	ck_assert(sq_dequantize(ctx, &l->w, 0, &m) == 0);
	take_vector(r, which, f, n);
	free(f);
	if (which <= V)
		take_vector(r, BQ + which, l->bias, l->w.rows);
}

/* All but the hidden states. */
static void
take_block(struct ref *r, const struct sq_model *m, struct sq_ctx *ctx,
    size_t layer, size_t samples)
{
	const struct sq_layer *l = &m->layer[layer];
	const struct sq_config *c = &m->config;

	memset(r, 0, sizeof(*r));
	r->c = c;
	r->rows = samples * LENGTH;
	r->window = layer >= (size_t)c->window_from ? (size_t)c->window : 0;
	take_weight(r, Q, ctx, &l->q);
	take_weight(r, K, ctx, &l->k);
	take_weight(r, V, ctx, &l->v);
	take_weight(r, O, ctx, &l->o);
	take_weight(r, GATE, ctx, &l->gate);
	take_weight(r, UP, ctx, &l->up);
	take_weight(r, DOWN, ctx, &l->down);
	take_vector(r, NORM1, l->attn_norm, (size_t)c->dim);
	take_vector(r, NORM2, l->ffn_norm, (size_t)c->dim);
	take_vector(r, NQ, l->q_norm, (size_t)c->head_dim);
	take_vector(r, NK, l->k_norm, (size_t)c->head_dim);
	r->angles = malloc(LENGTH * c->head_dim * sizeof(float));
	ck_assert(sq_rope_table(c, 0, LENGTH, r->angles) == 0);
}

static void
drop_block(struct ref *r)
{
	int i;

	for (i = 0; i < PARAMS; i++)
		free(r->p[i]);
	free(r->angles);
}

#endif
