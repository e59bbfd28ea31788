/*
 * Up to eight tokens: a product of tiles for each group, see step.h.
 *
 *	                     hi 0..7  lo 0..7
 *	                     [      x       ]	of a group's columns
 *	16 rows  [ codes ]   [     sums     ]
 *
 * The codes of a block are spread to bytes in a buffer, its sums come out
 * through another one.  Three blocks are in work at a time, row by row between
 * the instructions of tiles (tiles.h): while one is multiplied, the next one is
 * spread and the sums of the one before are scaled.
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

struct block_codes {
	_Alignas(64) uint8_t of[ROWS][BLOCK];
};

struct block_sums {
	_Alignas(64) int32_t of[SLOTS][ROWS][16];
};

/* Of a block and of its neighbour, in turn. */
struct room {
	struct block_codes codes[2];
	struct block_sums sums[2];
};

/* A block that is multiplied, the next one and the one before. */
struct trio {
	const uint8_t *codes;		/* of this one */
	const struct many *x;
	struct block_sums *sums;
	const uint8_t *const *row;	/* of the next */
	size_t at, ahead;
	struct block_codes *spread;
	const struct block_sums *late;	/* of the one before */
	const float *scale, *zero;	/* of its groups, of the first row */
	const struct many *late_x;
	VF late_scale;
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

SQ_INLINE void
spread_row(const struct trio *t, int r, const int bits, const int zeros)
{
	/* to the second cache: what the first one waits for are tiles */
	_mm_prefetch((const char *)t->row[r] + t->ahead, _MM_HINT_T1);
	if (bits == 8)
		_mm_prefetch((const char *)t->row[r] + t->ahead + 64,
		    _MM_HINT_T1);
	spread(t->row[r] + t->at, t->spread->of[r], bits, zeros);
}

/* acc and what the groups of the block before add. */
SQ_INLINE VF
scale_row(const struct trio *t, int r, VF acc, const int groups,
    const int zeros)
{
	VF part = vf_zero(), f;
	int i;

	SQ_UNROLL for (i = 0; i < groups; i++) {
		f = vf_from_i(vi_load(t->late->of[i][r]));
		if (zeros)
			f = vf_fma(vf_set1(t->zero[r * AT_HAND + i]),
			    vf_load(t->late_x->sum[i]), f);
		part = i == 0 ? vf_mul(vf_set1(t->scale[r * AT_HAND]), f) :
		    vf_fma(vf_set1(t->scale[r * AT_HAND + i]), f, part);
	}
	return vf_fma(t->late_scale, part, acc);
}

/* Tiles see memory, which the compiler does not know. */
#define many_barrier()	__asm__ volatile("" : : : "memory")

/* Row r of the next block and of the one before. */
SQ_INLINE void
beside(const struct trio *t, int r, VF acc[ROWS], const int bits,
    const int groups, const int zeros)
{
	many_barrier();
	spread_row(t, r, bits, zeros);
	acc[r] = scale_row(t, r, acc[r], groups, zeros);
	many_barrier();
}

#define BESIDE(r)	beside(&t, r, acc, bits, groups, zeros)
#define CODES(i, n)	_tile_loadd(i, t.codes + (n), BLOCK)
#define X(i, half, row)	_tile_loadd(i, t.x->codes[half][row], 64)
#define STORE(i)	_tile_stored(i, t.sums->of[i], 64)
#define MULTIPLY(i, a, b) do {						\
	if (zeros)							\
		_tile_dpbusd(i, a, b);					\
	else								\
		_tile_dpbssd(i, a, b);					\
} while (0)

SQ_INLINE void
four_groups(const struct trio t, VF acc[ROWS], const int bits,
    const int groups, const int zeros)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	X(6, 0, 0);
	BESIDE(0);
	CODES(4, 0);
	BESIDE(1);
	X(7, 0, 8);
	BESIDE(2);
	CODES(5, 32);
	BESIDE(3);
	MULTIPLY(0, 4, 6);
	BESIDE(4);
	X(6, 1, 0);
	BESIDE(5);
	CODES(4, 64);
	BESIDE(6);
	MULTIPLY(1, 5, 7);
	BESIDE(7);
	X(7, 1, 8);
	BESIDE(8);
	CODES(5, 96);
	BESIDE(9);
	MULTIPLY(2, 4, 6);
	BESIDE(10);
	STORE(0);
	BESIDE(11);
	MULTIPLY(3, 5, 7);
	BESIDE(12);
	STORE(1);
	BESIDE(13);
	STORE(2);
	BESIDE(14);
	BESIDE(15);
	STORE(3);
}

/* One group or two. */
SQ_INLINE void
few_groups(const struct trio t, VF acc[ROWS], const int bits,
    const int groups, const int zeros)
{
	_tile_zero(0);
	_tile_zero(1);
	X(6, 0, 0);
	BESIDE(0);
	BESIDE(1);
	CODES(4, 0);
	BESIDE(2);
	BESIDE(3);
	MULTIPLY(0, 4, 6);
	BESIDE(4);
	BESIDE(5);
	X(7, 1, 0);
	BESIDE(6);
	BESIDE(7);
	CODES(5, 64);
	BESIDE(8);
	BESIDE(9);
	if (groups > 1)
		MULTIPLY(1, 5, 7);
	else
		MULTIPLY(0, 5, 7);
	BESIDE(10);
	BESIDE(11);
	BESIDE(12);
	BESIDE(13);
	STORE(0);
	BESIDE(14);
	BESIDE(15);
	if (groups > 1)
		STORE(1);
}

/* n > 0 blocks of a strip; sums: of each row.  Before the first block there are
 * sums of 0; the last one is spread a second time, in vain. */
SQ_INLINE void
many_blocks(const struct strip *s, const struct many *x, size_t n,
    struct room *room, VF *sums, const int bits, const int groups,
    const int zeros)
{
	const struct scales *w = s->scales;
	struct trio t = { .row = s->row, .at = s->at, .late_x = x,
	    .ahead = s->at + s->ahead, .spread = &room->codes[0],
	    .scale = w->row_scale[0], .zero = w->row_zero[0],
	    .late_scale = vf_zero() };
	size_t b, g = 0, left = s->left;
	VF acc[ROWS];
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++)
		acc[r] = sums[r];
	SQ_UNROLL for (r = 0; r < ROWS; r++)
		spread_row(&t, r, bits, zeros);
	memset(&room->sums[1], 0, (size_t)groups * sizeof(*room->sums[1].of));
	for (b = 0; b < n; b++, x++) {
		t.codes = room->codes[b & 1].of[0];
		t.x = x;
		t.sums = &room->sums[b & 1];
		if (b + 1 < n) {
			t.at += BLOCK * (size_t)bits / 8;
			t.ahead += BLOCK * (size_t)bits / 8;
		}
		t.spread = &room->codes[(b + 1) & 1];
		t.late = &room->sums[(b + 1) & 1];
		if (groups == SLOTS)
			four_groups(t, acc, bits, groups, zeros);
		else
			few_groups(t, acc, bits, groups, zeros);
		t.late_x = x;
		t.late_scale = vf_load(x->scale);
		t.scale = w->row_scale[0] + g;
		t.zero = w->row_zero[0] + g;
		g = next_group(g, &left, s, groups);
	}
	many_barrier();
	t.late = &room->sums[(n - 1) & 1];
	SQ_UNROLL for (r = 0; r < ROWS; r++)
		sums[r] = scale_row(&t, r, acc[r], groups, zeros);
}

#undef BESIDE
#undef CODES
#undef X
#undef STORE
#undef MULTIPLY

#endif
