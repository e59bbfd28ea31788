/*
 * One token: 64 bytes of a row at a time, see step.h.  The lanes of a row's
 * sums are, by group of 32 columns, 0000 1111 2222 3333; those of four rows
 * become one register, and of 16 rows four of them, one for each group.
 */
#ifndef SQ_X86_STEP_ONE_H
#define SQ_X86_STEP_ONE_H

#include "kernels/x86/bytes_vec.h"
#include "kernels/x86/step.h"
#include "kernels/x86/step_lanes.h"

struct pair {
	VI hi, lo;
};

/* A row and a block. */
SQ_INLINE struct pair
one_row(const uint8_t *p, const VI hi[2], const VI lo[2], const int bits)
{
	const VI low = vi_set1_8(15), none = vi_set1(0);
	VI a = vi_loadu(p), b;
	struct pair s = { none, none };
	VI more[2] = { none, none };

	if (bits == 4) {
		b = vi_and(vi_shr_16(a, 4), low);
		a = vi_and(a, low);
		sq_bytes_add(s.hi, a, hi[0]);
		sq_bytes_add(s.lo, a, lo[0]);
		sq_bytes_add(s.hi, b, hi[1]);
		sq_bytes_add(s.lo, b, lo[1]);
		return s;
	}
	b = vi_loadu(p + VB);
	sq_bytes_add(s.hi, a, hi[0]);
	sq_bytes_add(s.lo, a, lo[0]);
	sq_bytes_add(more[0], b, hi[1]);
	sq_bytes_add(more[1], b, lo[1]);
	s.hi = in_fours(s.hi, more[0]);
	s.lo = in_fours(s.lo, more[1]);
	return s;
}

/* acc and what the groups of a block add. */
SQ_INLINE VF
one_scaled(const VI four[4], const int32_t *start, const float *x_sum,
    float scale, const struct scales *w, size_t g, VF acc, const int groups,
    const int zeros)
{
	VF part = vf_zero(), f;
	VI sum[SLOTS];
	int i;

	by_group(four, sum, groups);
	SQ_UNROLL for (i = 0; i < groups; i++) {
		if (zeros)
			f = vf_fma(vf_load(w->zero[g + (size_t)i]),
			    vf_set1(x_sum[i]), vf_from_i(sum[i]));
		else
			f = vf_from_i(vi_add(sum[i], vi_set1(start[i])));
		part = i == 0 ? vf_mul(vf_load(w->scale[g]), f) :
		    vf_fma(vf_load(w->scale[g + (size_t)i]), f, part);
	}
	return vf_fma(vf_set1(scale), part, acc);
}

/* n blocks of a strip; sums: of hi, and of lo. */
SQ_INLINE void
one_blocks(const struct strip *s, const struct one *x, size_t n, VF *sums,
    const int bits, const int groups, const int zeros)
{
	size_t b, g = 0, left = s->left, at = s->at;
	VF hi_acc = sums[0], lo_acc = sums[1];
	VI hi[2], lo[2], hi_four[4], lo_four[4];
	const uint8_t *row;
	struct pair p[4];
	int i, q;

	for (b = 0; b < n; b++, x++, at += BLOCK * (size_t)bits / 8) {
		SQ_UNROLL for (i = 0; i < 2; i++) {
			hi[i] = vi_loadu(x->hi[i]);
			lo[i] = vi_loadu(x->lo[i]);
		}
		SQ_UNROLL for (q = 0; q < 4; q++) {
			SQ_UNROLL for (i = 0; i < 4; i++) {
				row = s->row[4 * q + i] + at;
				fetch(row + s->ahead, bits);
				p[i] = one_row(row, hi, lo, bits);
			}
			hi_four[q] = sum_lanes(p[0].hi, p[1].hi, p[2].hi,
			    p[3].hi);
			lo_four[q] = sum_lanes(p[0].lo, p[1].lo, p[2].lo,
			    p[3].lo);
		}
		hi_acc = one_scaled(hi_four, x->hi_start, x->hi_sum,
		    x->hi_scale, s->scales, g, hi_acc, groups, zeros);
		lo_acc = one_scaled(lo_four, x->lo_start, x->lo_sum,
		    x->lo_scale, s->scales, g, lo_acc, groups, zeros);
		g = next_group(g, &left, s, groups);
	}
	sums[0] = hi_acc;
	sums[1] = lo_acc;
}

#endif
