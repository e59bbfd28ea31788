/*
 * Blocks, few tokens.  A row of blocks is a line; its kept blocks lie one after
 * the other, and STREAMS of them are gone through at the same time, a few rows
 * at a time, so that sums stay in registers:
 *
 *	line	b0        b1        b2  ..
 *	rows	====      ====      ====	acc of these rows
 *	        ----      ----      ----	the next ones
 *
 * A load is 64 columns: one row of int8 (sparse_step_eights.h), or two of int4
 * (sparse_step_fours.h).
 */
#ifndef SQ_X86_SPARSE_STEP_BLOCKS_H
#define SQ_X86_SPARSE_STEP_BLOCKS_H

#include "kernels/x86/sparse_step.h"

#define BL_WIDE		64		/* columns of a window */
#define BL_STREAMS	8
#define BL_AHEAD	512		/* bytes, less than a block */

/* What is read of a block now. */
struct bl_stream {
	const uint8_t *p;
	size_t next;			/* bytes to the block that follows in
					   this stream */
	const void *x;			/* window of the first token */
	size_t group;
};

/* Windows b .. b+n-1 of what is kept; size: of a window of x. */
SQ_INLINE void
bl_open(const struct job *j, struct bl_stream *s, size_t b, size_t n,
    size_t token, size_t size, const int bits)
{
	const struct sq_weight *w = j->w;
	const size_t per = w->m / BL_WIDE, bytes = sq_block_bytes(w);
	size_t i, window;

	for (i = 0; i < n; i++, b++) {
		window = sq_blocks_column(w)[b / per] * per + b % per;
		s[i].p = (const uint8_t *)w->data + b / per * bytes +
		    b % per * BL_WIDE * (size_t)bits / 8;
		s[i].next = BL_STREAMS / per * bytes;
		s[i].x = packed_at(j, token, window, size);
		s[i].group = group_of(j, window);
	}
}

/* The scales of rows with one group, 16 from `row' on; 0 for those that the
 * weight does not have. */
SQ_INLINE VF
bl_scales(const struct sq_weight *w, size_t row)
{
	float s[VL] = { 0 };
	size_t i;

	if (row >= w->rows)
		return vf_zero();
	if (w->group_rows == 1)
		return vf_take(w->scales, w->scale_type, row, w->rows - row);
	for (i = 0; i < least(VL, w->rows - row); i++)
		s[i] = sq_scalar(w->scales, w->scale_type, (row + i) /
		    w->group_rows);
	return vf_load(s);
}

#endif
