/*
 * GPTQ: the columns of a weight are rounded one after the other, and the error
 * of each is made good, as far as it can be, by those that follow (factor.h).
 *
 * It minimizes tr(E H E^T), E = W - Q: the squared error of the layer's output
 * over the tokens that H has seen.  Rows are independent of each other, so any
 * number of them can be done at a time.
 *
 * The scales are those of `quantize' in kernels/ops.def, or SQ_WEIGHTED ones
 * (search.c), each found before the rounding from the weights of its group.  In
 * natural order, though, groups of 16, 32, 64, 128 or 256 columns find theirs
 * when their turn comes, from the weights as they are then: as the paper has
 * it.  So do groups of super-blocks, in any order that keeps their columns
 * together: of the scales around the one found before, each takes the one whose
 * codes leave least (search_group.c).
 *
 * After that, sweeps (refine.c) change single codes, the scales of groups, and
 * pairs of codes (pairs.c), wherever that makes the error less.
 *
 * With a mask, the columns that a row drops become zero, and the others make
 * that good, too; a weight of no grid (SQ_DENSE) is not rounded, which is what
 * SparseGPT does (Frantar and Alistarh 2023, arXiv 2301.00774).  The mask may
 * be given, or chosen as the columns come (gptq_mask.c): in natural order, or
 * with whole runs in the order of their activity.  Sweeps then exchange, within
 * a run, a weight that is kept for one that is not, where that is better.
 */
#ifndef SQ_QUANT_GPTQ_H
#define SQ_QUANT_GPTQ_H

#include "base/mask.h"
#include "kernels/kern.h"
#include "quant/factor.h"
#include "quant/levels.h"

struct sq_gptq_tile;

struct sq_gptq {
	struct sq_ctx *ctx;
	const struct sq_lapack *lapack;
	const struct sq_factor *factor;
	enum sq_column_order order;	/* the factor's */
	struct sq_qrule rule;		/* that sq_levels_check() allows;
					   group_rows 1; but for integers and
					   fp8_e4m3 SQ_WEIGHTED */
	int nearest;			/* rounding to nearest alone, with
					   SQ_WEIGHTED scales; of the factor,
					   the diagonal will do */
	int sweeps;			/* over the codes, after rounding; they
					   want the factor to keep H */
	int refit;			/* the scales as well, in sweeps */
	int pairs;			/* and then two codes at a time */
	int masked;			/* q->mask is given */
	struct sq_sparse choose;	/* or is chosen: runs that
					   sq_gptq_chooses(), or any */
	double sparsity;		/* any: the part that is dropped */
	int plain;			/* no grid: what the mask, given, keeps
					   stays as it is */
	struct sq_sparse swap;		/* what sweeps over no grid may
					   exchange within */
	int want_error;			/* compute what is below */
	/* results, sums over all rows done so far */
	double error;			/* tr(E H E^T) */
	double rtn_error;		/* the same of rounding to nearest; no
					   grid: of the mask alone */
	double norm;			/* tr(W H W^T); nearest: error and norm
					   with the diagonal of H alone */
	/* private */
	int threads;
	struct sq_gptq_tile *tile;	/* [threads] */
	uint32_t *partner;		/* NULL: codes move one at a time */
	float *partner_h;
};

/* Rows are taken in tiles of this many. */
#define SQ_GPTQ_ROWS	128

/* The members above `results' are set; -1 when there is no memory. */
int	 sq_gptq_init(struct sq_gptq *, int threads, char *err);
void	 sq_gptq_release(struct sq_gptq *);

/* Bytes that each thread takes for n columns in groups of group_cols; exact:
 * of no grid.  And what all threads share. */
uint64_t sq_gptq_bytes(size_t n, size_t group_cols, int masked, int exact,
	    int pairs);
uint64_t sq_gptq_shared(size_t n, int pairs);

/* 1 when runs of that pattern can be chosen in rows of n columns. */
int	 sq_gptq_chooses(const struct sq_sparse *, size_t n);

/*
 * Quantizes the rows of w (F32, F16 or BF16, without gaps) to q, whose codes
 * are overwritten more than once.  In several calls, all
 * but the last with a multiple of SQ_GPTQ_ROWS, the result is that of one.  -1
 * with the reason when a weight is not finite or a scale overflows F16.
 */
int	 sq_gptq_rows(struct sq_gptq *, const struct sq_mat *w,
	    const struct sq_dst *q, char *err);

#endif
