/*
 * The reference of quantize.  Two passes, because a group may span all rows
 * while a row of codes is one bit string over all its groups: first scale and
 * zero point of every group, then the codes of every row.
 *
 * What ops.def leaves open:
 *   - the factors of SQ_MSE are f = 1.05 - 0.0125 i in float64; f s, and for
 *     asymmetric grids f lo and f hi, are products in float64;
 *   - z = round(-lo / s) is a float32 division of lo rounded to float32, the
 *     same that the weights see, so that lo itself gets code 0;
 *   - any s that overflows, of any factor, gives -1;
 *   - fp8 where s rounds to 0: u = 0;
 *   - the order of the sum in a row's error: see SQ_ERROR_PARTS in quant.h.
 */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/value.h"

struct job {
	const struct sq_mat *w;
	const struct sq_qrule *rule;
	const struct sq_qdst *q;
	int bits;
	size_t across;			/* groups in a row */
	atomic_int bad;			/* a group could not be done */
};

/* The weights of a group: rows i0 .. i1-1, columns j0 .. j1-1. */
struct rect {
	size_t i0, i1, j0, j1;
};

/* What a group's codes mean. */
struct unit {
	float s;
	int z;
};

static struct rect
group_rect(const struct job *j, size_t gi, size_t gj)
{
	struct rect r;

	r.i0 = gi * j->rule->group_rows;
	r.i1 = r.i0 + j->rule->group_rows;
	r.j0 = gj * j->rule->group_cols;
	r.j1 = r.j0 + j->rule->group_cols;
	if (r.j1 > j->w->cols)
		r.j1 = j->w->cols;
	return r;
}

static float
weight(const struct sq_mat *w, size_t i, size_t j)
{
	return sq_value(w->p, w->type, i * w->stride + j);
}

static float
clampf(float x, float lo, float hi)
{
	return x < lo ? lo : x > hi ? hi : x;
}

static uint8_t
code(const struct job *j, struct unit t, float w)
{
	float top = (float)((1 << j->bits) - 1);

	if (j->rule->grid == SQ_FP8_E4M3)
		return t.s == 0 ? 0 : sq_f32_to_e4m3(w / t.s);
	if (t.s == 0)
		return (uint8_t)t.z;
	return (uint8_t)clampf(rintf(w / t.s) + (float)t.z, 0, top);
}

static float
value(const struct job *j, struct unit t, uint8_t u)
{
	if (j->rule->grid == SQ_FP8_E4M3)
		return sq_e4m3_to_f32(u) * t.s;
	return (float)((int)u - t.z) * t.s;
}

/* Least and greatest weight, with 0 among them; -1 when one is not finite. */
static int
range(const struct job *j, struct rect r, float *lo, float *hi)
{
	size_t i, c;
	float w;

	*lo = *hi = 0;
	for (i = r.i0; i < r.i1; i++)
		for (c = r.j0; c < r.j1; c++) {
			w = weight(j->w, i, c);
			if (!isfinite(w))
				return -1;
			if (w < *lo)
				*lo = w;
			if (w > *hi)
				*hi = w;
		}
	return 0;
}

/* Scale and zero point for a range, shrunk by f; -1 when s overflows. */
static int
make_unit(const struct job *j, double lo, double hi, double f, struct unit *t)
{
	double top = (1 << j->bits) - 1, most = -lo > hi ? -lo : hi;
	uint16_t h;

	if (j->rule->grid == SQ_FP8_E4M3)
		h = sq_f64_to_f16(f * (most / 448));
	else if (j->rule->symmetric)
		h = sq_f64_to_f16(f * (most / (top / 2)));
	else
		h = sq_f64_to_f16((f * hi - f * lo) / top);
	t->s = sq_f16_to_f32(h);
	t->z = 1 << (j->bits - 1);
	if (!j->rule->symmetric && t->s != 0)
		t->z = (int)clampf(rintf((float)(-(f * lo)) / t->s), 0,
		    (float)top);
	return isfinite(t->s) ? 0 : -1;
}

static double
group_error(const struct job *j, struct rect r, struct unit t)
{
	double sum = 0, d;
	size_t i, c;
	float w;

	for (i = r.i0; i < r.i1; i++)
		for (c = r.j0; c < r.j1; c++) {
			w = weight(j->w, i, c);
			d = (double)w - value(j, t, code(j, t, w));
			sum += d * d;
		}
	return sum;
}

static int
best_unit(const struct job *j, struct rect r, float lo, float hi,
    struct unit *best)
{
	double e, least = INFINITY;
	struct unit t;
	int i;

	for (i = 0; i < SQ_MSE_FACTORS; i++) {
		if (make_unit(j, lo, hi, sq_mse_factor(i), &t) < 0)
			return -1;
		e = group_error(j, r, t);
		if (e < least) {
			least = e;
			*best = t;
		}
	}
	return 0;
}

static void
do_group(void *arg, long task, int thread)
{
	struct job *j = arg;
	size_t g = (size_t)task;
	struct rect r = group_rect(j, g / j->across, g % j->across);
	struct unit t;
	float lo, hi;
	int e;

	(void)thread;
	if ((e = range(j, r, &lo, &hi)) == 0)
		e = j->rule->scale == SQ_MSE ? best_unit(j, r, lo, hi, &t) :
		    make_unit(j, lo, hi, 1, &t);
	if (e < 0) {
		atomic_store(&j->bad, 1);
		return;
	}
	j->q->scales[g] = sq_f32_to_f16(t.s);
	if (!j->rule->symmetric)
		j->q->zeros[g] = (uint8_t)t.z;
}

/* The unit of column c of row i, from what do_group stored. */
static struct unit
stored_unit(const struct job *j, size_t i, size_t c)
{
	size_t g = i / j->rule->group_rows * j->across +
	    c / j->rule->group_cols;
	struct unit t;

	t.s = sq_f16_to_f32(j->q->scales[g]);
	t.z = j->rule->symmetric ? 1 << (j->bits - 1) : j->q->zeros[g];
	return t;
}

static void
put_code(uint8_t *row, size_t c, int bits, uint8_t u)
{
	int b;

	for (b = 0; b < bits; b++)
		row[(c * (size_t)bits + (size_t)b) / 8] |=
		    (uint8_t)((u >> b & 1) << ((c * (size_t)bits +
		    (size_t)b) % 8));
}

static void
do_row(void *arg, long task, int thread)
{
	struct job *j = arg;
	size_t i = (size_t)task, n = sq_row_bytes(j->w->cols, j->bits), c;
	uint8_t *row = j->q->codes + i * n, u;
	double part[SQ_ERROR_PARTS] = { 0 }, d;
	struct unit t;
	float w;

	(void)thread;
	memset(row, 0, n);
	for (c = 0; c < j->w->cols; c++) {
		t = stored_unit(j, i, c);
		w = weight(j->w, i, c);
		u = code(j, t, w);
		put_code(row, c, j->bits, u);
		d = (double)w - value(j, t, u);
		part[c % SQ_ERROR_PARTS] += d * d;
	}
	if (j->q->error != NULL)
		j->q->error[i] = sq_fold_error(part);
}

int
sq_quantize_ref(struct sq_ctx *c, const struct sq_mat *w,
    const struct sq_qrule *rule, const struct sq_qdst *q)
{
	struct job j = { w, rule, q, sq_grid_bits(rule->grid), 0, 0 };

	if (!sq_quantize_allows(w, rule, q))
		return SQ_UNSUP;
	if (w->rows == 0)
		return 0;
	j.across = sq_groups_across(w->cols, rule->group_cols);
	sq_pool_run(c->pool, do_group, &j,
	    (long)(w->rows / rule->group_rows * j.across));
	if (atomic_load(&j.bad))
		return -1;
	sq_pool_run(c->pool, do_row, &j, (long)w->rows);
	return 0;
}
