/*
 * Moments of columns, once for all vector levels: plain loops over 16 columns,
 * which the compiler turns into the vectors that the including file's flags
 * allow.  Tasks are blocks of columns, so the order of each sum is that of the
 * rows; the histograms of the tasks are whole numbers and are added up last.
 *
 * Magnitudes that follow each other are alike, and a counter that was just
 * written cannot be read at once: each lane counts in a table of its own.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/bins.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define LANES	16
#define COLS	64			/* of a task */
#define TABLES	LANES
#define AHEAD	16			/* rows whose line is asked for early */
#define ROWS	((size_t)1 << 26)	/* that a counter has room for */

struct job {
	const struct sq_mat *x;
	const struct sq_moments *m;
	uint64_t *hist;			/* [threads][SQ_BINS] */
};

/* sq_bin() of 16 values: the bins below the least are negative here. */
static inline void
bins(const float *p, int32_t *bin)
{
	int32_t u[LANES], m, b;
	int i;

	memcpy(u, p, sizeof(u));
	for (i = 0; i < LANES; i++) {
		m = u[i] & 0x7fffff;
		b = 4 * ((u[i] >> 23 & 0xff) - 127 + 32) + 1 +
		    (m >= (int32_t)SQ_QUARTER1) + (m >= (int32_t)SQ_QUARTER2) +
		    (m >= (int32_t)SQ_QUARTER3);
		b = b < 0 ? 0 : b;
		bin[i] = b < SQ_BINS - 1 ? b : SQ_BINS - 1;
	}
}

static void
sixteen(const struct job *j, size_t col, size_t row, size_t end,
    uint32_t (*table)[SQ_BINS])
{
	const struct sq_moments *m = j->m;
	float lo[LANES], hi[LANES];
	double sum[LANES], abssum[LANES];
	const float *p = (const float *)j->x->p + row * j->x->stride + col;
	int32_t bin[LANES];
	int i;

	memcpy(lo, m->min + col, sizeof(lo));
	memcpy(hi, m->max + col, sizeof(hi));
	memcpy(sum, m->sum + col, sizeof(sum));
	memcpy(abssum, m->abssum + col, sizeof(abssum));
	for (; row < end; row++, p += j->x->stride) {
		__builtin_prefetch(p + AHEAD * j->x->stride);
		for (i = 0; i < LANES; i++) {
			lo[i] = p[i] < lo[i] ? p[i] : lo[i];
			hi[i] = p[i] > hi[i] ? p[i] : hi[i];
		}
		for (i = 0; i < LANES; i++) {
			sum[i] += p[i];
			abssum[i] += __builtin_fabsf(p[i]);
		}
		bins(p, bin);
		SQ_UNROLL for (i = 0; i < LANES; i++)
			table[i][bin[i]]++;
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
	size_t first = (size_t)t * COLS, end = first + COLS, col, row, to;
	uint64_t *hist = j->hist + (size_t)thread * SQ_BINS;
	uint32_t table[TABLES][SQ_BINS];
	int i, b;

	end = end < j->x->cols ? end : j->x->cols;
	for (row = 0; row < j->x->rows; row = to) {
		to = j->x->rows - row < ROWS ? j->x->rows : row + ROWS;
		memset(table, 0, sizeof(table));
		for (col = first; col < end; col += LANES)
			sixteen(j, col, row, to, table);
		for (i = 0; i < TABLES; i++)
			for (b = 0; b < SQ_BINS; b++)
				hist[b] += table[i][b];
	}
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
