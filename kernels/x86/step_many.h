/*
 * Up to eight tokens: a product of tiles for each group, see step.h.
 *
 *	                     hi 0..7  lo 0..7
 *	                     [      x       ]	of a group's columns
 *	16 rows  [ codes ]   [     sums     ]
 *
 * The codes of a block are spread to bytes in a buffer, its sums come out
 * through another one.
 */
#ifndef SQ_X86_STEP_MANY_H
#define SQ_X86_STEP_MANY_H

#include "kernels/x86/step.h"
#include "kernels/x86/tiles.h"

/* A block of eight tokens; columns 0..7 are hi, 8..15 lo.  The codes are the
 * tiles that the products take: four columns of x to each 32 bits. */
struct many {
	int8_t codes[2][16][64];
	float sum[SLOTS][16];		/* of the codes */
	float scale[16];
};

struct room {
	_Alignas(64) uint8_t codes[2][ROWS][BLOCK];
	_Alignas(64) int32_t sums[SLOTS][ROWS][16];
};

/* Tiles of sums, of codes and of x; for groups of 32 columns half as long. */
static void
begin_tiles(int groups)
{
	struct sq_tile_config c = { .palette = 1 };
	int i;

	for (i = 0; i < SQ_TILES; i++) {
		c.bytes[i] = SQ_TILE_BYTES;
		c.rows[i] = SQ_TILE_ROWS;
	}
	if (groups == SLOTS) {
		c.bytes[4] = c.bytes[5] = SQ_MM_UNIT;
		c.rows[6] = c.rows[7] = SQ_MM_UNIT / 4;
	}
	__asm__ volatile("" : : "r"(&c) : "memory");
	_tile_loadconfig(&c);
}

/*
 * Bytes of a row's block: of each 32 columns those of even places first.  They
 * are less the middle of the codes where there are no zero points.  Four bits
 * are found by the low six of a byte, of which two mean nothing.
 */
SQ_INLINE void
spread(const uint8_t *p, uint8_t *to, const int bits, const int zeros)
{
	const VI by = _mm512_set_epi64(0x4000400040004, 0x4000400040004, 0, 0,
	    0x4000400040004, 0x4000400040004, 0, 0);
	const VI plain = _mm512_broadcast_i32x4(_mm_set_epi8(15, 14, 13, 12, 11,
	    10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
	const VI table = zeros ? plain : _mm512_sub_epi8(plain, vi_set1_8(8));
	const VI top = vi_set1_8(zeros ? 0 : (char)0x80);
	VI v = vi_loadu(p);

	if (bits == 8) {
		vi_storeu(to, _mm512_xor_si512(v, top));
		vi_storeu(to + VB, _mm512_xor_si512(vi_loadu(p + VB), top));
		return;
	}
	vi_storeu(to, _mm512_permutexvar_epi8(_mm512_srlv_epi16(
	    _mm512_shuffle_i64x2(v, v, 0x50), by), table));
	vi_storeu(to + VB, _mm512_permutexvar_epi8(_mm512_srlv_epi16(
	    _mm512_shuffle_i64x2(v, v, 0xfa), by), table));
}

#define ADD(i, a, b, from, of)						\
	_tile_loadd(a, from, BLOCK);					\
	_tile_loadd(b, of, 64);						\
	if (zeros)							\
		_tile_dpbusd(i, a, b);					\
	else								\
		_tile_dpbssd(i, a, b)
#define STORE(i)	_tile_stored(i, sums[i], 64)

SQ_INLINE void
many_products(const uint8_t *codes, const struct many *x,
    int32_t (*sums)[ROWS][16], const int groups, const int zeros)
{
	_tile_zero(0);
	if (groups == SLOTS) {
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
		ADD(0, 4, 6, codes, x->codes[0][0]);
		ADD(1, 5, 7, codes + 32, x->codes[0][8]);
		STORE(0);
		ADD(2, 4, 6, codes + 64, x->codes[1][0]);
		STORE(1);
		ADD(3, 5, 7, codes + 96, x->codes[1][8]);
		STORE(2);
		STORE(3);
	} else if (groups == 2) {
		_tile_zero(1);
		ADD(0, 4, 6, codes, x->codes[0][0]);
		ADD(1, 5, 7, codes + 64, x->codes[1][0]);
		STORE(0);
		STORE(1);
	} else {
		ADD(0, 4, 6, codes, x->codes[0][0]);
		ADD(0, 5, 7, codes + 64, x->codes[1][0]);
		STORE(0);
	}
}

SQ_INLINE void
many_scaled(const int32_t (*sums)[ROWS][16], const struct many *x,
    const struct scales *w, size_t g, VF acc[ROWS], const int groups,
    const int zeros)
{
	const VF scale = vf_load(x->scale);
	VF part, f;
	int i, r;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		part = vf_zero();
		SQ_UNROLL for (i = 0; i < groups; i++) {
			f = vf_from_i(vi_load(sums[i][r]));
			if (zeros)
				f = vf_fma(vf_set1(w->zero[g + (size_t)i][r]),
				    vf_load(x->sum[i]), f);
			part = i == 0 ? vf_mul(vf_set1(w->scale[g][r]), f) :
			    vf_fma(vf_set1(w->scale[g + (size_t)i][r]), f,
			    part);
		}
		acc[r] = vf_fma(scale, part, acc[r]);
	}
}

SQ_INLINE void
spread_rows(const struct strip *s, size_t at, uint8_t (*to)[BLOCK],
    const int bits, const int zeros)
{
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		fetch(s->row[r] + at + s->ahead, bits);
		spread(s->row[r] + at, to[r], bits, zeros);
	}
}

/* n > 0 blocks of a strip; sums: of each row.  The next block is spread while
 * this one is multiplied. */
SQ_INLINE void
many_blocks(const struct strip *s, const struct many *x, size_t n,
    struct room *room, VF *sums, const int bits, const int groups,
    const int zeros)
{
	size_t b, g = 0, left = s->left, at = s->at;
	VF acc[ROWS];
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++)
		acc[r] = sums[r];
	spread_rows(s, at, room->codes[0], bits, zeros);
	for (b = 0; b < n; b++, x++) {
		__asm__ volatile("" : : "r"(room) : "memory");
		many_products(room->codes[b & 1][0], x, room->sums, groups,
		    zeros);
		at += BLOCK * (size_t)bits / 8;
		if (b + 1 < n)
			spread_rows(s, at, room->codes[(b + 1) & 1], bits,
			    zeros);
		__asm__ volatile("" : : "r"(room) : "memory");
		many_scaled((const void *)room->sums, x, s->scales, g, acc,
		    groups, zeros);
		g = next_group(g, &left, s, groups);
	}
	SQ_UNROLL for (r = 0; r < ROWS; r++)
		sums[r] = acc[r];
}

#endif
