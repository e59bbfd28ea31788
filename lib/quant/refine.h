/*
 * The unit of columns that refine.c has in work, for what moves codes in it in
 * other ways.
 */
#ifndef SQ_QUANT_REFINE_H
#define SQ_QUANT_REFINE_H

#include "quant/gptq_tile.h"

/* The unit at work: columns a to b, of which all below count from a. */
struct sq_refine_unit {
	const struct sq_gptq_work *k;
	size_t a, b;
	float *x;			/* errors */
	float *g;			/* G, as it is now */
	float *before;			/* G, as it was before the pass */
	float *moved;			/* x now less x then, in a pass */
	float *v;			/* levels of a group */
	float *square;			/* [SQ_PANEL][SQ_PANEL]: H here, damped */
};

/* What a mask drops and keeps: the best exchange in columns a to end, for
 * SQ_LANES rows from r on; G of columns up to b follows. */
void	 sq_refine_exchange(const struct sq_refine_unit *u, size_t a, size_t end,
	    size_t b, size_t r);

/* Scale and offset of group g of a super-block, and its codes, as far as that
 * lowers the error; moved says how far its columns went, G is as it was. */
void	 sq_refine_group(const struct sq_refine_unit *, size_t g);

#endif
