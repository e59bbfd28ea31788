/*
 * GPTQ by a device: what gptq.c, refine.c and pairs.c do a tile of 128 rows at
 * a time, with operations on all rows of a weight at once (sq_rounding in
 * kern.h), in the memory of the kernels.
 *
 *	h	H with its damping, whole: reflect, from the factor's panels
 *	r	what factor makes of it, columns in their order
 *	w, x, g	[rows][cols]: weights, errors, and E H or errors in the order
 *
 * Rounding takes 128 columns at a time: what the errors before ask of them is
 * one product with r, the rest round_columns.  A sweep takes 128 columns, too,
 * of whole groups: g is one product with h, the rest move_columns; in the end g
 * of all columns, and move_pairs.
 *
 * Against the host's the units are half as wide, damping is raised for all
 * columns alike where it must be, and sums are rounded in another order: codes
 * differ, the error hardly.  Integers in groups of up to 128 columns are done
 * here, with weighted scales, no mask, and columns by activity; all else is for
 * the host.
 */
#ifndef SQ_QUANT_SOLVER_H
#define SQ_QUANT_SOLVER_H

#include "quant/gptq.h"

struct sq_solver {
	struct sq_ctx *ctx;		/* whose kernels, and memory; NULL:
					   there is no device */
	double lambda;			/* on the diagonal of H */
	double damp;			/* as in factor.h */
	size_t dead;
	/* private */
	size_t n;
	float *h, *r, *cost, *ridge;
	uint32_t *col, *plain;		/* in the order; as they are */
	uint32_t *with;			/* partners, or NULL */
	float *has;
	float *none;			/* zeros: [128][128] */
	struct sq_solver_rows *rows;	/* of the tensor at hand */
};

/* 1 when such weights can be done there; mask: there is one, or will be. */
int	 sq_solver_knows(const struct sq_solver *, const struct sq_qrule *,
	    enum sq_column_order, int mask);

/* From f, which holds H and has not been made yet: orders the columns and
 * factorizes, fraction as in sq_factor_make().  -1 with the reason. */
int	 sq_solver_factor(struct sq_solver *, struct sq_factor *f,
	    double fraction, int pairs, char *err);

/* sq_gptq_rows() there; g has the options, and the results. */
int	 sq_solver_rows(struct sq_solver *, struct sq_gptq *g,
	    const struct sq_mat *w, const struct sq_dst *q, char *err);

/* What sq_solver_factor() made; ctx stays. */
void	 sq_solver_release(struct sq_solver *);

#endif
