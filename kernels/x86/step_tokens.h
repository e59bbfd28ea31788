/*
 * The product of few tokens: what is made of the tokens, see step.h.  They are
 * cut in bytes a block at a time; how those lie depends on the product.
 */
#ifndef SQ_X86_STEP_TOKENS_H
#define SQ_X86_STEP_TOKENS_H

#include <string.h>

#include "kernels/x86/bytes_vec.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/slices.h"
#include "kernels/x86/step.h"
#if VL == 16
#include "kernels/x86/step_lanes.h"
#endif

struct job {
	const struct sq_weight *w;
	const struct sq_mat *x, *y;
	const struct sq_qmat *q;	/* instead of x, or NULL */
	int bits, groups;		/* of a block; 1: it may be longer */
	size_t blocks, block_bytes, row_bytes;
	size_t run;			/* blocks of a group, if it is longer */
	size_t across;			/* groups of a row */
	size_t first, tokens, octets;	/* of this pass */
	char *packed, *scratch;
	size_t scratch_size;
};

#define PARTS	(BLOCK / VB)		/* registers of a block's bytes */

struct bytes {
	VI hi[PARTS], lo[PARTS];
	int32_t hi_sum[SLOTS], lo_sum[SLOTS];
	float scale;
};

/* The sums of each 32 columns. */
#if VL == 16
static void
sum_bytes(struct bytes *to)
{
	const VI ones = vi_set1_8(1), none = vi_set1(0);
	int32_t s[16];
	VI v = sum_lanes(_mm512_dpbusd_epi32(none, ones, to->hi[0]),
	    _mm512_dpbusd_epi32(none, ones, to->hi[1]),
	    _mm512_dpbusd_epi32(none, ones, to->lo[0]),
	    _mm512_dpbusd_epi32(none, ones, to->lo[1]));
	int i;

	vi_storeu(s, vi_add(v, _mm512_shuffle_i32x4(v, v, 0xb1)));
	for (i = 0; i < SLOTS; i++) {
		to->hi_sum[i] = s[8 * (i & 1) + i / 2];
		to->lo_sum[i] = s[8 * (i & 1) + i / 2 + 2];
	}
}
#else
static int32_t
sum_unit(VI v)
{
	int32_t s[VL], sum = 0;
	int i;

	vi_storeu(s, vi_madd(vi_maddubs(vi_set1_8(1), v), vi_set1_16(1)));
	for (i = 0; i < VL; i++)
		sum += s[i];
	return sum;
}

static void
sum_bytes(struct bytes *to)
{
	int i;

	for (i = 0; i < SLOTS; i++) {
		to->hi_sum[i] = sum_unit(to->hi[i]);
		to->lo_sum[i] = sum_unit(to->lo[i]);
	}
}
#endif

/* The block at x, of n columns; the others are 0. */
static void
cut(const float *x, size_t n, struct bytes *to)
{
	int8_t hi[BLOCK], lo[BLOCK];
	int i;

	to->scale = sq_bytes_cut(x, n, hi, lo, BLOCK);
	for (i = 0; i < PARTS; i++) {
		to->hi[i] = vi_loadu(hi + i * VB);
		to->lo[i] = vi_loadu(lo + i * VB);
	}
	sum_bytes(to);
}

/* The block of codes at x likewise: they are lo. */
static void
take(const int8_t *x, size_t n, float scale, struct bytes *to)
{
	int8_t lo[BLOCK];
	int i;

	memset(lo + n, 0, BLOCK - n);
	memcpy(lo, x, n);
	for (i = 0; i < PARTS; i++) {
		to->hi[i] = vi_set1(0);
		to->lo[i] = vi_loadu(lo + i * VB);
	}
	to->scale = scale;
	sum_bytes(to);
}

/* Of each 32 columns those of even places first. */
SQ_INLINE VI
even_first(VI a)
{
	const __m128i by = _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10,
	    8, 6, 4, 2, 0);

#if VL == 16
	return _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 6, 4, 3, 1, 2,
	    0), vi_shuffle(a, by));
#else
	return _mm256_permute4x64_epi64(vi_shuffle(a, by), 0xd8);
#endif
}

/* Of two registers the even or the odd halves of each 32 bytes. */
SQ_INLINE VI
vi_halves(VI a, VI b, const int odd)
{
#if VL == 16
	return odd ? _mm512_shuffle_i64x2(a, b, 0xdd) :
	    _mm512_shuffle_i64x2(a, b, 0x88);
#else
	return odd ? _mm256_permute2x128_si256(a, b, 0x31) :
	    _mm256_permute2x128_si256(a, b, 0x20);
#endif
}

static void
cut_token(const struct job *j, size_t token, size_t block, struct bytes *to)
{
	size_t col = block * BLOCK, i, per = SLOTS / (size_t)j->groups, k;
	size_t n = least(BLOCK, j->w->cols - col);

	token += j->first;
	if (j->q != NULL)
		take((const int8_t *)j->q->codes + token * j->q->stride + col,
		    n, j->q->scale[token], to);
	else
		cut((const float *)j->x->p + token * j->x->stride + col, n,
		    to);
	for (i = 0; j->bits == 4 && i < PARTS; i++) {
		to->hi[i] = even_first(to->hi[i]);
		to->lo[i] = even_first(to->lo[i]);
	}
	for (i = 0; i < SLOTS; i += per)
		for (k = 0; k < per; k++) {
			to->hi_sum[i / per] = (k > 0 ? to->hi_sum[i / per] :
			    0) + to->hi_sum[i + k];
			to->lo_sum[i / per] = (k > 0 ? to->lo_sum[i / per] :
			    0) + to->lo_sum[i + k];
		}
}

/* The bytes of a token that is multiplied alone: as the codes of a row lie, of
 * which 4 bits have the even places of all columns that a register has in one
 * vector. */
static void
put_block(const struct job *j, const VI from[PARTS], int8_t to[PARTS][VB])
{
	int i;

	for (i = 0; i < PARTS; i += 2) {
		vi_storeu(to[i], j->bits != 4 ? from[i] :
		    vi_halves(from[i], from[i + 1], 0));
		vi_storeu(to[i + 1], j->bits != 4 ? from[i + 1] :
		    vi_halves(from[i], from[i + 1], 1));
	}
}

#endif
