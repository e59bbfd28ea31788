/*
 * Codes of b bits: a row of them between its bit string (sq-stream(5)) and
 * bytes, and 64 bytes at a time between bytes and values.  For AVX-512 or AVX2
 * as the file is compiled; see vec.h.
 *
 * Rows of bytes are read and written in whole blocks of 64: their buffers are
 * that much longer.  Bit strings are never touched outside.
 */
#ifndef SQ_X86_CODES_H
#define SQ_X86_CODES_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/x86/vec.h"

#define SQ_CODES_BLOCK	64

#if defined(__AVX512F__)

#define VB			64	/* bytes in a register */
#define vi_set1(a)		_mm512_set1_epi32(a)
#define vi_set1_8(a)		_mm512_set1_epi8(a)
#define vi_set1_16(a)		_mm512_set1_epi16(a)
#define vi_set1_64(a)		_mm512_set1_epi64(a)
#define vi_loadu(p)		_mm512_loadu_si512(p)
#define vi_storeu(p, a)		_mm512_storeu_si512(p, a)
#define vi_and(a, b)		_mm512_and_si512(a, b)
#define vi_or(a, b)		_mm512_or_si512(a, b)
#define vi_add(a, b)		_mm512_add_epi32(a, b)
#define vi_sub(a, b)		_mm512_sub_epi32(a, b)
#define vi_add_16(a, b)		_mm512_add_epi16(a, b)
#define vi_adds_16(a, b)	_mm512_adds_epi16(a, b)
#define vi_maxu(a, b)		_mm512_max_epu32(a, b)
#define vi_max(a, b)		_mm512_max_epi32(a, b)
#define vi_min(a, b)		_mm512_min_epi32(a, b)
#define vi_minu_8(a, b)		_mm512_min_epu8(a, b)
#define vi_shl(a, n)		_mm512_slli_epi32(a, n)
#define vi_shr(a, n)		_mm512_srli_epi32(a, n)
#define vi_shr_16(a, n)		_mm512_srli_epi16(a, n)
#define vi_shl_by(a, n)		_mm512_sll_epi32(a, _mm_cvtsi32_si128(n))
#define vi_shr_by(a, n)		_mm512_srl_epi32(a, _mm_cvtsi32_si128(n))
#define vi_shl_16_by(a, n)	_mm512_sll_epi16(a, _mm_cvtsi32_si128(n))
#define vi_shl_64_by(a, n)	_mm512_sll_epi64(a, _mm_cvtsi32_si128(n))
#define vi_shr_64_by(a, n)	_mm512_srl_epi64(a, _mm_cvtsi32_si128(n))
#define vi_packs(a, b)		_mm512_packs_epi32(a, b)
#define vi_packus_16(a, b)	_mm512_packus_epi16(a, b)
#define vi_maddubs(a, b)	_mm512_maddubs_epi16(a, b)
#define vi_madd(a, b)		_mm512_madd_epi16(a, b)
#define vi_shuffle(a, t)						\
	_mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(t))
#define vi_from_f(a)		_mm512_cvtps_epi32(a)	/* ties to even */
#define vf_from_i(a)		_mm512_cvtepi32_ps(a)
#define vi_bits(a)		_mm512_castps_si512(a)
#define vf_bits(a)		_mm512_castsi512_ps(a)
#define vi_reduce_maxu(a)	_mm512_reduce_max_epu32(a)
#define vf_reduce_min(a)	_mm512_reduce_min_ps(a)

/* 16 bytes as VL integers. */
#define vi_from_u8(p)							\
	_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(p)))
#define vi_from_i8(a)		_mm512_cvtepi8_epi32(a)	/* of an __m128i */

/* After packing four registers to bytes: every four bytes to their place. */
#define vi_unpack_order(a)						\
	_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, \
	    2, 6, 10, 14, 3, 7, 11, 15), a)

/* a where x < y as unsigned, else b. */
#define vi_where_lt(x, y, a, b)						\
	_mm512_mask_mov_epi32(b, _mm512_cmplt_epu32_mask(x, y), a)

/* Half a register: VL bytes as 16-bit integers, F16 bits to float32. */
#define VH			__m256i
#define vh_from_u8(p)							\
	_mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p)))
#define vh_and(a, b)		_mm256_and_si256(a, _mm256_set1_epi16(b))
#define vh_or(a, b)		_mm256_or_si256(a, b)
#define vh_shl(a, n)		_mm256_slli_epi16(a, n)
#define vf_from_h(a)		_mm512_cvtph_ps(a)

/* b where a is not a number or above most, else a. */
SQ_INLINE VF
vf_beyond(VF a, float most, VF b)
{
	return _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(
	    _mm512_abs_ps(a), vf_set1(most), _CMP_NLE_UQ), b);
}

/* The low bytes of 32 16-bit integers. */
SQ_INLINE void
vi_store_low(uint8_t *p, VI a)
{
	_mm256_storeu_si256((void *)p, _mm512_cvtepi16_epi8(a));
}

/* 32 bytes as 16-bit integers. */
SQ_INLINE VI
vi_load_wide(const uint8_t *p)
{
	return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
}

/* The 16 bytes at p, p+n, p+2n, p+3n, each quarter of a register. */
SQ_INLINE VI
vi_load_parts(const uint8_t *p, size_t n)
{
	VI a = _mm512_castsi128_si512(_mm_loadu_si128((const void *)p));

	a = _mm512_inserti32x4(a, _mm_loadu_si128((const void *)(p + n)), 1);
	a = _mm512_inserti32x4(a, _mm_loadu_si128((const void *)(p + 2 * n)),
	    2);
	return _mm512_inserti32x4(a,
	    _mm_loadu_si128((const void *)(p + 3 * n)), 3);
}

SQ_INLINE void
vi_store_parts(uint8_t *p, size_t n, VI a)
{
	_mm_storeu_si128((void *)p, _mm512_castsi512_si128(a));
	_mm_storeu_si128((void *)(p + n), _mm512_extracti32x4_epi32(a, 1));
	_mm_storeu_si128((void *)(p + 2 * n), _mm512_extracti32x4_epi32(a, 2));
	_mm_storeu_si128((void *)(p + 3 * n), _mm512_extracti32x4_epi32(a, 3));
}

#else

#define VB			32
#define vi_set1(a)		_mm256_set1_epi32(a)
#define vi_set1_8(a)		_mm256_set1_epi8(a)
#define vi_set1_16(a)		_mm256_set1_epi16(a)
#define vi_set1_64(a)		_mm256_set1_epi64x(a)
#define vi_loadu(p)		_mm256_loadu_si256((const void *)(p))
#define vi_storeu(p, a)		_mm256_storeu_si256((void *)(p), a)
#define vi_and(a, b)		_mm256_and_si256(a, b)
#define vi_or(a, b)		_mm256_or_si256(a, b)
#define vi_add(a, b)		_mm256_add_epi32(a, b)
#define vi_sub(a, b)		_mm256_sub_epi32(a, b)
#define vi_add_16(a, b)		_mm256_add_epi16(a, b)
#define vi_adds_16(a, b)	_mm256_adds_epi16(a, b)
#define vi_maxu(a, b)		_mm256_max_epu32(a, b)
#define vi_max(a, b)		_mm256_max_epi32(a, b)
#define vi_min(a, b)		_mm256_min_epi32(a, b)
#define vi_minu_8(a, b)		_mm256_min_epu8(a, b)
#define vi_shl(a, n)		_mm256_slli_epi32(a, n)
#define vi_shr(a, n)		_mm256_srli_epi32(a, n)
#define vi_shr_16(a, n)		_mm256_srli_epi16(a, n)
#define vi_shl_by(a, n)		_mm256_sll_epi32(a, _mm_cvtsi32_si128(n))
#define vi_shr_by(a, n)		_mm256_srl_epi32(a, _mm_cvtsi32_si128(n))
#define vi_shl_16_by(a, n)	_mm256_sll_epi16(a, _mm_cvtsi32_si128(n))
#define vi_shl_64_by(a, n)	_mm256_sll_epi64(a, _mm_cvtsi32_si128(n))
#define vi_shr_64_by(a, n)	_mm256_srl_epi64(a, _mm_cvtsi32_si128(n))
#define vi_packs(a, b)		_mm256_packs_epi32(a, b)
#define vi_packus_16(a, b)	_mm256_packus_epi16(a, b)
#define vi_maddubs(a, b)	_mm256_maddubs_epi16(a, b)
#define vi_madd(a, b)		_mm256_madd_epi16(a, b)
#define vi_shuffle(a, t)						\
	_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(t))
#define vi_from_f(a)		_mm256_cvtps_epi32(a)
#define vf_from_i(a)		_mm256_cvtepi32_ps(a)
#define vi_bits(a)		_mm256_castps_si256(a)
#define vf_bits(a)		_mm256_castsi256_ps(a)

#define vi_from_u8(p)							\
	_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p)))
#define vi_from_i8(a)		_mm256_cvtepi8_epi32(a)

#define vi_unpack_order(a)						\
	_mm256_permutevar8x32_epi32(a, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, \
	    7))

#define VH			__m128i
#define vh_from_u8(p)							\
	_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(p)))
#define vh_and(a, b)		_mm_and_si128(a, _mm_set1_epi16(b))
#define vh_or(a, b)		_mm_or_si128(a, b)
#define vh_shl(a, n)		_mm_slli_epi16(a, n)
#define vf_from_h(a)		_mm256_cvtph_ps(a)

SQ_INLINE VF
vf_beyond(VF a, float most, VF b)
{
	VF m = _mm256_andnot_ps(vf_set1(-0.0f), a);

	return _mm256_blendv_ps(a, b, _mm256_cmp_ps(m, vf_set1(most),
	    _CMP_NLE_UQ));
}

SQ_INLINE VI
vi_where_lt(VI x, VI y, VI a, VI b)
{
	/* magnitudes of floats: less than 2^31 */
	return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi32(y, x));
}

SQ_INLINE uint32_t
vi_reduce_maxu(VI a)
{
	__m128i m = _mm_max_epu32(_mm256_castsi256_si128(a),
	    _mm256_extracti128_si256(a, 1));

	m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(m);
}

SQ_INLINE float
vf_reduce_min(VF a)
{
	__m128 s = _mm_min_ps(_mm256_castps256_ps128(a),
	    _mm256_extractf128_ps(a, 1));

	s = _mm_min_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}

SQ_INLINE void
vi_store_low(uint8_t *p, VI a)
{
	VI b = _mm256_packus_epi16(a, a);

	b = _mm256_permute4x64_epi64(b, 0x08);
	_mm_storeu_si128((void *)p, _mm256_castsi256_si128(b));
}

SQ_INLINE VI
vi_load_wide(const uint8_t *p)
{
	return _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p));
}

SQ_INLINE VI
vi_load_parts(const uint8_t *p, size_t n)
{
	return _mm256_inserti128_si256(_mm256_castsi128_si256(
	    _mm_loadu_si128((const void *)p)),
	    _mm_loadu_si128((const void *)(p + n)), 1);
}

SQ_INLINE void
vi_store_parts(uint8_t *p, size_t n, VI a)
{
	_mm_storeu_si128((void *)p, _mm256_castsi256_si128(a));
	_mm_storeu_si128((void *)(p + n), _mm256_extracti128_si256(a, 1));
}

#endif

/* What is packed from two vectors alternates by 64 bits: in order. */
SQ_INLINE VI
vi_in_order(VI a)
{
#if VL == 16
	return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2,
	    0), a);
#else
	return _mm256_permute4x64_epi64(a, 0xd8);
#endif
}

/* 32-bit integers to 16 bits: two vectors to one. */
SQ_INLINE VI
vi_narrow(VI a, VI b)
{
	return vi_in_order(vi_packs(a, b));
}

/*
 * Neighbours are joined in three steps, so that 8 codes lie in the low 8 b
 * bits of each 8 bytes; then those b bytes are moved together.  Writes 16
 * bytes behind the last of the block at most.
 */
SQ_INLINE void
pack_joined(const uint8_t *u, int b, uint8_t *out)
{
	char from[16];
	VI x, low = vi_set1_64(0xffffffff), t;
	int i;

	for (i = 0; i < 16; i++)
		from[i] = (char)(i < b ? i : i < 2 * b ? i - b + 8 : -128);
	for (i = 0; i < SQ_CODES_BLOCK; i += VB) {
		x = vi_maddubs(vi_loadu(u + i),
		    vi_set1_16((short)(1 << (b + 8) | 1)));
		x = vi_madd(x, vi_set1(1 << (2 * b + 16) | 1));
		t = vi_shr_64_by(x, 32);
		x = vi_or(vi_and(x, low), vi_shl_64_by(t, 4 * b));
		vi_store_parts(out + i / 8 * b, 2 * (size_t)b,
		    vi_shuffle(x, _mm_loadu_si128((void *)from)));
	}
}

SQ_INLINE void
pack_nibbles(const uint8_t *u, uint8_t *out)
{
	int i;

	for (i = 0; i < SQ_CODES_BLOCK; i += VB)
		vi_store_low(out + i / 2, vi_maddubs(vi_loadu(u + i),
		    vi_set1_16(16 << 8 | 1)));
}

SQ_INLINE void
pack_block(const uint8_t *u, const int b, uint8_t *out)
{
	if (b == 4)
		pack_nibbles(u, out);
	else
		pack_joined(u, b, out);
}

SQ_INLINE void
pack_as(const uint8_t *u, size_t n, const int b, uint8_t *out)
{
	uint8_t block[SQ_CODES_BLOCK + 16];
	size_t i = 0, left;

	for (; n - i >= 2 * SQ_CODES_BLOCK; i += SQ_CODES_BLOCK)
		pack_block(u + i, b, out + i / 8 * (size_t)b);
	for (; i < n; i += SQ_CODES_BLOCK) {
		left = n - i < SQ_CODES_BLOCK ? n - i : SQ_CODES_BLOCK;
		pack_block(u + i, b, block);
		memcpy(out + i / 8 * (size_t)b, block,
		    (left * (size_t)b + 7) / 8);
	}
}

/* n codes from bytes to a row; the bytes behind the last are 0. */
static inline void
sq_codes_pack(const uint8_t *u, size_t n, int bits, uint8_t *out)
{
	switch (bits) {
	case 2: pack_as(u, n, 2, out); break;
	case 3: pack_as(u, n, 3, out); break;
	case 4: pack_as(u, n, 4, out); break;
	case 5: pack_as(u, n, 5, out); break;
	case 6: pack_as(u, n, 6, out); break;
	default: memcpy(out, u, n); break;
	}
}

/* The steps of pack_joined backwards; in: a block and 16 bytes more. */
SQ_INLINE void
unpack_joined(const uint8_t *in, int b, uint8_t *u)
{
	char to[16];
	VI x, m4 = vi_set1_64((1ll << 4 * b) - 1), m2 = vi_set1((1 << 2 * b) -
	    1), m1 = vi_set1_16((short)((1 << b) - 1));
	int i;

	for (i = 0; i < 16; i++)
		to[i] = (char)(i % 8 >= b ? -128 : i < 8 ? i : i - 8 + b);
	for (i = 0; i < SQ_CODES_BLOCK; i += VB) {
		x = vi_shuffle(vi_load_parts(in + i / 8 * b, 2 * (size_t)b),
		    _mm_loadu_si128((void *)to));
		x = vi_or(vi_and(x, m4), vi_shl_64_by(vi_and(
		    vi_shr_64_by(x, 4 * b), m4), 32));
		x = vi_or(vi_and(x, m2), vi_shl(vi_and(vi_shr_by(x, 2 * b),
		    m2), 16));
		x = vi_or(vi_and(x, m1), vi_and(vi_shl_16_by(x, 8 - b),
		    vi_shl_16_by(m1, 8)));
		vi_storeu(u + i, x);
	}
}

SQ_INLINE void
unpack_nibbles(const uint8_t *in, uint8_t *u)
{
	VI x;
	int i;

	for (i = 0; i < SQ_CODES_BLOCK; i += VB) {
		x = vi_load_wide(in + i / 2);
		vi_storeu(u + i, vi_and(vi_or(x, vi_shl_16_by(x, 4)),
		    vi_set1_8(15)));
	}
}

SQ_INLINE void
unpack_as(const uint8_t *in, size_t n, const int b, uint8_t *u)
{
	uint8_t block[SQ_CODES_BLOCK + 16];
	const uint8_t *p;
	size_t i, left;

	for (i = 0; i < n; i += SQ_CODES_BLOCK) {
		p = in + i / 8 * (size_t)b;
		left = ((n - i) * (size_t)b + 7) / 8;
		if (left < SQ_CODES_BLOCK / 8 * (size_t)b + 16) {
			memset(block, 0, sizeof(block));
			memcpy(block, p, left);
			p = block;
		}
		if (b == 4)
			unpack_nibbles(p, u + i);
		else
			unpack_joined(p, b, u + i);
	}
}

/* n codes of a row to bytes: from a multiple of 64 codes in the row. */
static inline void
sq_codes_unpack(const uint8_t *in, size_t n, int bits, uint8_t *u)
{
	switch (bits) {
	case 2: unpack_as(in, n, 2, u); break;
	case 3: unpack_as(in, n, 3, u); break;
	case 4: unpack_as(in, n, 4, u); break;
	case 5: unpack_as(in, n, 5, u); break;
	case 6: unpack_as(in, n, 6, u); break;
	default: memcpy(u, in, n); break;
	}
}

/* VL codes of an integer grid as u - z. */
SQ_INLINE VF
vf_from_codes(const uint8_t *u, int z)
{
	return vf_from_i(vi_sub(vi_from_u8(u), vi_set1(z)));
}

/* VL codes of 4 bits as indices into a table of bytes. */
SQ_INLINE VF
vf_from_table(const uint8_t *u, __m128i table)
{
	return vf_from_i(vi_from_i8(_mm_shuffle_epi8(table,
	    _mm_loadu_si128((const void *)u))));
}

/*
 * VL FP8 patterns, through F16: E5M2 is its upper half; the exponent of E4M3
 * is 8 less.  NaN as in half.h.
 */
SQ_INLINE VF
vf_from_e4m3(const uint8_t *u)
{
	VH h = vh_from_u8(u);
	VF v = vf_from_h(vh_or(vh_shl(vh_and(h, 0x80), 8),
	    vh_shl(vh_and(h, 0x7f), 7)));

	return vf_beyond(vf_mul(v, vf_set1(256)), 448,
	    vf_set1(__builtin_nanf("")));
}

SQ_INLINE VF
vf_from_e5m2(const uint8_t *u)
{
	return vf_beyond(vf_from_h(vh_shl(vh_from_u8(u), 8)), INFINITY,
	    vf_set1(__builtin_nanf("")));
}

/*
 * Rounding a magnitude of at most 448 to E4M3.  Normal numbers keep 3 bits of
 * the mantissa: this rounds float32 bits so that the others can be cut off.
 * Below 2^-6, adding 2^14 rounds to multiples of 2^-9.
 */
SQ_INLINE VI
vi_e4m3_normal(VI a)
{
	VI odd = vi_and(vi_shr(a, 20), vi_set1(1));

	return vi_add(a, vi_add(odd, vi_set1(0x7ffff)));
}

#define SQ_E4M3_LEAST	0x3c800000	/* 2^-6 */
#define SQ_E4M3_MAGIC	16384.0f	/* 2^14: its unit is 2^-9 */

/* |a| rounded to E4M3 and saturated: its value. */
SQ_INLINE VF
vf_round_e4m3(VF a)
{
	VI m = vi_and(vi_bits(a), vi_set1(0x7fffffff));
	VF x = vf_min(vf_bits(m), vf_set1(448));
	VF small = vf_sub(vf_add(x, vf_set1(SQ_E4M3_MAGIC)),
	    vf_set1(SQ_E4M3_MAGIC));
	VI big = vi_and(vi_e4m3_normal(vi_bits(x)),
	    vi_set1((int)0xfff00000));

	return vf_bits(vi_where_lt(vi_bits(x), vi_set1(SQ_E4M3_LEAST),
	    vi_bits(small), big));
}

/* The pattern of a, in the low byte of each integer. */
SQ_INLINE VI
vi_to_e4m3(VF a)
{
	VI m = vi_and(vi_bits(a), vi_set1(0x7fffffff));
	VF x = vf_min(vf_bits(m), vf_set1(448));
	VI small = vi_sub(vi_bits(vf_add(x, vf_set1(SQ_E4M3_MAGIC))),
	    vi_bits(vf_set1(SQ_E4M3_MAGIC)));
	VI big = vi_sub(vi_shr(vi_e4m3_normal(vi_bits(x)), 20),
	    vi_set1((127 - 7) << 3));
	VI sign = vi_and(vi_shr(vi_bits(a), 24), vi_set1(0x80));

	return vi_or(sign, vi_where_lt(vi_bits(x), vi_set1(SQ_E4M3_LEAST),
	    small, big));
}

/* Four registers of integers 0 .. 255 to VB bytes. */
SQ_INLINE void
vi_store_bytes(uint8_t *p, VI a, VI b, VI c, VI d)
{
	vi_storeu(p, vi_unpack_order(vi_packus_16(vi_packs(a, b),
	    vi_packs(c, d))));
}

#endif
