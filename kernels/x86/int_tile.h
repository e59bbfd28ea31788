/*
 * The tiles of integers without VNNI's bytes, for matmul_int_vec.h: sums of a
 * group, or of RUN columns of it, are scaled and added to those in memory.
 */
#include "kernels/x86/int_steps.h"

/* What the sums of a group add, of a row and of a vector of tokens; zero: -z.
 * Weights of 16 bits have it in them; the scale that a token of bytes has is
 * applied in the end. */
SQ_INLINE void
add_group(const char *x, size_t slot, VI s, VF scale, VF zero, float *sums)
{
	const struct heads *h = (const struct heads *)x;
	VF f = vf_from_i(s);

	f = BYTES ? vf_fma(zero, vf_load(h->sums[slot]), f) :
	    vf_mul(f, vf_load(h->scale));
	vf_store(sums, vf_fma(scale, f, vf_load(sums)));
}

/* Group g, that of a slot in a block of x. */
SQ_INLINE void
tile_group(const struct panel *p, size_t row, size_t g, const char *block,
    size_t slot, const char *x, const int32_t *w, size_t next, float *sums,
    const int nr, const int nv)
{
	VI s[2 * TR][TV];
	VF scale, zero;
	int i, j;

	sums_of(w, x, next, BYTES ? RUN : p->group, s, nr, nv);
	SQ_UNROLL for (i = 0; i < nr; i++) {
		scale = vf_set1(p->scale[row + (size_t)i][g]);
		zero = vf_set1(p->zero[row + (size_t)i][g]);
		SQ_UNROLL for (j = 0; j < nv; j++)
			add_group(block + (size_t)j * next, slot,
			    dot_end(s[i][j]), scale, zero, sums +
			    (j * SQ_MM_PANEL + i) * VL);
	}
}

/* nr rows of the panel from row by nv vectors of tokens. */
SQ_INLINE void
tile_of(const struct panel *p, size_t row, const char *x, size_t cols,
    float *sums, const int nr, const int nv)
{
	const size_t next = cols / BLOCK * V_BYTES;
	const size_t group = BYTES ? RUN : p->group;
	const int32_t *w = (const int32_t *)p->w[row];
	size_t b, i, g = 0;
	const char *at;

	for (b = 0; b < cols; b += BLOCK, x += V_BYTES) {
		at = x + sizeof(struct heads);
		for (i = 0; i < BLOCK / group; i++, g++) {
			tile_group(p, row, g, x, i, at, w, next, sums, nr,
			    nv);
			w += group / STEP;
			at += group / STEP * VB;
		}
	}
}
