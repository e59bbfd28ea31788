/*
 * Vectors of float32, by the instructions that the file is compiled with: 16
 * lanes with AVX-512, else 8 with AVX2.  Kernels of both levels are written
 * once over these, in a header that the file of each level includes.
 *
 * Sums over lanes are taken in a fixed order.
 */
#ifndef SQ_X86_VEC_H
#define SQ_X86_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_INLINE	static inline __attribute__((always_inline))
#if defined(__clang__)
#define SQ_UNROLL	_Pragma("clang loop unroll(full)")
#else
#define SQ_UNROLL	_Pragma("GCC unroll 32")
#endif

#if defined(__AVX512F__)

#define VL	16
#define VF	__m512
#define VI	__m512i

#define vf_zero()		_mm512_setzero_ps()
#define vf_set1(a)		_mm512_set1_ps(a)
#define vf_load(p)		_mm512_loadu_ps(p)
#define vf_store(p, a)		_mm512_storeu_ps(p, a)
#define vf_add(a, b)		_mm512_add_ps(a, b)
#define vf_sub(a, b)		_mm512_sub_ps(a, b)
#define vf_mul(a, b)		_mm512_mul_ps(a, b)
#define vf_div(a, b)		_mm512_div_ps(a, b)
#define vf_max(a, b)		_mm512_max_ps(a, b)
#define vf_min(a, b)		_mm512_min_ps(a, b)
#define vf_fma(a, b, c)		_mm512_fmadd_ps(a, b, c)	/* ab + c */
#define vf_fms(a, b, c)		_mm512_fmsub_ps(a, b, c)	/* ab - c */
#define vf_first(a)		_mm512_cvtss_f32(a)
#define vf_gather(p, at)	_mm512_i32gather_ps(at, p, 4)

/* The first n < 16 lanes; the others are 0 and stay as they are. */
SQ_INLINE VF
vf_load_n(const float *p, size_t n)
{
	return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

SQ_INLINE void
vf_store_n(float *p, VF a, size_t n)
{
	_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a);
}

/* Lanes n .. 15 become those of b. */
SQ_INLINE VF
vf_keep_n(VF a, VF b, size_t n)
{
	return _mm512_mask_mov_ps(b, (__mmask16)((1u << n) - 1), a);
}

SQ_INLINE VF
vf_round(VF a)
{
	return _mm512_roundscale_ps(a,
	    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* p 2^n where t >= -125, else 0; NaN stays. */
SQ_INLINE VF
vf_scale(VF p, VF n, VF t)
{
	return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(t, vf_set1(-125),
	    _CMP_NLT_UQ), p, n);
}

/* a where b > 0, else 0. */
SQ_INLINE VF
vf_where_pos(VF a, VF b)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(b, vf_zero(),
	    _CMP_GT_OQ), a);
}

/* a where x < y, else b. */
SQ_INLINE VF
vf_where_less(VF a, VF b, VF x, VF y)
{
	return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), a);
}

/* a where lo <= i < hi, else b: lane by lane. */
SQ_INLINE VF
vf_where_in(VF a, VF b, int i, VI lo, VI hi)
{
	VI at = _mm512_set1_epi32(i);

	return _mm512_mask_mov_ps(b, _mm512_mask_cmpgt_epi32_mask(
	    _mm512_cmple_epi32_mask(lo, at), hi, at), a);
}

SQ_INLINE VI
vi_load(const int32_t *p)
{
	return _mm512_loadu_si512(p);
}

SQ_INLINE float
vf_sum(VF a)
{
	return _mm512_reduce_add_ps(a);
}

SQ_INLINE float
vf_greatest(VF a)
{
	return _mm512_reduce_max_ps(a);
}

/* The sums of four vectors. */
SQ_INLINE __m128
vf_sum4(VF a, VF b, VF c, VF d)
{
	const VI first = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	    12, 8, 4, 0);
	VF ab, cd, s;

	ab = vf_add(_mm512_mask_mov_ps(a, 0xff00, b),
	    _mm512_shuffle_f32x4(a, b, 0x4e));
	cd = vf_add(_mm512_mask_mov_ps(c, 0xff00, d),
	    _mm512_shuffle_f32x4(c, d, 0x4e));
	s = vf_add(_mm512_shuffle_f32x4(ab, cd, 0x88),
	    _mm512_shuffle_f32x4(ab, cd, 0xdd));
	s = vf_add(s, _mm512_permute_ps(s, 0x4e));
	s = vf_add(s, _mm512_permute_ps(s, 0xb1));
	return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, s));
}

/* Rows to columns. */
SQ_INLINE void
vf_transpose(VF x[VL])
{
	VF t[VL];
	__m512d a, b;
	int i, j;

	SQ_UNROLL for (i = 0; i < VL; i += 2) {
		t[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
		t[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
	}
	SQ_UNROLL for (i = 0; i < VL; i += 4)
		SQ_UNROLL for (j = 0; j < 2; j++) {
			a = _mm512_castps_pd(t[i + j]);
			b = _mm512_castps_pd(t[i + j + 2]);
			x[i + 2 * j] = _mm512_castpd_ps(
			    _mm512_unpacklo_pd(a, b));
			x[i + 2 * j + 1] = _mm512_castpd_ps(
			    _mm512_unpackhi_pd(a, b));
		}
	/* x[4 i + j]: of rows 4 i .. 4 i + 3, columns j, j + 4, j + 8 ... */
	SQ_UNROLL for (j = 0; j < 4; j++) {
		t[j] = _mm512_shuffle_f32x4(x[j], x[4 + j], 0x88);
		t[4 + j] = _mm512_shuffle_f32x4(x[j], x[4 + j], 0xdd);
		t[8 + j] = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0x88);
		t[12 + j] = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0xdd);
	}
	SQ_UNROLL for (j = 0; j < 4; j++) {
		x[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
		x[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
		x[4 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0x88);
		x[12 + j] = _mm512_shuffle_f32x4(t[4 + j], t[12 + j], 0xdd);
	}
}

/* Is any lane of a greater than that of b? */
SQ_INLINE int
vf_any_gt(VF a, VF b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
}

/* The lanes that equal b, as bits. */
SQ_INLINE unsigned
vf_equal(VF a, VF b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

SQ_INLINE VF
vf_f16(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

SQ_INLINE VF
vf_bf16(const uint16_t *p)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(
	    _mm256_loadu_si256((const void *)p)), 16));
}

/* 2 * VL values of bf16: those at even places, and those at odd ones. */
SQ_INLINE void
vf_bf16_pair(const uint16_t *p, VF *even, VF *odd)
{
	VI a = _mm512_loadu_si512(p);

	*even = _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
	*odd = _mm512_castsi512_ps(_mm512_and_si512(a,
	    _mm512_set1_epi32((int)0xffff0000)));
}

/* VL values of bf16 likewise: only half of the lanes are used. */
SQ_INLINE void
vf_bf16_pair_half(const uint16_t *p, VF *even, VF *odd)
{
	VI a = _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)p));

	*even = _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
	*odd = _mm512_castsi512_ps(_mm512_and_si512(a,
	    _mm512_set1_epi32((int)0xffff0000)));
}

/* Rounded to bf16, nearest, ties to even, in the upper halves; the lower ones
 * are of no use.  NaN stays, quiet, as sq_f32_to_bf16. */
SQ_INLINE VI
vf_bf16_bits(VF a)
{
	VI u = _mm512_castps_si512(a), one = _mm512_set1_epi32(1);
	VI odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), one);
	VI r = _mm512_add_epi32(u, _mm512_add_epi32(odd,
	    _mm512_set1_epi32(0x7fff)));

	return _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q),
	    u, _mm512_set1_epi32(0x400000));
}

SQ_INLINE void
vf_put_bf16(uint16_t *p, VF a)
{
	_mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(
	    _mm512_srli_epi32(vf_bf16_bits(a), 16)));
}

/* The upper halves of both, that of a below. */
SQ_INLINE VI
vi_upper(VI a, VI b)
{
	return _mm512_or_si512(_mm512_srli_epi32(a, 16), _mm512_and_si512(b,
	    _mm512_set1_epi32((int)0xffff0000)));
}

SQ_INLINE VF
vf_round_bf16(VF a)
{
	return _mm512_castsi512_ps(_mm512_and_si512(vf_bf16_bits(a),
	    _mm512_set1_epi32((int)0xffff0000)));
}

SQ_INLINE void
vi_store(void *p, VI a)
{
	_mm512_storeu_si512(p, a);
}

/* To f16 likewise; NaN becomes the one that sq_f32_to_f16 gives. */
SQ_INLINE void
vf_put_f16(uint16_t *p, VF a)
{
	__mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
	VI sign = _mm512_and_si512(_mm512_castps_si512(a),
	    _mm512_set1_epi32((int)0x80000000));

	a = _mm512_mask_mov_ps(a, nan, _mm512_castsi512_ps(_mm512_or_si512(
	    sign, _mm512_set1_epi32(0x7fc00000))));
	_mm256_storeu_si256((void *)p, _mm512_cvtps_ph(a,
	    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#else

#define VL	8
#define VF	__m256
#define VI	__m256i

#define vf_zero()		_mm256_setzero_ps()
#define vf_set1(a)		_mm256_set1_ps(a)
#define vf_load(p)		_mm256_loadu_ps(p)
#define vf_store(p, a)		_mm256_storeu_ps(p, a)
#define vf_add(a, b)		_mm256_add_ps(a, b)
#define vf_sub(a, b)		_mm256_sub_ps(a, b)
#define vf_mul(a, b)		_mm256_mul_ps(a, b)
#define vf_div(a, b)		_mm256_div_ps(a, b)
#define vf_max(a, b)		_mm256_max_ps(a, b)
#define vf_min(a, b)		_mm256_min_ps(a, b)
#define vf_fma(a, b, c)		_mm256_fmadd_ps(a, b, c)
#define vf_fms(a, b, c)		_mm256_fmsub_ps(a, b, c)
#define vf_first(a)		_mm256_cvtss_f32(a)
#define vf_gather(p, at)	_mm256_i32gather_ps(p, at, 4)

SQ_INLINE VI
vi_first(size_t n)
{
	static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };

	return _mm256_loadu_si256((const void *)(ones + 8 - n));
}

SQ_INLINE VF
vf_load_n(const float *p, size_t n)
{
	return _mm256_maskload_ps(p, vi_first(n));
}

SQ_INLINE void
vf_store_n(float *p, VF a, size_t n)
{
	_mm256_maskstore_ps(p, vi_first(n), a);
}

SQ_INLINE VF
vf_keep_n(VF a, VF b, size_t n)
{
	return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(vi_first(n)));
}

SQ_INLINE VF
vf_round(VF a)
{
	return _mm256_round_ps(a,
	    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

SQ_INLINE VF
vf_scale(VF p, VF n, VF t)
{
	VI e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
	VF r = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p),
	    e));

	return _mm256_and_ps(r, _mm256_cmp_ps(t, vf_set1(-125), _CMP_NLT_UQ));
}

SQ_INLINE VF
vf_where_pos(VF a, VF b)
{
	return _mm256_and_ps(a, _mm256_cmp_ps(b, vf_zero(), _CMP_GT_OQ));
}

SQ_INLINE VF
vf_where_less(VF a, VF b, VF x, VF y)
{
	return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
}

SQ_INLINE VF
vf_where_in(VF a, VF b, int i, VI lo, VI hi)
{
	VI at = _mm256_set1_epi32(i);
	VI in = _mm256_andnot_si256(_mm256_cmpgt_epi32(lo, at),
	    _mm256_cmpgt_epi32(hi, at));

	return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(in));
}

SQ_INLINE VI
vi_load(const int32_t *p)
{
	return _mm256_loadu_si256((const void *)p);
}

SQ_INLINE float
vf_sum(VF a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a),
	    _mm256_extractf128_ps(a, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

SQ_INLINE float
vf_greatest(VF a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a),
	    _mm256_extractf128_ps(a, 1));

	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

SQ_INLINE __m128
vf_sum4(VF a, VF b, VF c, VF d)
{
	VF s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));

	return _mm_add_ps(_mm256_castps256_ps128(s),
	    _mm256_extractf128_ps(s, 1));
}

SQ_INLINE void
vf_transpose(VF x[VL])
{
	VF t[VL];
	__m256d a, b;
	int i, j;

	SQ_UNROLL for (i = 0; i < VL; i += 2) {
		t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
		t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
	}
	SQ_UNROLL for (i = 0; i < VL; i += 4)
		SQ_UNROLL for (j = 0; j < 2; j++) {
			a = _mm256_castps_pd(t[i + j]);
			b = _mm256_castps_pd(t[i + j + 2]);
			x[i + 2 * j] = _mm256_castpd_ps(
			    _mm256_unpacklo_pd(a, b));
			x[i + 2 * j + 1] = _mm256_castpd_ps(
			    _mm256_unpackhi_pd(a, b));
		}
	SQ_UNROLL for (j = 0; j < 4; j++) {
		t[j] = _mm256_permute2f128_ps(x[j], x[4 + j], 0x20);
		t[4 + j] = _mm256_permute2f128_ps(x[j], x[4 + j], 0x31);
	}
	SQ_UNROLL for (j = 0; j < VL; j++)
		x[j] = t[j];
}

SQ_INLINE int
vf_any_gt(VF a, VF b)
{
	return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}

SQ_INLINE unsigned
vf_equal(VF a, VF b)
{
	return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ));
}

SQ_INLINE VF
vf_f16(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

SQ_INLINE VF
vf_bf16(const uint16_t *p)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(
	    _mm_loadu_si128((const void *)p)), 16));
}

SQ_INLINE void
vf_bf16_pair(const uint16_t *p, VF *even, VF *odd)
{
	VI a = _mm256_loadu_si256((const void *)p);

	*even = _mm256_castsi256_ps(_mm256_slli_epi32(a, 16));
	*odd = _mm256_castsi256_ps(_mm256_and_si256(a,
	    _mm256_set1_epi32((int)0xffff0000)));
}

SQ_INLINE VI
vf_bf16_bits(VF a)
{
	VI u = _mm256_castps_si256(a), one = _mm256_set1_epi32(1);
	VI odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
	VI r = _mm256_add_epi32(u, _mm256_add_epi32(odd,
	    _mm256_set1_epi32(0x7fff)));
	VI quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));

	return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r),
	    _mm256_castsi256_ps(quiet), _mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}

SQ_INLINE void
vf_put_bf16(uint16_t *p, VF a)
{
	VI r = _mm256_srli_epi32(vf_bf16_bits(a), 16);

	_mm_storeu_si128((void *)p, _mm_packus_epi32(
	    _mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
}

SQ_INLINE VI
vi_upper(VI a, VI b)
{
	return _mm256_or_si256(_mm256_srli_epi32(a, 16), _mm256_and_si256(b,
	    _mm256_set1_epi32((int)0xffff0000)));
}

SQ_INLINE VF
vf_round_bf16(VF a)
{
	return _mm256_castsi256_ps(_mm256_and_si256(vf_bf16_bits(a),
	    _mm256_set1_epi32((int)0xffff0000)));
}

SQ_INLINE void
vi_store(void *p, VI a)
{
	_mm256_storeu_si256(p, a);
}

SQ_INLINE void
vf_put_f16(uint16_t *p, VF a)
{
	VF sign = _mm256_and_ps(a, vf_set1(-0.0f));
	VF nan = _mm256_or_ps(sign, _mm256_castsi256_ps(
	    _mm256_set1_epi32(0x7fc00000)));

	a = _mm256_blendv_ps(a, nan, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
	_mm_storeu_si128((void *)p, _mm256_cvtps_ph(a,
	    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#endif

/* 2^r for |r| <= 1/2, relative error 3e-9 before rounding (minimax). */
SQ_INLINE VF
vf_pow2(VF r)
{
	VF p = vf_set1(0.000155946782f);

	p = vf_fma(p, r, vf_set1(0.00134066439f));
	p = vf_fma(p, r, vf_set1(0.00961769297f));
	p = vf_fma(p, r, vf_set1(0.0555031055f));
	p = vf_fma(p, r, vf_set1(0.240226528f));
	p = vf_fma(p, r, vf_set1(0.693147215f));
	return vf_fma(p, r, vf_set1(1));
}

/* 2^x for x <= 127, within 1.5 ulp; 0 for x < -125. */
SQ_INLINE VF
vf_exp2(VF x)
{
	VF n = vf_round(x);

	return vf_scale(vf_pow2(vf_sub(x, n)), n, x);
}

SQ_INLINE float
exp2_of(float x)
{
	return vf_first(vf_exp2(vf_set1(x)));
}

/* e^x within 1.5 ulp; 0 below 2^-125, and no more than e^88. */
SQ_INLINE VF
vf_exp(VF x)
{
	const VF hi = vf_set1(1.44269502f);		/* log2 e */
	const VF lo = vf_set1(1.92596303e-8f);		/* the rest of it */
	VF t, n;

	x = vf_min(vf_set1(88), x);
	t = vf_mul(x, hi);
	n = vf_round(t);
	return vf_scale(vf_pow2(vf_fma(x, lo, vf_fms(x, hi, n))), n, t);
}

/* VL floats or the first n of them, for loops over a row. */
SQ_INLINE VF
vf_get(const float *p, size_t n)
{
	return n < VL ? vf_load_n(p, n) : vf_load(p);
}

SQ_INLINE void
vf_put(float *p, VF a, size_t n)
{
	if (n < VL)
		vf_store_n(p, a, n);
	else
		vf_store(p, a);
}

#endif
