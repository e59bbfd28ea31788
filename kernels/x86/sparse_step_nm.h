/*
 * 2:4 of int8 and int4, few tokens; the layout is in kernels/sparse.h.
 *
 * Four steps of a band are a register of values, a lane of 128 bits for each,
 * and so are 64 columns of x.  In a lane,
 *
 *	values	   row 0: a b . . c d . .   row 1: e f . . g h ..   as they lie
 *	           a b c d   e f g h  ..     four bytes of one row
 *	index	   0 3 5 6   1 2 4 7  ..     of 16 columns
 *	x	   x0 x3 x5 x6  ..           picked by a byte shuffle
 *
 * Values are signed, so the bytes of x are made positive: x = 256 (hi - 128) +
 * lo; the sum of 128 times the values is subtracted from that with hi.  The words
 * of the index have a byte for each four steps, of which a step's two bits are
 * shifted down.
 */
#ifndef SQ_X86_SPARSE_STEP_NM_H
#define SQ_X86_SPARSE_STEP_NM_H

#include "kernels/x86/sparse_step.h"

#define NM_WIDE		128		/* columns of a window */
#define NM_BANDS	8		/* of a strip: as many streams, and as
					   many of the index */
#define NM_QUADS	4		/* registers of a line of the index */
#define NM_AHEAD	1024		/* bytes that a band is fetched ahead */

struct nm_window {
	uint8_t hi[2][64], lo[2][64];
	float scale, none[15];
};

/* Of a group of a band: row 0, row 1. */
struct nm_numbers {
	float scale[2];
	int8_t zero[8];
};

struct nm_band {
	const uint8_t *p, *line;
	struct nm_numbers *n;		/* by group */
};

/* Of a thread; the numbers of the bands lie behind it. */
struct nm_strip {
	struct nm_band band[NM_BANDS];
	float scale[NM_BANDS][2];	/* that come last: of one group */
	VF acc[NM_BANDS][TOKENS];
};

static void
nm_pack(const struct job *j, size_t token, size_t window,
    struct nm_window *to)
{
	const float *x = (const float *)j->x->p + token * j->x->stride;
	int8_t b[2][NM_WIDE];
	size_t col = window * NM_WIDE;
	VI hi, lo;
	int i;

	to->scale = sq_bytes_cut(x + least(col, j->x->cols), least(NM_WIDE,
	    j->x->cols - least(col, j->x->cols)), b[0], b[1], NM_WIDE);
	for (i = 0; i < 2; i++) {
		lo = vi_loadu(b[1] + 64 * i);
		hi = _mm512_xor_si512(vi_loadu(b[0] + 64 * i),
		    vi_set1_8((char)128));
		vi_storeu(to->lo[i], lo);
		/* lo counts 256 more where it was below 0 */
		vi_storeu(to->hi[i], _mm512_mask_sub_epi8(hi,
		    _mm512_movepi8_mask(lo), hi, vi_set1_8(1)));
	}
}

/* What stays in registers. */
struct nm_how {
	VI order;			/* of the bytes of a step */
	VI at[NM_QUADS];		/* bytes of the index, in that order */
	VI shift, base;
};

static struct nm_how
nm_how(int bits)
{
	static const uint8_t order[16] = { 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12,
	    13, 10, 11, 14, 15 };
	uint8_t b[64], base[64];
	int16_t shift[32];
	struct nm_how h;
	int i, q;

	for (i = 0; i < 64; i++) {
		/* int4: two units of two steps each */
		b[i] = (uint8_t)((bits == 4 ? i / 32 * 16 : i / 16 * 16) +
		    order[i % 16]);
		base[i] = order[i % 16] & 12;
	}
	h.order = vi_loadu(b);
	h.base = vi_loadu(base);
	for (i = 0; i < 32; i++)
		shift[i] = (int16_t)(i / 8 * 2);
	h.shift = vi_loadu(shift);
	SQ_UNROLL for (q = 0; q < NM_QUADS; q++) {
		for (i = 0; i < 64; i++)
			b[i] = (uint8_t)(4 * order[i % 16] + q);
		h.at[q] = vi_loadu(b);
	}
	return h;
}

/* The values of four steps at p, of which `have' are there: row by row. */
SQ_INLINE VI
nm_values(const uint8_t *p, size_t have, const struct nm_how *h, VI zero,
    const int bits, const int zeros)
{
	const VI by = _mm512_set_epi64(0x4000400040004, 0x4000400040004, 0, 0,
	    0x4000400040004, 0x4000400040004, 0, 0);
	const VI number = _mm512_broadcast_i32x4(_mm_set_epi8(7, 6, 5, 4, 3, 2,
	    1, 0, -1, -2, -3, -4, -5, -6, -7, -8));
	VI v;

	if (bits == 8) {
		v = have >= 4 ? vi_loadu(p) : _mm512_maskz_loadu_epi64(
		    (__mmask8)((1u << 2 * have) - 1), p);
		return vi_shuffle(v, _mm512_castsi512_si128(h->order));
	}
	v = have >= 4 ? _mm512_castsi256_si512(_mm256_loadu_si256(
	    (const void *)p)) : _mm512_maskz_loadu_epi64((__mmask8)((1u <<
	    have) - 1), p);
	v = _mm512_permutexvar_epi8(h->order, v);
	v = _mm512_srlv_epi16(v, by);
	if (!zeros)
		return _mm512_permutexvar_epi8(v, number);
	return _mm512_sub_epi8(vi_and(v, vi_set1_8(15)), zero);
}

/* Where the columns of four steps are, from a line of the index. */
SQ_INLINE VI
nm_places(VI line, const struct nm_how *h, int q)
{
	VI at = _mm512_srlv_epi16(_mm512_permutexvar_epi8(h->at[q], line),
	    h->shift);

	/* at & 3 | base */
	return _mm512_ternarylogic_epi32(at, h->base, vi_set1_8(3), 0xec);
}

/* A window of a band by nt tokens, whose windows are `next' bytes apart; n: NULL
 * where the scale comes last. */
SQ_INLINE void
nm_window(const uint8_t *p, size_t have, VI line, const struct nm_how *h,
    const struct nm_numbers *n, const struct nm_window *x, size_t next,
    VF *acc, const int first, const int bits, const int zeros, const int nt)
{
	const VI mid = vi_set1_8((char)128), none = vi_set1(0);
	VI hi[TOKENS], lo[TOKENS], sum = none, v, at, zero = none;
	const struct nm_window *xt;
	VF scale = vf_zero(), f;
	long long pair;
	size_t left;
	int i, t;

	if (n != NULL) {
		memcpy(&pair, n->scale, sizeof(pair));
		scale = vf_bits(vi_set1_64(pair));
	}
	if (zeros) {
		memcpy(&pair, n->zero, sizeof(pair));
		zero = vi_set1_64(pair);
	}
	SQ_UNROLL for (t = 0; t < nt; t++)
		hi[t] = lo[t] = none;
	SQ_UNROLL for (i = 0; i < 2; i++) {
		left = have < 4 * (size_t)i ? 0 : have - 4 * (size_t)i;
		v = nm_values(p + 8 * bits * i, left, h, zero, bits, zeros);
		at = nm_places(line, h, first + i);
		sq_bytes_add(sum, mid, v);
		SQ_UNROLL for (t = 0; t < nt; t++) {
			xt = (const void *)((const char *)x + (size_t)t * next);
			sq_bytes_add(hi[t], _mm512_shuffle_epi8(
			    vi_loadu(xt->hi[i]), at), v);
			sq_bytes_add(lo[t], _mm512_shuffle_epi8(
			    vi_loadu(xt->lo[i]), at), v);
		}
	}
	SQ_UNROLL for (t = 0; t < nt; t++) {
		xt = (const void *)((const char *)x + (size_t)t * next);
		f = vf_from_i(both(vi_sub(hi[t], sum), lo[t]));
		if (n != NULL)
			f = vf_mul(scale, f);
		acc[t] = vf_fma(vf_set1(xt->scale), f, acc[t]);
	}
}

/* A line of the index of all bands: two windows. */
SQ_INLINE void
nm_line(const struct job *j, struct nm_strip *s, size_t line, size_t steps,
    const struct nm_how *h, const struct nm_window *x, const int bits,
    const int zeros, const int last, const int nt)
{
	const size_t half = NM_WIDE * (size_t)bits / 8, at = line * 2 * half;
	const size_t g[2] = { group_of(j, 2 * line),
	    group_of(j, 2 * line + 1) };
	const struct nm_band *b = s->band;
	VI index;
	size_t k;
	int i;

	for (k = 0; k < NM_BANDS; k++, b++) {
		for (i = 0; i < 4 * bits / 8; i++)
			_mm_prefetch((const char *)b->p + at + NM_AHEAD +
			    64 * i, _MM_HINT_T0);
		_mm_prefetch((const char *)b->line + line * SQ_NM_LINE +
		    NM_AHEAD / 4, _MM_HINT_T0);
		index = vi_loadu(b->line + line * SQ_NM_LINE);
		nm_window(b->p + at, steps, index, h, last ? NULL : b->n +
		    g[0], x, j->token_bytes, s->acc[k], 0, bits, zeros, nt);
		nm_window(b->p + at + half, steps < 8 ? 0 : steps - 8, index,
		    h, last ? NULL : b->n + g[1], x + 1, j->token_bytes,
		    s->acc[k], 2, bits, zeros, nt);
	}
}

/* The lanes of eight bands, each in turn of its rows, as sums: band after band. */
SQ_INLINE VF
nm_sums(const struct nm_strip *s, size_t first, size_t t)
{
	__m512d a[8], sum[4];
	int i;

	SQ_UNROLL for (i = 0; i < 8; i++)
		a[i] = _mm512_castps_pd(s->acc[first + (size_t)i][t]);
#define ADD(x, y)	_mm512_castps_pd(vf_add(_mm512_castpd_ps(x),	\
			    _mm512_castpd_ps(y)))
#define FOLD(x, y)	ADD(_mm512_shuffle_f64x2(x, y, 0x88),		\
			    _mm512_shuffle_f64x2(x, y, 0xdd))
	SQ_UNROLL for (i = 0; i < 4; i++)
		sum[i] = ADD(_mm512_unpacklo_pd(a[2 * i], a[2 * i + 1]),
		    _mm512_unpackhi_pd(a[2 * i], a[2 * i + 1]));
	sum[0] = FOLD(FOLD(sum[0], sum[1]), FOLD(sum[2], sum[3]));
#undef FOLD
#undef ADD
	return _mm512_castpd_ps(sum[0]);
}

/* What eight bands of a strip, from its band `from' on, give a token. */
static void
nm_put(const struct job *j, const struct sq_slice *l, size_t strip,
    size_t from, size_t token, VF sums)
{
	size_t end = l->end - l->first, k, at, band;
	float s[VL], *y = (float *)j->y->p + token * j->y->stride;

	vf_store(s, sums);
	for (k = 0; k < 8; k++) {
		at = strip + (from + k) * l->apart;
		if (at >= end)
			return;
		band = l->first + at;
		memcpy(y + 2 * band, s + 2 * k, least(2, j->w->rows -
		    2 * band) * sizeof(*y));
	}
}

/* nt tokens by a strip. */
SQ_INLINE void
nm_tokens(const struct job *j, struct nm_strip *s, size_t token,
    const struct nm_how *h, const int bits, const int zeros, const int last,
    const int nt)
{
	const size_t steps = sq_nm_steps(j->w), whole = steps / 16;
	const struct nm_window *x = packed_at(j, token, 0, sizeof(*x));
	size_t line;

	memset(s->acc, 0, sizeof(s->acc));
	for (line = 0; line < whole; line++, x += 2)
		nm_line(j, s, line, 16, h, x, bits, zeros, last, nt);
	if (steps % 16 > 0)
		nm_line(j, s, line, steps % 16, h, x, bits, zeros, last, nt);
}

static size_t
group_row(const struct sq_weight *w, size_t row)
{
	return w->group_rows == 1 ? row : row / w->group_rows;
}

/* Scales of a band with one group, row after row. */
SQ_INLINE void
nm_last(const struct job *j, size_t band, float scale[2])
{
	const struct sq_weight *w = j->w;
	size_t r;

	for (r = 0; r < 2; r++)
		scale[r] = sq_scalar(w->scales, w->scale_type,
		    group_row(w, least(2 * band + r, w->rows - 1)));
}

/* Scales and zero points of a band, of each group row after row. */
SQ_INLINE void
nm_numbers(const struct job *j, size_t band, struct nm_numbers *n,
    const int zeros)
{
	const struct sq_weight *w = j->w;
	size_t r, row, g, i;
	float s[VL];

	for (r = 0; r < 2; r++) {
		row = least(2 * band + r, w->rows - 1);
		for (g = 0; g < j->across; g += VL) {
			vf_store(s, scales_of(w, j->across, row, g));
			for (i = 0; i < VL && g + i < j->across; i++)
				n[g + i].scale[r] = s[i];
		}
		for (g = 0; zeros && g < j->across; g++)
			memset(n[g].zero + 4 * r, w->zeros[group_row(w, row) *
			    j->across + g], 4);
	}
}

SQ_INLINE void
nm_strip(const struct job *j, const struct sq_slice *l, size_t strip,
    struct nm_strip *s, const int bits, const int zeros, const int last)
{
	const struct nm_how h = *(const struct nm_how *)j->how;
	struct nm_numbers *numbers = (struct nm_numbers *)(s + 1);
	size_t tokens = j->x->rows, i, k, t, nt, u;
	const uint8_t *p = j->w->data, *index = j->w->index;
	VF sums;

	for (k = 0; k < NM_BANDS; k++, numbers += j->across) {
		i = sq_slice_line(l, strip, k);
		s->band[k] = (struct nm_band){ p + i * j->band_bytes,
		    index + i * j->line_bytes, numbers };
		if (last)
			nm_last(j, i, s->scale[k]);
		else
			nm_numbers(j, i, numbers, zeros);
	}
	for (t = 0; t < tokens; t += nt) {
		nt = tokens - t >= 4 ? 4 : tokens - t >= 2 ? 2 : 1;
		if (nt == 4)
			nm_tokens(j, s, t, &h, bits, zeros, last, 4);
		else if (nt == 2)
			nm_tokens(j, s, t, &h, bits, zeros, last, 2);
		else
			nm_tokens(j, s, t, &h, bits, zeros, last, 1);
		for (u = 0; u < nt; u++)
			for (k = 0; k < NM_BANDS; k += 8) {
				sums = nm_sums(s, k, u);
				if (last)
					sums = vf_mul(sums, vf_load(
					    s->scale[k]));
				nm_put(j, l, strip, k, t + u, sums);
			}
	}
}

static void
nm_any(const struct job *j, const struct sq_slice *l, size_t strip, void *t)
{
	if (j->bits == 8 && j->across == 1)
		nm_strip(j, l, strip, t, 8, 0, 1);
	else if (j->bits == 8)
		nm_strip(j, l, strip, t, 8, 0, 0);
	else if (j->w->zeros == NULL)
		nm_strip(j, l, strip, t, 4, 0, 0);
	else
		nm_strip(j, l, strip, t, 4, 1, 0);
}

static int
nm_allows(const struct sq_weight *w)
{
	return w->n == 2 && w->m == 4 && w->cols >= 2 * NM_WIDE &&
	    (w->grid == SQ_INT4 || (w->grid == SQ_INT8 && w->zeros == NULL)) &&
	    (w->group_cols >= w->cols || w->group_cols % NM_WIDE == 0);
}

static size_t
nm_scratch(const struct job *j)
{
	return sizeof(struct nm_strip) + NM_BANDS * j->across *
	    sizeof(struct nm_numbers);
}

#endif
