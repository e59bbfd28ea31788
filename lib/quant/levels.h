/*
 * The levels of a grid: the numbers that its codes stand for, and the nearest of
 * them.  A weight is number * scale, less an offset where the grid has them;
 * the number of an integer code is what is left when its zero point is taken
 * away.
 */
#ifndef SQ_QUANT_LEVELS_H
#define SQ_QUANT_LEVELS_H

#include <stdint.h>

#include "base/grid.h"
#include "kernels/kern.h"

#define SQ_LANES	16		/* weights that are done at a time */
#define SQ_SUPER	256		/* columns of a super-block */

struct sq_levels {
	enum { SQ_STEPS, SQ_TABLE, SQ_E4M3 } kind;
	float top;			/* the greatest code */
	float zero;			/* where there are no zero points */
	float reach;			/* the magnitude that scale 1 reaches */
	int offsets;			/* the grid has them */
	int super;			/* its scales have scales, */
	int least, most;		/* and are integers from here to there */
	float number[256];		/* of each code, zero point 0 */
	uint8_t above[256], below[256];	/* the code of the next number, or the
					   same where there is none */
	/* SQ_TABLE: numbers in rising order, with their codes; number i is
	 * the nearest to x when x is above the first i bounds and no more. */
	int n;
	float sorted[16], bound[16];
	uint8_t code[16];
};

/* Where quantized rows go: the parts of a TENSOR record, NULL where the grid
 * has none of it.  All but the codes begin at the first row's groups. */
struct sq_dst {
	uint8_t *codes;			/* rows of sq_row_bytes(cols, bits) */
	uint16_t *scales;		/* F16 */
	uint8_t *zeros;
	uint8_t *scales8;		/* F8_E8M0, U8 or I8 */
	uint8_t *submins;
	uint16_t *super, *supermins;	/* F16, one for 256 columns */
	uint8_t *mask;			/* rows of sq_row_bytes(cols, 1) */
	float *values;			/* of no grid */
};

/* 1 when weights can be quantized to the grid. */
int	 sq_levels_know(enum sq_grid);
void	 sq_levels_init(struct sq_levels *, enum sq_grid);

/* The grid of that name, "q4_0" among them, or -1; group: the columns that
 * share a scale where that goes with the name, else 0. */
int	 sq_levels_named(const char *name, size_t *group);

/* The columns that share a scale in a grid where that is fixed, else 0. */
size_t	 sq_levels_group(enum sq_grid);

/* -1 with the reason when rule is not for a weight of cols columns. */
int	 sq_levels_check(const struct sq_qrule *, uint64_t cols, char *err);

/* The nearest level to each t: its number v and code u; ties go to the even
 * code. */
void	 sq_levels_nearest(const struct sq_levels *, const float *t,
	    const float *divisor, const float *zero, float *v, uint8_t *u);

/* A scale as it is stored in that grid, which is no super one: the value that
 * it then has, NAN when it cannot be stored; and its bits. */
float	 sq_levels_scale(enum sq_grid, double s, uint16_t *bits);

#endif
