/*
 * A unit of weights as vectors of bf16, two columns in a lane of 32 bits.
 *
 * 2 and 4 bits are expanded as unit_vec.h shows, but with words of 16 bits in
 * 32 lanes: a table of the weights of all codes, rounded, is in a register, and
 * the low bits of a word are the index.  Other kinds go through float32.
 */
#ifndef SQ_X86_UNIT_BF16_H
#define SQ_X86_UNIT_BF16_H

#include "kernels/x86/unit_vec.h"

#define WV	VI
#define WL	(2 * VL)
#define wv_load(p)		_mm512_loadu_si512(p)
#define wv_store(p, w)		_mm512_storeu_si512(p, w)

SQ_INLINE VI
to_bf16(VF low, VF high)
{
	return (VI)_mm512_cvtne2ps_pbh(high, low);
}

/* Is a vector found by a table of 16-bit words? */
SQ_INLINE int
by_words(enum unit_kind kind)
{
	return unit_bits(kind) == 2 || unit_bits(kind) == 4;
}

/* Words repeat every 2 * bits lanes; then their next codes are wanted. */
SQ_INLINE struct unit_how
make_how(enum unit_kind kind, size_t scales)
{
	struct unit_how how = unit_how(kind, scales);
	const VI lane = _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23,
	    22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5,
	    4, 3, 2, 1, 0);

	if (unit_bits(kind) == 4)
		how.shift = _mm512_slli_epi16(_mm512_srli_epi16(lane, 3), 2);
	else if (unit_bits(kind) == 2)
		how.shift = _mm512_slli_epi16(_mm512_srli_epi16(lane, 2), 1);
	return how;
}

SQ_INLINE struct unit_group
make_group(const struct unit_how *how, enum unit_kind kind, const float *s,
    const float *z)
{
	struct unit_group g = unit_group(how, kind, s, z);

	if (by_words(kind))
		g.table = (VF)to_bf16(g.table, g.table);
	return g;
}

/* Vector j of the unit at p. */
SQ_INLINE VI
wv_unit(const uint8_t *p, enum unit_kind kind, const struct unit_how *how,
    const struct unit_group *g, int j)
{
	uint64_t w;
	VI v;

	if (kind == UNIT_BF16)
		return wv_load(p);
	if (!by_words(kind))
		return to_bf16(unit_vf(p, kind, how, g, 0),
		    unit_vf(p, kind, how, g, 1));
	if (unit_is_wide(kind)) {
		v = wv_load(p);
		if (j > 0)
			v = _mm512_srli_epi16(v, j * 4);
	} else if (unit_bits(kind) == 4) {
		v = _mm512_srlv_epi16(vi_dup16(_mm_loadu_si128(
		    (const void *)p)), how->shift);
	} else {
		memcpy(&w, p, sizeof(w));
		v = _mm512_srlv_epi16(vi_set1_64((long long)w), how->shift);
	}
	return _mm512_permutexvar_epi16(v, (VI)g->table);
}

SQ_INLINE size_t
spread_of(enum unit_kind kind)
{
	return by_words(kind) ? 16 / unit_bits(kind) : 1;
}

#endif
