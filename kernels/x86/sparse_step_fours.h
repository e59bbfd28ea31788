/*
 * Blocks of int4: a load is two rows, of which the first has the first half of
 * the lanes; columns of even places have the low four bits.  The integers of
 * eight loads are summed up to one register, a lane for each of 16 rows:
 *
 *	0 2 4 6   1 3 5 7   8 10 12 14   9 11 13 15
 *
 * in which order scales and sums are kept as well; see sparse_step_blocks.h.
 */
#ifndef SQ_X86_SPARSE_STEP_FOURS_H
#define SQ_X86_SPARSE_STEP_FOURS_H

#include "kernels/x86/sparse_step_blocks.h"

#define F4_LOADS	8		/* together, of a stream */
#define F4_ROWS		16		/* of those */

/* Codes of even columns, of odd ones, each of them twice. */
struct f4_window {
	int8_t hi[2][64], lo[2][64];
	int32_t start;			/* -8 times the codes */
	float sum;			/* of the codes */
	float scale, none[13];
};

/* Of a thread; scales and -z of a line lie behind it, each by
 * [16 rows][group]. */
struct f4_line {
	VF acc[TOKENS][SQ_BLOCK_ROWS / F4_ROWS];
	VF number[];
};

/* Rows in order to that of a sum's lanes, and back. */
SQ_INLINE VF
f4_turn(VF v)
{
	return _mm512_permutexvar_ps(_mm512_set_epi32(15, 13, 11, 9, 14, 12,
	    10, 8, 7, 5, 3, 1, 6, 4, 2, 0), v);
}

SQ_INLINE VF
f4_back(VF v)
{
	return _mm512_permutexvar_ps(_mm512_set_epi32(15, 11, 14, 10, 13, 9,
	    12, 8, 7, 3, 6, 2, 5, 1, 4, 0), v);
}

static void
f4_pack(const struct job *j, size_t token, size_t window,
    struct f4_window *to)
{
	const __m512i even = _mm512_broadcast_i32x4(_mm_set_epi8(15, 13, 11, 9,
	    7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0));
	const VI order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
	const float *x = (const float *)j->x->p + token * j->x->stride;
	size_t col = least(window * BL_WIDE, j->x->cols);
	VI sum = vi_set1(0), ones = vi_set1_8(1), b[2];
	int8_t part[2][BL_WIDE];
	int32_t all;
	int i;

	to->scale = sq_bytes_cut(x + col, least(BL_WIDE, j->x->cols - col),
	    part[0], part[1], BL_WIDE);
	for (i = 0; i < 2; i++) {
		b[i] = vi_loadu(part[i]);
		sum = _mm512_dpbusd_epi32(vi_shl(sum, 8), ones, b[i]);
		b[i] = _mm512_permutexvar_epi64(order,
		    _mm512_shuffle_epi8(b[i], even));
	}
	for (i = 0; i < 2; i++) {
		vi_storeu(i == 0 ? to->hi[0] : to->lo[0],
		    _mm512_shuffle_i64x2(b[i], b[i], 0x44));
		vi_storeu(i == 0 ? to->hi[1] : to->lo[1],
		    _mm512_shuffle_i64x2(b[i], b[i], 0xee));
	}
	all = _mm512_reduce_add_epi32(sum);
	to->sum = (float)all;
	to->start = -8 * all;
}

/* The sums of eight loads' rows. */
SQ_INLINE VI
f4_sums(const VI a[F4_LOADS])
{
	VI x, y, four[2];
	int i;

#define PAIR(x, y)	vi_add(_mm512_unpacklo_epi32(x, y),		\
			    _mm512_unpackhi_epi32(x, y))
	SQ_UNROLL for (i = 0; i < 2; i++) {
		x = PAIR(a[4 * i], a[4 * i + 1]);
		y = PAIR(a[4 * i + 2], a[4 * i + 3]);
		four[i] = vi_add(_mm512_unpacklo_epi64(x, y),
		    _mm512_unpackhi_epi64(x, y));
	}
#undef PAIR
	return vi_add(_mm512_shuffle_i32x4(four[0], four[1], 0x88),
	    _mm512_shuffle_i32x4(four[0], four[1], 0xdd));
}

/* 16 rows at p by a token. */
SQ_INLINE VF
f4_rows(const uint8_t *p, const struct f4_window *x, VF scale, VF zero,
    VF acc, const int zeros)
{
	const VI low = vi_set1_8(15);
	const VI hi[2] = { vi_loadu(x->hi[0]), vi_loadu(x->hi[1]) };
	const VI lo[2] = { vi_loadu(x->lo[0]), vi_loadu(x->lo[1]) };
	VI a[F4_LOADS], v, even, odd;
	VF f;
	int q;

	SQ_UNROLL for (q = 0; q < F4_LOADS; q++) {
		v = vi_loadu(p + BL_WIDE * q);
		even = vi_and(v, low);
		odd = vi_and(vi_shr_16(v, 4), low);
		a[q] = vi_set1(0);
		sq_bytes_add(a[q], even, hi[0]);
		sq_bytes_add(a[q], odd, hi[1]);
		a[q] = vi_shl(a[q], 8);
		sq_bytes_add(a[q], even, lo[0]);
		sq_bytes_add(a[q], odd, lo[1]);
	}
	if (zeros)
		f = vf_fma(zero, vf_set1(x->sum), vf_from_i(f4_sums(a)));
	else
		f = vf_from_i(vi_add(f4_sums(a), vi_set1(x->start)));
	return vf_fma(vf_set1(x->scale), vf_mul(scale, f), acc);
}

/* n streams of the line's rows, by nt tokens. */
SQ_INLINE void
f4_streams(const struct job *j, struct f4_line *l, const struct bl_stream *s,
    size_t n, const int zeros, const int nt)
{
	const size_t all = j->w->n / F4_ROWS, size = F4_LOADS * BL_WIDE;
	const VF *scale = l->number, *zero = scale + all * j->across;
	const struct f4_window *x;
	VF acc[TOKENS];
	size_t r, k, at;
	int t, q;

	for (r = 0; r < all; r++, scale += j->across, zero += j->across) {
		SQ_UNROLL for (t = 0; t < nt; t++)
			acc[t] = l->acc[t][r];
		for (k = 0; k < n; k++) {
			at = r + 1 < all ? (r + 1) * size : s[k].next;
			SQ_UNROLL for (q = 0; q < F4_LOADS; q++)
				_mm_prefetch((const char *)s[k].p + at +
				    BL_WIDE * q, _MM_HINT_T0);
			SQ_UNROLL for (t = 0; t < nt; t++) {
				x = (const void *)((const char *)s[k].x +
				    (size_t)t * j->token_bytes);
				acc[t] = f4_rows(s[k].p + r * size, x,
				    scale[s[k].group], zeros ?
				    zero[s[k].group] : vf_zero(), acc[t],
				    zeros);
			}
		}
		SQ_UNROLL for (t = 0; t < nt; t++)
			l->acc[t][r] = acc[t];
	}
}

/* The row that a lane of sums belongs to. */
static const uint8_t f4_row[F4_ROWS] = { 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12,
	14, 9, 11, 13, 15 };

/* Scales of 16 rows from `row' on, of 16 groups from g on. */
static void
f4_scales(const struct job *j, size_t row, size_t g, VF v[VL])
{
	size_t r;
	int i;

	SQ_UNROLL for (i = 0; i < VL; i++) {
		r = row + f4_row[i];
		v[i] = r < j->w->rows ? scales_of(j->w, j->across, r, g) :
		    vf_zero();
	}
	vf_transpose(v);
}

/* The same of F16 that are all there; those of the next line are fetched. */
static void
f4_scales_f16(const struct job *j, size_t row, size_t g, VF *to)
{
	const uint16_t *p = (const uint16_t *)j->w->scales + row * j->across +
	    g, *next = p + j->w->n * j->across;
	VF v[VL];
	int i;

	SQ_UNROLL for (i = 0; i < VL; i++) {
		_mm_prefetch((const char *)(next + (size_t)i * j->across),
		    _MM_HINT_T0);
		v[i] = vf_f16(p + f4_row[i] * j->across);
	}
	vf_transpose(v);
	SQ_UNROLL for (i = 0; i < VL; i++)
		to[i] = v[i];
}

static void
f4_zeros(const struct job *j, size_t row, size_t g, VF v[VL])
{
	const struct sq_weight *w = j->w;
	float z[VL];
	size_t r, i, k;

	for (i = 0; i < VL; i++) {
		for (k = 0; k < VL; k++) {
			r = row + f4_row[k];
			z[k] = r >= w->rows || g + i >= j->across ? 0 :
			    -(float)w->zeros[r / w->group_rows * j->across +
			    g + i];
		}
		v[i] = vf_load(z);
	}
}

/* Numbers of 16 rows from `row' on: scales, and -z behind `all' of them. */
static void
f4_numbers(const struct job *j, size_t row, size_t all, VF *to)
{
	const struct sq_weight *w = j->w;
	const int whole = w->scale_type == SQ_F16 && w->group_rows == 1 &&
	    row + F4_ROWS <= w->rows;
	size_t g, n;
	VF v[VL];

	for (g = 0; g < j->across; g += VL) {
		n = least(VL, j->across - g);
		if (j->across == 1)
			to[0] = f4_turn(bl_scales(w, row));
		else if (whole && n == VL)
			f4_scales_f16(j, row, g, to + g);
		else {
			f4_scales(j, row, g, v);
			memcpy(to + g, v, n * sizeof(*v));
		}
		if (w->zeros != NULL) {
			f4_zeros(j, row, g, v);
			memcpy(to + all + g, v, n * sizeof(*v));
		}
	}
}

/* A line by nt tokens. */
SQ_INLINE void
f4_tokens(const struct job *j, struct f4_line *l, size_t line, size_t token,
    const int zeros, const int nt)
{
	const struct sq_weight *w = j->w;
	size_t b = sq_blocks_start(w)[line], row = line * w->n, n, r;
	size_t end = sq_blocks_start(w)[line + 1];
	struct bl_stream s[BL_STREAMS];
	float *y;
	int t;

	for (t = 0; t < nt; t++)
		memset(l->acc[t], 0, w->n / F4_ROWS * sizeof(VF));
	for (; b < end; b += n) {
		n = least(end - b, BL_STREAMS);
		bl_open(j, s, b, n, token, sizeof(struct f4_window), 4);
		f4_streams(j, l, s, n, zeros, nt);
	}
	for (t = 0; t < nt; t++) {
		y = (float *)j->y->p + (token + (size_t)t) * j->y->stride + row;
		for (r = 0; r < w->n && row + r < w->rows; r += F4_ROWS)
			vf_put(y + r, f4_back(l->acc[t][r / F4_ROWS]),
			    w->rows - row - r);
	}
}

SQ_INLINE void
f4_line(const struct job *j, size_t line, struct f4_line *l, const int zeros)
{
	size_t tokens = j->x->rows, t, nt, r, row = line * j->w->n;
	size_t all = j->w->n / F4_ROWS;

	for (r = 0; r < all; r++)
		f4_numbers(j, row + r * F4_ROWS, all * j->across, l->number +
		    r * j->across);
	for (t = 0; t < tokens; t += nt) {
		nt = tokens - t >= 4 ? 4 : tokens - t >= 2 ? 2 : 1;
		if (nt == 4)
			f4_tokens(j, l, line, t, zeros, 4);
		else if (nt == 2)
			f4_tokens(j, l, line, t, zeros, 2);
		else
			f4_tokens(j, l, line, t, zeros, 1);
	}
}

static void
f4_any(const struct job *j, const struct sq_slice *l, size_t strip, void *t)
{
	if (j->w->zeros == NULL)
		f4_line(j, l->first + strip, t, 0);
	else
		f4_line(j, l->first + strip, t, 1);
}

static int
f4_allows(const struct sq_weight *w)
{
	return w->grid == SQ_INT4 && w->n % F4_ROWS == 0 &&
	    w->m == BL_WIDE && (w->group_cols >= w->cols ||
	    w->group_cols % BL_WIDE == 0);
}

static size_t
f4_scratch(const struct job *j)
{
	return sizeof(struct f4_line) + 2 * j->w->n / F4_ROWS * j->across *
	    sizeof(VF);
}

#endif
