/*
 * The references of kv_append and attention.  Attention is taken in float64
 * from the float32 queries and the cached values, without rounding between:
 * the greatest score first, then the sums, so that exp never overflows.
 */
#include <math.h>

#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"
#include "kernels/rows.h"

/* One head of one token, into the page of its position. */
static void
append_head(const struct sq_kv *kv, void *const *pages, size_t head,
    size_t pos, const float *x)
{
	void *to = sq_kv_at(kv, pages, head, pos, sq_dtype_size(kv->type));
	size_t i;

	for (i = 0; i < kv->dim; i++)
		sq_value_put(to, kv->type, i, x[i]);
}

int
sq_kv_append_ref(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *k,
    const struct sq_mat *v)
{
	const struct sq_seq *s;
	size_t t, h;

	(void)c;
	if (!sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	for (s = seq; s < seq + nseq; s++)
		for (t = 0; t < s->n; t++)
			for (h = 0; h < kv->heads; h++) {
				append_head(kv, s->k, h, s->pos + t,
				    sq_row(k, s->row + t) + h * kv->dim);
				append_head(kv, s->v, h, s->pos + t,
				    sq_row(v, s->row + t) + h * kv->dim);
			}
	return 0;
}

/* A query, and what it looks at. */
struct look {
	const struct sq_kv *kv;
	const struct sq_seq *seq;
	size_t head;			/* of the cache */
	size_t start, end;		/* positions */
	double scale;
	const float *q;
};

static double
score(const struct look *l, size_t pos)
{
	const void *k = sq_kv_at(l->kv, l->seq->k, l->head, pos,
	    sq_dtype_size(l->kv->type));
	double s = 0;
	size_t i;

	for (i = 0; i < l->kv->dim; i++)
		s += (double)l->q[i] * sq_value(k, l->kv->type, i);
	return s * l->scale;
}

/* y, with room for dim sums. */
static void
look_at(const struct look *l, double *sums, float *y)
{
	const struct sq_kv *kv = l->kv;
	const void *v;
	double p, s, max = -INFINITY, total = 0;
	size_t i, pos;

	for (i = 0; i < kv->dim; i++)
		sums[i] = 0;
	for (pos = l->start; pos < l->end; pos++)
		if ((s = score(l, pos)) > max)
			max = s;
	for (pos = l->start; pos < l->end; pos++) {
		v = sq_kv_at(kv, l->seq->v, l->head, pos,
		    sq_dtype_size(kv->type));
		p = exp(score(l, pos) - max);
		total += p;
		for (i = 0; i < kv->dim; i++)
			sums[i] += p * sq_value(v, kv->type, i);
	}
	for (i = 0; i < kv->dim; i++)
		y[i] = (float)(sums[i] / total);
}

int
sq_attention_ref(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *q, const struct sq_mat *y)
{
	struct look l = { .kv = kv, .scale = a->scale };
	size_t t, h;

	if (!sq_attention_allows(a, kv, seq, nseq, q, y) ||
	    kv->dim > c->work_size / sizeof(double))
		return SQ_UNSUP;
	for (l.seq = seq; l.seq < seq + nseq; l.seq++)
		for (t = 0; t < l.seq->n; t++)
			for (h = 0; h < a->heads; h++) {
				l.head = h / (a->heads / kv->heads);
				l.end = l.seq->pos + t + 1;
				l.start = sq_window_start(a, l.end - 1);
				l.q = sq_row(q, l.seq->row + t) + h * kv->dim;
				look_at(&l, c->work,
				    sq_row(y, l.seq->row + t) + h * kv->dim);
			}
	return 0;
}
