/*
 * The sparse products of few tokens with VNNI: how runs (sparse_step_nm.h) and
 * blocks (sparse_step_blocks.h) are multiplied; sparse_step_amx.c has the rest.
 *
 * Memory is read in several streams, see slices.h, and what is read is
 * multiplied as it lies.  Tokens are 16-bit integers with a scale for each
 * window of columns, in two bytes, of which each has a product; a window's sum
 * is exact, and then
 *
 *	acc += scale of x in the window times (scale of the weight times sum)
 *
 * in float32, whose order is the same for all numbers of tokens.
 */
#ifndef SQ_X86_SPARSE_STEP_H
#define SQ_X86_SPARSE_STEP_H

#include "kernels/sparse.h"
#include "kernels/x86/bytes_vec.h"
#include "kernels/x86/slices.h"
#include "kernels/x86/sparse_step_amx.h"
#include "kernels/x86/values.h"

#define TOKENS	4			/* at a time, at most */

struct job {
	const struct sq_weight *w;
	const struct sq_mat *x, *y;
	int bits;
	size_t windows;			/* of x */
	size_t across;			/* groups of a row */
	size_t run;			/* windows of a group */
	char *packed, *scratch;
	size_t token_bytes, scratch_size;
	const void *how;		/* runs: struct nm_how */
	size_t band_bytes, line_bytes;	/* runs: of a band and of its index */
	struct sq_slices slices;
};

/* hi and lo, as they were cut, together. */
SQ_INLINE VI
both(VI hi, VI lo)
{
	return vi_add(vi_shl(hi, 8), lo);
}

/* x of a token from a window on. */
SQ_INLINE const void *
packed_at(const struct job *j, size_t token, size_t window, size_t size)
{
	return j->packed + token * j->token_bytes + window * size;
}

/* The group of a window; behind the last column the last one. */
SQ_INLINE size_t
group_of(const struct job *j, size_t window)
{
	return least(window / j->run, j->across - 1);
}

/* The scales, or zero points, of row `row', 16 groups from g on. */
SQ_INLINE VF
scales_of(const struct sq_weight *w, size_t across, size_t row, size_t g)
{
	size_t at = row / w->group_rows * across + g;

	if (w->scale_type == SQ_F16)
		return vf_take(w->scales, SQ_F16, at, across - g);
	return vf_take(w->scales, w->scale_type, at, across - g);
}

#endif
