/*
 * Blocks of int8 and int4 weights by many tokens, in 16-bit integers; see
 * sparse.h.  Both sides are packed as in matmul_int_vec.h, but by windows, so
 * that any of these can be left out:
 *
 *	panel   row r: (c0 c1) (c2 c3) ..	u - z; a pair is broadcast
 *	packed  a scale for each of VL tokens, then (c0 c1) of them, (c2 c3) ..
 *
 * A sum takes a group of columns, at most a window's, so that it is exact.
 */
#include "kernels/x86/codes.h"
#include "kernels/x86/sparse_few_vec.h"
#include "kernels/x86/sparse_token.h"

#define WIDTH	SQ_SP_WIDTH		/* columns of a window, at most */
#define STRIDE	(WIDTH + 32)		/* 64 bytes more: other cache sets */
#define PAIRS	(STRIDE / 2)
#define TV	SQ_MM_VECTORS
#if VL == 16
#define TR	8			/* rows of a tile */
#else
#define TR	4
#endif

struct panel {
	size_t cols, group;		/* of the window, and of a sum */
	float scale[SQ_MM_PANEL][2];
	int16_t w[SQ_MM_PANEL][STRIDE];
};

/* s += pairs of a by those of b, in the register where s is. */
#if defined(__AVX512VNNI__) && VL == 16
#define add_pairs(s, a, b)						\
	__asm__("vpdpwssd %2, %1, %0" : "+v"(s) : "v"(a), "v"(b))
#else
#define add_pairs(s, a, b)						\
	__asm__("vpaddd %1, %0, %0" : "+v"(s) : "v"(vi_madd(a, b)))
#endif

static void
pack_int(const struct sq_mm_x *x, size_t cols, void *packed)
{
	VI pairs[VL][WIDTH / VL / 2];
	float *out = packed;
	VF all[VL];
	size_t i, t;

	memset(pairs, 0, sizeof(pairs));
	for (t = 0; t < VL; t++)
		out[t] = t < x->rows ? token(x->x + t * x->stride, x->cols,
		    cols, pairs[t]) : 0;
	out += VL;
	for (i = 0; i < cols / VL / 2; i++) {
		for (t = 0; t < VL; t++)
			all[t] = (VF)pairs[t][i];
		vf_transpose(all);
		for (t = 0; t < VL; t++, out += VL)
			vf_store(out, all[t]);
	}
}

/* The block of row `row' that has column col; -1: there is none. */
static long
find_block(const struct sq_weight *w, size_t row, size_t col)
{
	const uint32_t *start = sq_blocks_start(w) + row / w->n;
	const uint16_t *column = sq_blocks_column(w);
	size_t lo = start[0], hi = start[1], mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (column[mid] < col / w->m)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < start[1] && column[lo] == col / w->m ? (long)lo : -1;
}

/* A row of a window: u - z, and the scales of its groups. */
static void
row_int(const struct sq_sp_window *n, const uint8_t *from, size_t row,
    struct panel *p, size_t r)
{
	const struct sq_weight *w = n->w;
	int bits = sq_grid_bits(w->grid), mid = 1 << (bits - 1);
	uint8_t u[WIDTH + SQ_CODES_BLOCK];
	size_t g, i, at, across = sq_groups_across(w->cols, w->group_cols);
	VI z;

	sq_codes_unpack(from, n->cols, bits, u);
	for (g = 0; g < n->cols / p->group; g++) {
		at = n->col + g * p->group;
		at = at < w->cols ? at : w->cols - 1;	/* zeros there */
		at = row / w->group_rows * across + at / w->group_cols;
		p->scale[r][g] = sq_scalar(w->scales, w->scale_type, at);
		z = vi_set1_16((short)-(w->zeros != NULL ? w->zeros[at] :
		    mid));
		for (i = g * p->group; i < (g + 1) * p->group; i += 2 * VL)
			vi_storeu(&p->w[r][i], vi_add_16(vi_load_wide(u + i),
			    z));
	}
}

static int
expand_int(const struct sq_sp_window *n, void *panel)
{
	const struct sq_weight *w = n->w;
	size_t bits = sq_sparse_bits(w), row = w->m * bits / 8, r;
	long b = find_block(w, n->row, n->col);
	struct panel *p = panel;
	const uint8_t *from;

	if (b < 0)
		return 0;
	from = (const uint8_t *)w->data + (size_t)b * sq_block_bytes(w) +
	    n->row % w->n * row + n->col % w->m * bits / 8;
	p->cols = n->cols;
	p->group = w->group_cols < n->cols ? w->group_cols : n->cols;
	for (r = 0; r < n->rows; r++, from += row)
		row_int(n, from, n->row + r, p, r);
	return 1;
}

/* Columns c .. end-1, one group: nr rows by nv vectors, `next' apart. */
SQ_INLINE void
tile_group(const int32_t *w, const char *x, size_t next, size_t c, size_t end,
    VI (*s)[TV], const int nr, const int nv)
{
	VI b, v[TV];
	int i, j, k;

	SQ_UNROLL for (i = 0; i < nr; i++)
		SQ_UNROLL for (j = 0; j < nv; j++)
			s[i][j] = vi_set1(0);
	x += VL * sizeof(float) + c / 2 * VL * 4;
	w += c / 2;
	for (; c < end; c += 4, x += 2 * VL * 4, w += 2)
		SQ_UNROLL for (k = 0; k < 2; k++) {
			SQ_UNROLL for (j = 0; j < nv; j++)
				v[j] = vi_loadu(x + (size_t)j * next +
				    k * VL * 4);
			SQ_UNROLL for (i = 0; i < nr; i++) {
				b = vi_set1(w[i * PAIRS + k]);
				SQ_UNROLL for (j = 0; j < nv; j++)
					add_pairs(s[i][j], b, v[j]);
			}
		}
}

SQ_INLINE void
tile_rows(const struct panel *p, size_t row, const char *x, size_t next,
    float *sums, const int nr, const int nv)
{
	VI s[2 * TR][TV];
	size_t c, g = 0;
	float *to;
	VF f;
	int i, j;

	for (c = 0; c < p->cols; c += p->group, g++) {
		tile_group((const int32_t *)p->w[row], x, next, c,
		    c + p->group, s, nr, nv);
		SQ_UNROLL for (j = 0; j < nv; j++)
			SQ_UNROLL for (i = 0; i < nr; i++) {
				to = sums + (j * SQ_MM_PANEL + i) * VL;
				f = vf_mul(vf_from_i(s[i][j]), vf_load((const
				    float *)(x + (size_t)j * next)));
				vf_store(to, vf_fma(vf_set1(
				    p->scale[row + (size_t)i][g]), f,
				    vf_load(to)));
			}
	}
}

SQ_INLINE void
tile_all(const struct panel *p, const char *x, size_t next, size_t rows,
    float *sums, const int nv)
{
	const size_t nr = nv == 1 ? 2 * TR : TR;
	size_t i;

	for (i = 0; i < rows; i += nr)
		tile_rows(p, i, x, next, sums + i * VL, (int)nr, nv);
}

/* sums += panel x packed, of nvec vectors. */
static void
tile_int(const void *panel, const void *packed, size_t rows, size_t nvec,
    float *sums)
{
	const struct panel *p = panel;
	size_t next = SQ_SP_PACKED(p->cols, VL), v, n;
	const char *x = packed;

	for (v = 0; v < nvec; v += n, x += n * next) {
		n = sq_mm_strip(nvec - v);
		if (n == 3)
			tile_all(p, x, next, rows, sums, 3);
		else if (n == 2)
			tile_all(p, x, next, rows, sums, 2);
		else
			tile_all(p, x, next, rows, sums, 1);
		sums += n * SQ_MM_PANEL * VL;
	}
}

#if VL == 8
/* A window of x for runs. */
struct nm_head {
	float scale, none[VL - 1];
};

#define NM_BYTES	(sizeof(struct nm_head) + 2 * SQ_SP_NM)

/*
 * 2:4 of int8, few tokens.  Of the 16 columns of a step, 16 bits each, a byte
 * shuffle picks those of the values, which go along as 16 bits; neighbours are
 * of one row, so their products are added at once.  A line of the index has 16
 * words of 16 steps; its low and its high halves are windows of 8 steps:
 *
 *	half of a word	     i0 i1 i2 i3 | i4 i5 i6 i7	two bits each
 *	a byte, twice	     i0 i1 i2 i3   i0 i1 i2 i3
 *	shifted, masked	     0 0 0 0 0 i 0		2 i
 *	or'ed		     8 for a second run of 4, 1 for a second byte
 */
static void
arrange_nm(const float *x, size_t cols, size_t padded, void *to)
{
	struct nm_head *h = to;
	size_t col, have;

	for (col = 0; col < padded; col += SQ_SP_NM) {
		have = col >= cols ? 0 : cols - col;
		memset(h, 0, sizeof(*h));
		h->scale = token(x + col, have < SQ_SP_NM ? have : SQ_SP_NM,
		    SQ_SP_NM, (VI *)(h + 1));
		h = (struct nm_head *)((char *)h + NM_BYTES);
	}
}

/* Up to 8 steps of a band, from p, by nt tokens, whose windows are at x. */
SQ_INLINE void
nm_window(const uint8_t *p, VI words, size_t steps, const char *x,
    size_t next, VI *d, const int nt)
{
	const VI place = _mm256_setr_epi16(0x100, 0x100, 0x100, 0x100, 0x908,
	    0x908, 0x908, 0x908, 0x100, 0x100, 0x100, 0x100, 0x908, 0x908,
	    0x908, 0x908);
	const VI low = _mm256_setr_epi8(0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10,
	    12, 12, 14, 14, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14,
	    14);
	VI twice[2], at, v;
	size_t s;
	int t;

	twice[0] = _mm256_shuffle_epi8(words, low);
	twice[1] = _mm256_shuffle_epi8(_mm256_srli_epi16(words, 8), low);
	SQ_UNROLL for (t = 0; t < nt; t++)
		d[t] = vi_set1(0);
	SQ_UNROLL for (s = 0; s < 8; s++) {
		if (s >= steps)
			break;
		at = twice[s / 4];
		at = s % 4 == 0 ? _mm256_slli_epi16(at, 1) :
		    _mm256_srli_epi16(at, 2 * (int)(s % 4) - 1);
		at = _mm256_or_si256(vi_and(at, vi_set1_16(0x606)), place);
		v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(p +
		    s * SQ_NM_LANES)));
		SQ_UNROLL for (t = 0; t < nt; t++)
			d[t] = vi_add(d[t], vi_madd(v, _mm256_shuffle_epi8(
			    vi_loadu(x + (size_t)t * next +
			    sizeof(struct nm_head) + s * 2 * SQ_NM_LANES),
			    at)));
	}
}

/* The words of a line: half 0 or 1 of each. */
SQ_INLINE VI
nm_words(const uint32_t *line, int half)
{
	VI a = vi_loadu(line), b = vi_loadu(line + VL);

	if (half != 0) {
		a = _mm256_srli_epi32(a, 16);
		b = _mm256_srli_epi32(b, 16);
	} else {
		a = vi_and(a, vi_set1(0xffff));
		b = vi_and(b, vi_set1(0xffff));
	}
	return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
}

/* The scales of a band's two rows, in turn. */
static VF
nm_scales(const struct sq_weight *w, size_t band, size_t col)
{
	size_t across = sq_groups_across(w->cols, w->group_cols), r, row;
	float s[2];

	for (r = 0; r < 2; r++) {
		row = 2 * band + r < w->rows ? 2 * band + r : w->rows - 1;
		s[r] = sq_scalar(w->scales, w->scale_type,
		    row / w->group_rows * across + col / w->group_cols);
	}
	return _mm256_setr_ps(s[0], s[1], s[0], s[1], s[0], s[1], s[0], s[1]);
}

SQ_INLINE void
nm_band(const struct sq_sp_few *f, size_t band, size_t token, const int nt)
{
	const struct sq_weight *w = f->w;
	const uint8_t *p = (const uint8_t *)w->data + band * sq_nm_values(w);
	const uint32_t *line = (const uint32_t *)w->index +
	    band * sq_nm_index(w) / sizeof(*line);
	const char *x = (const char *)f->x + token * f->stride;
	size_t steps = sq_nm_steps(w), s, r, i;
	VF sum[SQ_SP_TOKENS], scale = nm_scales(w, band, 0);
	float lane[VL], *y;
	VI d[SQ_SP_TOKENS];
	int t;

	SQ_UNROLL for (t = 0; t < nt; t++)
		sum[t] = vf_zero();
	for (s = 0; s < steps; s += 8, p += 8 * SQ_NM_LANES, x += NM_BYTES) {
		few_fetch(p);
		few_fetch(p + 64);
		nm_window(p, nm_words(line + s / 16 * SQ_NM_LANES,
		    s / 8 % 2 != 0), steps - s, x, f->stride, d, nt);
		if (w->group_cols < w->cols)
			scale = nm_scales(w, band, s * SQ_NM_LANES);
		SQ_UNROLL for (t = 0; t < nt; t++)
			sum[t] = vf_fma(vf_mul(scale, vf_set1(((const struct
			    nm_head *)(x + (size_t)t * f->stride))->scale)),
			    vf_from_i(d[t]), sum[t]);
	}
	for (t = 0; t < nt; t++) {
		vf_store(lane, sum[t]);
		y = (float *)f->y->p + (token + (size_t)t) * f->y->stride +
		    2 * band;
		for (r = 0; r < 2 && 2 * band + r < w->rows; r++)
			for (y[r] = 0, i = r; i < VL; i += 2)
				y[r] += lane[i];
	}
}

static void
few_nm(const struct sq_sp_few *f, size_t first, size_t end)
{
	size_t i, t;

	for (i = first; i < end; i++) {
		for (t = 0; t + SQ_SP_TOKENS <= f->tokens; t += SQ_SP_TOKENS)
			nm_band(f, i, t, SQ_SP_TOKENS);
		for (; t < f->tokens; t++)
			nm_band(f, i, t, 1);
	}
}
#endif

static size_t
few_bytes(size_t width, int bits)
{
#if VL == 8
	if (width == SQ_SP_NM)
		return NM_BYTES;
#endif
	return FEW_BYTES((size_t)bits, width);
}

static void
few_ints(const struct sq_sp_few *f, size_t width, size_t first, size_t end,
    float *scratch)
{
#if VL == 8
	if (width == SQ_SP_NM) {
		few_nm(f, first, end);
		return;
	}
#endif
	if (f->w->grid == SQ_INT4)
		few_4_64(f, first, end, scratch);
	else if (width == 64)
		few_8_64(f, first, end, scratch);
	else
		few_8_32(f, first, end, scratch);
}

static void
arrange(const float *x, size_t cols, size_t padded, size_t width, int bits,
    void *to)
{
#if VL == 8
	if (width == SQ_SP_NM) {
		arrange_nm(x, cols, padded, to);
		return;
	}
#endif
	arrange_few(x, cols, padded, width, bits, to);
}

const struct sq_sp_few_int LEVEL(sp_few_int) = {
	.bytes = few_bytes, .arrange = arrange, .few = few_ints
};

_Static_assert(sizeof(struct panel) <= SQ_SP_PANEL, "a panel is larger");

const struct sq_sp_int LEVEL(sp_int) = {
	.pack = pack_int, .expand = expand_int, .tile = tile_int
};
