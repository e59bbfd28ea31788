/*
 * nll, kl and its gradient over the vectors of vec.h; the file of a level
 * defines LEVEL(op) and includes this.  A row is read once: a chunk's maximum,
 * then, while the chunk is in the first-level cache, its sums, in float32 by
 * lane and in float64 from chunk to chunk.  When the maximum grows, the sums so
 * far are scaled to the new one.
 */
#include <float.h>
#include <math.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define CHUNK	1024		/* columns */
#define TASK	16384		/* columns of a task, at least */

struct job {
	void (*row)(const struct job *, size_t row);
	size_t rows, step;
	const struct sq_mat *a, *b;
	const uint32_t *target;
	float *out, scale;
	uint32_t *top;
	const struct sq_mat *y;
};

static void
do_rows(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t i = (size_t)task * j->step;
	size_t end = j->rows - i < j->step ? j->rows : i + j->step;

	(void)thread;
	for (; i < end; i++)
		j->row(j, i);
}

static int
run(struct sq_ctx *c, struct job *j)
{
	j->rows = j->a->rows;
	j->step = TASK / (j->a->cols + 1) + 1;
	sq_pool_run(c->pool, do_rows, j,
	    (long)((j->rows + j->step - 1) / j->step));
	return 0;
}

static float
greatest(const float *x, size_t n)
{
	VF m[4];
	size_t i, k;

	m[0] = m[1] = m[2] = m[3] = vf_set1(-INFINITY);
	for (i = 0; i + 4 * VL <= n; i += 4 * VL)
		for (k = 0; k < 4; k++)
			m[k] = vf_max(m[k], vf_load(x + i + k * VL));
	for (; i + VL <= n; i += VL)
		m[0] = vf_max(m[0], vf_load(x + i));
	if (i < n)
		m[1] = vf_max(m[1], vf_keep_n(vf_load_n(x + i, n - i), m[1],
		    n - i));
	return vf_greatest(vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3])));
}

/* The first column of x that equals v; 0 when none does (NaN). */
static size_t
find(const float *x, size_t n, float v)
{
	size_t i;
	unsigned eq;

	for (i = 0; i + VL <= n; i += VL)
		if ((eq = vf_equal(vf_load(x + i), vf_set1(v))) != 0)
			return i + (size_t)__builtin_ctz(eq);
	for (; i < n; i++)
		if (x[i] == v)
			return i;
	return 0;
}

/* Sum of exp(x - m). */
static double
sum_exp(const float *x, size_t n, float m)
{
	VF e, vm = vf_set1(m), s[2] = { vf_zero(), vf_zero() };
	size_t i;

	for (i = 0; i + 2 * VL <= n; i += 2 * VL) {
		s[0] = vf_add(s[0], vf_exp(vf_sub(vf_load(x + i), vm)));
		s[1] = vf_add(s[1], vf_exp(vf_sub(vf_load(x + i + VL), vm)));
	}
	for (; i + VL <= n; i += VL)
		s[0] = vf_add(s[0], vf_exp(vf_sub(vf_load(x + i), vm)));
	if (i < n) {
		e = vf_exp(vf_sub(vf_load_n(x + i, n - i), vm));
		s[1] = vf_add(s[1], vf_keep_n(e, vf_zero(), n - i));
	}
	return (double)vf_sum(vf_add(s[0], s[1]));
}

/* exp(a - b): what a new maximum b makes of the sums. */
static double
rescale(float a, float b)
{
	return exp((double)a - b);
}

/* log(sum exp) of a row, and where its maximum is. */
static double
log_sum_exp(const float *x, size_t n, size_t *top)
{
	size_t i, len, at = 0;
	float m = -FLT_MAX, g;
	double sum = 0;

	for (i = 0; i < n; i += len) {
		len = n - i < CHUNK ? n - i : CHUNK;
		if ((g = greatest(x + i, len)) > m) {
			sum *= rescale(m, g);
			m = g;
			at = i;
		}
		sum += sum_exp(x + i, len, m);
	}
	len = n - at < CHUNK ? n - at : CHUNK;
	*top = at + find(x + at, len, m);
	return m + log(sum);
}

static void
nll_row(const struct job *j, size_t row)
{
	const float *x = sq_row(j->a, row);
	size_t top;
	double lse = log_sum_exp(x, j->a->cols, &top);

	if (j->target != NULL)
		lse -= x[j->target[row]];
	if (j->out != NULL)
		j->out[row] = (float)lse;
	if (j->top != NULL)
		j->top[row] = (uint32_t)top;
}

int
LEVEL(nll)(struct sq_ctx *c, const struct sq_mat *logits,
    const uint32_t *target, float *nll, uint32_t *top)
{
	struct job j = { .row = nll_row, .a = logits, .target = target,
	    .out = nll, .top = top };

	if (!sq_nll_allows(logits, target))
		return SQ_UNSUP;
	return run(c, &j);
}

/*
 * The sums of kl, with a = r - mr and b = x - mx: of exp(a), of exp(b), and
 * of exp(a) (a - b).  Then kl = d / sr - log(sr) + log(sx).  Taking a - b, not
 * r - x, keeps the terms small when the rows differ by a constant.
 */
struct kl_sums {
	float mr, mx;
	double sr, sx, d;
};

struct kl_lanes {
	VF sr, sx, d;
};

SQ_INLINE void
kl_add(struct kl_lanes *s, VF a, VF b, VF ea, VF eb)
{
	s->sr = vf_add(s->sr, ea);
	s->sx = vf_add(s->sx, eb);
	s->d = vf_fma(ea, vf_where_pos(vf_sub(a, b), ea), s->d);
}

static void
kl_chunk(struct kl_sums *k, const float *r, const float *x, size_t n)
{
	struct kl_lanes s = { vf_zero(), vf_zero(), vf_zero() };
	VF a, b, mr = vf_set1(k->mr), mx = vf_set1(k->mx);
	size_t i;

	for (i = 0; i + VL <= n; i += VL) {
		a = vf_sub(vf_load(r + i), mr);
		b = vf_sub(vf_load(x + i), mx);
		kl_add(&s, a, b, vf_exp(a), vf_exp(b));
	}
	if (i < n) {
		n -= i;
		a = vf_sub(vf_load_n(r + i, n), mr);
		b = vf_sub(vf_load_n(x + i, n), mx);
		kl_add(&s, a, b, vf_keep_n(vf_exp(a), vf_zero(), n),
		    vf_keep_n(vf_exp(b), vf_zero(), n));
	}
	k->sr += (double)vf_sum(s.sr);
	k->sx += (double)vf_sum(s.sx);
	k->d += (double)vf_sum(s.d);
}

/* The maxima of the next chunk: exp(a) (a - b) changes in both factors. */
static void
kl_raise(struct kl_sums *k, float gr, float gx)
{
	double f;

	if (gr > k->mr) {
		f = rescale(k->mr, gr);
		if (k->sr > 0)
			k->d = f * (k->d - ((double)gr - k->mr) * k->sr);
		k->sr *= f;
		k->mr = gr;
	}
	if (gx > k->mx) {
		f = rescale(k->mx, gx);
		if (k->sr > 0 && k->sx > 0)
			k->d += ((double)gx - k->mx) * k->sr;
		k->sx *= f;
		k->mx = gx;
	}
}

static void
kl_row(const struct job *j, size_t row)
{
	const float *r = sq_row(j->a, row), *x = sq_row(j->b, row);
	struct kl_sums k = { -FLT_MAX, -FLT_MAX, 0, 0, 0 };
	size_t i, len;
	double kl;

	for (i = 0; i < j->a->cols; i += len) {
		len = j->a->cols - i < CHUNK ? j->a->cols - i : CHUNK;
		kl_raise(&k, greatest(r + i, len), greatest(x + i, len));
		kl_chunk(&k, r + i, x + i, len);
	}
	kl = k.d / k.sr - log(k.sr) + log(k.sx);
	j->out[row] = kl < 0 ? 0 : (float)kl;
}

int
LEVEL(kl)(struct sq_ctx *c, const struct sq_mat *ref, const struct sq_mat *x,
    float *kl)
{
	struct job j = { .row = kl_row, .a = ref, .b = x, .out = kl };

	if (!sq_rows_alike(ref, x) || ref->cols == 0)
		return SQ_UNSUP;
	return run(c, &j);
}

/* The row is in the second cache when it is read again. */
static void
kl_back_row(const struct job *j, size_t row)
{
	const float *r = sq_row(j->a, row), *x = sq_row(j->b, row);
	float *y = sq_row(j->y, row);
	size_t i, n = j->a->cols, top;
	VF lr = vf_set1((float)log_sum_exp(r, n, &top));
	VF lx = vf_set1((float)log_sum_exp(x, n, &top));
	VF scale = vf_set1(j->scale), p, q;

	for (i = 0; i < n; i += VL) {
		p = vf_exp(vf_sub(vf_get(r + i, n - i), lr));
		q = vf_exp(vf_sub(vf_get(x + i, n - i), lx));
		vf_put(y + i, vf_mul(scale, vf_sub(q, p)), n - i);
	}
}

int
LEVEL(kl_backward)(struct sq_ctx *c, const struct sq_mat *ref,
    const struct sq_mat *x, float scale, const struct sq_mat *dx)
{
	struct job j = { .row = kl_back_row, .a = ref, .b = x, .y = dx,
	    .scale = scale };

	if (!sq_rows_alike(ref, x) || !sq_rows_alike(ref, dx) ||
	    ref->cols == 0)
		return SQ_UNSUP;
	return run(c, &j);
}
