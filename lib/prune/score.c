/* Masks from scores; see score.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/score.h"

/* One of those that compete. */
struct entry {
	float score;
	uint32_t at;
};

static int
by_score(const void *a, const void *b)
{
	const struct entry *p = a, *q = b;

	if (p->score != q->score)
		return p->score > q->score ? -1 : 1;
	return p->at < q->at ? -1 : 1;
}

static size_t
kept_of(size_t n, double sparsity)
{
	return (size_t)rint((1 - sparsity) * (double)n);
}

/* ---- runs ---- */

static void
mask_runs(struct sq_mask *m, const float *score)
{
	struct entry e[SQ_SPARSE_RUN];
	size_t r, c, i, n;

	for (r = 0; r < m->rows; r++, score += m->cols)
		for (c = 0; c < m->cols; c += m->pattern.m) {
			n = m->cols - c < m->pattern.m ? m->cols - c :
			    m->pattern.m;
			for (i = 0; i < n; i++)
				e[i] = (struct entry){ score[c + i],
				    (uint32_t)i };
			qsort(e, n, sizeof(*e), by_score);
			for (i = 0; i < n; i++)
				sq_mask_set(m, r, c + e[i].at,
				    i < m->pattern.n);
		}
}

/* ---- anywhere ---- */

static int
by_value(const void *a, const void *b)
{
	float p = *(const float *)a, q = *(const float *)b;

	return p < q ? 1 : p > q ? -1 : 0;
}

/* n scores, the first of them weight `first' of the matrix. */
static void
mask_some(struct sq_mask *m, const float *score, float *list, size_t first,
    size_t n, double sparsity)
{
	size_t keep = kept_of(n, sparsity), above = 0, i;
	float bar;
	int is;

	memcpy(list, score + first, n * sizeof(*list));
	qsort(list, n, sizeof(*list), by_value);
	bar = keep == 0 ? INFINITY : list[keep - 1];
	while (above < keep && list[above] > bar)
		above++;
	keep -= above;			/* of those that equal the bar */
	for (i = first; i < first + n; i++) {
		is = score[i] > bar;
		if (score[i] == bar && keep > 0) {
			is = 1;
			keep--;
		}
		sq_mask_set(m, i / m->cols, i % m->cols, is);
	}
}

static int
mask_any(struct sq_mask *m, const float *score, double sparsity, int by_row)
{
	size_t all = m->rows * m->cols, n = by_row ? m->cols : all, i;
	float *list = malloc(n * sizeof(*list));

	if (list == NULL)
		return -1;
	for (i = 0; i < all; i += n)
		mask_some(m, score, list, i, n, sparsity);
	free(list);
	return 0;
}

/* ---- blocks ---- */

static size_t
sides(size_t n, size_t side)
{
	return (n + side - 1) / side;
}

/* The mean score of each block: those at the edges are smaller. */
static void
sum_blocks(const struct sq_mask *m, const float *score, struct entry *e)
{
	size_t wide = sides(m->cols, m->pattern.m), r, c, i, end, w;
	size_t r0, c0, n = 0;
	double sum;

	for (r0 = 0; r0 < m->rows; r0 += m->pattern.n)
		for (c0 = 0; c0 < m->cols; c0 += m->pattern.m, n++) {
			end = r0 + m->pattern.n;
			w = c0 + m->pattern.m;
			end = end < m->rows ? end : m->rows;
			w = w < m->cols ? w : m->cols;
			for (r = r0, sum = 0; r < end; r++)
				for (c = c0; c < w; c++)
					sum += score[r * m->cols + c];
			i = (end - r0) * (w - c0);
			e[n] = (struct entry){ (float)(sum / (double)i),
			    (uint32_t)(r0 / m->pattern.n * wide +
			    c0 / m->pattern.m) };
		}
}

static int
mask_blocks(struct sq_mask *m, const float *score, double sparsity)
{
	size_t wide = sides(m->cols, m->pattern.m), r, c, i, keep;
	size_t n = wide * sides(m->rows, m->pattern.n);
	struct entry *e = malloc(n * sizeof(*e));
	uint8_t *kept = calloc(n, 1);

	if (e == NULL || kept == NULL) {
		free(e);
		free(kept);
		return -1;
	}
	sum_blocks(m, score, e);
	qsort(e, n, sizeof(*e), by_score);
	keep = kept_of(n, sparsity);
	for (i = 0; i < keep; i++)
		kept[e[i].at] = 1;
	for (r = 0; r < m->rows; r++)
		for (c = 0; c < m->cols; c++)
			sq_mask_set(m, r, c, kept[r / m->pattern.n * wide +
			    c / m->pattern.m]);
	free(e);
	free(kept);
	return 0;
}

int
sq_score_mask(struct sq_mask *m, const float *score, double sparsity,
    int by_row, char *err)
{
	int r = 0;

	if (m->pattern.kind == SQ_MASK_RUNS)
		mask_runs(m, score);
	else if (m->pattern.kind == SQ_MASK_BLOCKS)
		r = mask_blocks(m, score, sparsity);
	else
		r = mask_any(m, score, sparsity, by_row);
	return r == 0 ? 0 : sq_fail(err, "out of memory");
}

/* ---- how much of each ---- */

int
sq_score_curve(const float *score, size_t n, int part,
    float curve[SQ_CURVE + 1], char *err)
{
	float *list = malloc(n * sizeof(*list));
	double sum = 0, at = 0;
	size_t i, k;

	if (list == NULL)
		return sq_fail(err, "out of memory");
	memcpy(list, score, n * sizeof(*list));
	qsort(list, n, sizeof(*list), by_value);
	for (i = 0; i < n; i++)
		sum += list[i];
	if (!part)
		sum = 1;
	curve[0] = 0;
	for (k = 1, i = n; k <= SQ_CURVE; k++) {
		for (; n - i < n * k / SQ_CURVE; i--)
			at += list[i - 1];
		curve[k] = sum > 0 ? (float)(at / sum) : 0;
	}
	free(list);
	return 0;
}

/* Where a curve, which is convex, becomes as steep as `price' for a weight of
 * w. */
static double
stop(const float *curve, double w, double price, double lo, double hi)
{
	size_t k = (size_t)(lo * SQ_CURVE);

	while (k < SQ_CURVE && (double)k / SQ_CURVE < hi &&
	    (curve[k + 1] - curve[k]) * SQ_CURVE < price * w)
		k++;
	return fmin(fmax((double)k / SQ_CURVE, lo), hi);
}

void
sq_score_allocate(size_t n, const uint64_t *weights,
    float (*curve)[SQ_CURVE + 1], double sparsity, double reach,
    double *each)
{
	double lo = fmax(0, sparsity - reach), hi = fmin(1, sparsity + reach);
	double all = 0, low = 0, high = 1, mid, sum;
	size_t i;
	int step;

	for (i = 0; i < n; i++)
		all += (double)weights[i];
	for (i = 0; i < n; i++)		/* a price that buys everything */
		high = fmax(high, 2 * SQ_CURVE * all / (double)weights[i]);
	for (step = 0; step < 100; step++) {
		mid = (low + high) / 2;
		for (i = 0, sum = 0; i < n; i++) {
			each[i] = stop(curve[i], (double)weights[i] / all, mid,
			    lo, hi);
			sum += each[i] * (double)weights[i];
		}
		if (sum < sparsity * all)
			low = mid;
		else
			high = mid;
	}
	/* steps of the curves are coarse: the rest goes to all */
	for (i = 0, sum = 0; i < n; i++)
		sum += each[i] * (double)weights[i];
	for (i = 0; i < n && all > 0; i++)
		each[i] = fmin(1, fmax(0, each[i] + sparsity - sum / all));
}
