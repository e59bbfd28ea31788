/*
 * Blocks of int8 and int4, few tokens.  A row of blocks is a line; its kept
 * blocks lie one after the other, and STREAMS of them are gone through at the
 * same time, a few rows at a time, so that sums stay in registers:
 *
 *	line	b0        b1        b2  ..
 *	rows	====      ====      ====	acc of these rows
 *	        ----      ----      ----	the next ones
 *
 * A load is 64 columns: one row of int8, or two of int4, where the first half
 * of the lanes is the first row's; columns of even places have the low four
 * bits.
 */
#ifndef SQ_X86_SPARSE_STEP_BLOCKS_H
#define SQ_X86_SPARSE_STEP_BLOCKS_H

#include "kernels/x86/sparse_step.h"

#define BL_WIDE		64		/* columns of a window */
#define BL_STREAMS	8
#define BL_LOADS	4		/* together, of a stream */
#define BL_AHEAD	512		/* bytes, less than a block */

/* int8: hi, lo; int4: hi of even columns, of odd ones, lo likewise, each of
 * them twice. */
struct bl_window {
	int8_t code[4][64];
	int32_t start[16];		/* -128, or -8, times the codes */
	float sum[16];			/* of the codes, lane by lane */
	float scale, none[15];
};

/* Of a thread; scales and -z of the rows of a line lie behind it, each by
 * [row][group]. */
struct bl_line {
	VF acc[TOKENS][SQ_BLOCK_ROWS];
	float number[];
};

/* What is read of a block now. */
struct bl_stream {
	const uint8_t *p;
	size_t next;			/* bytes to the block that follows in
					   this stream */
	const struct bl_window *x;
	size_t group;
};

static void
bl_pack(const struct job *j, size_t token, size_t window,
    struct bl_window *to)
{
	const __m512i even = _mm512_broadcast_i32x4(_mm_set_epi8(15, 13, 11, 9,
	    7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0));
	const VI order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
	const float *x = (const float *)j->x->p + token * j->x->stride;
	VI sum = vi_set1(0), ones = vi_set1_8(1), b[2];
	int8_t hi[BL_WIDE], lo[BL_WIDE];
	size_t col = window * BL_WIDE;
	int i;

	col = least(col, j->x->cols);
	to->scale = sq_bytes_cut(x + col, least(BL_WIDE, j->x->cols - col),
	    hi, lo, BL_WIDE);
	b[0] = vi_loadu(hi);
	b[1] = vi_loadu(lo);
	for (i = 0; i < 2; i++) {
		if (j->bits == 4) {
			b[i] = _mm512_permutexvar_epi64(order,
			    _mm512_shuffle_epi8(b[i], even));
			vi_storeu(to->code[2 * i], _mm512_shuffle_i64x2(b[i],
			    b[i], 0x44));
			vi_storeu(to->code[2 * i + 1], _mm512_shuffle_i64x2(
			    b[i], b[i], 0xee));
		} else {
			vi_storeu(to->code[i], b[i]);
		}
	}
	if (j->bits == 4)
		for (i = 0; i < 4; i++) {
			sum = i == 2 ? vi_shl(sum, 8) : sum;
			sum = _mm512_dpbusd_epi32(sum, ones,
			    vi_loadu(to->code[i]));
		}
	else
		sum = _mm512_dpbusd_epi32(vi_shl(_mm512_dpbusd_epi32(sum, ones,
		    b[0]), 8), ones, b[1]);
	vf_store(to->sum, vf_from_i(sum));
	vi_storeu(to->start, vi_sub(vi_set1(0), vi_shl_by(sum, j->bits - 1)));
}

/* For the lanes of a load's rows, p[0], or p[0] and p[apart]. */
SQ_INLINE VF
bl_lanes(const float *p, size_t apart, const int bits)
{
	VF v = vf_set1(*p);

	if (bits == 8)
		return v;
	return _mm512_mask_broadcastss_ps(v, 0xff00, _mm_load_ss(p + apart));
}

/* A load of a stream by nt tokens. */
SQ_INLINE void
bl_load(const struct job *j, VI v, const struct bl_stream *s,
    const float *scale, const float *zero, VF (*acc)[BL_LOADS], int load,
    const int bits, const int grouped, const int zeros, const int nt)
{
	const struct bl_window *x;
	VI hi, lo, odd = v;
	VF f;
	int t;

	if (bits == 4) {
		odd = vi_and(vi_shr_16(v, 4), vi_set1_8(15));
		v = vi_and(v, vi_set1_8(15));
	}
	SQ_UNROLL for (t = 0; t < nt; t++) {
		x = (const void *)((const char *)s->x + (size_t)t *
		    j->token_bytes);
		hi = vi_set1(0);
		lo = zeros ? vi_set1(0) : vi_loadu(x->start);
		if (bits == 8) {
			sq_bytes_add(hi, v, vi_loadu(x->code[0]));
			sq_bytes_add(lo, v, vi_loadu(x->code[1]));
		} else {
			sq_bytes_add(hi, v, vi_loadu(x->code[0]));
			sq_bytes_add(lo, v, vi_loadu(x->code[2]));
			sq_bytes_add(hi, odd, vi_loadu(x->code[1]));
			sq_bytes_add(lo, odd, vi_loadu(x->code[3]));
		}
		f = vf_from_i(both(hi, lo));
		if (zeros)
			f = vf_fma(bl_lanes(zero, j->across, bits),
			    vf_load(x->sum), f);
		if (grouped)
			f = vf_mul(bl_lanes(scale, j->across, bits), f);
		acc[t][load] = vf_fma(vf_set1(x->scale), f, acc[t][load]);
	}
}

/* n streams of the line's rows, by nt tokens. */
SQ_INLINE void
bl_streams(const struct job *j, struct bl_line *l, const struct bl_stream *s,
    size_t n, const int bits, const int grouped, const int zeros,
    const int nt)
{
	const size_t per = (size_t)(8 / bits), rows = j->w->n;
	const size_t all = rows / per, m = j->w->m * (size_t)bits / 8;
	const size_t step = bits == 8 ? m : 64;
	const float *scale = l->number, *zero = scale + rows * j->across;
	VF acc[TOKENS][BL_LOADS];
	size_t r, k, i, at, ahead = BL_AHEAD / 64;
	int t, q;

	for (r = 0; r < all; r += BL_LOADS) {
		SQ_UNROLL for (t = 0; t < nt; t++)
			SQ_UNROLL for (q = 0; q < BL_LOADS; q++)
				acc[t][q] = l->acc[t][r + (size_t)q];
		for (k = 0; k < n; k++) {
			at = r + ahead < all ? (r + ahead) * step :
			    s[k].next + (r + ahead - all) * step;
			SQ_UNROLL for (q = 0; q < BL_LOADS; q++) {
				_mm_prefetch((const char *)s[k].p + at +
				    (size_t)q * step, _MM_HINT_T0);
				i = (r + (size_t)q) * per * j->across +
				    s[k].group;
				bl_load(j, vi_loadu(s[k].p + (r + (size_t)q) *
				    step), &s[k], scale + i, zero + i, acc, q,
				    bits, grouped, zeros, nt);
			}
		}
		SQ_UNROLL for (t = 0; t < nt; t++)
			SQ_UNROLL for (q = 0; q < BL_LOADS; q++)
				l->acc[t][r + (size_t)q] = acc[t][q];
	}
}

/* Scales and -z of the rows from `row' on; 0 for those that the weight does not
 * have. */
static void
bl_numbers(const struct job *j, size_t row, float *number)
{
	const struct sq_weight *w = j->w;
	size_t n = w->n * j->across, r, g;
	float *to = number;

	for (r = row; r < row + w->n; r++, to += j->across) {
		if (r >= w->rows) {
			memset(to, 0, j->across * sizeof(*to));
			memset(to + n, 0, j->across * sizeof(*to));
			continue;
		}
		for (g = 0; g < j->across; g += VL)
			vf_put(to + g, scales_of(w, j->across, r, g),
			    j->across - g);
		for (g = 0; w->zeros != NULL && g < j->across; g++)
			to[n + g] = -(float)w->zeros[r / w->group_rows *
			    j->across + g];
	}
}

/* The sums of 16 registers, whose halves are two rows of int4, as those of 16
 * rows. */
SQ_INLINE VF
bl_sums(const VF a[16], const int bits)
{
	const VI rows = _mm512_set_epi32(15, 11, 14, 10, 13, 9, 12, 8, 7, 3, 6,
	    2, 5, 1, 4, 0);
	const int n = 2 * bits;
	VF four[4];
	int i;

#define PAIR(x, y)	vf_add(_mm512_unpacklo_ps(x, y),		\
			    _mm512_unpackhi_ps(x, y))
#define LOW(x, y)	_mm512_castpd_ps(_mm512_unpacklo_pd(		\
			    _mm512_castps_pd(x), _mm512_castps_pd(y)))
#define HIGH(x, y)	_mm512_castpd_ps(_mm512_unpackhi_pd(		\
			    _mm512_castps_pd(x), _mm512_castps_pd(y)))
#define QUARTERS(x, y)	vf_add(_mm512_shuffle_f32x4(x, y, 0x88),	\
			    _mm512_shuffle_f32x4(x, y, 0xdd))
	SQ_UNROLL for (i = 0; i < n / 4; i++) {
		VF x = PAIR(a[4 * i], a[4 * i + 1]);
		VF y = PAIR(a[4 * i + 2], a[4 * i + 3]);

		four[i] = vf_add(LOW(x, y), HIGH(x, y));
	}
	four[0] = QUARTERS(four[0], four[1]);
	if (bits == 4)
		return _mm512_permutexvar_ps(rows, four[0]);
	four[2] = QUARTERS(four[2], four[3]);
	return QUARTERS(four[0], four[2]);
#undef QUARTERS
#undef HIGH
#undef LOW
#undef PAIR
}

/* The scales of rows with one group, 16 from `row' on. */
SQ_INLINE VF
bl_scales(const struct sq_weight *w, size_t row)
{
	float s[VL] = { 0 };
	size_t i;

	if (w->group_rows == 1)
		return vf_take(w->scales, w->scale_type, row, w->rows - row);
	for (i = 0; i < least(VL, w->rows - row); i++)
		s[i] = sq_scalar(w->scales, w->scale_type, (row + i) /
		    w->group_rows);
	return vf_load(s);
}

SQ_INLINE void
bl_put(const struct job *j, const struct bl_line *l, size_t row, size_t token,
    size_t nt, const int bits, const int grouped)
{
	const size_t per = (size_t)(8 / bits);
	size_t n = least(j->w->n, j->w->rows - row), all = j->w->n / per;
	size_t t, r;
	VF a[16], v;
	float *y;
	int i;

	for (t = 0; t < nt; t++) {
		y = (float *)j->y->p + (token + t) * j->y->stride + row;
		for (r = 0; r < n; r += VL) {
			SQ_UNROLL for (i = 0; i < 2 * bits; i++)
				a[i] = r / per + (size_t)i < all ?
				    l->acc[t][r / per + (size_t)i] : vf_zero();
			v = bl_sums(a, bits);
			if (!grouped)
				v = vf_mul(v, bl_scales(j->w, row + r));
			vf_put(y + r, v, n - r);
		}
	}
}

/* A line by nt tokens. */
SQ_INLINE void
bl_tokens(const struct job *j, struct bl_line *l, size_t line, size_t token,
    const int bits, const int grouped, const int zeros, const int nt)
{
	const struct sq_weight *w = j->w;
	const size_t per = w->m / BL_WIDE;
	size_t b = sq_blocks_start(w)[line] * per, i, n;
	size_t end = sq_blocks_start(w)[line + 1] * per, window;
	struct bl_stream s[BL_STREAMS];

	for (i = 0; i < (size_t)nt; i++)
		memset(l->acc[i], 0, w->n * sizeof(l->acc[i][0]));
	for (; b < end; b += n) {
		n = least(end - b, BL_STREAMS);
		for (i = 0; i < n; i++) {
			window = sq_blocks_column(w)[(b + i) / per] * per +
			    (b + i) % per;
			s[i].p = (const uint8_t *)w->data + (b + i) / per *
			    sq_block_bytes(w) + (b + i) % per * BL_WIDE *
			    (size_t)bits / 8;
			s[i].next = BL_STREAMS / per * sq_block_bytes(w);
			s[i].x = packed_at(j, token, window, sizeof(*s[i].x));
			s[i].group = grouped ? group_of(j, window) : 0;
		}
		bl_streams(j, l, s, n, bits, grouped, zeros, nt);
	}
}

SQ_INLINE void
bl_strip(const struct job *j, size_t line, struct bl_line *l, const int bits,
    const int grouped, const int zeros)
{
	const size_t tokens = j->x->rows;
	size_t t, nt;

	if (grouped)
		bl_numbers(j, line * j->w->n, l->number);
	for (t = 0; t < tokens; t += nt) {
		nt = tokens - t >= 4 ? 4 : tokens - t >= 2 ? 2 : 1;
		if (nt == 4)
			bl_tokens(j, l, line, t, bits, grouped, zeros, 4);
		else if (nt == 2)
			bl_tokens(j, l, line, t, bits, grouped, zeros, 2);
		else
			bl_tokens(j, l, line, t, bits, grouped, zeros, 1);
		bl_put(j, l, line * j->w->n, t, nt, bits, grouped);
	}
}

static void
bl_any(const struct job *j, const struct sq_slice *l, size_t strip, void *t)
{
	int grouped = j->across > 1 || j->w->zeros != NULL || j->bits == 4;
	size_t line = l->first + strip;

	if (j->bits == 8 && !grouped)
		bl_strip(j, line, t, 8, 0, 0);
	else if (j->bits == 8 && j->w->zeros == NULL)
		bl_strip(j, line, t, 8, 1, 0);
	else if (j->bits == 8)
		bl_strip(j, line, t, 8, 1, 1);
	else if (j->w->zeros == NULL)
		bl_strip(j, line, t, 4, 1, 0);
	else
		bl_strip(j, line, t, 4, 1, 1);
}

static int
bl_allows(const struct sq_weight *w)
{
	size_t unit = w->grid == SQ_INT8 ? BL_LOADS : 2 * BL_LOADS;

	return (w->grid == SQ_INT8 || w->grid == SQ_INT4) &&
	    w->n % unit == 0 && w->n >= BL_AHEAD / 64 * unit / BL_LOADS &&
	    (w->grid == SQ_INT8 ? w->m % BL_WIDE == 0 : w->m == BL_WIDE) &&
	    (w->group_cols >= w->cols || w->group_cols % BL_WIDE == 0);
}

static size_t
bl_scratch(const struct job *j)
{
	return sizeof(struct bl_line) + 2 * j->w->n * j->across *
	    sizeof(float);
}

#endif
