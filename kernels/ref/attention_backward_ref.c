/*
 * The reference of attention_backward, in float64.  With the scores
 * s = scale q k, p = softmax(s) of a query and dp = dy v:
 *
 *	ds = p (dp - sum p dp)		dq = scale sum ds k
 *	dv += p dy			dk += scale ds q
 *
 * query after query.  A sequence and KV head has its sums of dk and dv in the
 * workspace.
 */
#include <math.h>
#include <string.h>

#include "kernels/ref/ref.h"
#include "kernels/rows.h"

struct look {
	const struct sq_attn *a;
	const struct sq_attn_grad *g;
	size_t row, at, kv_at, dim;	/* of the sequence; columns of heads */
	double *p, *dk, *dv;
};

static double
dot(const float *a, const float *b, size_t n)
{
	double s = 0;
	size_t i;

	for (i = 0; i < n; i++)
		s += (double)a[i] * b[i];
	return s;
}

static const float *
key(const struct look *l, const struct sq_mat *m, size_t pos)
{
	return sq_row(m, l->row + pos) + l->kv_at;
}

/* Probabilities of the keys start .. t, at p. */
static void
probabilities(const struct look *l, const float *q, size_t start, size_t t)
{
	double max = -INFINITY, total = 0;
	size_t i;

	for (i = start; i <= t; i++) {
		l->p[i] = l->a->scale * dot(q, key(l, &l->g->k, i), l->dim);
		if (l->p[i] > max)
			max = l->p[i];
	}
	for (i = start; i <= t; i++)
		total += l->p[i] = exp(l->p[i] - max);
	for (i = start; i <= t; i++)
		l->p[i] /= total;
}

static void
query(const struct look *l, double *dq, size_t t)
{
	const float *q = sq_row(&l->g->q, l->row + t) + l->at, *k;
	const float *dy = sq_row(&l->g->dy, l->row + t) + l->at;
	size_t i, e, start = sq_window_start(l->a, t);
	double ds, sum = 0;

	probabilities(l, q, start, t);
	for (i = start; i <= t; i++)
		sum += l->p[i] * dot(dy, key(l, &l->g->v, i), l->dim);
	memset(dq, 0, l->dim * sizeof(*dq));
	for (i = start; i <= t; i++) {
		k = key(l, &l->g->k, i);
		ds = l->a->scale * l->p[i] * (dot(dy, key(l, &l->g->v, i),
		    l->dim) - sum);
		for (e = 0; e < l->dim; e++) {
			dq[e] += ds * k[e];
			l->dk[i * l->dim + e] += ds * q[e];
			l->dv[i * l->dim + e] += l->p[i] * dy[e];
		}
	}
	for (e = 0; e < l->dim; e++)
		(sq_row(&l->g->dq, l->row + t) + l->at)[e] = (float)dq[e];
}

static void
keys(struct look *l, double *dq, size_t group, size_t length)
{
	size_t n = length * l->dim, h, t, e;

	memset(l->dk, 0, 2 * n * sizeof(*l->dk));
	for (h = 0; h < group; h++, l->at += l->dim)
		for (t = 0; t < length; t++)
			query(l, dq, t);
	for (t = 0; t < length; t++)
		for (e = 0; e < l->dim; e++) {
			(sq_row(&l->g->dk, l->row + t) + l->kv_at)[e] =
			    (float)l->dk[t * l->dim + e];
			(sq_row(&l->g->dv, l->row + t) + l->kv_at)[e] =
			    (float)l->dv[t * l->dim + e];
		}
}

int
sq_attention_backward_ref(struct sq_ctx *c, const struct sq_attn *a,
    size_t kv_heads, size_t length, const struct sq_attn_grad *g)
{
	struct look l = { .a = a, .g = g };
	size_t dim, group, h;
	double *dq;

	if (!sq_attn_grad_allows(a, kv_heads, length, g))
		return SQ_UNSUP;
	l.dim = dim = g->q.cols / a->heads;
	group = a->heads / kv_heads;
	if ((2 * length * dim + length + dim) * sizeof(double) > c->work_size)
		return SQ_UNSUP;
	l.dk = c->work;
	l.dv = l.dk + length * dim;
	l.p = l.dv + length * dim;
	dq = l.p + length;
	for (; l.row < g->q.rows; l.row += length)
		for (h = 0; h < kv_heads; h++) {
			l.kv_at = h * dim;
			l.at = h * group * dim;
			keys(&l, dq, group, length);
		}
	return 0;
}
