/* A layer with less input; see shrink.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_stats.h"
#include "prune/shrink.h"

struct work {
	struct sq_shrink *s;
	double lambda;
	size_t units;			/* kept so far */
	uint32_t *unit;			/* [units] which */
	size_t k;			/* columns: units * s->unit */
	float *all;			/* [n][n]: H */
	float *part;			/* [k][k]: H[K,K], then its factor L,
					   column by column */
	float *inverse;			/* [k][k]: H[K,:], then of L */
	float *w;			/* [rows][k] */
	float *spare;			/* [unit][unit], [rows][unit] */
	double *cost;			/* [units] */
};

uint64_t
sq_shrink_bytes(size_t n, size_t rows)
{
	return sizeof(float) * (3 * (uint64_t)n * n + 4 * (uint64_t)rows * n);
}

static int
work_init(struct work *k, struct sq_shrink *s)
{
	size_t n = s->n, i, j;

	*k = (struct work){ .s = s, .units = n / s->unit };
	k->unit = malloc(k->units * sizeof(*k->unit));
	k->all = malloc(n * n * sizeof(float));
	k->part = malloc(n * n * sizeof(float));
	k->inverse = malloc(n * n * sizeof(float));
	k->w = malloc(s->rows * n * sizeof(float));
	k->spare = malloc((s->unit + s->rows) * s->unit * sizeof(float));
	k->cost = malloc(k->units * sizeof(*k->cost));
	if (k->unit == NULL || k->all == NULL || k->part == NULL ||
	    k->inverse == NULL || k->w == NULL || k->spare == NULL ||
	    k->cost == NULL)
		return -1;
	for (i = 0; i < n; i++) {
		k->lambda += s->h[sq_triangle_at(n, i, i)] / (double)n;
		for (j = i; j < n; j++)
			k->all[i * n + j] = k->all[j * n + i] =
			    s->h[sq_triangle_at(n, i, j)];
	}
	k->lambda *= s->damp;
	for (i = 0; i < k->units; i++)
		k->unit[i] = (uint32_t)i;
	return 0;
}

static void
work_release(struct work *k)
{
	free(k->unit);
	free(k->all);
	free(k->part);
	free(k->inverse);
	free(k->w);
	free(k->spare);
	free(k->cost);
}

/* The column of the layer that is the i-th of those kept. */
static size_t
column(const struct work *k, size_t i)
{
	return k->unit[i / k->s->unit] * k->s->unit + i % k->s->unit;
}

/* L of H[K,K]; what cannot be factorized is damped more. */
static int
factorize(struct work *k, char *err)
{
	size_t n = k->s->n, i, j;
	double lambda = k->lambda;
	int tries;

	for (tries = 0; tries < 6; tries++) {
		for (i = 0; i < k->k; i++) {
			for (j = 0; j < k->k; j++)
				k->part[i * k->k + j] = k->all[column(k, i) *
				    n + column(k, j)];
			k->part[i * k->k + i] += (float)lambda;
		}
		if (sq_spotrf(k->s->lapack, 'L', (int)k->k, k->part,
		    (int)k->k) == 0) {
			k->lambda = lambda;
			return 0;
		}
		lambda = lambda > 0 ? 10 * lambda : 1e-3 * k->all[0] + 1e-6;
	}
	return sq_fail(err, "H is no sum of squares");
}

/* The best weights of what is kept: W (H + damping)[:,K] of all columns, then
 * divided by H[K,K] + damping. */
static void
fit(struct work *k)
{
	struct sq_shrink *s = k->s;
	int n = (int)s->n, m = (int)k->k, rows = (int)s->rows;
	size_t i, r;

	for (i = 0; i < k->k; i++)
		memcpy(k->inverse + i * s->n, k->all + column(k, i) * s->n,
		    s->n * sizeof(float));
	sq_sgemm(s->lapack, 'T', 'N', m, rows, n, 1, k->inverse, n, s->w, n,
	    0, k->w, m);
	for (r = 0; r < s->rows; r++)
		for (i = 0; i < k->k; i++)
			k->w[r * k->k + i] += (float)k->lambda *
			    s->w[r * s->n + column(k, i)];
	sq_strsm(s->lapack, 'L', 'L', 'N', 'N', m, rows, 1, k->part, m, k->w,
	    m);
	sq_strsm(s->lapack, 'L', 'L', 'T', 'N', m, rows, 1, k->part, m, k->w,
	    m);
}

/* L^-1, column by column. */
static void
invert(struct work *k)
{
	size_t i;

	memset(k->inverse, 0, k->k * k->k * sizeof(float));
	for (i = 0; i < k->k; i++)
		k->inverse[i * k->k + i] = 1;
	sq_strsm(k->s->lapack, 'L', 'L', 'N', 'N', (int)k->k, (int)k->k, 1,
	    k->part, (int)k->k, k->inverse, (int)k->k);
}

/* What dropping unit i costs; INFINITY where there is no telling. */
static double
cost(const struct work *k, size_t i)
{
	const struct sq_shrink *s = k->s;
	int m = (int)s->unit, n = (int)k->k, rows = (int)s->rows;
	float *h = k->spare, *y = h + s->unit * s->unit;
	double sum = 0;
	size_t r, c;

	sq_sgemm(s->lapack, 'T', 'N', m, m, n, 1, k->inverse + i * s->unit *
	    k->k, n, k->inverse + i * s->unit * k->k, n, 0, h, m);
	for (r = 0; r < s->rows; r++)
		for (c = 0; c < s->unit; c++)
			y[r * s->unit + c] = k->w[r * k->k + i * s->unit + c];
	if (sq_spotrf(s->lapack, 'L', m, h, m) != 0)
		return INFINITY;
	sq_strsm(s->lapack, 'L', 'L', 'N', 'N', m, rows, 1, h, m, y, m);
	for (c = 0; c < s->rows * s->unit; c++)
		sum += (double)y[c] * y[c];
	return sum;
}

/* Leaves so many units: those of the greatest costs, of equals the first. */
static void
leave(struct work *k, size_t units)
{
	size_t i, j, worst;

	for (; k->units > units; k->units--) {
		for (worst = 0, i = 1; i < k->units; i++)
			if (k->cost[i] <= k->cost[worst])
				worst = i;
		for (j = worst; j + 1 < k->units; j++) {
			k->unit[j] = k->unit[j + 1];
			k->cost[j] = k->cost[j + 1];
		}
	}
	k->k = k->units * k->s->unit;
}

/* tr(E H E^T), e [rows][n]; to is space for as much. */
static double
form(const struct work *k, const float *e, float *to)
{
	int n = (int)k->s->n, rows = (int)k->s->rows;
	double sum = 0;
	size_t i;

	sq_sgemm(k->s->lapack, 'N', 'N', n, rows, n, 1, k->all, n, e, n, 0, to,
	    n);
	for (i = 0; i < k->s->rows * k->s->n; i++)
		sum += (double)e[i] * to[i];
	return sum;
}

static int
measure(struct work *k, char *err)
{
	struct sq_shrink *s = k->s;
	size_t n = s->rows * s->n, i, r;
	float *e = malloc(n * sizeof(*e)), *to = malloc(n * sizeof(*to));

	if (e == NULL || to == NULL) {
		free(e);
		free(to);
		return sq_fail(err, "out of memory");
	}
	s->norm = form(k, s->w, to);
	memcpy(e, s->w, n * sizeof(*e));
	for (r = 0; r < s->rows; r++)
		for (i = 0; i < k->k; i++)
			e[r * s->n + column(k, i)] = 0;
	s->alone = form(k, e, to);
	for (r = 0; r < s->rows; r++)
		for (i = 0; i < k->k; i++)
			e[r * s->n + column(k, i)] = s->w[r * s->n +
			    column(k, i)] - k->w[r * k->k + i];
	s->error = form(k, e, to);
	free(e);
	free(to);
	return 0;
}

/* The weights of all units that are left, and of the last of them. */
static int
run(struct work *k, char *err)
{
	struct sq_shrink *s = k->s;
	size_t drop = k->units - s->keep, all = k->units, i, round;

	k->k = s->n;
	for (round = 1; round <= SQ_SHRINK_ROUNDS && drop > 0; round++) {
		if (factorize(k, err) < 0)
			return -1;
		fit(k);
		invert(k);
		for (i = 0; i < k->units; i++)
			k->cost[i] = cost(k, i);
		leave(k, all - drop * round / SQ_SHRINK_ROUNDS);
	}
	if (factorize(k, err) < 0)
		return -1;
	fit(k);
	for (i = 0; i < s->rows * k->k; i++)
		if (!isfinite(k->w[i]))
			return sq_fail(err, "its weights or H hold infinity "
			    "or NaN");
	return measure(k, err);
}

int
sq_shrink(struct sq_shrink *s, char *err)
{
	struct work k;
	int r = -1;

	s->kept = NULL;
	s->unit_kept = NULL;
	if (work_init(&k, s) < 0)
		sq_fail(err, "out of memory");
	else if (run(&k, err) == 0) {
		s->kept = k.w;
		s->unit_kept = k.unit;
		k.w = NULL;
		k.unit = NULL;
		r = 0;
	}
	work_release(&k);
	return r;
}

void
sq_shrink_release(struct sq_shrink *s)
{
	free(s->kept);
	free(s->unit_kept);
	s->kept = NULL;
	s->unit_kept = NULL;
}
