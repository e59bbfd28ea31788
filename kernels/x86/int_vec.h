/*
 * What the products of integers share; see matmul.h.  Over vec.h.
 *
 * x is packed in blocks of WIDE columns.  A block of a token (direct) or of a
 * vector of tokens (tile) starts with a head, then come the codes of x:
 *
 *	direct   the scale of the block; for each of its sums, lane by lane, the
 *	         sum of the codes of x, for the zero points
 *	tile     the same of each token: a vector of scales, then one for each
 *	         group
 *
 * A sum takes a group of columns, at most WIDE of them, so that it is exact;
 * then it becomes a float32.
 */
#ifndef SQ_X86_INT_VEC_H
#define SQ_X86_INT_VEC_H

#include <math.h>
#include <string.h>

#include "kernels/quant.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/pack_vec.h"
#include "kernels/x86/values.h"

#define BLOCK	SQ_MM_WIDE
#define DEPTH	(VL == 16 ? 512 : 256)	/* columns of a panel: with the
					   tokens of a tile in the cache */
#define SLOTS	4			/* sums of a block, at most */
#define TOKENS	SQ_MM_TOKENS
#define LATER	8			/* rows: scales that are fetched */

struct head {
	float scale, none[VL - 1];
	float sums[SLOTS][VL];
};

/* The scales of the groups of a part's row, and -z of each. */
struct groups {
	float scale[SQ_MM_COLUMNS / SQ_MM_UNIT + VL];
	float zero[SQ_MM_COLUMNS / SQ_MM_UNIT + VL];
};

/* a += b, in the register where a is: left to itself, gcc 12 moves sums about
 * and spills them. */
#define vi_add_to(a, b)		__asm__("vpaddd %1, %0, %0" : "+v"(a) : "v"(b))
#define vi_add_16_to(a, b)	__asm__("vpaddw %1, %0, %0" : "+v"(a) : "v"(b))
#define vi_dpbusd_to(s, w, x)						\
	__asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(w), "v"(x))
#define vi_dpwssd_to(s, w, x)						\
	__asm__("vpdpwssd %2, %1, %0" : "+v"(s) : "v"(w), "v"(x))

/* 16-bit integers to bytes likewise. */
SQ_INLINE VI
vi_narrow_16(VI a, VI b)
{
#if VL == 16
	return vi_in_order(_mm512_packs_epi16(a, b));
#else
	return vi_in_order(_mm256_packs_epi16(a, b));
#endif
}

/* Columns of a sum. */
static size_t
group_of(const struct sq_weight *w)
{
	return w->group_cols >= BLOCK || w->group_cols >= w->cols ? BLOCK :
	    w->group_cols;
}

/* Before the first row: 0 behind the last group, and the middle of the codes
 * where nothing else is said. */
static void
init_groups(const struct sq_weight *w, struct groups *g)
{
	const float mid = -(float)(1u << (sq_grid_bits(w->grid) - 1));
	size_t i;

	for (i = 0; i < sizeof(g->scale) / sizeof(g->scale[0]); i += VL) {
		vf_store(g->scale + i, vf_zero());
		vf_store(g->zero + i, vf_set1(mid));
	}
}

SQ_INLINE void
scales_alike(const struct sq_weight *w, size_t first, size_t n,
    struct groups *g)
{
	const uint16_t *h = (const uint16_t *)w->scales + first;
	size_t i = 0;

	if (w->scale_type == SQ_F16)
		for (; i + VL <= n; i += VL)
			vf_store(g->scale + i, vf_f16(h + i));
	for (; i < n; i++)
		g->scale[i] = sq_scalar(w->scales, w->scale_type, first + i);
	for (i = 0; w->zeros != NULL && i < n; i++)
		g->zero[i] = -(float)w->zeros[first + i];
}

/* Groups of w that are longer than ours: from group `first', whose first `done'
 * parts are not wanted, n parts; `parts' in each. */
static void
scales_repeated(const struct sq_weight *w, size_t first, size_t parts,
    size_t done, size_t n, struct groups *g)
{
	size_t i, left = parts - done;
	float s, z = g->zero[0];

	for (i = 0; i < n; first++, left = parts) {
		s = sq_scalar(w->scales, w->scale_type, first);
		if (w->zeros != NULL)
			z = -(float)w->zeros[first];
		for (; i < n && left > 0; i++, left--) {
			g->scale[i] = s;
			g->zero[i] = z;
		}
	}
}

/* The codes of a row of a part, n columns of it; those that are wanted soon are
 * fetched. */
static const uint8_t *
codes_of(const struct sq_mm_part *part, size_t row, size_t n, int bits)
{
	const uint8_t *p = (const uint8_t *)part->w->data + row *
	    sq_row_bytes(part->w->cols, bits) + part->col * (size_t)bits / 8;
	size_t i;

	for (i = 0; i < n * (size_t)bits / 8; i += 64)
		_mm_prefetch((const char *)p + part->ahead + i, _MM_HINT_T0);
	return p;
}

/* The groups of row `row', of cols columns from col; those of a later row are
 * fetched, which come from elsewhere than the codes. */
static void
load_groups(const struct sq_weight *w, size_t row, size_t col, size_t cols,
    struct groups *g)
{
	size_t size = group_of(w), n = (cols + size - 1) / size, first = row;
	size_t across = 1, parts = n, done = 0, i;
	size_t type = sq_dtype_size(w->scale_type);

	if (w->group_rows > 1)
		first /= w->group_rows;
	if (w->group_cols < w->cols) {
		across = sq_groups_across(w->cols, w->group_cols);
		first = first * across + col / w->group_cols;
		parts = w->group_cols / size;
		done = col % w->group_cols / size;
	}
	for (i = 0; i < n / parts * type + 1; i += 64)
		_mm_prefetch((const char *)w->scales + (first + LATER *
		    across) * type + i, _MM_HINT_T0);
	if (w->group_cols == size)
		scales_alike(w, first, n, g);
	else
		scales_repeated(w, first, parts, done, n, g);
}

/* A block of one token from column col, in order, as floats; 0 where x has
 * none. */
SQ_INLINE void
x_block(const struct sq_mm_x *x, size_t token, size_t col, VF v[BLOCK / VL])
{
	size_t n = x->cols - col < BLOCK ? x->cols - col : BLOCK, i, s;
	size_t unit = x->order->unit / VL;
	const float *row = x->x + token * x->stride + col;
	int8_t codes[BLOCK + 16];
	float copy[BLOCK];

	if (x->codes != NULL) {
		memset(codes + n, 0, sizeof(codes) - n);
		memcpy(codes, x->codes + token * x->stride + col, n);
		for (i = 0; i < BLOCK / VL; i++)
			v[i] = vf_from_i(vi_from_i8(_mm_loadu_si128(
			    (const void *)(codes + i * VL))));
	} else {
		if (n < BLOCK) {
			memset(copy, 0, sizeof(copy));
			row = memcpy(copy, row, n * sizeof(*row));
		}
		for (i = 0; i < BLOCK / VL; i++)
			v[i] = vf_load(row + i * VL);
	}
	for (i = 0; i < BLOCK / VL; i += unit)
		for (s = x->order->spread; s > 1; s /= 2)
			split(v + i, unit);
}

/*
 * The codes of a block, and its scale: of the row; or such that the greatest
 * magnitude is 32767, 2^-126 at least: less is taken for 0.  Where something is
 * not finite the scale is NaN.
 */
SQ_INLINE float
x_codes(const struct sq_mm_x *x, size_t token, VF v[BLOCK / VL])
{
	VI most = vi_set1(0);
	uint32_t top;
	float s;
	size_t i;

	if (x->codes != NULL)
		return x->scale[token];
	for (i = 0; i < BLOCK / VL; i++)
		most = vi_maxu(most, vi_and(vi_bits(v[i]),
		    vi_set1(0x7fffffff)));
	top = vi_reduce_maxu(most);
	if (top >= 0x7f800000)
		return NAN;
	s = sq_bits_f32(top) / 32767;
	s = s < 0x1p-126f ? 0x1p-126f : s;
	for (i = 0; i < BLOCK / VL; i++)
		v[i] = vf_mul(v[i], vf_set1(1 / s));
	return s;
}

/* n scales or zero points at p: each of as many lanes. */
SQ_INLINE VF
of_lanes(const float *p, const int n)
{
	if (n == 1)
		return vf_set1(*p);
#if VL == 16
	return _mm512_permutexvar_ps(n == 4 ? _mm512_set_epi32(3, 3, 3, 3, 2,
	    2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0) : _mm512_set_epi32(1, 1, 1, 1, 1,
	    1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), _mm512_castps128_ps512(
	    _mm_loadu_ps(p)));
#else
	return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(
	    _mm_cvtsd_f64(_mm_castps_pd(_mm_loadu_ps(p))))),
	    _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0));
#endif
}

#endif
