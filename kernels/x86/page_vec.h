/*
 * Rows of coded pages over the vectors of vec.h: what kv_append, kv_read and
 * attention do with them.  Heads of a multiple of 16 elements.
 */
#ifndef SQ_X86_PAGE_VEC_H
#define SQ_X86_PAGE_VEC_H

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernels/kvpage.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/vec.h"

/* Codes are taken 16 at a time, VL of them at once. */
SQ_INLINE VF
vf_from_u8x(__m128i u, size_t i)
{
#if VL == 16
	(void)i;
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(u));
#else
	return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(i == 0 ? u :
	    _mm_unpackhi_epi64(u, u)));
#endif
}

SQ_INLINE VF
vf_from_i8(const uint8_t *p)
{
#if VL == 16
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(
	    (const void *)p)));
#else
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(
	    (const void *)p)));
#endif
}

/* 16 codes of 4 or 2 bits to bytes, in order. */
SQ_INLINE __m128i
nibbles(const uint8_t *p)
{
	__m128i x = _mm_loadl_epi64((const void *)p);
	const __m128i low = _mm_set1_epi8(15);

	return _mm_unpacklo_epi8(_mm_and_si128(x, low),
	    _mm_and_si128(_mm_srli_epi16(x, 4), low));
}

SQ_INLINE __m128i
quarters(const uint8_t *p)
{
	const __m128i low = _mm_set1_epi8(3);
	__m128i x, a, b;
	int32_t w;

	memcpy(&w, p, sizeof(w));
	x = _mm_cvtsi32_si128(w);
	a = _mm_unpacklo_epi8(_mm_and_si128(x, low),
	    _mm_and_si128(_mm_srli_epi16(x, 2), low));
	b = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(x, 4), low),
	    _mm_and_si128(_mm_srli_epi16(x, 6), low));
	return _mm_unpacklo_epi16(a, b);
}

/* int4 or int2. */
SQ_INLINE void
load_grouped(const struct sq_kv *kv, const struct sq_kv_side *s,
    const uint8_t *row, const uint16_t *scale, float *to)
{
	const uint16_t *least = scale + sq_page_scales(kv, s);
	size_t i, j, bits = sq_page_bits(s->grid);
	VF f, m;
	__m128i u;

	for (i = 0; i < kv->dim; i += 16) {
		u = bits == 4 ? nibbles(row + i / 2) : quarters(row + i / 4);
		for (j = 0; j < 16; j += VL) {
			if (s->by_channel) {
				f = vf_f16(scale + i + j);
				m = vf_f16(least + i + j);
			} else {
				f = vf_set1(_cvtsh_ss(scale[i /
				    SQ_PAGE_GROUP]));
				m = vf_set1(_cvtsh_ss(least[i /
				    SQ_PAGE_GROUP]));
			}
			vf_store(to + i + j, vf_fma(f, vf_from_u8x(u, j), m));
		}
	}
}

/* The row of a token: head is its head of the page. */
SQ_INLINE void
page_load(const struct sq_kv *kv, const struct sq_kv_side *s, const void *head,
    size_t token, float *to)
{
	const uint8_t *row = (const uint8_t *)head + token * sq_page_row(kv,
	    s);
	const uint16_t *scale = (const uint16_t *)((const char *)head +
	    sq_page_scale_at(kv, s)) + sq_page_scale(kv, s, token, 0);
	size_t i;
	VF f;

	if (sq_page_grouped(s->grid)) {
		load_grouped(kv, s, row, scale, to);
		return;
	}
	f = vf_set1(_cvtsh_ss(*scale));
	for (i = 0; i < kv->dim; i += VL)
		vf_store(to + i, vf_mul(f, s->grid == SQ_PAGE_INT8 ?
		    vf_from_i8(row + i) : s->grid == SQ_PAGE_E4M3 ?
		    vf_from_e4m3(row + i) : vf_from_e5m2(row + i)));
}

/* A row of plain values. */
SQ_INLINE void
plain_load(const void *p, enum sq_dtype type, size_t dim, float *to)
{
	const uint16_t *h = p;
	const float *f = p;
	size_t i;

	for (i = 0; i < dim; i += VL)
		vf_store(to + i, type == SQ_BF16 ? vf_bf16(h + i) :
		    type == SQ_F16 ? vf_f16(h + i) : vf_load(f + i));
}

/* f16(x) of ops.def. */
static uint16_t
f16_of(float x)
{
	x += 0.0f;
	return sq_f32_to_f16(x < -65504 ? -65504 : x > 65504 ? 65504 : x);
}

SQ_INLINE VF
least_of(VF a)
{
	return vf_set1(-vf_greatest(vf_sub(vf_zero(), a)));
}

/* VL codes to bytes: u is whole and in range. */
SQ_INLINE void
put_bytes(uint8_t *to, VF u)
{
#if VL == 16
	_mm_storeu_si128((void *)to, _mm512_cvtepi32_epi8(
	    _mm512_cvtps_epi32(u)));
#else
	__m256i i = _mm256_cvtps_epi32(u);
	__m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i),
	    _mm256_extracti128_si256(i, 1));

	_mm_storel_epi64((void *)to, _mm_and_si128(_mm_packs_epi16(w, w),
	    _mm_set1_epi8(-1)));
#endif
}

/* n bytes of codes, a multiple of 8, to 4 or 2 bits each. */
static void
pack_codes(uint8_t *to, const uint8_t *u, size_t n, size_t bits)
{
	size_t i;

	if (bits == 4)
		for (i = 0; i < n / 2; i++)
			to[i] = (uint8_t)(u[2 * i] | u[2 * i + 1] << 4);
	else
		for (i = 0; i < n / 4; i++)
			to[i] = (uint8_t)(u[4 * i] | u[4 * i + 1] << 2 |
			    u[4 * i + 2] << 4 | u[4 * i + 3] << 6);
}

/* n <= 32 elements, a multiple of 16. */
SQ_INLINE void
put_group(const float *x, size_t n, float most, uint16_t *scale,
    uint16_t *least, uint8_t *codes)
{
	VF lo = vf_load(x), hi = lo, f, m, u;
	size_t i;

	for (i = VL; i < n; i += VL) {
		lo = vf_min(lo, vf_load(x + i));
		hi = vf_max(hi, vf_load(x + i));
	}
	*least = f16_of(vf_first(least_of(lo)));
	m = vf_set1(sq_f16_to_f32(*least));
	f = vf_max(vf_sub(vf_set1(vf_greatest(hi)), m), vf_zero());
	*scale = f16_of(vf_first(vf_div(f, vf_set1(most))));
	f = vf_set1(sq_f16_to_f32(*scale));
	for (i = 0; i < n; i += VL) {
		u = vf_round(vf_div(vf_sub(vf_load(x + i), m), f));
		u = vf_min(vf_max(u, vf_zero()), vf_set1(most));
		put_bytes(codes + i, (*scale & 0x7fff) == 0 ? vf_zero() : u);
	}
}

/* A row of one scale: int8 or fp8. */
SQ_INLINE void
put_row(enum sq_page_grid grid, const float *x, size_t n, uint16_t *scale,
    uint8_t *codes)
{
	float most = grid == SQ_PAGE_INT8 ? 127 : grid == SQ_PAGE_E4M3 ? 448 :
	    57344, s, q[VL];
	VF max = vf_zero(), f, u;
	size_t i, j;

	for (i = 0; i < n; i += VL)
		max = vf_max(max, vf_max(vf_load(x + i), vf_sub(vf_zero(),
		    vf_load(x + i))));
	*scale = f16_of(vf_greatest(max) / most);
	s = sq_f16_to_f32(*scale);
	if (s == 0) {
		memset(codes, 0, n);
		return;
	}
	f = vf_set1(s);
	for (i = 0; i < n; i += VL) {
		u = vf_div(vf_load(x + i), f);
		if (grid == SQ_PAGE_INT8) {
			u = vf_min(vf_max(vf_round(u), vf_set1(-127)),
			    vf_set1(127));
			put_bytes(codes + i, u);
			continue;
		}
		vf_store(q, u);
		for (j = 0; j < VL; j++)
			codes[i + j] = grid == SQ_PAGE_E4M3 ?
			    sq_f32_to_e4m3(q[j]) : sq_f32_to_e5m2(q[j]);
	}
}

/* The row of a token, not by channel. */
SQ_INLINE void
page_put(const struct sq_kv *kv, const struct sq_kv_side *s, void *head,
    size_t token, const float *x)
{
	uint8_t *row = (uint8_t *)head + token * sq_page_row(kv, s), u[32];
	uint16_t *scale = (uint16_t *)((char *)head + sq_page_scale_at(kv,
	    s)) + sq_page_scale(kv, s, token, 0);
	size_t i, n, bits = sq_page_bits(s->grid);

	if (!sq_page_grouped(s->grid)) {
		put_row(s->grid, x, kv->dim, scale, row);
		return;
	}
	for (i = 0; i < kv->dim; i += n, scale++) {
		n = kv->dim - i < 32 ? kv->dim - i : 32;
		put_group(x + i, n, bits == 4 ? 15 : 3, scale, scale +
		    sq_page_scales(kv, s), u);
		pack_codes(row + i * bits / 8, u, n, bits);
	}
}

/*
 * By channel: 32 tokens from `token' on; x is their plain rows, of a type.  16
 * channels at a time.
 */
SQ_INLINE void
page_put_channels(const struct sq_kv *kv, const struct sq_kv_side *s,
    void *head, size_t token, const void *x)
{
	uint16_t *scale = (uint16_t *)((char *)head + sq_page_scale_at(kv,
	    s)) + sq_page_scale(kv, s, token, 0);
	uint16_t *least = scale + sq_page_scales(kv, s);
	size_t i, j, t, bits = sq_page_bits(s->grid), row = sq_page_row(kv, s);
	size_t size = kv->dim * sq_dtype_size(kv->type);
	float most = bits == 4 ? 15 : 3, lo[16], hi[16], v[16];
	uint8_t u[16], *to = (uint8_t *)head + token * row;
	VF f, m, q;

	for (i = 0; i < kv->dim; i += 16) {
		const char *from = (const char *)x + i *
		    sq_dtype_size(kv->type);

		plain_load(from, kv->type, 16, lo);
		memcpy(hi, lo, sizeof(hi));
		for (t = 1; t < SQ_PAGE_GROUP; t++) {
			plain_load(from + t * size, kv->type, 16, v);
			for (j = 0; j < 16; j += VL) {
				vf_store(lo + j, vf_min(vf_load(lo + j),
				    vf_load(v + j)));
				vf_store(hi + j, vf_max(vf_load(hi + j),
				    vf_load(v + j)));
			}
		}
		for (j = 0; j < 16; j++) {
			least[i + j] = f16_of(lo[j]);
			lo[j] = sq_f16_to_f32(least[i + j]);
			hi[j] = hi[j] - lo[j] > 0 ? hi[j] - lo[j] : 0;
			scale[i + j] = f16_of(hi[j] / most);
			hi[j] = sq_f16_to_f32(scale[i + j]);
		}
		for (t = 0; t < SQ_PAGE_GROUP; t++) {
			plain_load(from + t * size, kv->type, 16, v);
			for (j = 0; j < 16; j += VL) {
				f = vf_load(hi + j);
				m = vf_load(lo + j);
				q = vf_round(vf_div(vf_sub(vf_load(v + j), m),
				    f));
				q = vf_min(vf_max(q, vf_zero()),
				    vf_set1(most));
				put_bytes(u + j, vf_where_pos(q, f));
			}
			pack_codes(to + t * row + i * bits / 8, u, 16, bits);
		}
	}
}

#endif
