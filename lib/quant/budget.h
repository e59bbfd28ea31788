/*
 * Bits where they do most: with a budget of bits per weight, each tensor gets
 * the grid, of those that are allowed, that leaves the least error in all.
 *
 * The stream is read twice.  First it goes to a file without a name, and as it
 * passes each tensor is quantized to every grid there is for it, for the relative
 * output errors tr(E H E^T) / tr(W H W^T).  Then each unit (q, k and v of a
 * block; o; gate and up; down) gets the grid that makes
 *
 *	error + lambda * bits
 *
 * least, with the smallest lambda at which all of it fits; what is left over
 * goes to the units that gain most for a bit.
 */
#ifndef SQ_QUANT_BUDGET_H
#define SQ_QUANT_BUDGET_H

#include "quant/filter.h"
#include "quant/gptq_layer.h"

#define SQ_CHOICES	32		/* grids, at most */

/* What is allowed: SQ_BUDGET_GRIDS, where nobody says. */
#define SQ_BUDGET_GRIDS	"int2,int3,int3:32,int4,iq4_xs,iq4_nl,int5,int5:32," \
			"q6_k,int8"

struct sq_budget_grid {
	enum sq_grid grid;
	size_t group;			/* columns; 0: the rule's */
};

/* One unit. */
struct sq_unit {
	uint64_t layer;
	int input;			/* of its tensors; calib/block.h */
	uint64_t weights;
	double error[SQ_CHOICES];	/* summed over its tensors */
	double bits[SQ_CHOICES];	/* all of them, scales included; INFINITY:
					   not for this unit */
	int choice;
};

struct sq_budget {
	double bits;			/* for a weight, scales included */
	struct sq_budget_grid grid[SQ_CHOICES];
	int ngrids;
	struct sq_unit *unit;
	size_t n;
};

/*
 * Reads all of the filter's input, whose place a copy of it takes; the layer's
 * rule says the rest of a grid.  -1 with the reason in the filter's err.
 */
int	 sq_budget_survey(struct sq_budget *, struct sq_filter *,
	    struct sq_gptq_layer *);
void	 sq_budget_release(struct sq_budget *);

/* Makes the choices: -1 when not even the least bits fit. */
int	 sq_budget_choose(struct sq_budget *, char *err);

/* Names, as of set_grid() in sq-gptq, with groups: "int4:64,iq4_xs".  -1 with
 * the reason. */
int	 sq_budget_allow(struct sq_budget *, const char *list, char *err);

/* A rule's grid and groups become those that have been chosen for the tensor
 * whose slot it is. */
void	 sq_budget_set(const struct sq_budget *, const struct sq_slot *,
	    struct sq_qrule *);

#endif
