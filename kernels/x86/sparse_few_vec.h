/*
 * Blocks of int8 and int4 weights by few tokens, in 16-bit integers; over vec.h.
 *
 * A load has a window's columns of R rows, which follow one another in a block
 * of that width, or a part of those of one row.  Words of 16 bits have 2 or 4
 * codes, each in a plane of its own, so a lane of the sums has columns that
 * follow one another:
 *
 *	load of 64 bytes, int4	 row r: c0..c63	       | row r+1: c0..c63
 *	plane k			 c(k) c(4+k) c(8+k) .. | the same
 *
 * A window of x: its scale, the sums of its codes lane by lane, and the codes,
 * plane after plane, R times.
 */
#ifndef SQ_X86_SPARSE_FEW_VEC_H
#define SQ_X86_SPARSE_FEW_VEC_H

#include "kernels/x86/codes.h"
#include "kernels/x86/sparse_token.h"

struct few_head {
	float scale, none[VL - 1], sums[VL];
};

/* Rows of a load, and words of a row in it. */
#define FEW_ROWS(bits, width)						\
	(8 * VB / (bits) > (width) ? 8 * VB / (bits) / (width) : 1)
#define FEW_WORDS(bits, width)	(VB / 2 / FEW_ROWS(bits, width))
#define FEW_BYTES(bits, width)						\
	(sizeof(struct few_head) + 2 * (width) * FEW_ROWS(bits, width))

/* s += pairs of a by those of b, or =. */
#if defined(__AVX512VNNI__) && VL == 16
#define few_first(a, b)		_mm512_dpwssd_epi32(vi_set1(0), a, b)
#define few_more(s, a, b)	_mm512_dpwssd_epi32(s, a, b)
#else
#define few_first(a, b)		vi_madd(a, b)
#define few_more(s, a, b)	vi_add(s, vi_madd(a, b))
#endif
#if VL == 16
#define vi_shr_16(a, n)		_mm512_srli_epi16(a, n)
#else
#define vi_shr_16(a, n)		_mm256_srli_epi16(a, n)
#endif

static void
arrange_few(const float *x, size_t cols, size_t padded, size_t width,
    int bits, void *to)
{
	const size_t rows = FEW_ROWS((size_t)bits, width);
	const size_t planes = 16 / (size_t)bits, words = VB / 2 / rows;
	size_t col, have, i, r, w, at, unit = words * planes;
	_Alignas(64) int16_t code[SQ_SP_WIDTH];
	int16_t *out;
	int32_t sum[VL];
	struct few_head *h = to;

	for (col = 0; col < padded; col += width) {
		have = col >= cols ? 0 : cols - col < width ? cols - col :
		    width;
		memset(h, 0, sizeof(*h));
		memset(sum, 0, sizeof(sum));
		h->scale = token(x + col, have, width, (VI *)code);
		out = (int16_t *)(h + 1);
		for (i = 0; i < width; i++)
			for (r = 0; r < rows; r++) {
				w = r * words + i % unit / planes;
				at = (i / unit * planes + i % planes) *
				    VB / 2 + w;
				out[at] = code[i];
				sum[w / 2] += code[i];
			}
		for (i = 0; i < VL; i++)
			h->sums[i] = (float)sum[i];
		h = (struct few_head *)((char *)h + FEW_BYTES((size_t)bits,
		    width));
	}
}

/* For the lanes of a load's rows, p[0], or p[0] and p[apart]. */
SQ_INLINE VF
few_lanes(const float *p, size_t apart, const int rows)
{
	VF v = vf_set1(*p);

#if VL == 16
	if (rows == 2)
		v = _mm512_mask_broadcastss_ps(v, 0xff00,
		    _mm_load_ss(p + apart));
#else
	(void)apart;
	(void)rows;
#endif
	return v;
}

/* What is read some kilobytes on comes to the second cache, what is next to the
 * first, which waits for few lines at once. */
SQ_INLINE void
few_fetch(const uint8_t *p)
{
	_mm_prefetch((const char *)p + 8192, _MM_HINT_T1);
	_mm_prefetch((const char *)p + 1024, _MM_HINT_T0);
}

/* Where the rows of a line of blocks find what they need. */
struct few_line {
	const float *scale, *zero;	/* [row][across]; zero: or NULL */
	size_t across;
	float mid;			/* the zero point of all, then */
};

/* A load's rows of a window by nt tokens, whose windows are `next' bytes apart;
 * g: of the first row, its group. */
SQ_INLINE void
few_rows(const struct few_line *l, size_t g, const uint8_t *p, const char *x,
    size_t next, float *sums, const int bits, const int width, const int nt)
{
	const int planes = 16 / bits, rows = FEW_ROWS(bits, width);
	const int loads = width / (FEW_WORDS(bits, width) * planes);
	const VI mask = vi_set1_16((short)((1 << bits) - 1));
	VF f, scale = few_lanes(l->scale + g, l->across, rows);
	VF zero = l->zero == NULL ? vf_set1(l->mid) :
	    few_lanes(l->zero + g, l->across, rows);
	VI a, w, d[SQ_SP_TOKENS];
	const struct few_head *h;
	const char *c;
	int i, k, t;

	SQ_UNROLL for (i = 0; i < loads; i++) {
		a = vi_loadu(p + i * VB);
		SQ_UNROLL for (k = 0; k < planes; k++) {
			w = k == 0 ? a : vi_shr_16(a, k * bits);
			if (k + 1 < planes)
				w = vi_and(w, mask);
			SQ_UNROLL for (t = 0; t < nt; t++) {
				c = x + (size_t)t * next + sizeof(*h) +
				    (i * planes + k) * VB;
				if (i + k == 0)
					d[t] = few_first(w, vi_loadu(c));
				else
					d[t] = few_more(d[t], w, vi_loadu(c));
			}
		}
	}
	SQ_UNROLL for (t = 0; t < nt; t++, sums += VL) {
		h = (const struct few_head *)(x + (size_t)t * next);
		f = vf_fma(zero, vf_load(h->sums), vf_from_i(d[t]));
		vf_store(sums, vf_fma(vf_mul(scale, vf_set1(h->scale)), f,
		    vf_load(sums)));
	}
}

/* Scales and -z of all groups of rows row .. row+n-1; the scale of those that
 * the weight does not have is 0.  Those of the next line are fetched. */
static void
few_groups(const struct sq_weight *w, size_t row, size_t n, float *scale,
    float *zero)
{
	size_t across = sq_groups_across(w->cols, w->group_cols), r, g, at;
	size_t size = sq_dtype_size(w->scale_type) * across, i;

	for (r = 0; r < n; r++, scale += across, zero += across) {
		if (row + r >= w->rows) {
			memset(scale, 0, across * sizeof(*scale));
			memset(zero, 0, across * sizeof(*zero));
			continue;
		}
		at = row + r;
		if (w->group_rows > 1)
			at /= w->group_rows;
		for (i = 0; i < size; i += 64)
			_mm_prefetch((const char *)w->scales + (at + n) *
			    size + i, _MM_HINT_T0);
		at *= across;
		for (g = 0; g < across; g += VL)
			vf_put(scale + g, vf_take(w->scales, w->scale_type,
			    at + g, across - g), across - g);
		for (g = 0; w->zeros != NULL && g < across; g++)
			zero[g] = -(float)w->zeros[at + g];
	}
}

/* The sums of a load's rows. */
SQ_INLINE void
few_totals(const float *sums, const int rows, float *out)
{
#if VL == 16
	if (rows == 2) {
		out[0] = _mm512_mask_reduce_add_ps(0x00ff, vf_load(sums));
		out[1] = _mm512_mask_reduce_add_ps(0xff00, vf_load(sums));
		return;
	}
#endif
	(void)rows;
	out[0] = vf_sum(vf_load(sums));
}

/* A row of blocks by nt tokens; scratch: scales, zero points and sums. */
SQ_INLINE void
few_line(const struct sq_sp_few *f, size_t line, size_t token, float *scratch,
    const int bits, const int width, const int nt)
{
	const struct sq_weight *w = f->w;
	const char *x = (const char *)f->x + token * f->stride;
	const size_t wide = w->m * (size_t)bits / 8;
	const int rows = FEW_ROWS(bits, width);
	size_t row = line * w->n, n = w->rows - row, b, c, r, g, col, k;
	size_t across = sq_groups_across(w->cols, w->group_cols);
	float *sums = scratch + 2 * w->n * across, *y, out[2];
	struct few_line l = { scratch, NULL, across,
	    -(float)(1 << (bits - 1)) };
	const uint8_t *p;
	int t;

	if (w->zeros != NULL)
		l.zero = scratch + w->n * across;
	n = n < w->n ? n : w->n;
	memset(sums, 0, w->n * (size_t)nt * VL * sizeof(*sums));
	few_groups(w, row, w->n, scratch, scratch + w->n * across);
	for (b = sq_blocks_start(w)[line]; b < sq_blocks_start(w)[line + 1];
	    b++)
		for (c = 0; c < w->m; c += (size_t)width) {
			col = sq_blocks_column(w)[b] * w->m + c;
			g = col / w->group_cols;
			g = g < across ? g : across - 1;
			p = (const uint8_t *)w->data + b * sq_block_bytes(w) +
			    c * (size_t)bits / 8;
			for (r = 0; r < n; r += (size_t)rows, g += (size_t)
			    rows * across, p += (size_t)rows * wide) {
				few_fetch(p);
				few_rows(&l, g, p, x + col / (size_t)width *
				    FEW_BYTES((size_t)bits, (size_t)width),
				    f->stride, sums + r / (size_t)rows *
				    (size_t)nt * VL, bits, width, nt);
			}
		}
	for (t = 0; t < nt; t++) {
		y = (float *)f->y->p + (token + (size_t)t) * f->y->stride +
		    row;
		for (r = 0; r < n; r += (size_t)rows) {
			few_totals(sums + (r / (size_t)rows * (size_t)nt +
			    (size_t)t) * VL, rows, out);
			for (k = 0; k < (size_t)rows && r + k < n; k++)
				y[r + k] = out[k];
		}
	}
}

#define FEW(bits, width)						\
static void								\
few_##bits##_##width(const struct sq_sp_few *f, size_t first,		\
    size_t end, float *scratch)						\
{									\
	size_t i, t;							\
									\
	for (i = first; i < end; i++) {					\
		for (t = 0; t + SQ_SP_TOKENS <= f->tokens;		\
		    t += SQ_SP_TOKENS)					\
			few_line(f, i, t, scratch, bits, width,		\
			    SQ_SP_TOKENS);				\
		for (; t < f->tokens; t++)				\
			few_line(f, i, t, scratch, bits, width, 1);	\
	}								\
}
FEW(8, 64)
FEW(8, 32)
FEW(4, 64)

#endif
