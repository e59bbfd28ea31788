/*
 * Blocks of int8: a load is a row, whose sums stay in the lanes of a register
 * until the line is done; see sparse_step_blocks.h.
 */
#ifndef SQ_X86_SPARSE_STEP_EIGHTS_H
#define SQ_X86_SPARSE_STEP_EIGHTS_H

#include "kernels/x86/sparse_step_blocks.h"

#define E8_LOADS	4		/* together, of a stream */

struct e8_window {
	int8_t hi[64], lo[64];
	int32_t start[16];		/* -128 times the codes */
	float sum[16];			/* of the codes, lane by lane */
	float scale, none[15];
};

/* Of a thread; scales and -z of the rows of a line lie behind it, each by
 * [row][group]. */
struct e8_line {
	VF acc[TOKENS][SQ_BLOCK_ROWS];
	float number[];
};

static void
e8_pack(const struct job *j, size_t token, size_t window,
    struct e8_window *to)
{
	const float *x = (const float *)j->x->p + token * j->x->stride;
	size_t col = least(window * BL_WIDE, j->x->cols);
	VI sum = vi_set1(0), ones = vi_set1_8(1);

	to->scale = sq_bytes_cut(x + col, least(BL_WIDE, j->x->cols - col),
	    to->hi, to->lo, BL_WIDE);
	sum = _mm512_dpbusd_epi32(vi_shl(_mm512_dpbusd_epi32(sum, ones,
	    vi_loadu(to->hi)), 8), ones, vi_loadu(to->lo));
	vf_store(to->sum, vf_from_i(sum));
	vi_storeu(to->start, vi_sub(vi_set1(0), vi_shl(sum, 7)));
}

/* A row of a stream by nt tokens. */
SQ_INLINE void
e8_load(const struct job *j, VI v, const struct bl_stream *s,
    const float *scale, const float *zero, VF (*acc)[E8_LOADS], int load,
    const int grouped, const int zeros, const int nt)
{
	const struct e8_window *x;
	VI hi, lo;
	VF f;
	int t;

	SQ_UNROLL for (t = 0; t < nt; t++) {
		x = (const void *)((const char *)s->x + (size_t)t *
		    j->token_bytes);
		hi = vi_set1(0);
		lo = zeros ? vi_set1(0) : vi_loadu(x->start);
		sq_bytes_add(hi, v, vi_loadu(x->hi));
		sq_bytes_add(lo, v, vi_loadu(x->lo));
		f = vf_from_i(both(hi, lo));
		if (zeros)
			f = vf_fma(vf_set1(*zero), vf_load(x->sum), f);
		if (grouped)
			f = vf_mul(vf_set1(*scale), f);
		acc[t][load] = vf_fma(vf_set1(x->scale), f, acc[t][load]);
	}
}

/* n streams of the line's rows, by nt tokens. */
SQ_INLINE void
e8_streams(const struct job *j, struct e8_line *l, const struct bl_stream *s,
    size_t n, const int grouped, const int zeros, const int nt)
{
	const size_t rows = j->w->n, step = j->w->m;
	const float *scale = l->number, *zero = scale + rows * j->across;
	VF acc[TOKENS][E8_LOADS];
	size_t r, k, i, at, ahead = BL_AHEAD / BL_WIDE;
	int t, q;

	for (r = 0; r < rows; r += E8_LOADS) {
		SQ_UNROLL for (t = 0; t < nt; t++)
			SQ_UNROLL for (q = 0; q < E8_LOADS; q++)
				acc[t][q] = l->acc[t][r + (size_t)q];
		for (k = 0; k < n; k++) {
			at = r + ahead < rows ? (r + ahead) * step :
			    s[k].next + (r + ahead - rows) * step;
			SQ_UNROLL for (q = 0; q < E8_LOADS; q++) {
				_mm_prefetch((const char *)s[k].p + at +
				    (size_t)q * step, _MM_HINT_T0);
				i = (r + (size_t)q) * j->across + s[k].group;
				e8_load(j, vi_loadu(s[k].p + (r + (size_t)q) *
				    step), &s[k], scale + i, zero + i, acc, q,
				    grouped, zeros, nt);
			}
		}
		SQ_UNROLL for (t = 0; t < nt; t++)
			SQ_UNROLL for (q = 0; q < E8_LOADS; q++)
				l->acc[t][r + (size_t)q] = acc[t][q];
	}
}

/* Scales and -z of the rows from `row' on; 0 for those that the weight does not
 * have. */
static void
e8_numbers(const struct job *j, size_t row, float *number)
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

/* The sums of 16 rows, each of them a register. */
SQ_INLINE VF
e8_sums(const VF a[16])
{
	__m512d x, y;
	VF four[4];
	int i;

#define PAIR(x, y)	_mm512_castps_pd(vf_add(_mm512_unpacklo_ps(x, y), \
			    _mm512_unpackhi_ps(x, y)))
#define HALVES(x, y)	vf_add(_mm512_shuffle_f32x4(x, y, 0x88),	\
			    _mm512_shuffle_f32x4(x, y, 0xdd))
	SQ_UNROLL for (i = 0; i < 4; i++) {
		x = PAIR(a[4 * i], a[4 * i + 1]);
		y = PAIR(a[4 * i + 2], a[4 * i + 3]);
		four[i] = vf_add(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
		    _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
	}
	four[0] = HALVES(four[0], four[1]);
	four[2] = HALVES(four[2], four[3]);
	return HALVES(four[0], four[2]);
#undef HALVES
#undef PAIR
}

SQ_INLINE void
e8_put(const struct job *j, const struct e8_line *l, size_t row, size_t token,
    size_t nt, const int grouped)
{
	size_t n = least(j->w->n, j->w->rows - row), t, r;
	VF a[16], v;
	float *y;
	int i;

	for (t = 0; t < nt; t++) {
		y = (float *)j->y->p + (token + t) * j->y->stride + row;
		for (r = 0; r < n; r += VL) {
			SQ_UNROLL for (i = 0; i < 16; i++)
				a[i] = r + (size_t)i < j->w->n ?
				    l->acc[t][r + (size_t)i] : vf_zero();
			v = e8_sums(a);
			if (!grouped)
				v = vf_mul(v, bl_scales(j->w, row + r));
			vf_put(y + r, v, n - r);
		}
	}
}

/* A line by nt tokens. */
SQ_INLINE void
e8_tokens(const struct job *j, struct e8_line *l, size_t line, size_t token,
    const int grouped, const int zeros, const int nt)
{
	const size_t per = j->w->m / BL_WIDE;
	size_t b = sq_blocks_start(j->w)[line] * per, n;
	size_t end = sq_blocks_start(j->w)[line + 1] * per;
	struct bl_stream s[BL_STREAMS];
	int i;

	for (i = 0; i < nt; i++)
		memset(l->acc[i], 0, j->w->n * sizeof(l->acc[i][0]));
	for (; b < end; b += n) {
		n = least(end - b, BL_STREAMS);
		bl_open(j, s, b, n, token, sizeof(struct e8_window), 8);
		e8_streams(j, l, s, n, grouped, zeros, nt);
	}
	e8_put(j, l, line * j->w->n, token, (size_t)nt, grouped);
}

SQ_INLINE void
e8_line(const struct job *j, size_t line, struct e8_line *l,
    const int grouped, const int zeros)
{
	size_t tokens = j->x->rows, t, nt;

	if (grouped)
		e8_numbers(j, line * j->w->n, l->number);
	for (t = 0; t < tokens; t += nt) {
		nt = tokens - t >= 4 ? 4 : tokens - t >= 2 ? 2 : 1;
		if (nt == 4)
			e8_tokens(j, l, line, t, grouped, zeros, 4);
		else if (nt == 2)
			e8_tokens(j, l, line, t, grouped, zeros, 2);
		else
			e8_tokens(j, l, line, t, grouped, zeros, 1);
	}
}

static void
e8_any(const struct job *j, const struct sq_slice *l, size_t strip, void *t)
{
	size_t line = l->first + strip;

	if (j->w->zeros != NULL)
		e8_line(j, line, t, 1, 1);
	else if (j->across > 1)
		e8_line(j, line, t, 1, 0);
	else
		e8_line(j, line, t, 0, 0);
}

static int
e8_allows(const struct sq_weight *w)
{
	return w->grid == SQ_INT8 && w->n % E8_LOADS == 0 &&
	    w->n >= BL_AHEAD / BL_WIDE && w->m % BL_WIDE == 0 &&
	    (w->group_cols >= w->cols || w->group_cols % BL_WIDE == 0);
}

static size_t
e8_scratch(const struct job *j)
{
	return sizeof(struct e8_line) + 2 * j->w->n * j->across *
	    sizeof(float);
}

#endif
