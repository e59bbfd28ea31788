/* The asymmetric target; see target.h.  Work is split by rows of a matrix, whose
 * results do not depend on each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_stats.h"
#include "quant/target.h"

#define STRIP	128		/* rows of a task */

struct job {
	const struct sq_target *t;
	const float *d;			/* of the tokens held out */
	float *w;
	size_t rows;
	float a;
	float *space;			/* [threads][3][STRIP][n] */
	double *sums;			/* [tasks][2] */
};

static size_t
tasks(size_t rows)
{
	return (rows + STRIP - 1) / STRIP;
}

static size_t
rows_of(const struct job *j, long task)
{
	size_t row = (size_t)task * STRIP;

	return j->rows - row < STRIP ? j->rows - row : STRIP;
}

uint64_t
sq_target_bytes(size_t n)
{
	return (uint64_t)3 * STRIP * n * sizeof(float);
}

/* to = rows of a times m, [n][n]. */
static void
times(const struct sq_target *t, const float *a, size_t rows, const float *m,
    float *to)
{
	int n = (int)t->n;

	sq_sgemm(t->lapack, 'N', 'N', n, (int)rows, n, 1, m, n, a, n, 0, to,
	    n);
}

struct packed {
	struct sq_target *t;
	const float *h;
	float more;
};

/* A row of the upper triangle is a column of the lower one. */
static void
unpack_row(void *arg, long task, int thread)
{
	const struct packed *p = arg;
	size_t n = p->t->n, i = (size_t)task, k;
	const float *h = p->h + sq_triangle_at(n, i, i);
	float *s = p->t->square;

	(void)thread;
	s[i * n + i] = *h + p->more;
	for (k = i + 1; k < n; k++)
		s[i * n + k] = s[k * n + i] = h[k - i];
}

/* The whole of H, with something on its diagonal. */
static void
unpack(struct sq_target *t, const float *h, float more)
{
	struct packed p = { t, h, more };

	sq_pool_run(t->pool, unpack_row, &p, (long)t->n);
}

static double
mean_diagonal(const struct sq_target *t, const float *h)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < t->n; i++)
		sum += h[sq_triangle_at(t->n, i, i)];
	return sum / (double)t->n;
}

/* Rows of D times the inverse of L L^T. */
static void
solve_strip(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_target *t = j->t;
	int n = (int)t->n, m = (int)rows_of(j, task);
	float *d = t->d + (size_t)task * STRIP * t->n;

	(void)thread;
	sq_strsm(t->lapack, 'L', 'L', 'N', 'N', n, m, 1, t->square, n, d, n);
	sq_strsm(t->lapack, 'L', 'L', 'T', 'N', n, m, 1, t->square, n, d, n);
}

int
sq_target_solve(struct sq_target *t, const float *h, char *err)
{
	double mean = mean_diagonal(t, h), more;
	struct job j = { .t = t, .rows = t->n };

	if (!isfinite(mean))
		return sq_fail(err, "H has %g on its diagonal", mean);
	if (mean == 0)
		mean = 1;
	for (more = t->damp * mean;; more = fmax(10 * more, 1e-6 * mean)) {
		unpack(t, h, (float)more);
		if (sq_spotrf(t->lapack, 'L', (int)t->n, t->square,
		    (int)t->n) == 0)
			break;
		if (more >= mean)
			return sq_fail(err, "H is no sum of squares");
	}
	sq_pool_run(t->pool, solve_strip, &j, (long)tasks(t->n));
	return 0;
}

void
sq_target_hold(struct sq_target *t, const float *h)
{
	unpack(t, h, 0);
	t->along = t->across = 0;
}

static double
dot(const float *a, const float *b, size_t n)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < n; i++)
		sum += (double)a[i] * b[i];
	return sum;
}

/* With M = W D (H + damping)^-1: W D' . M, and M H' . M. */
static void
weigh_strip(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_target *t = j->t;
	size_t m = rows_of(j, task), n = t->n;
	float *w = j->w + (size_t)task * STRIP * n;
	float *move = j->space + (size_t)thread * 3 * STRIP * n;
	float *other = move + STRIP * n;

	times(t, w, m, t->d, move);
	times(t, w, m, j->d, other);
	j->sums[2 * task] = dot(move, other, m * n);
	times(t, move, m, t->square, other);
	j->sums[2 * task + 1] = dot(move, other, m * n);
}

static void
apply_strip(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_target *t = j->t;
	size_t m = rows_of(j, task), n = t->n, i;
	float *w = j->w + (size_t)task * STRIP * n;
	float *move = j->space + (size_t)thread * 3 * STRIP * n;

	times(t, w, m, t->d, move);
	for (i = 0; i < m * n; i++)
		w[i] += j->a * move[i];
}

/* All strips of a weight. */
static int
run(struct job *j, void (*fn)(void *, long, int), char *err)
{
	size_t n = tasks(j->rows);

	j->space = malloc((size_t)sq_pool_threads(j->t->pool) *
	    sq_target_bytes(j->t->n));
	j->sums = calloc(2 * n, sizeof(*j->sums));
	if (j->space != NULL && j->sums != NULL) {
		sq_pool_run(j->t->pool, fn, j, (long)n);
		return 0;
	}
	free(j->space);
	free(j->sums);
	return sq_fail(err, "out of memory");
}

int
sq_target_weigh(struct sq_target *t, const float *d, const float *w,
    size_t rows, char *err)
{
	struct job j = { .t = t, .d = d, .w = (float *)(uintptr_t)w,
	    .rows = rows };
	size_t i;

	if (run(&j, weigh_strip, err) < 0)
		return -1;
	for (i = 0; i < tasks(rows); i++) {
		t->along += j.sums[2 * i];
		t->across += j.sums[2 * i + 1];
	}
	free(j.space);
	free(j.sums);
	return 0;
}

double
sq_target_strength(const struct sq_target *t)
{
	double a = t->across > 0 ? t->along / t->across : 0;

	return a < 0 ? 0 : a > 1 ? 1 : a;
}

int
sq_target_apply(const struct sq_target *t, double a, float *w, size_t rows,
    char *err)
{
	struct job j = { .t = t, .w = w, .rows = rows, .a = (float)a };

	if (run(&j, apply_strip, err) < 0)
		return -1;
	free(j.space);
	free(j.sums);
	return 0;
}
