/*
 * The gradient of attention over the vectors of vec.h.  All products are the
 * level's own, each on one thread with a context of its own, of heads as they
 * lie in the rows; the file of a level defines RUN, the name of its function,
 * and includes this.  A task has
 *
 *	some queries of a head, all keys that they see:
 *		S = Q K^T, P, the log of its sum; dP = dY V^T;
 *		delta = sum P dP, dS = scale P (dP - delta); dQ = dS K
 *	some keys of a KV head, all queries that see them:
 *		S^T = K Q^T, P^T; dP^T = V dY^T, dS^T;
 *		dV += P^T dY, dK += dS^T Q
 *
 * so that scores are computed twice, and no sum is shared between tasks.
 */
#include <math.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/attention_grad.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/vec.h"

#define CHUNK	128			/* queries or keys of a task, at most */
#define LOCAL	((size_t)5 << 19)	/* bytes of a thread: for products, */
#define PAIR	((size_t)1 << 20)	/* for scores and their gradients */
#define EACH	(LOCAL + PAIR)
#define LONGEST	8192			/* tokens that LOCAL is enough for */

struct grad {
	struct sq_ctx *c;
	const struct sq_attn *a;
	const struct sq_attn_grad *g;
	sq_product_fn *product;
	enum sq_prec prec;
	size_t kv_heads, group, dim, length;
	size_t chunk, chunks;
	size_t first, rows;		/* of this round, whole sequences */
	float *lse, *delta;		/* [heads][rows] */
	char *scratch;
};

/* n rows of a head, from `row' on. */
static struct sq_mat
head_of(const struct grad *j, const struct sq_mat *m, size_t head, size_t row,
    size_t n)
{
	return (struct sq_mat){ sq_row(m, row) + head * j->dim, SQ_F32, n,
	    j->dim, m->stride };
}

/* y = a b, or += a b. */
static void
multiply(const struct grad *j, int thread, const struct sq_mat *a,
    const struct sq_mat *b, enum sq_lay lay, int add, const struct sq_mat *y)
{
	struct sq_ctx c = { .kern = j->c->kern,
	    .work = j->scratch + (size_t)thread * EACH, .work_size = LOCAL };
	const struct sq_operand left = { *a, SQ_AS_IS }, right = { *b, lay };

	j->product(&c, &left, &right, j->prec, add, y);
}

/* Where a head's row has its own. */
static size_t
place(const struct grad *j, size_t head, size_t row)
{
	return head * j->rows + row - j->first;
}

/* n scores, of which from .. to-1 count, to probabilities; the rest to 0.
 * Returns the log of their sum. */
static float
softmax(float *s, size_t n, size_t from, size_t to, float scale)
{
	VF m = vf_set1(-INFINITY), t = vf_zero(), e, vs = vf_set1(scale), lse;
	float max, l;
	size_t i;

	for (i = from; i + VL <= to; i += VL)
		m = vf_max(m, vf_load(s + i));
	max = vf_greatest(m);
	for (; i < to; i++)
		max = s[i] > max ? s[i] : max;
	lse = vf_set1(max * scale);
	for (i = from; i < to; i += VL) {
		e = vf_exp(vf_fms(vf_get(s + i, to - i), vs, lse));
		t = vf_add(t, to - i < VL ? vf_keep_n(e, vf_zero(), to - i) :
		    e);
	}
	l = max * scale + logf(vf_sum(t));
	lse = vf_set1(l);
	for (i = from; i < to; i += VL)
		vf_put(s + i, vf_exp(vf_fms(vf_get(s + i, to - i), vs, lse)),
		    to - i);
	memset(s, 0, from * sizeof(*s));
	memset(s + to, 0, (n - to) * sizeof(*s));
	return l;
}

/* d = scale p (d - sum p d): returns the sum. */
static float
score_grad(const float *p, float *d, size_t n, float scale)
{
	VF t = vf_zero(), vs = vf_set1(scale), sum;
	float s;
	size_t i;

	for (i = 0; i < n; i += VL)
		t = vf_fma(vf_get(p + i, n - i), vf_get(d + i, n - i), t);
	s = vf_sum(t);
	sum = vf_set1(s);
	for (i = 0; i < n; i += VL)
		vf_put(d + i, vf_mul(vf_mul(vf_get(p + i, n - i), vs),
		    vf_sub(vf_get(d + i, n - i), sum)), n - i);
	return s;
}

/* What a thread has for scores, and for their gradients: [rows][n]. */
static void
pair_of(const struct grad *j, int thread, size_t rows, size_t n,
    struct sq_mat *s, struct sq_mat *d)
{
	float *p = (float *)(j->scratch + (size_t)thread * EACH + LOCAL);

	*s = (struct sq_mat){ p, SQ_F32, rows, n, n };
	*d = *s;
	d->p = p + rows * n;
}

/* Task: a head, some queries of a sequence; the last ones, which see most,
 * first. */
static void
do_queries(void *arg, long task, int thread)
{
	const struct grad *j = arg;
	size_t chunk = j->chunks - 1 - (size_t)task % j->chunks;
	size_t h = (size_t)task / j->chunks % j->a->heads, kv = h / j->group;
	size_t row = j->first + (size_t)task / j->chunks / j->a->heads *
	    j->length;
	size_t q0 = chunk * j->chunk, q1 = least(q0 + j->chunk, j->length);
	size_t k0 = sq_window_start(j->a, q0), n = q1 - k0, i, from;
	float *lse = j->lse + place(j, h, row);
	float *delta = j->delta + place(j, h, row);
	struct sq_mat q = head_of(j, &j->g->q, h, row + q0, q1 - q0);
	struct sq_mat dy = head_of(j, &j->g->dy, h, row + q0, q1 - q0);
	struct sq_mat dq = head_of(j, &j->g->dq, h, row + q0, q1 - q0);
	struct sq_mat k = head_of(j, &j->g->k, kv, row + k0, n);
	struct sq_mat v = head_of(j, &j->g->v, kv, row + k0, n), s, d;

	pair_of(j, thread, q1 - q0, n, &s, &d);
	multiply(j, thread, &q, &k, SQ_TURNED, 0, &s);
	multiply(j, thread, &dy, &v, SQ_TURNED, 0, &d);
	for (i = q0; i < q1; i++) {
		from = sq_window_start(j->a, i);
		lse[i] = softmax(sq_row(&s, i - q0), n, from - k0, i + 1 - k0,
		    j->a->scale);
		delta[i] = score_grad(sq_row(&s, i - q0), sq_row(&d, i - q0),
		    n, j->a->scale);
	}
	multiply(j, thread, &d, &k, SQ_AS_IS, 0, &dq);
}

/* Scores of a key and their gradients, to probabilities and gradients of
 * scores: n queries, of which from .. to-1 count. */
static void
key_row(float *s, float *d, const float *lse, const float *delta, size_t n,
    size_t from, size_t to, float scale)
{
	VF p, vs = vf_set1(scale);
	size_t i, left;

	memset(s, 0, from * sizeof(*s));
	memset(d, 0, from * sizeof(*d));
	for (i = from; i < to; i += VL) {
		left = to - i;
		p = vf_exp(vf_fms(vf_get(s + i, left), vs,
		    vf_get(lse + i, left)));
		vf_put(s + i, p, left);
		vf_put(d + i, vf_mul(vf_mul(p, vs), vf_sub(vf_get(d + i, left),
		    vf_get(delta + i, left))), left);
	}
	memset(s + to, 0, (n - to) * sizeof(*s));
	memset(d + to, 0, (n - to) * sizeof(*d));
}

/* Task: a KV head, some keys of a sequence. */
static void
do_keys(void *arg, long task, int thread)
{
	const struct grad *j = arg;
	size_t kv = (size_t)task / j->chunks % j->kv_heads;
	size_t row = j->first + (size_t)task / j->chunks / j->kv_heads *
	    j->length;
	size_t k0 = (size_t)task % j->chunks * j->chunk, at = row + k0;
	size_t nk = least(j->chunk, j->length - k0), end = j->length, h, i, n;
	struct sq_mat k = head_of(j, &j->g->k, kv, at, nk);
	struct sq_mat v = head_of(j, &j->g->v, kv, at, nk);
	struct sq_mat dk = head_of(j, &j->g->dk, kv, at, nk);
	struct sq_mat dv = head_of(j, &j->g->dv, kv, at, nk), s, d, q, dy;
	size_t window = j->a->window, to;

	if (window != 0 && k0 + nk - 1 + window < end)
		end = k0 + nk - 1 + window;
	n = end - k0;
	pair_of(j, thread, nk, n, &s, &d);
	for (h = kv * j->group; h < (kv + 1) * j->group; h++) {
		q = head_of(j, &j->g->q, h, at, n);
		dy = head_of(j, &j->g->dy, h, at, n);
		multiply(j, thread, &k, &q, SQ_TURNED, 0, &s);
		multiply(j, thread, &v, &dy, SQ_TURNED, 0, &d);
		for (i = 0; i < nk; i++) {
			to = window != 0 && i + window < n ? i + window : n;
			key_row(sq_row(&s, i), sq_row(&d, i), j->lse +
			    place(j, h, at), j->delta + place(j, h, at), n, i,
			    to, j->a->scale);
		}
		multiply(j, thread, &d, &q, SQ_AS_IS, h > kv * j->group, &dk);
		multiply(j, thread, &s, &dy, SQ_AS_IS, h > kv * j->group,
		    &dv);
	}
}

int
RUN(struct sq_ctx *c, const struct sq_attn *a, size_t kv_heads, size_t length,
    const struct sq_attn_grad *g, sq_product_fn *product, enum sq_prec prec)
{
	struct grad j = { .c = c, .a = a, .g = g, .product = product,
	    .prec = prec, .kv_heads = kv_heads, .length = length };
	size_t threads = (size_t)sq_pool_threads(c->pool), most, some;

	if (!sq_attn_grad_allows(a, kv_heads, length, g))
		return SQ_UNSUP;
	j.group = a->heads / kv_heads;
	j.dim = g->q.cols / a->heads;
	if (length > LONGEST || j.dim > LONGEST)
		return SQ_UNSUP;
	for (j.chunk = CHUNK; 2 * j.chunk * length * sizeof(float) > PAIR;)
		j.chunk /= 2;
	j.chunks = up(length, j.chunk);
	j.scratch = c->work;
	most = (c->work_size - threads * EACH) / (2 * a->heads * length *
	    sizeof(float));
	if (most == 0)
		return SQ_UNSUP;
	j.rows = least(most * length, g->q.rows);
	j.lse = (float *)(j.scratch + threads * EACH);
	j.delta = j.lse + a->heads * j.rows;
	for (; j.first < g->q.rows; j.first += j.rows) {
		some = least(j.rows, g->q.rows - j.first) / length * j.chunks;
		sq_pool_run(c->pool, do_queries, &j, (long)(some * a->heads));
		sq_pool_run(c->pool, do_keys, &j, (long)(some * kv_heads));
	}
	return 0;
}
