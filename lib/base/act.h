/*
 * How the input of a linear layer is quantized before the product: eight bits
 * for each value, one scale for each row (token) or one for all of them.
 */
#ifndef SQ_BASE_ACT_H
#define SQ_BASE_ACT_H

enum sq_act_kind { SQ_ACT_NONE, SQ_ACT_INT8, SQ_ACT_FP8, SQ_ACTS };

struct sq_act {
	enum sq_act_kind kind;
	float scale;			/* of all rows; 0: each has its own */
};

/* "int8", "fp8"; "none".  SQ_ACTS stands for one that is not known. */
const char *sq_act_name(enum sq_act_kind);
int	 sq_act_find(const char *name);		/* -1 when there is none */

/* The greatest value of the type: what the largest magnitude becomes. */
float	 sq_act_top(enum sq_act_kind);

/* "int8", "fp8", or either with ":static": 0, or -1 for anything else. */
int	 sq_act_parse(const char *text, enum sq_act_kind *, int *is_static);

#endif
