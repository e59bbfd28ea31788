/* Values and their ranks; see series.h. */
#include <math.h>
#include <stdlib.h>

#include "eval/series.h"

int
sq_series_add(struct sq_series *s, double v)
{
	double *p;

	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 64 : 2 * s->cap;
		if ((p = realloc(s->v, s->cap * sizeof(*p))) == NULL)
			return -1;
		s->v = p;
	}
	s->v[s->n++] = v;
	return 0;
}

void
sq_series_release(struct sq_series *s)
{
	free(s->v);
	s->v = NULL;
	s->n = s->cap = 0;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void
sq_series_sort(struct sq_series *s)
{
	if (s->n > 0)
		qsort(s->v, s->n, sizeof(*s->v), by_value);
}

double
sq_series_rank(const struct sq_series *s, double share)
{
	size_t i = (size_t)ceil(share * (double)s->n);

	return s->n == 0 ? NAN : s->v[i == 0 ? 0 : i - 1];
}

double
sq_series_mean(const struct sq_series *s)
{
	double sum = 0;
	size_t i;

	for (i = 0; i < s->n; i++)
		sum += s->v[i];
	return s->n == 0 ? NAN : sum / (double)s->n;
}

double
sq_series_std(const struct sq_series *s)
{
	double m = sq_series_mean(s), sum = 0;
	size_t i;

	for (i = 0; i < s->n; i++)
		sum += (s->v[i] - m) * (s->v[i] - m);
	return s->n == 0 ? NAN : sqrt(sum / (double)s->n);
}
