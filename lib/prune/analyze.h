/*
 * How sensitive each tensor is to each pattern: the relative error of its
 * output, of the mask alone and with the others making good for it; without
 * statistics, of the weights themselves.
 */
#ifndef SQ_PRUNE_ANALYZE_H
#define SQ_PRUNE_ANALYZE_H

#include <stdio.h>

#include "prune/masking.h"

#define SQ_PATTERNS	7

struct sq_sensitivity {
	char name[SQ_NAME];
	double alone[SQ_PATTERNS], error[SQ_PATTERNS];	/* NAN: it does not
							   fit the shape */
};

struct sq_analysis {
	struct sq_masking masking;	/* its layer is set */
	double sparsity;		/* of blocks, and unstructured */
	struct sq_sensitivity *row;
	size_t n, room;
	int with_stats;			/* so are the rows; 0: not yet known */
};

/* The tensor at hand, which is copied. */
int	 sq_analysis_tensor(struct sq_analysis *, struct sq_filter *,
	    const struct sq_tensor *);

/* The table, or CSV, and what each engine has kernels for. */
int	 sq_analysis_print(const struct sq_analysis *, FILE *, int csv,
	    char *err);

/* The errors as a plot on a logarithmic scale: a line for each pattern, over
 * the tensors in their order.  -1 when there is no memory, or no tensor. */
int	 sq_analysis_plot(const struct sq_analysis *, FILE *, char *err);
void	 sq_analysis_release(struct sq_analysis *);

#endif
