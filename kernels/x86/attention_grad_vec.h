/*
 * The gradient of attention over the vectors of vec.h.  All products are the
 * level's matmul, each on one thread with a context of its own; the file of a
 * level defines RUN, the name of its function, and includes this.
 *
 * Work goes by units, (sequence, KV head), as many at a time as the workspace
 * holds.  First heads are copied out, as they are [length][dim] and turned
 * [dim][length].  Then a task has
 *
 *	some queries of a head, all keys that they see:
 *		S = Q K^T, P, the log of its sum; dP = dY V^T;
 *		delta = sum P dP, dS = scale P (dP - delta); dQ = dS K
 *	some keys of a unit, all queries that see them:
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
#include "kernels/x86/vec.h"

#define CHUNK	64			/* queries or keys of a task, at most */
#define LOCAL	((size_t)5 << 19)	/* bytes of a thread: for products, */
#define PAIR	((size_t)1 << 20)	/* for scores and their gradients, */
#define SMALL	((size_t)1 << 18)	/* for a chunk's results */
#define EACH	(LOCAL + PAIR + SMALL)
#define LONGEST	8192			/* tokens that LOCAL is enough for */

struct grad {
	struct sq_ctx *c;
	const struct sq_attn *a;
	const struct sq_attn_grad *g;
	sq_product_fn *product;
	enum sq_prec prec;
	size_t kv_heads, group, dim, length;
	size_t chunk, chunks;
	size_t first, units;		/* of this round */
	size_t unit;			/* floats that one takes */
	float *heads;
	char *scratch;
};

/* The head copies of a unit, each [length][dim] or [dim][length]. */
struct unit {
	size_t row;			/* of the sequence */
	size_t kv_head;
	float *k, *v, *kt;
	float *query;			/* for each query head, see below */
};

struct query {
	float *q, *dy, *qt, *dyt;
	float *lse, *delta;
};

static struct unit
unit_of(const struct grad *j, size_t i)
{
	size_t n = j->length * j->dim, id = j->first + i;
	struct unit u;

	u.row = id / j->kv_heads * j->length;
	u.kv_head = id % j->kv_heads;
	u.k = j->heads + i * j->unit;
	u.v = u.k + n;
	u.kt = u.v + n;
	u.query = u.kt + n;
	return u;
}

static struct query
query_of(const struct grad *j, const struct unit *u, size_t h)
{
	size_t n = j->length * j->dim;
	struct query q;

	q.q = u->query + h * (4 * n + 2 * j->length);
	q.dy = q.q + n;
	q.qt = q.dy + n;
	q.dyt = q.qt + n;
	q.lse = q.dyt + n;
	q.delta = q.lse + j->length;
	return q;
}

/* to[k][i] = from[i][k], n rows of dim. */
static void
turn(const float *from, size_t stride, size_t n, size_t dim, float *to,
    size_t to_stride)
{
	size_t i, k, t;
	VF v[VL];

	for (i = 0; i < n; i += VL)
		for (k = 0; k < dim; k += VL) {
			for (t = 0; t < VL; t++)
				v[t] = i + t < n ? vf_get(from + (i + t) *
				    stride + k, dim - k) : vf_zero();
			vf_transpose(v);
			for (t = 0; t < VL && k + t < dim; t++)
				vf_put(to + (k + t) * to_stride + i, v[t],
				    n - i);
		}
}

/* Columns at .. of the rows of a sequence: as they are, and turned. */
static void
copy_out(const struct grad *j, const struct sq_mat *m, size_t row, size_t at,
    float *as_is, float *turned)
{
	size_t i;

	for (i = 0; i < j->length; i++)
		memcpy(as_is + i * j->dim, sq_row(m, row + i) + at,
		    j->dim * sizeof(*as_is));
	if (turned != NULL)
		turn(as_is, j->dim, j->length, j->dim, turned, j->length);
}

/* Task: a unit's keys and values, or one of its query heads. */
static void
do_copy(void *arg, long task, int thread)
{
	const struct grad *j = arg;
	size_t part = (size_t)task % (j->group + 1), at;
	struct unit u = unit_of(j, (size_t)task / (j->group + 1));
	struct query q;

	(void)thread;
	if (part == j->group) {
		at = u.kv_head * j->dim;
		copy_out(j, &j->g->k, u.row, at, u.k, u.kt);
		copy_out(j, &j->g->v, u.row, at, u.v, NULL);
		return;
	}
	q = query_of(j, &u, part);
	at = (u.kv_head * j->group + part) * j->dim;
	copy_out(j, &j->g->q, u.row, at, q.q, q.qt);
	copy_out(j, &j->g->dy, u.row, at, q.dy, q.dyt);
}

/* y [tokens][rows] = x w^T: w without gaps, x with cols of each stride. */
static void
multiply(const struct grad *j, int thread, const float *w, size_t rows,
    size_t cols, const float *x, size_t tokens, size_t stride, float *y)
{
	struct sq_ctx c = { .kern = j->c->kern,
	    .work = j->scratch + (size_t)thread * EACH, .work_size = LOCAL };
	struct sq_weight m = { .grid = SQ_DENSE, .rows = rows, .cols = cols,
	    .type = SQ_F32, .data = w };
	struct sq_mat in = { (void *)(uintptr_t)x, SQ_F32, tokens, cols,
	    stride };
	struct sq_mat out = { y, SQ_F32, tokens, rows, rows };

	j->product(&c, &m, &in, j->prec, &out);
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

/* What a thread has for scores and for a chunk's results. */
static float *
pair_of(const struct grad *j, int thread)
{
	return (float *)(j->scratch + (size_t)thread * EACH + LOCAL);
}

/* Task: a unit, one of its query heads, some queries; the last ones, which see
 * most, first. */
static void
do_queries(void *arg, long task, int thread)
{
	const struct grad *j = arg;
	size_t chunk = j->chunks - 1 - (size_t)task % j->chunks;
	size_t h = (size_t)task / j->chunks % j->group;
	struct unit u = unit_of(j, (size_t)task / j->chunks / j->group);
	struct query q = query_of(j, &u, h);
	size_t q0 = chunk * j->chunk, q1 = q0 + j->chunk, k0, i, n, from;
	float *s = pair_of(j, thread), *d, *out;

	if (q1 > j->length)
		q1 = j->length;
	k0 = sq_window_start(j->a, q0);
	n = q1 - k0;
	d = s + j->chunk * n;
	out = s + PAIR / sizeof(*s);
	multiply(j, thread, u.k + k0 * j->dim, n, j->dim, q.q + q0 * j->dim,
	    q1 - q0, j->dim, s);
	multiply(j, thread, u.v + k0 * j->dim, n, j->dim, q.dy + q0 * j->dim,
	    q1 - q0, j->dim, d);
	for (i = q0; i < q1; i++) {
		from = sq_window_start(j->a, i);
		q.lse[i] = softmax(s + (i - q0) * n, n, from - k0,
		    i + 1 - k0, j->a->scale);
		q.delta[i] = score_grad(s + (i - q0) * n, d + (i - q0) * n, n,
		    j->a->scale);
	}
	multiply(j, thread, d, q1 - q0, n, u.kt + k0, j->dim, j->length, out);
	turn(out, q1 - q0, j->dim, q1 - q0, sq_row(&j->g->dq, u.row + q0) +
	    (u.kv_head * j->group + h) * j->dim, j->g->dq.stride);
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

static void
accumulate(float *sum, const float *x, size_t n)
{
	size_t i;

	for (i = 0; i < n; i += VL)
		vf_put(sum + i, vf_add(vf_get(sum + i, n - i),
		    vf_get(x + i, n - i)), n - i);
}

/* Task: a unit, some keys. */
static void
do_keys(void *arg, long task, int thread)
{
	const struct grad *j = arg;
	struct unit u = unit_of(j, (size_t)task / j->chunks);
	size_t k0 = (size_t)task % j->chunks * j->chunk, k1 = k0 + j->chunk;
	size_t end = j->length, h, i, n, nk, to;
	float *s = pair_of(j, thread), *d, *dk, *dv, *out;
	struct query q;

	if (k1 > j->length)
		k1 = j->length;
	if (j->a->window != 0 && k1 - 1 + j->a->window < end)
		end = k1 - 1 + j->a->window;
	n = end - k0;
	nk = k1 - k0;
	d = s + j->chunk * n;
	dk = s + PAIR / sizeof(*s);
	dv = dk + nk * j->dim;
	out = dv + nk * j->dim;
	memset(dk, 0, 2 * nk * j->dim * sizeof(*dk));
	for (h = 0; h < j->group; h++) {
		q = query_of(j, &u, h);
		multiply(j, thread, q.q + k0 * j->dim, n, j->dim,
		    u.k + k0 * j->dim, nk, j->dim, s);
		multiply(j, thread, q.dy + k0 * j->dim, n, j->dim,
		    u.v + k0 * j->dim, nk, j->dim, d);
		for (i = 0; i < nk; i++) {
			to = j->a->window != 0 && i + j->a->window < n ?
			    i + j->a->window : n;
			key_row(s + i * n, d + i * n, q.lse + k0,
			    q.delta + k0, n, i, to, j->a->scale);
		}
		multiply(j, thread, d, nk, n, q.qt + k0, j->dim, j->length,
		    out);
		accumulate(dk, out, nk * j->dim);
		multiply(j, thread, s, nk, n, q.dyt + k0, j->dim, j->length,
		    out);
		accumulate(dv, out, nk * j->dim);
	}
	turn(dk, nk, j->dim, nk, sq_row(&j->g->dk, u.row + k0) +
	    u.kv_head * j->dim, j->g->dk.stride);
	turn(dv, nk, j->dim, nk, sq_row(&j->g->dv, u.row + k0) +
	    u.kv_head * j->dim, j->g->dv.stride);
}

int
RUN(struct sq_ctx *c, const struct sq_attn *a, size_t kv_heads, size_t length,
    const struct sq_attn_grad *g, sq_product_fn *product, enum sq_prec prec)
{
	struct grad j = { .c = c, .a = a, .g = g, .product = product,
	    .prec = prec, .kv_heads = kv_heads, .length = length };
	size_t threads = (size_t)sq_pool_threads(c->pool), most, all;

	if (!sq_attn_grad_allows(a, kv_heads, length, g))
		return SQ_UNSUP;
	j.group = a->heads / kv_heads;
	j.dim = g->q.cols / a->heads;
	for (j.chunk = CHUNK; 2 * j.chunk * length * sizeof(float) > PAIR;)
		j.chunk /= 2;
	/* the last of a chunk's results is a third of SMALL at most */
	if (length > LONGEST || 3 * j.chunk * j.dim * sizeof(float) > SMALL)
		return SQ_UNSUP;
	j.chunks = (length + j.chunk - 1) / j.chunk;
	j.unit = (3 + 4 * j.group) * length * j.dim + 2 * j.group * length;
	j.scratch = c->work;
	j.heads = (float *)(j.scratch + threads * EACH);
	most = (c->work_size - threads * EACH) / (j.unit * sizeof(float));
	if (most == 0)
		return SQ_UNSUP;
	all = g->q.rows / length * kv_heads;
	for (; j.first < all; j.first += j.units) {
		j.units = all - j.first < most ? all - j.first : most;
		sq_pool_run(c->pool, do_copy, &j,
		    (long)(j.units * (j.group + 1)));
		sq_pool_run(c->pool, do_queries, &j,
		    (long)(j.units * j.group * j.chunks));
		sq_pool_run(c->pool, do_keys, &j,
		    (long)(j.units * j.chunks));
	}
	return 0;
}
