/*
 * Few tokens with VNNI alone, see step.h.  256 hi + lo are joined while they
 * are integers: the sum of a group's products is exact in 32 bits.
 *
 * Up to two tokens (alone_blocks): 64 bytes of a row at a time; the lanes of a
 * row's sums are, by group of 32 columns, 0000 1111 2222 3333.  Those of four
 * rows become one register, and of 16 rows four of them, one for each group.
 *
 * More (several_blocks): the codes of 16 rows are spread to bytes, and as many
 * of them as a token has in a register go to all tokens at once:
 *
 *	16 bits   8 tokens	4 columns	hi lo of t0, of t1 ..
 *	          4		8		hi hi lo lo of t0 ..
 *	8 bits    8		8		t0 t0 t1 t1 ..
 *	          4		16		t0 t0 t0 t0 t1 ..
 *
 * The lanes of a token are added up across two or four rows, whose sums share a
 * register then.
 */
#ifndef SQ_X86_STEP_VNNI_H
#define SQ_X86_STEP_VNNI_H

#include "kernels/x86/bytes_vec.h"
#include "kernels/x86/step_alone.h"
#include "kernels/x86/step_lanes.h"

#define OF_EIGHT(i)	(i) * bits + 7, (i) * bits + 6, (i) * bits + 5,	\
			(i) * bits + 4, (i) * bits + 3, (i) * bits + 2,	\
			(i) * bits + 1, (i) * bits
#define PIECE	16			/* columns that lie together */
#define PIECES	(SQ_MM_UNIT / PIECE)

/* A block of several. */
struct several {
	int8_t codes[32][64];		/* in the order of their use */
	int32_t start[SLOTS][16];
	float sum[SLOTS][16], scale[16];
};

struct room {
	_Alignas(64) uint8_t codes[ROWS][BLOCK];
	/* of each row twice, side by side */
	float scale[CHUNK * SLOTS + VL][2 * ROWS];
	float zero[CHUNK * SLOTS + VL][2 * ROWS];
};

/* s = 256 s where there are hi's. */
SQ_INLINE VI
above(VI s, const int wide)
{
	return wide ? vi_shl(s, 8) : s;
}

/* 64 codes to bytes: those of each eight codes are brought together, whose low
 * bits are the first. */
SQ_INLINE VI
codes_of(VI v, const int first, const int bits)
{
	const VI place = _mm512_set_epi8(OF_EIGHT(7), OF_EIGHT(6),
	    OF_EIGHT(5), OF_EIGHT(4), OF_EIGHT(3), OF_EIGHT(2), OF_EIGHT(1),
	    OF_EIGHT(0));
	const VI shift = vi_set1_64(bits * 0x0706050403020100);

	v = _mm512_permutexvar_epi8(_mm512_add_epi8(place,
	    vi_set1_8((char)first)), v);
	return vi_and(_mm512_multishift_epi64_epi8(shift, v),
	    vi_set1_8((char)((1 << bits) - 1)));
}

/* The codes of a row and a block, in order; of 4 bits, those of even columns
 * first. */
SQ_INLINE void
row_codes(const uint8_t *p, VI v[2], const int bits)
{
	const int bytes = BLOCK * bits / 8;

	if (bits == 8) {
		v[0] = vi_loadu(p);
		v[1] = vi_loadu(p + VB);
	} else if (bits == 4) {
		v[1] = vi_loadu(p);
		v[0] = vi_and(v[1], vi_set1_8(15));
		v[1] = vi_and(vi_shr_16(v[1], 4), vi_set1_8(15));
	} else if (bits > 4) {
		v[0] = codes_of(vi_loadu(p), 0, bits);
		v[1] = codes_of(vi_loadu(p + bytes - VB), VB - bytes / 2,
		    bits);
	} else {
		v[1] = _mm512_maskz_loadu_epi8((1ull << bytes) - 1, p);
		v[0] = codes_of(v[1], 0, bits);
		v[1] = codes_of(v[1], bytes / 2, bits);
	}
}

/* A row and a block. */
SQ_INLINE VI
alone_row(const uint8_t *p, const VI hi[2], const VI lo[2], const int bits,
    const int groups, const int wide)
{
	VI v[2], s = vi_set1(0), more = s;

	row_codes(p, v, bits);
	if (bits == 4 || groups == 1) {
		if (wide) {
			sq_bytes_add(s, v[0], hi[0]);
			sq_bytes_add(s, v[1], hi[1]);
		}
		s = above(s, wide);
		sq_bytes_add(s, v[0], lo[0]);
		sq_bytes_add(s, v[1], lo[1]);
		return s;
	}
	if (wide) {
		sq_bytes_add(s, v[0], hi[0]);
		sq_bytes_add(more, v[1], hi[1]);
	}
	s = above(s, wide);
	more = above(more, wide);
	sq_bytes_add(s, v[0], lo[0]);
	sq_bytes_add(more, v[1], lo[1]);
	return in_fours(s, more);
}

/* n blocks of a strip; sums: of 16 rows. */
SQ_INLINE void
alone_blocks(const struct strip *s, const struct alone *x, size_t n, VF *sums,
    int zeros, const int bits, const int groups, const int wide)
{
	const float mid = 1 << (bits - 1);
	size_t b, g = 0, left = s->left, at = s->at;
	VF acc = sums[0], part, f, z;
	VI hi[2], lo[2], p[4], four[4], sum[SLOTS];
	const uint8_t *row;
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
				p[i] = alone_row(row, hi, lo, bits, groups,
				    wide);
			}
			four[q] = sum_lanes(p[0], p[1], p[2], p[3]);
		}
		by_group(four, sum, groups);
		part = vf_zero();
		SQ_UNROLL for (i = 0; i < groups; i++) {
			f = vf_from_i(vi_add(sum[i], vi_set1(x->start[i])));
			if (zeros) {
				z = vf_add(vf_load(s->scales->zero[g +
				    (size_t)i]), vf_set1(mid));
				f = vf_fma(z, vf_set1(x->sum[i]), f);
			}
			part = i == 0 ? vf_mul(vf_load(s->scales->scale[g]),
			    f) : vf_fma(vf_load(s->scales->scale[g +
			    (size_t)i]), f, part);
		}
		acc = vf_fma(vf_set1(x->scale), part, acc);
		g = next_group(g, &left, s, groups);
	}
	sums[0] = acc;
}

/* The bytes of a block of 16 rows. */
SQ_INLINE void
spread_rows(const struct strip *s, size_t at, struct room *room,
    const int bits)
{
	const uint8_t *p;
	VI v[2];
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		p = s->row[r] + at;
		fetch(p + s->ahead, bits);
		row_codes(p, v, bits);
		vi_storeu(room->codes[r], v[0]);
		vi_storeu(room->codes[r] + VB, v[1]);
	}
}

#define SPREAD_BITS(X)	X(2) X(3) X(4) X(5) X(6) X(8)
#define SPREAD(bits)							\
static void								\
spread_##bits(const struct strip *s, size_t at, struct room *room)	\
{									\
	spread_rows(s, at, room, bits);					\
}
SPREAD_BITS(SPREAD)

SQ_INLINE void
spread(const struct strip *s, size_t at, struct room *room, int bits)
{
	switch (bits) {
#define CASE(bits)							\
	case bits:							\
		spread_##bits(s, at, room);				\
		break;
	SPREAD_BITS(CASE)
#undef CASE
	}
}

/* `width' codes to each so many lanes. */
SQ_INLINE VI
to_lanes(const uint8_t *p, const int width)
{
	int32_t four;
	long long eight;

	if (width == 16)
		return _mm512_broadcast_i32x4(_mm_loadu_si128(
		    (const void *)p));
	if (width == 8) {
		memcpy(&eight, p, sizeof(eight));
		return vi_set1_64(eight);
	}
	memcpy(&four, p, sizeof(four));
	return vi_set1(four);
}

/* Adds unit u of 32 columns; x: their codes.  halves: the even columns of all
 * are in the first half. */
SQ_INLINE void
several_unit(const struct room *room, size_t u, const int8_t *x, VI acc[ROWS],
    const int halves, const int width)
{
	const uint8_t *w = room->codes[0] + u * (halves ? PIECE : SQ_MM_UNIT);
	const int next = halves ? VB : PIECE;
	int i, k, r;
	VI v;

	SQ_UNROLL for (i = 0; i < PIECES; i++)
		SQ_UNROLL for (k = 0; k < PIECE; k += width, x += 64) {
			v = vi_loadu(x);
			SQ_UNROLL for (r = 0; r < ROWS; r++)
				sq_bytes_add(acc[r], to_lanes(w + r * BLOCK +
				    i * next + k, width), v);
		}
}

/* Four numbers to each four lanes. */
SQ_INLINE VF
four_of(const float *p)
{
	return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
}

/* Even lanes, which are hi's where the sum is `wide', and odd ones. */
SQ_INLINE VI
join(VI a, VI b, const int wide)
{
	VI even = (VI)_mm512_shuffle_ps((VF)a, (VF)b, 0x88);
	VI odd = (VI)_mm512_shuffle_ps((VF)a, (VF)b, 0xdd);

	return vi_add(above(even, wide), odd);
}

/* The sums of the rows in register i. */
SQ_INLINE VI
joined(const VI acc[ROWS], const int i, const int tokens, const int wide)
{
	if (tokens == 8)
		return join(acc[2 * i], acc[2 * i + 1], wide);
	return join(join(acc[4 * i], acc[4 * i + 1], 0),
	    join(acc[4 * i + 2], acc[4 * i + 3], 0), wide);
}

/* n blocks of a strip, of up to 8 or 4 tokens; sums: of 2 or 4 rows each. */
SQ_INLINE void
several_blocks(const struct strip *s, const struct several *x, size_t n,
    struct room *room, VF *sums, size_t groups, int zeros, int bits,
    const int halves, const int tokens, const int wide)
{
	const int width = 64 / tokens / (1 + wide), registers = tokens;
	const size_t units = SLOTS / groups, size = 64 * (size_t)PIECE *
	    PIECES / (size_t)width;
	const float (*scale)[ROWS] = s->scales->scale;
	const VF mid = vf_set1((float)(1 << (bits - 1)));
	size_t b, g = 0, left = s->left, at = s->at, i, u;
	const float *at_scale, *at_zero;
	VF part[8], f;
	VI acc[ROWS];
	int r;

	for (b = 0; b < n; b++, x++, at += BLOCK * (size_t)bits / 8) {
		spread(s, at, room, bits);
		SQ_UNROLL for (r = 0; r < registers; r++)
			part[r] = vf_zero();
		for (i = 0; i < groups; i++) {
			SQ_UNROLL for (r = 0; r < ROWS; r++)
				acc[r] = vi_load(x->start[i]);
			for (u = i * units; u < (i + 1) * units; u++)
				several_unit(room, u, x->codes[0] + u * size,
				    acc, halves, width);
			at_scale = tokens == 8 ? room->scale[g + i] :
			    scale[g + i];
			at_zero = tokens == 8 ? room->zero[g + i] :
			    s->scales->zero[g + i];
			SQ_UNROLL for (r = 0; r < registers; r++) {
				f = vf_from_i(joined(acc, r, tokens, wide));
				if (zeros)
					f = vf_fma(vf_add(four_of(at_zero +
					    4 * r), mid), vf_load(x->sum[i]),
					    f);
				part[r] = vf_fma(four_of(at_scale + 4 * r), f,
				    part[r]);
			}
		}
		SQ_UNROLL for (r = 0; r < registers; r++)
			sums[r] = vf_fma(vf_load(x->scale), part[r], sums[r]);
		g = next_group(g, &left, s, (int)groups);
	}
}

#endif
