/* Values that are collected one by one, and what they come to. */
#ifndef SQ_EVAL_SERIES_H
#define SQ_EVAL_SERIES_H

#include <stddef.h>

struct sq_series {
	double *v;
	size_t n, cap;
};

/* 0, or -1 when there is no memory. */
int	 sq_series_add(struct sq_series *, double);
void	 sq_series_release(struct sq_series *);

/* In order, as sq_series_rank() wants them. */
void	 sq_series_sort(struct sq_series *);

/* The value at that share of all, by the nearest rank; NAN of none. */
double	 sq_series_rank(const struct sq_series *, double share);
double	 sq_series_mean(const struct sq_series *);

/* The standard deviation (divided by n, as NumPy's); NAN of none. */
double	 sq_series_std(const struct sq_series *);

#endif
