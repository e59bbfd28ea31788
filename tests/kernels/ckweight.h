/* Random weights for the checks of what reads weights. */
#ifndef SQ_CKWEIGHT_H
#define SQ_CKWEIGHT_H

#include "tests/kernels/checkkern.h"

/*
 * Fills in data, scales and zeros of w with buffers of exactly the right size;
 * the other members say what is wanted.  w->zeros not NULL asks for zero
 * points.  Dense: values of that kind.  Quantized: any codes, scales around
 * 1/64 of either sign when kind is CK_OUTLIER, positive otherwise; with
 * CK_ZERO some are 0, with CK_TINY denormal in F16.  Some zero points lie
 * outside of the codes.
 */
void	 ck_weight(struct checker *, struct sq_weight *w, enum ck_kind kind);

/* How many groups w has. */
size_t	 ck_groups(const struct sq_weight *w);

#endif
