/*
 * A unit of weights, 32 or 128 consecutive columns of a row, as vectors of
 * float32 over vec.h: w = (u - z) s, exact up to one rounding.  Everything
 * that depends on the kind of the weight is decided at compile time: the
 * functions are inlined where grid and type are constants.
 *
 * The columns come out in the order of matmul.h.  2 and 4 bits: a word of 32
 * bits has 16 or 8 codes, so a unit has B = 2 or 4 words; it is loaded into
 * each B lanes of a vector, and these are shifted by 0, B, 2B ... bits:
 *
 *	4 bits   lane   0    1    2    3     4    5    6    7     8 ..
 *	         word   0    1    2    3     0    1    2    3     0 ..
 *	         shift  0    0    0    0     4    4    4    4     8 ..
 *	         column 0    8   16   24     1    9   17   25     2 ..
 *
 * The low bits of a lane are then the code.  128 columns of 4 bits with one
 * scale (wide), or with two or four of which each lane has its own (lanes),
 * are cheaper: each lane has its own word, which is loaded once.
 * 3, 5 and 6 bits: the two bytes that hold a code are brought into its lane,
 * and shifted, in order.
 */
#ifndef SQ_X86_UNIT_VEC_H
#define SQ_X86_UNIT_VEC_H

#include "kernels/x86/codes.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/values.h"

#if VL == 16
#define vi_mul(a, b)		_mm512_mullo_epi32(a, b)
#define vi_shr_lanes(a, b)	_mm512_srlv_epi32(a, b)
#define vi_pick(a, at)		_mm512_shuffle_epi8(a, at)
#define vi_dup16(x)		_mm512_broadcast_i32x4(x)
#else
#define vi_mul(a, b)		_mm256_mullo_epi32(a, b)
#define vi_shr_lanes(a, b)	_mm256_srlv_epi32(a, b)
#define vi_pick(a, at)		_mm256_shuffle_epi8(a, at)
#define vi_dup16(x)		_mm256_broadcastsi128_si256(x)
#endif

/*
 * The kind of a weight: sq_grid, but dense by type; 4 bits by groups, and for
 * direct (lanes) such that scale and zero point are applied to the sum of a
 * unit, s (sum (u - m) x + (m - z) sum x) with m = 8; 5 bits and more by
 * whether a faster product is exact.
 */
enum unit_kind {
	UNIT_F32, UNIT_F16, UNIT_BF16, UNIT_INT2, UNIT_INT3, UNIT_INT4,
	UNIT_INT4_WIDE, UNIT_INT4_LANES, UNIT_INT4_LANES_ZERO, UNIT_INT5,
	UNIT_INT6, UNIT_INT8, UNIT_INT5_LONG, UNIT_INT6_LONG, UNIT_INT8_LONG,
	UNIT_E4M3, UNIT_E5M2
};

/* What is the same for all units of a weight: where codes are found; the
 * codes themselves, the middle one, and the difference; lanes: which of its
 * scales a lane has. */
struct unit_how {
	VI at, shift, scale;
	VF code, mid, signed_code;
};

/* Scale and zero point of a group, -s z; table: the weights of the codes. */
struct unit_group {
	VF s, z, sz, table;
};

SQ_INLINE VI
vi_iota(void)
{
	static const int32_t iota[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
	    12, 13, 14, 15 };

	return vi_load(iota);
}

SQ_INLINE int
unit_is_dense(enum unit_kind kind)
{
	return kind <= UNIT_BF16;
}

/* Bits of a weight. */
SQ_INLINE size_t
unit_bits(enum unit_kind kind)
{
	switch (kind) {
	case UNIT_F32:		return 32;
	case UNIT_F16:
	case UNIT_BF16:		return 16;
	case UNIT_INT2:		return 2;
	case UNIT_INT3:		return 3;
	case UNIT_INT4:
	case UNIT_INT4_WIDE:
	case UNIT_INT4_LANES:
	case UNIT_INT4_LANES_ZERO: return 4;
	case UNIT_INT5:
	case UNIT_INT5_LONG:	return 5;
	case UNIT_INT6:
	case UNIT_INT6_LONG:	return 6;
	default:		return 8;
	}
}

/* Each lane its own scale? */
SQ_INLINE int
unit_by_lanes(enum unit_kind kind)
{
	return kind == UNIT_INT4_LANES || kind == UNIT_INT4_LANES_ZERO;
}

/* Each lane its own word? */
SQ_INLINE int
unit_is_wide(enum unit_kind kind)
{
	return kind == UNIT_INT4_WIDE || unit_by_lanes(kind);
}

/* Columns. */
SQ_INLINE size_t
unit_size(enum unit_kind kind)
{
	return unit_is_wide(kind) ? SQ_MM_WIDE : SQ_MM_UNIT;
}

/* Scales of WIDE columns: 4, 2 or 1 where lanes have their own. */
static inline size_t
unit_scales(const struct sq_weight *w)
{
	return w->group_cols < SQ_MM_WIDE ? SQ_MM_WIDE / w->group_cols : 1;
}

static inline enum unit_kind
unit_int4(const struct sq_weight *w, int direct)
{
	int whole = w->group_cols % SQ_MM_WIDE == 0 ||
	    w->group_cols >= w->cols;

	if (w->cols % SQ_MM_WIDE != 0 ||
	    (!whole && (!direct || SQ_MM_WIDE % w->group_cols != 0)))
		return UNIT_INT4;
	if (!direct)
		return UNIT_INT4_WIDE;
	if (VL < 16)
		return whole ? UNIT_INT4_WIDE : UNIT_INT4;
	return w->zeros == NULL ? UNIT_INT4_LANES : UNIT_INT4_LANES_ZERO;
}

/* direct: for multiplying weights at once.  Others are better expanded with
 * one scale at a time. */
static inline enum unit_kind
unit_kind(const struct sq_weight *w, int direct)
{
	int longs = w->zeros != NULL && w->scale_type == SQ_F32;

	switch (w->grid) {
	case SQ_DENSE:
		return w->type == SQ_F32 ? UNIT_F32 :
		    w->type == SQ_F16 ? UNIT_F16 : UNIT_BF16;
	case SQ_INT2:	return UNIT_INT2;
	case SQ_INT3:	return UNIT_INT3;
	case SQ_INT4:	return unit_int4(w, direct);
	case SQ_INT5:	return longs ? UNIT_INT5_LONG : UNIT_INT5;
	case SQ_INT6:	return longs ? UNIT_INT6_LONG : UNIT_INT6;
	case SQ_INT8:	return longs ? UNIT_INT8_LONG : UNIT_INT8;
	case SQ_FP8_E4M3: return UNIT_E4M3;
	default:	return UNIT_E5M2;
	}
}

/* scales: as unit_scales() says. */
SQ_INLINE struct unit_how
unit_how(enum unit_kind kind, size_t scales)
{
	struct unit_how how = { .at = vi_iota(), .shift = vi_iota() };
	size_t bits = unit_bits(kind);
	int codes = 1 << (bits < 8 ? bits : 8);
	VI bit, byte;

	how.code = vf_from_i(vi_and(vi_iota(), vi_set1(codes - 1)));
	how.mid = vf_set1((float)(codes / 2));
	how.signed_code = vf_sub(how.code, how.mid);
	if (bits == 2 || bits == 4) {
		how.shift = vi_and(how.shift, vi_set1(-(int)bits));
	} else if (bits < 8) {
		bit = vi_mul(how.at, vi_set1((int)bits));
		byte = vi_shr(bit, 3);
		how.shift = vi_and(bit, vi_set1(7));
		how.at = vi_add(vi_mul(byte, vi_set1(0x101)),
		    vi_set1((int)0x80800100));
	}
	if (unit_by_lanes(kind))
		how.scale = vi_shr_by(vi_iota(), scales == 4 ? 2 :
		    scales == 2 ? 3 : 4);
	return how;
}

/* Has the level a table of all weights in a register? */
SQ_INLINE int
unit_by_table(enum unit_kind kind)
{
	return VL == 16 && unit_bits(kind) <= 4;
}

/* Four numbers at p, for each lane the one that its columns have. */
SQ_INLINE VF
lanes_of(const struct unit_how *how, const float *p)
{
#if VL == 16
	return _mm512_permutexvar_ps(how->scale,
	    _mm512_castps128_ps512(_mm_loadu_ps(p)));
#else
	(void)how;
	return vf_set1(*p);
#endif
}

/* From its scales and zero points (NULL: symmetric): one but for lanes, whose
 * zero points are m less them. */
SQ_INLINE struct unit_group
unit_group(const struct unit_how *how, enum unit_kind kind, const float *s,
    const float *z)
{
	struct unit_group g = { .z = how->mid, .table = how->signed_code };

	if (unit_by_lanes(kind)) {
		g.s = lanes_of(how, s);
		if (kind == UNIT_INT4_LANES_ZERO)
			g.z = lanes_of(how, z);
		return g;
	}
	g.s = vf_set1(*s);
	if (z != NULL) {
		g.z = vf_set1(*z);
		g.table = vf_sub(how->code, g.z);
	}
	if (unit_by_table(kind))
		g.table = vf_mul(g.table, g.s);
	g.sz = vf_sub(vf_zero(), vf_mul(g.s, g.z));
	return g;
}

SQ_INLINE __m128i
load_bytes(const uint8_t *p, size_t n)
{
	uint64_t lo = 0, hi = 0;

	memcpy(&lo, p, n < 8 ? n : 8);
	if (n > 8)
		memcpy(&hi, p + 8, n - 8);
	return _mm_set_epi64x((long long)hi, (long long)lo);
}

/* The codes of vector j of a unit, in lanes, with other bits above them. */
SQ_INLINE VI
unit_codes(const uint8_t *p, enum unit_kind kind, const struct unit_how *how,
    int j)
{
	size_t bits = unit_bits(kind), piece = VL * bits / 8;
	const int parts = 16 / VL;	/* vectors of the words of 128 codes */
	uint64_t w;
	VI v;

	if (bits == 8)
		return vi_from_u8(p + j * VL);
	if (unit_is_wide(kind)) {
		v = vi_loadu(p + j % parts * VL * 4);
		return j < parts ? v : vi_shr(v, j / parts * 4);
	}
	if (bits == 2) {
		memcpy(&w, p, sizeof(w));
		return vi_shr_lanes(vi_set1_64((long long)w),
		    vi_add(how->shift, vi_set1(j * VL)));
	}
	if (bits == 4)
		return vi_shr_lanes(vi_dup16(_mm_loadu_si128((const void *)p)),
		    vi_add(how->shift, vi_set1(j * VL)));
	return vi_shr_lanes(vi_pick(vi_dup16(load_bytes(p + (size_t)j * piece,
	    piece)), how->at), how->shift);
}

/*
 * From code to weight.  u s - z s in one step is exact while z s is: z has 8
 * bits, s 11 if it is F16, 8 if it is BF16; and where z is a power of two.
 */
SQ_INLINE VF
unit_value(VI code, enum unit_kind kind, const struct unit_group *g)
{
	size_t bits = unit_bits(kind);

#if VL == 16
	if (unit_by_table(kind))
		return _mm512_permutexvar_ps(code, g->table);
#endif
	if (bits < 8)
		code = vi_and(code, vi_set1((1 << bits) - 1));
	if (kind >= UNIT_INT5 && kind <= UNIT_INT8)
		return vf_fma(vf_from_i(code), g->s, g->sz);
	return vf_mul(vf_sub(vf_from_i(code), g->z), g->s);
}

/* Vector j of the unit at p. */
SQ_INLINE VF
unit_vf(const uint8_t *p, enum unit_kind kind, const struct unit_how *how,
    const struct unit_group *g, int j)
{
	const uint16_t *h = (const uint16_t *)p;
	const int half = SQ_MM_UNIT / VL / 2;
	VF even, odd;

	switch (kind) {
	case UNIT_F32:
		return vf_load((const float *)p + j * VL);
	case UNIT_F16:
		return vf_f16(h + j * VL);
	case UNIT_BF16:
		vf_bf16_pair(h + j % half * 2 * VL, &even, &odd);
		return j < half ? even : odd;
	case UNIT_E4M3:
		return vf_mul(vf_from_e4m3(p + j * VL), g->s);
	case UNIT_E5M2:
		return vf_mul(vf_from_e5m2(p + j * VL), g->s);
	default:
		return unit_value(unit_codes(p, kind, how, j), kind, g);
	}
}

#endif
