/* The search for an order of channels; see permute.h. */
#include <stdlib.h>
#include <string.h>

#include "base/mask.h"
#include "base/rng.h"
#include "prune/permute.h"

#define PIECE	512	/* rows that are gone through at once, in the caches */

/* One run without each of its channels, row by row: the sum of the largest
 * keep-1 of the others, and the largest one after those. */
struct without {
	float base[SQ_SPARSE_RUN][PIECE], next[SQ_SPARSE_RUN][PIECE];
};

struct search {
	struct sq_permutation *p;
	struct without w[2];
	double gain[SQ_SPARSE_RUN][SQ_SPARSE_RUN];
};

static const float *
scores_of(const struct sq_permutation *p, size_t place)
{
	return p->score + p->perm[place] * p->len;
}

/* The largest `keep' of v, sorted to its front. */
static void
select_top(float *v, size_t n, size_t keep)
{
	size_t i, j, most;
	float t;

	for (i = 0; i < keep; i++) {
		for (most = i, j = i + 1; j < n; j++)
			if (v[j] > v[most])
				most = j;
		t = v[i];
		v[i] = v[most];
		v[most] = t;
	}
}

/* What run g keeps. */
static double
kept_of(const struct sq_permutation *p, size_t g)
{
	float v[SQ_SPARSE_RUN];
	double sum = 0;
	size_t r, i;

	for (r = 0; r < p->len; r++) {
		for (i = 0; i < p->run; i++)
			v[i] = scores_of(p, g * p->run + i)[r];
		select_top(v, p->run, p->keep);
		for (i = 0; i < p->keep; i++)
			sum += v[i];
	}
	return sum;
}

static double
kept_by_all(const struct sq_permutation *p)
{
	double sum = 0;
	size_t g;

	for (g = 0; g < p->n / p->run; g++)
		sum += kept_of(p, g);
	return sum;
}

/* Rows row .. row+n-1 of a run. */
static void
leave_out(const struct sq_permutation *p, size_t g, size_t row, size_t n,
    struct without *w)
{
	const float *s[SQ_SPARSE_RUN];
	float v[SQ_SPARSE_RUN];
	size_t r, i, j, k;

	for (i = 0; i < p->run; i++)
		s[i] = scores_of(p, g * p->run + i) + row;
	for (i = 0; i < p->run; i++)
		for (r = 0; r < n; r++) {
			for (j = k = 0; j < p->run; j++)
				if (j != i)
					v[k++] = s[j][r];
			select_top(v, k, p->keep);
			w->base[i][r] = 0;
			for (j = 0; j + 1 < p->keep; j++)
				w->base[i][r] += v[j];
			w->next[i][r] = v[p->keep - 1];
		}
}

/* What both runs keep when channel i of run a and j of run b change places. */
static double
exchanged(const struct search *s, size_t i, size_t j, const float *a,
    const float *b, size_t n)
{
	const float *x = s->w[0].base[i], *xn = s->w[0].next[i];
	const float *y = s->w[1].base[j], *yn = s->w[1].next[j];
	float sum[8] = { 0 };
	double all = 0;
	size_t r, k;

	for (r = 0; r + 8 <= n; r += 8)
		for (k = 0; k < 8; k++)
			sum[k] += x[r + k] + y[r + k] +
			    (b[r + k] > xn[r + k] ? b[r + k] : xn[r + k]) +
			    (a[r + k] > yn[r + k] ? a[r + k] : yn[r + k]);
	for (; r < n; r++)
		all += x[r] + y[r] + (b[r] > xn[r] ? b[r] : xn[r]) +
		    (a[r] > yn[r] ? a[r] : yn[r]);
	for (k = 0; k < 8; k++)
		all += sum[k];
	return all;
}

/* The best exchange between two runs, if there is one; its gain. */
static double
try_pair(struct search *s, size_t a, size_t b)
{
	struct sq_permutation *p = s->p;
	size_t m = p->run, row, n, i, j, bi = 0, bj = 0;
	double now = kept_of(p, a) + kept_of(p, b), best = now;
	uint32_t t;

	memset(s->gain, 0, sizeof(s->gain));
	for (row = 0; row < p->len; row += n) {
		n = p->len - row < PIECE ? p->len - row : PIECE;
		leave_out(p, a, row, n, &s->w[0]);
		leave_out(p, b, row, n, &s->w[1]);
		for (i = 0; i < m; i++)
			for (j = 0; j < m; j++)
				s->gain[i][j] += exchanged(s, i, j,
				    scores_of(p, a * m + i) + row,
				    scores_of(p, b * m + j) + row, n);
	}
	for (i = 0; i < m; i++)
		for (j = 0; j < m; j++)
			if (s->gain[i][j] > best) {
				best = s->gain[i][j];
				bi = i;
				bj = j;
			}
	/* sums of float32: what is less is no gain */
	if (best <= now * (1 + 1e-5))
		return 0;
	t = p->perm[a * m + bi];
	p->perm[a * m + bi] = p->perm[b * m + bj];
	p->perm[b * m + bj] = t;
	return best - now;
}

struct dealt {
	double sum;
	uint32_t channel;
};

static int
by_sum(const void *a, const void *b)
{
	const struct dealt *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return x->channel < y->channel ? -1 : 1;
}

/* The channels, largest first, each to the next run. */
static int
deal(struct sq_permutation *p)
{
	struct dealt *d = malloc(p->n * sizeof(*d));
	size_t runs = p->n / p->run, i, r;

	if (d == NULL)
		return -1;
	for (i = 0, p->all = 0; i < p->n; i++) {
		d[i] = (struct dealt){ 0, (uint32_t)i };
		for (r = 0; r < p->len; r++)
			d[i].sum += p->score[i * p->len + r];
		p->all += d[i].sum;
	}
	qsort(d, p->n, sizeof(*d), by_sum);
	for (i = 0; i < p->n; i++)
		p->perm[i % runs * p->run + i / runs] = d[i].channel;
	free(d);
	return 0;
}

/* Where they are, or dealt out: what keeps more. */
static int
start(struct sq_permutation *p)
{
	double dealt;
	size_t i;

	if (deal(p) < 0)
		return -1;
	dealt = kept_by_all(p);
	for (i = 0; i < p->n; i++)
		p->perm[i] = (uint32_t)i;
	p->before = kept_by_all(p);
	return p->before >= dealt ? 0 : deal(p);
}

int
sq_permutation_find(struct sq_permutation *p, char *err)
{
	struct search *s = malloc(sizeof(*s));
	size_t runs = p->n / p->run, i, g;
	struct sq_rng rng = { 1 };
	double gain = 1;

	if (s == NULL || start(p) < 0) {
		free(s);
		return sq_fail(err, "out of memory");
	}
	s->p = p;
	for (i = 0; runs > 1 && gain > 0 && i < p->tries; i++)
		for (g = 0, gain = 0; g < runs; g++)
			gain += try_pair(s, g, (g + 1 + sq_rng_next(&rng) %
			    (runs - 1)) % runs);
	p->after = kept_by_all(p);
	free(s);
	return 0;
}
