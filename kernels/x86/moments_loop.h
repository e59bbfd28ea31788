/*
 * Moments of columns, once for all vector levels: plain loops over 16 columns,
 * which the compiler turns into the vectors that the including file's flags
 * allow.  Tasks are blocks of columns, so the order of each sum is that of the
 * rows; the histograms of the tasks are whole numbers and are added up last.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/bins.h"
#include "kernels/x86/x86.h"

#define LANES	16
#define COLS	256			/* of a task */

struct job {
	const struct sq_mat *x;
	const struct sq_moments *m;
	uint64_t *hist;			/* [threads][SQ_BINS] */
};

static void
sixteen(const struct job *j, size_t col, uint64_t *hist)
{
	const struct sq_moments *m = j->m;
	float lo[LANES], hi[LANES];
	double sum[LANES], abssum[LANES];
	const float *p = (const float *)j->x->p + col;
	size_t r;
	int i;

	memcpy(lo, m->min + col, sizeof(lo));
	memcpy(hi, m->max + col, sizeof(hi));
	memcpy(sum, m->sum + col, sizeof(sum));
	memcpy(abssum, m->abssum + col, sizeof(abssum));
	for (r = 0; r < j->x->rows; r++, p += j->x->stride) {
		for (i = 0; i < LANES; i++) {
			lo[i] = p[i] < lo[i] ? p[i] : lo[i];
			hi[i] = p[i] > hi[i] ? p[i] : hi[i];
		}
		for (i = 0; i < LANES; i++) {
			sum[i] += p[i];
			abssum[i] += __builtin_fabsf(p[i]);
		}
		for (i = 0; i < LANES; i++)
			hist[sq_bin(p[i])]++;
	}
	memcpy(m->min + col, lo, sizeof(lo));
	memcpy(m->max + col, hi, sizeof(hi));
	memcpy(m->sum + col, sum, sizeof(sum));
	memcpy(m->abssum + col, abssum, sizeof(abssum));
}

static void
task(void *arg, long t, int thread)
{
	const struct job *j = arg;
	size_t col = (size_t)t * COLS, end = col + COLS;

	for (; col < end && col < j->x->cols; col += LANES)
		sixteen(j, col, j->hist + (size_t)thread * SQ_BINS);
}

static int
moments(struct sq_ctx *c, const struct sq_mat *x, const struct sq_moments *m)
{
	int i, b, threads = sq_pool_threads(c->pool);
	struct job j = { x, m, c->work };

	if (x->type != SQ_F32 || x->cols % LANES != 0)
		return SQ_UNSUP;
	memset(j.hist, 0, (size_t)threads * SQ_BINS * sizeof(*j.hist));
	sq_pool_run(c->pool, task, &j, (long)((x->cols + COLS - 1) / COLS));
	for (i = 0; i < threads; i++)
		for (b = 0; b < SQ_BINS; b++)
			m->hist[b] += j.hist[i * SQ_BINS + b];
	return 0;
}
