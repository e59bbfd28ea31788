/*
 * quantize for AVX2 and AVX-512, the same bits as ref: each file of the level
 * includes this one.
 *
 * A row goes through float32 in the thread's workspace, group by group: the
 * group is converted and its range taken, its scale is found, its codes are
 * made as bytes; at the end of the row they are packed.
 *
 *	weights -> w (float32) -> u (bytes) -> codes
 *	                       -> v (float32, values) -> error, if wanted
 *
 * Groups that span all rows have their ranges and sums taken first; then their
 * rows are done with scales that are known.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/x86/scales_vec.h"
#include "kernels/x86/x86.h"

#define TASK	32768		/* weights of a task, at least */
#define CHUNKS	64		/* of the rows, at most, to take ranges */
#define SHARED	((size_t)64 << 20)	/* workspace of all threads */
#define OWN	((size_t)4 << 20)	/* and of each */

struct job {
	const struct sq_mat *w;
	const struct sq_qrule *rule;
	const struct sq_qdst *q;
	struct target to;
	size_t across;			/* groups in a row */
	size_t chunk;			/* rows of a task */
	int known;			/* scales and zeros are there already */
	char *work;
	struct range *ranges;		/* [chunks][across], shared groups */
	double *sums;			/* [across][FACTORS] */
	atomic_int bad;			/* -1 is to be returned */
};

/* A thread's workspace: a row as weights, values and codes. */
struct row {
	float *w, *v;
	uint8_t *u;
};

SQ_INLINE VI
int_code(const float *w, VF d, VI z)
{
	return vi_add(vi_from_f(vf_div(vf_load(w), d)), z);
}

/* Whole registers: what lies behind n in w gives codes that nobody reads. */
static void
encode_int(const float *w, size_t n, struct unit t, int top, uint8_t *u)
{
	VF d = vf_set1(t.s == 0 ? INFINITY : t.s);
	VI z = vi_set1(t.z), most = vi_set1(top), none = vi_set1(0), k[4];
	size_t i;
	int v;

	for (i = 0; i < n; i += VB) {
		for (v = 0; v < 4; v++) {
			k[v] = none;
			if (i + (size_t)v * VL < n)
				k[v] = int_code(w + i + v * VL, d, z);
			k[v] = vi_min(vi_max(k[v], none), most);
		}
		vi_store_bytes(u + i, k[0], k[1], k[2], k[3]);
	}
}

static void
encode_fp8(const float *w, size_t n, struct unit t, uint8_t *u)
{
	VF d = vf_set1(t.s);
	VI k[4];
	size_t i;
	int v;

	if (t.s == 0) {
		memset(u, 0, n);
		return;
	}
	for (i = 0; i < n; i += VB) {
		for (v = 0; v < 4; v++)
			k[v] = vi_to_e4m3(vf_div(vf_load(w + i + v * VL), d));
		vi_store_bytes(u + i, k[0], k[1], k[2], k[3]);
	}
}

static void
values(const uint8_t *u, size_t n, int fp8, struct unit t, float *v)
{
	VF s = vf_set1(t.s);
	size_t i;

	for (i = 0; i < n; i += VL)
		vf_store(v + i, vf_mul(fp8 ? vf_from_e4m3(u + i) :
		    vf_from_codes(u + i, t.z), s));
}

/* See SQ_ERROR_PARTS; w and v are equal behind n. */
static double
row_error(const float *w, const float *v, size_t n)
{
	double part[SQ_ERROR_PARTS];
	VD sum[SQ_ERROR_PARTS / VDL], d;
	VF a, b;
	size_t i, k;

	for (k = 0; k < SQ_ERROR_PARTS / VDL; k++)
		sum[k] = vd_zero();
	for (i = 0; i < n; i += SQ_ERROR_PARTS)
		for (k = 0; k < SQ_ERROR_PARTS / VDL; k += 2) {
			a = vf_load(w + i + k * VDL);
			b = vf_load(v + i + k * VDL);
			d = vd_sub(vd_low(a), vd_low(b));
			sum[k] = vd_add(sum[k], vd_mul(d, d));
			d = vd_sub(vd_high(a), vd_high(b));
			sum[k + 1] = vd_add(sum[k + 1], vd_mul(d, d));
		}
	for (k = 0; k < SQ_ERROR_PARTS / VDL; k++)
		vd_store(part + k * VDL, sum[k]);
	return sq_fold_error(part);
}

static struct row
own_row(const struct job *j, int thread)
{
	size_t n = j->w->cols + SQ_CODES_BLOCK;
	struct row r;

	r.w = (float *)(j->work + SHARED + (size_t)thread * OWN);
	r.v = r.w + n;
	r.u = (uint8_t *)(r.v + n);
	return r;
}

static void
store_unit(const struct job *j, size_t g, struct unit t)
{
	j->q->scales[g] = t.scale;
	if (!j->to.symmetric)
		j->q->zeros[g] = (uint8_t)t.z;
}

static struct unit
stored_unit(const struct job *j, size_t g)
{
	struct unit t;

	t.scale = j->q->scales[g];
	t.s = _cvtsh_ss(t.scale);
	t.z = j->to.symmetric ? 1 << (j->to.bits - 1) : j->q->zeros[g];
	return t;
}

/* The unit of group g, whose n weights are in w; -1 when they are bad. */
static int
unit_of(const struct job *j, const struct range *r, const float *w, size_t n,
    size_t g, struct unit *t)
{
	int e;

	if (j->known) {
		*t = stored_unit(j, g);
		return 0;
	}
	e = j->to.mse ? mse_unit(&j->to, r, w, n, t) :
	    absmax_unit(&j->to, r, t);
	if (e == 0)
		store_unit(j, g, *t);
	return e;
}

/* Columns c .. c+n-1 of row i, in group g; -1 when they are bad. */
static int
do_span(const struct job *j, size_t i, size_t c, size_t n, size_t g,
    const struct row *row)
{
	struct range r = take(j->w, i, c, n, j->to.symmetric, row->w + c);
	struct unit t;

	if (unit_of(j, &r, row->w + c, n, g, &t) < 0)
		return -1;
	if (j->to.fp8)
		encode_fp8(row->w + c, n, t, row->u + c);
	else
		encode_int(row->w + c, n, t, j->to.top, row->u + c);
	if (j->q->error != NULL)
		values(row->u + c, n, j->to.fp8, t, row->v + c);
	return 0;
}

static int
do_row(const struct job *j, size_t i, const struct row *row)
{
	size_t cols = j->w->cols, gc = j->rule->group_cols, c, n;
	size_t g = i / j->rule->group_rows * j->across;

	for (c = 0; c < cols; c += n, g++) {
		n = cols - c < gc ? cols - c : gc;
		if (do_span(j, i, c, n, g, row) < 0)
			return -1;
	}
	memset(row->u + cols, 0, SQ_CODES_BLOCK);
	sq_codes_pack(row->u, cols, j->to.bits,
	    j->q->codes + i * sq_row_bytes(cols, j->to.bits));
	if (j->q->error != NULL) {
		memset(row->w + cols, 0, SQ_ERROR_PARTS * sizeof(float));
		memset(row->v + cols, 0, SQ_ERROR_PARTS * sizeof(float));
		j->q->error[i] = row_error(row->w, row->v, cols);
	}
	return 0;
}

static void
do_rows(void *arg, long task, int thread)
{
	struct job *j = arg;
	struct row row = own_row(j, thread);
	size_t i = (size_t)task * j->chunk, end = i + j->chunk;

	for (; i < end && i < j->w->rows && !atomic_load(&j->bad); i++)
		if (do_row(j, i, &row) < 0)
			atomic_store(&j->bad, 1);
}

/* Groups that span all rows */

static void
range_rows(void *arg, long task, int thread)
{
	struct job *j = arg;
	struct range *all = j->ranges + (size_t)task * j->across, r;
	struct row row = own_row(j, thread);
	size_t i = (size_t)task * j->chunk, end = i + j->chunk, g, c, n;

	memset(all, 0, j->across * sizeof(*all));
	for (; i < end && i < j->w->rows; i++)
		for (g = c = 0; c < j->w->cols; c += n, g++) {
			n = j->w->cols - c;
			if (n > j->rule->group_cols)
				n = j->rule->group_cols;
			r = take(j->w, i, c, n, j->to.symmetric, row.w);
			widen(&all[g], &r);
		}
}

/* One register of factors of one group, over all its rows. */
static void
sum_group(void *arg, long task, int thread)
{
	struct job *j = arg;
	struct row row = own_row(j, thread);
	size_t g = (size_t)task / (FACTORS / VL);
	int at = (int)((size_t)task % (FACTORS / VL)) * VL;
	size_t i, c = g * j->rule->group_cols, n = j->w->cols - c;
	struct tries t;

	if (make_tries(&j->to, &j->ranges[g], &t) < 0) {
		atomic_store(&j->bad, 1);
		return;
	}
	if (n > j->rule->group_cols)
		n = j->rule->group_cols;
	for (i = 0; i < j->w->rows; i++) {
		take(j->w, i, c, n, j->to.symmetric, row.w);
		add_squares(&j->to, row.w, n, &t, at, j->sums + g * FACTORS);
	}
}

static void
mse_units(struct sq_ctx *c, struct job *j)
{
	struct tries t;
	size_t g;

	memset(j->sums, 0, j->across * FACTORS * sizeof(double));
	sq_pool_run(c->pool, sum_group, j, (long)j->across * (FACTORS / VL));
	for (g = 0; g < j->across && !atomic_load(&j->bad); g++) {
		make_tries(&j->to, &j->ranges[g], &t);
		store_unit(j, g, best_try(&t, j->sums + g * FACTORS));
	}
}

static void
absmax_units(struct job *j)
{
	struct unit t;
	size_t g;

	for (g = 0; g < j->across; g++)
		if (absmax_unit(&j->to, &j->ranges[g], &t) < 0)
			atomic_store(&j->bad, 1);
		else
			store_unit(j, g, t);
}

/* Scales and zeros of all groups. */
static void
shared_units(struct sq_ctx *c, struct job *j)
{
	long chunks, k;
	size_t g;

	j->sums = (double *)j->work;
	j->ranges = (struct range *)(j->sums + j->across * FACTORS);
	j->chunk = (j->w->rows + CHUNKS - 1) / CHUNKS;
	chunks = (long)((j->w->rows + j->chunk - 1) / j->chunk);
	sq_pool_run(c->pool, range_rows, j, chunks);
	for (g = 0; g < j->across; g++)
		for (k = 1; k < chunks; k++)
			widen(&j->ranges[g],
			    &j->ranges[(size_t)k * j->across + g]);
	if (j->to.mse)
		mse_units(c, j);
	else
		absmax_units(j);
	j->known = 1;
}

/* The workspace holds what is needed, here and for each thread. */
static int
fits(const struct job *j)
{
	size_t cols = j->w->cols + SQ_CODES_BLOCK;

	return cols <= OWN / (2 * sizeof(float) + 1) &&
	    j->across <= SHARED / (CHUNKS * sizeof(struct range) +
	    FACTORS * sizeof(double));
}

static int
quantize(struct sq_ctx *c, const struct sq_mat *w,
    const struct sq_qrule *rule, const struct sq_qdst *q)
{
	struct job j = { .w = w, .rule = rule, .q = q, .work = c->work };

	if (!sq_quantize_allows(w, rule, q))
		return SQ_UNSUP;
	if (w->rows == 0)
		return 0;
	j.to.bits = sq_grid_bits(rule->grid);
	j.to.top = (1 << j.to.bits) - 1;
	j.to.fp8 = rule->grid == SQ_FP8_E4M3;
	j.to.symmetric = rule->symmetric;
	j.to.mse = rule->scale == SQ_MSE;
	j.across = sq_groups_across(w->cols, rule->group_cols);
	if (!fits(&j))
		return SQ_UNSUP;
	if (rule->group_rows > 1)
		shared_units(c, &j);
	j.chunk = TASK / w->cols + 1;
	if (!atomic_load(&j.bad))
		sq_pool_run(c->pool, do_rows, &j,
		    (long)((w->rows + j.chunk - 1) / j.chunk));
	return atomic_load(&j.bad) ? -1 : 0;
}
