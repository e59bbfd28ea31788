/*
 * The loops of sparse products over vec.h; see sparse.h and, for the layouts,
 * kernels/sparse.h.  The file of a level defines LEVEL(op) and includes this.
 *
 * SQ_NM, few tokens: a vector of values is multiplied with a vector of x out of
 * which the index picks an element for each lane.  The picking takes the low
 * bits of a lane, so an index is a word of the line, shifted:
 *
 *	x	  c0   c1   c2   c3    c4   c5   c6   c7	8 columns
 *	word	  0    3    1    2     1    2    0    3		lowest bits
 *	picked	  c0   c3   c1   c2    c5   c6   c4   c7
 *	values	  a    b    e    f     c    d    g    h
 *
 * Lanes are brought together, row by row, at the end of a band.
 */
#include <string.h>

#include "kernels/x86/codes.h"
#include "kernels/x86/sparse.h"
#include "kernels/x86/values.h"
#include "kernels/x86/x86.h"

#define HALVES	(SQ_NM_LANES / VL)	/* vectors of a step */
#define TOKENS	SQ_SP_TOKENS
#define AHEAD	1024			/* bytes read ahead */

/* How a stored value becomes a number; of int8 and int4, signed: it is one,
 * else the zero point is still to be subtracted. */
enum kind {
	KIND_BF16, KIND_INT8, KIND_INT8_SIGNED,
	KIND_INT4,			/* two steps in one byte */
	KIND_INT4_SIGNED,
	KIND_INT4_ROW			/* as in sq-stream(5) */
};

SQ_INLINE size_t
kind_bits(enum kind k)
{
	return k == KIND_BF16 ? 16 : k < KIND_INT4 ? 8 : 4;
}

SQ_INLINE int
kind_has_zero(enum kind k)
{
	return k == KIND_INT8 || k == KIND_INT4 || k == KIND_INT4_ROW;
}

static enum kind
kind_of(const struct sq_weight *w)
{
	int bare = w->layout == SQ_NM && w->zeros == NULL;

	if (w->grid == SQ_INT8)
		return bare ? KIND_INT8_SIGNED : KIND_INT8;
	if (w->grid == SQ_INT4)
		return w->layout == SQ_BLOCKS ? KIND_INT4_ROW :
		    bare ? KIND_INT4_SIGNED : KIND_INT4;
	return KIND_BF16;
}

#if VL == 16
#define vf_permute(a, at)	_mm512_permutexvar_ps(at, a)

/* Bytes as float32. */
#define vf_from_s8(a, h)	_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a))
#define vf_from_u8(a, h)	_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a))
#define load_bytes(p, h)	_mm_loadu_si128((const void *)(p))

/* For each lane, an element of those that it belongs to, of 16 at x. */
SQ_INLINE VF
pick(const float *x, VI at, const size_t m, int h)
{
	const VI high = _mm512_set_epi32(8, 8, 8, 8, 8, 8, 8, 8,
	    0, 0, 0, 0, 0, 0, 0, 0);

	(void)h;
	if (m == 4)
		return _mm512_permutevar_ps(vf_load(x), at);
	/* the lowest three bits, and high */
	at = _mm512_ternarylogic_epi32(at, high, _mm512_set1_epi32(8), 0xd8);
	return _mm512_permutexvar_ps(at, vf_load(x));
}
#else
#define vf_permute(a, at)	_mm256_permutevar8x32_ps(a, at)
#define vf_from_s8(a, h)						\
	_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(upper(a, h)))
#define vf_from_u8(a, h)						\
	_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(upper(a, h)))
#define load_bytes(p, h)	_mm_loadl_epi64((const void *)((p) + 8 * (h)))

/* Half h of the bytes of a vector, at its beginning. */
SQ_INLINE __m128i
upper(__m128i a, int h)
{
	return h == 0 ? a : _mm_srli_si128(a, 8);
}

SQ_INLINE VF
pick(const float *x, VI at, const size_t m, int h)
{
	if (m == 4)
		return _mm256_permutevar_ps(vf_load(x + h * VL), at);
	return _mm256_permutevar8x32_ps(vf_load(x + h * VL), at);
}
#endif

/* 16 values of 8 bits and more at p. */
SQ_INLINE void
load_step(const uint8_t *p, const enum kind k, VF *v)
{
	int h;

	SQ_UNROLL for (h = 0; h < HALVES; h++)
		if (k == KIND_BF16)
			v[h] = vf_bf16((const uint16_t *)p + h * VL);
		else if (k == KIND_INT8)
			v[h] = vf_from_u8(load_bytes(p, h), 0);
		else
			v[h] = vf_from_s8(load_bytes(p, h), 0);
}

/* A unit of 32. */
SQ_INLINE void
load_unit(const uint8_t *p, const enum kind k, VF *v)
{
	const __m128i low = _mm_set1_epi8(15);
	const __m128i number = _mm_set_epi8(7, 6, 5, 4, 3, 2, 1, 0, -1, -2,
	    -3, -4, -5, -6, -7, -8);
	__m128i a, b, c;
	int h;

	if (kind_bits(k) > 4) {
		load_step(p, k, v);
		load_step(p + SQ_NM_LANES * kind_bits(k) / 8, k, v + HALVES);
		return;
	}
	a = _mm_loadu_si128((const void *)p);
	b = _mm_and_si128(_mm_srli_epi16(a, 4), low);
	a = _mm_and_si128(a, low);
	if (k == KIND_INT4_ROW) {
		c = _mm_unpacklo_epi8(a, b);
		b = _mm_unpackhi_epi8(a, b);
		a = c;
	} else if (k == KIND_INT4_SIGNED) {
		a = _mm_shuffle_epi8(number, a);
		b = _mm_shuffle_epi8(number, b);
	}
	SQ_UNROLL for (h = 0; h < HALVES; h++) {
		v[h] = k == KIND_INT4_SIGNED ? vf_from_s8(a, h) :
		    vf_from_u8(a, h);
		v[HALVES + h] = k == KIND_INT4_SIGNED ? vf_from_s8(b, h) :
		    vf_from_u8(b, h);
	}
}

/* Scale and zero point of a group, of 1 and 0 where w is dense. */
static float
scale_of(const struct sq_weight *w, size_t row, size_t group)
{
	return w->grid == SQ_DENSE ? 1 : sq_scalar(w->scales, w->scale_type,
	    row / w->group_rows * sq_groups_across(w->cols, w->group_cols) +
	    group);
}

static float
zero_of(const struct sq_weight *w, size_t row, size_t group)
{
	if (w->zeros == NULL)
		return w->grid == SQ_INT8 ? 128 : 8;
	return w->zeros[row / w->group_rows * sq_groups_across(w->cols,
	    w->group_cols) + group];
}

static size_t
groups_of(const struct sq_weight *w)
{
	return w->grid == SQ_DENSE ? 1 :
	    sq_groups_across(w->cols, w->group_cols);
}

/* Units of 32 columns in a group. */
static size_t
group_units(const struct sq_weight *w)
{
	return groups_of(w) == 1 ? sq_nm_steps(w) / 2 :
	    w->group_cols / SQ_NM_UNIT;
}

/* Scales, or zero points, of a band: [group][rows], and room for a vector. */
static void
band_numbers(const struct sq_weight *w, size_t band, float *to,
    float (*number)(const struct sq_weight *, size_t, size_t))
{
	size_t rows = sq_nm_rows(w), n = groups_of(w), r, g;

	for (r = 0; r < rows; r++)
		for (g = 0; g < n; g++)
			to[g * rows + r] = band * rows + r < w->rows ?
			    number(w, band * rows + r, g) : 0;
}

static size_t
band_room(const struct sq_weight *w)
{
	return groups_of(w) * sq_nm_rows(w) + SQ_NM_LANES;
}

/* A band, and what its lanes need. */
struct band {
	const uint8_t *p;
	const uint32_t *line;
	float *scale, *zero;
};

struct lanes {
	VI row[HALVES];			/* of a band: its scale */
};

static struct lanes
lanes_of(const struct sq_weight *w)
{
	int32_t row[SQ_NM_LANES];
	struct lanes l;
	size_t i, h;

	for (h = 0; h < HALVES; h++) {
		for (i = 0; i < VL; i++)
			row[i] = (int32_t)((h * VL + i) % w->m / w->n);
		l.row[h] = vi_load(row);
	}
	return l;
}

static void
band_set(const struct sq_weight *w, size_t i, float *scratch, struct band *b)
{
	b->p = (const uint8_t *)w->data + i * sq_nm_values(w);
	b->line = (const uint32_t *)w->index +
	    i * sq_nm_index(w) / sizeof(*b->line);
	b->scale = scratch;
	band_numbers(w, i, b->scale, scale_of);
	b->zero = scratch + band_room(w);
	if (kind_has_zero(kind_of(w)))
		band_numbers(w, i, b->zero, zero_of);
}

/* Units u .. end-1, of one line and one group; acc gets their products. */
SQ_INLINE void
nm_units(const struct sq_sp_few *f, const struct band *b, size_t u, size_t end,
    VI (*at)[HALVES], VF (*zero)[HALVES], VF (*acc)[HALVES][TOKENS],
    const enum kind k, const size_t m, const int nb, const int nt)
{
	const size_t bytes = SQ_NM_UNIT * kind_bits(k) / 8;
	const float *x;
	VF v[2 * HALVES];
	int i, j, h, t;

	for (; u < end; u++) {
		SQ_UNROLL for (i = 0; i < nb; i++) {
			_mm_prefetch((const char *)b[i].p + u * bytes + AHEAD,
			    _MM_HINT_T0);
			load_unit(b[i].p + u * bytes, k, v);
			SQ_UNROLL for (j = 0; j < 2 * HALVES; j++) {
				h = j % HALVES;
				x = f->x + (2 * u + (size_t)(j / HALVES)) *
				    SQ_NM_LANES;
				if (kind_has_zero(k))
					v[j] = vf_sub(v[j], zero[i][h]);
				SQ_UNROLL for (t = 0; t < nt; t++)
					acc[i][h][t] = vf_fma(v[j], pick(x +
					    (size_t)t * f->stride, at[i][h], m,
					    h), acc[i][h][t]);
				at[i][h] = vi_shr(at[i][h], m == 4 ? 2 : 3);
			}
		}
	}
}

/* The lanes' scales, or zero points, of a group; those of its rows lie at p. */
SQ_INLINE VF
lane_numbers(const float *p, const struct lanes *l, int h)
{
	return vf_permute(vf_load(p), l->row[h]);
}

/* A line of the index of each band. */
SQ_INLINE void
nm_line(const struct band *b, size_t line, VI (*at)[HALVES], const int nb)
{
	int i, h;

	SQ_UNROLL for (i = 0; i < nb; i++)
		SQ_UNROLL for (h = 0; h < HALVES; h++)
			at[i][h] = vi_load((const int32_t *)b[i].line +
			    line * SQ_NM_LANES + h * VL);
}

/* nb bands by nt tokens, into sum. */
SQ_INLINE void
nm_bands(const struct sq_sp_few *f, const struct band *b,
    const struct lanes *l, VF (*sum)[HALVES][TOKENS], const enum kind k,
    const size_t m, const int nb, const int nt)
{
	const size_t per = (m == 4 ? 16 : 10) / 2;	/* units of a line */
	size_t units = sq_nm_steps(f->w) / 2, size = group_units(f->w);
	size_t rows = sq_nm_rows(f->w), u = 0, g, line = 0, end;
	VF acc[2][HALVES][TOKENS], zero[2][HALVES];
	VI at[2][HALVES];
	int i, h, t;

	nm_line(b, 0, at, nb);
	memset(sum, 0, (size_t)nb * sizeof(*sum));
	for (g = 0; u < units; g++) {
		SQ_UNROLL for (i = 0; i < nb; i++)
			SQ_UNROLL for (h = 0; h < HALVES; h++) {
				zero[i][h] = !kind_has_zero(k) ? vf_zero() :
				    lane_numbers(b[i].zero + g * rows, l, h);
				SQ_UNROLL for (t = 0; t < nt; t++)
					acc[i][h][t] = vf_zero();
			}
		for (; u < units && u < (g + 1) * size; u = end) {
			if (u == (line + 1) * per)
				nm_line(b, ++line, at, nb);
			end = (line + 1) * per < (g + 1) * size ?
			    (line + 1) * per : (g + 1) * size;
			end = end < units ? end : units;
			nm_units(f, b, u, end, at, zero, acc, k, m, nb, nt);
		}
		SQ_UNROLL for (i = 0; i < nb; i++)
			SQ_UNROLL for (h = 0; h < HALVES; h++)
				SQ_UNROLL for (t = 0; t < nt; t++)
					sum[i][h][t] = vf_fma(acc[i][h][t],
					    lane_numbers(b[i].scale +
					    g * rows, l, h), sum[i][h][t]);
	}
}

/* The lanes of a band, token by token, to numbers in y. */
static void
nm_finish(const struct sq_sp_few *f, size_t band, size_t token,
    VF (*sum)[TOKENS], size_t nt)
{
	const struct sq_weight *w = f->w;
	size_t rows = sq_nm_rows(w), r, t, i;
	float lane[SQ_NM_LANES], s, *y;

	for (t = 0; t < nt; t++) {
		for (i = 0; i < HALVES; i++)
			vf_store(lane + i * VL, sum[i][t]);
		y = (float *)f->y->p + (token + t) * f->y->stride;
		for (r = 0; r < rows && band * rows + r < w->rows; r++) {
			s = 0;
			for (i = 0; i < SQ_NM_LANES; i++)
				if (i % w->m / w->n == r)
					s += lane[i];
			y[band * rows + r] = s;
		}
	}
}

/* Two bands at a time where there are few sums; the last one may be alone, and
 * is then its own neighbour. */
SQ_INLINE void
nm_few(const struct sq_sp_few *all, size_t first, size_t end, float *scratch,
    const enum kind k, const size_t m)
{
	struct lanes l = lanes_of(all->w);
	VF sum[2][HALVES][TOKENS];
	struct sq_sp_few f;
	struct band b[2];
	size_t i, j, t, n, nt, room = 2 * band_room(all->w);

	for (i = first; i < end; i += n) {
		n = end - i < 2 ? 1 : 2;
		for (j = 0; j < 2; j++)
			band_set(all->w, i + j % n, scratch + j * room, &b[j]);
		for (t = 0; t < all->tokens; t += nt) {
			f = *all;
			f.x += t * f.stride;
			nt = all->tokens - t;
			if (nt >= TOKENS) {
				nt = TOKENS;
				for (j = 0; j < n; j++)
					nm_bands(&f, b + j, &l, sum + j, k, m,
					    1, TOKENS);
			} else {
				nt = 1;
				nm_bands(&f, b, &l, sum, k, m, 2, 1);
			}
			for (j = 0; j < n; j++)
				nm_finish(&f, i + j, t, sum[j], nt);
		}
	}
}

/* Columns of a block that share a scale. */
static size_t
block_span(const struct sq_weight *w)
{
	return groups_of(w) > 1 && w->group_cols < w->m ? w->group_cols :
	    w->m;
}

/* 16 values of a row of a block. */
SQ_INLINE void
load_block(const uint8_t *p, const enum kind k, VF *v)
{
	__m128i a, b;
	int h;

	if (k != KIND_INT4_ROW) {
		load_step(p, k, v);
		return;
	}
	a = _mm_loadl_epi64((const void *)p);
	b = _mm_srli_epi16(a, 4);
	a = _mm_and_si128(_mm_unpacklo_epi8(a, b), _mm_set1_epi8(15));
	SQ_UNROLL for (h = 0; h < HALVES; h++)
		v[h] = vf_from_u8(a, h);
}

/* nr rows of a block, the first at p, and nt tokens. */
SQ_INLINE void
block_rows(const struct sq_sp_few *f, const uint8_t *p, size_t row, size_t col,
    float *sums, const enum kind k, const int nr, const int nt)
{
	const struct sq_weight *w = f->w;
	const size_t stride = w->m * kind_bits(k) / 8;
	size_t c = 0, end, span = block_span(w), g;
	const float *x = f->x + col;
	VF acc[4][TOKENS], v[HALVES], zero[4];
	int r, t, h;

	for (; c < w->m; c = end) {
		end = c + span;
		if (col + c >= w->cols)
			return;		/* zeros beyond the edge */
		g = groups_of(w) == 1 ? 0 : (col + c) / w->group_cols;
		SQ_UNROLL for (r = 0; r < nr; r++) {
			if (kind_has_zero(k))
				zero[r] = vf_set1(zero_of(w, row + (size_t)r,
				    g));
			SQ_UNROLL for (t = 0; t < nt; t++)
				acc[r][t] = vf_zero();
		}
		for (; c < end; c += SQ_NM_LANES)
			SQ_UNROLL for (r = 0; r < nr; r++) {
				load_block(p + (size_t)r * stride +
				    c * kind_bits(k) / 8, k, v);
				SQ_UNROLL for (h = 0; h < HALVES; h++) {
					if (kind_has_zero(k))
						v[h] = vf_sub(v[h], zero[r]);
					SQ_UNROLL for (t = 0; t < nt; t++)
						acc[r][t] = vf_fma(v[h],
						    vf_load(x + (size_t)t *
						    f->stride + c + h * VL),
						    acc[r][t]);
				}
			}
		SQ_UNROLL for (r = 0; r < nr; r++)
			SQ_UNROLL for (t = 0; t < nt; t++)
				vf_store(sums + (r * TOKENS + t) * VL,
				    vf_fma(acc[r][t], vf_set1(scale_of(w, row +
				    (size_t)r, g)), vf_load(sums +
				    (r * TOKENS + t) * VL)));
	}
}

/* Block b, whose first column is col: n rows of it, from `row' of w. */
SQ_INLINE void
block(const struct sq_sp_few *f, size_t b, size_t row, size_t n, size_t col,
    float *sums, const enum kind k, const int nt)
{
	const struct sq_weight *w = f->w;
	const uint8_t *p = (const uint8_t *)w->data + b * sq_block_bytes(w);
	size_t stride = w->m * kind_bits(k) / 8, r = 0;

	for (; r + 4 <= n; r += 4)
		block_rows(f, p + r * stride, row + r, col,
		    sums + r * TOKENS * VL, k, 4, nt);
	for (; r < n; r++)
		block_rows(f, p + r * stride, row + r, col,
		    sums + r * TOKENS * VL, k, 1, nt);
}

/* One row of blocks and nt tokens. */
SQ_INLINE void
block_line(const struct sq_sp_few *f, size_t i, size_t token, float *sums,
    const enum kind k, const int nt)
{
	const struct sq_weight *w = f->w;
	size_t row = i * w->n, n = w->rows - row, b, r;
	float *y = (float *)f->y->p + token * f->y->stride + row;
	int t;

	if (n > w->n)
		n = w->n;
	memset(sums, 0, n * TOKENS * VL * sizeof(*sums));
	for (b = sq_blocks_start(w)[i]; b < sq_blocks_start(w)[i + 1]; b++)
		block(f, b, row, n, sq_blocks_column(w)[b] * w->m, sums, k,
		    nt);
	for (t = 0; t < nt; t++)
		for (r = 0; r < n; r++)
			y[(size_t)t * f->y->stride + r] = vf_sum(vf_load(sums +
			    (r * TOKENS + (size_t)t) * VL));
}

SQ_INLINE void
block_few(const struct sq_sp_few *all, size_t first, size_t end,
    float *scratch, const enum kind k)
{
	struct sq_sp_few f;
	size_t i, t;

	for (i = first; i < end; i++)
		for (t = 0; t < all->tokens; ) {
			f = *all;
			f.x += t * f.stride;
			if (all->tokens - t >= TOKENS) {
				block_line(&f, i, t, scratch, k, TOKENS);
				t += TOKENS;
			} else {
				block_line(&f, i, t, scratch, k, 1);
				t++;
			}
		}
}

/* One function for each kind and layout. */
#define NM(kind, m)							\
static void								\
nm_##kind##_##m(const struct sq_sp_few *f, size_t first, size_t end,	\
    float *scratch)							\
{									\
	nm_few(f, first, end, scratch, kind, m);			\
}
#define BLOCK(kind)							\
static void								\
block_##kind(const struct sq_sp_few *f, size_t first, size_t end,	\
    float *scratch)							\
{									\
	block_few(f, first, end, scratch, kind);			\
}
#define NM_KINDS(X)							\
	X(KIND_BF16) X(KIND_INT8) X(KIND_INT8_SIGNED) X(KIND_INT4)	\
	X(KIND_INT4_SIGNED)
#define BLOCK_KINDS(X)	X(KIND_BF16) X(KIND_INT8) X(KIND_INT4_ROW)
#define NM_ALL(kind)	NM(kind, 4) NM(kind, 8)
NM_KINDS(NM_ALL)
BLOCK_KINDS(BLOCK)

static void
few(const struct sq_sp_few *f, size_t first, size_t end, float *scratch)
{
	enum kind k = kind_of(f->w);
	size_t m = f->w->m;

#define NM_CASE(kind)							\
	case kind:							\
		(m == 4 ? nm_##kind##_4 : nm_##kind##_8)(f, first, end,	\
		    scratch);						\
		break;
#define BLOCK_CASE(kind)						\
	case kind:							\
		block_##kind(f, first, end, scratch);			\
		break;
	if (f->w->layout == SQ_NM)
		switch (k) {
		NM_KINDS(NM_CASE)
		default: break;
		}
	else
		switch (k) {
		BLOCK_KINDS(BLOCK_CASE)
		default: break;
		}
}

/* What a step needs to come apart: of each column of each row of its band, the
 * lanes that may have it, and their place in a run. */
struct picks {
	size_t rows;
#if VL == 16
	VI lane[SQ_NM_LANES], place, low;	/* lane: [rows][n] */
#endif
};

#if VL == 16
static struct picks
picks_of(const struct sq_weight *w)
{
	struct picks p = { sq_nm_rows(w), .low =
	    _mm512_set1_epi32((int)w->m - 1) };
	int32_t at[SQ_NM_LANES];
	size_t i, c;

	for (c = 0; c < SQ_NM_LANES; c++)
		at[c] = (int32_t)(c % w->m);
	p.place = vi_load(at);
	for (i = 0; i < w->m; i++) {
		for (c = 0; c < SQ_NM_LANES; c++)
			at[c] = (int32_t)(c / w->m * w->m + i);
		p.lane[i] = vi_load(at);
	}
	return p;
}

/* A step, scaled, to its places in `out'; what is empty adds 0. */
static void
spread_step(const struct sq_weight *w, const struct picks *p, size_t band,
    size_t step, const float *v, float *out, size_t stride)
{
	const uint32_t *line = (const uint32_t *)w->index +
	    (band * sq_nm_index(w) + step / sq_nm_per_line(w) * SQ_NM_LINE) /
	    sizeof(*line);
	VI at = _mm512_and_si512(_mm512_srlv_epi32(vi_load((const int32_t *)
	    line), _mm512_set1_epi32((int)(step % sq_nm_per_line(w) *
	    sq_nm_bits(w)))), p->low);
	VF value = vf_load(v), sum;
	const VI *lane = p->lane;
	size_t r, s;

	for (r = 0; r < p->rows; r++, out += stride) {
		sum = vf_zero();
		for (s = 0; s < w->n; s++, lane++)
			sum = _mm512_mask_add_ps(sum, _mm512_cmpeq_epi32_mask(
			    _mm512_permutexvar_epi32(*lane, at), p->place),
			    sum, _mm512_permutexvar_ps(*lane, value));
		vf_store(out, sum);
	}
}
#else
static struct picks
picks_of(const struct sq_weight *w)
{
	return (struct picks){ sq_nm_rows(w) };
}

static void
spread_step(const struct sq_weight *w, const struct picks *p, size_t band,
    size_t step, const float *v, float *out, size_t stride)
{
	size_t L, r;

	for (r = 0; r < p->rows; r++)
		memset(out + r * stride, 0, SQ_NM_LANES * sizeof(*out));
	for (L = 0; L < SQ_NM_LANES; L++)
		out[L % w->m / w->n * stride + L / w->m * w->m + sq_nm_get(w,
		    band, step, L)] += v[L];
}
#endif

/* Lanes' scales and zero points in a group of a band; behind the last row
 * there are the last one's. */
static void
group_lanes(const struct sq_weight *w, size_t row, size_t g, int zeros,
    float *scale, float *zero)
{
	size_t L, at;

	for (L = 0; L < SQ_NM_LANES; L++) {
		at = row + L % w->m / w->n;
		if (at >= w->rows)
			at = w->rows - 1;
		scale[L] = scale[SQ_NM_LANES + L] = scale_of(w, at, g);
		zero[L] = zero[SQ_NM_LANES + L] = zeros ? zero_of(w, at, g) :
		    0;
	}
}

static void
load_any(const uint8_t *p, enum kind k, float *to)
{
	VF v[2 * HALVES];
	int h;

	switch (k) {
#define LOAD_CASE(kind)	case kind: load_unit(p, kind, v); break;
	NM_KINDS(LOAD_CASE)
	default: load_unit(p, KIND_INT4_ROW, v); break;
	}
	for (h = 0; h < 2 * HALVES; h++)
		vf_store(to + h * VL, v[h]);
}

/* Rows of a window are whole bands: at most 16 rows have one. */
static int
spread_nm(const struct sq_sp_window *n, float *out, size_t stride)
{
	const struct sq_weight *w = n->w;
	const struct picks picks = picks_of(w);
	size_t rows = picks.rows, i, u, band, L;
	size_t first = n->col / SQ_NM_UNIT, end = first +
	    sq_sparse_div(n->cols, SQ_NM_UNIT), size = group_units(w);
	float v[2 * SQ_NM_LANES], scale[2 * SQ_NM_LANES];
	float zero[2 * SQ_NM_LANES], *to;
	enum kind k = kind_of(w);

	for (i = 0; i < n->rows; i += rows) {
		band = (n->row + i) / rows;
		to = out + i * stride;
		for (u = first; u < end; u++, to += SQ_NM_UNIT) {
			if (u == first || u % size == 0)
				group_lanes(w, n->row + i, u / size,
				    kind_has_zero(k), scale, zero);
			load_any((const uint8_t *)w->data + band *
			    sq_nm_values(w) + u * SQ_NM_UNIT * kind_bits(k) /
			    8, k, v);
			for (L = 0; L < 2 * SQ_NM_LANES; L++)
				v[L] = (v[L] - zero[L]) * scale[L];
			spread_step(w, &picks, band, 2 * u, v, to, stride);
			spread_step(w, &picks, band, 2 * u + 1, v +
			    SQ_NM_LANES, to + SQ_NM_LANES, stride);
		}
	}
	return 1;
}

/* Columns at .. end-1 of the window, from those of row r of a block at p. */
static void
spread_row(const struct sq_sp_window *n, const uint8_t *p, size_t row,
    size_t col, size_t cols, float *out)
{
	const struct sq_weight *w = n->w;
	enum kind k = kind_of(w);
	size_t c, g;
	VF v[HALVES], z;
	int h;

	for (c = 0; c < cols; c += SQ_NM_LANES) {
		switch (k) {
#define ROW_CASE(kind)							\
		case kind:						\
			load_block(p + c * kind_bits(kind) / 8, kind,	\
			    v);						\
			break;
		BLOCK_KINDS(ROW_CASE)
		default: return;
		}
		g = groups_of(w) == 1 ? 0 : (col + c) / w->group_cols;
		z = vf_set1(kind_has_zero(k) ? zero_of(w, row, g) : 0);
		for (h = 0; h < HALVES; h++)
			vf_store(out + c + h * VL, vf_mul(vf_sub(v[h], z),
			    vf_set1(scale_of(w, row, g))));
	}
}

/* A row of the window; 0: it has no block. */
static int
spread_blocks_row(const struct sq_sp_window *n, size_t row, float *out)
{
	const struct sq_weight *w = n->w;
	const uint32_t *start = sq_blocks_start(w) + row / w->n;
	size_t b, col, first, end, bits = sq_sparse_bits(w);
	int any = 0;

	for (b = start[0]; b < start[1]; b++) {
		col = sq_blocks_column(w)[b] * w->m;
		first = col < n->col ? n->col : col;
		end = col + w->m;
		if (end > n->col + n->cols)
			end = n->col + n->cols;
		if (end > w->cols)
			end = w->cols;
		if (first >= end)
			continue;
		if (!any)
			memset(out, 0, n->cols * sizeof(*out));
		any = 1;
		spread_row(n, (const uint8_t *)w->data +
		    ((b * w->n + row % w->n) * w->m + first - col) * bits / 8,
		    row, first, end - first, out + first - n->col);
	}
	return any;
}

static int
spread(const struct sq_sp_window *n, float *out, size_t stride)
{
	size_t i, j;

	if (n->w->layout == SQ_NM)
		return spread_nm(n, out, stride);
	for (i = 0; i < n->rows; i++)
		if (spread_blocks_row(n, n->row + i, out + i * stride))
			break;
	if (i == n->rows)
		return 0;
	for (j = 0; j < i; j++)
		memset(out + j * stride, 0, n->cols * sizeof(*out));
	for (j = i + 1; j < n->rows; j++)
		if (!spread_blocks_row(n, n->row + j, out + j * stride))
			memset(out + j * stride, 0, n->cols * sizeof(*out));
	return 1;
}

const struct sq_sp_level LEVEL(sp) = {
	.plain = &LEVEL(mm), .floats = &LEVEL(mm), .ints = &LEVEL(sp_int),
	.few_ints = &LEVEL(sp_few_int),
	.matmul = LEVEL(matmul), .few = few, .spread = spread
};

int
LEVEL(sparse_matmul)(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	return sq_sp_run(&LEVEL(sp), &LEVEL(mm), c, w, x, prec, y);
}
