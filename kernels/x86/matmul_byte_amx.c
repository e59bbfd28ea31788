/*
 * The matrix product of bytes with AMX; see matmul.h and int_vec.h.  Weights
 * are u - z, bytes with a sign, and so are tokens; both lie as tiles:
 *
 *	panel	16 rows of 64 columns; behind all columns the next 16 rows
 *	packed	16 lots of 4 columns of 16 tokens
 *
 * The sums of a span, columns with one scale, are exact.  They go through
 * memory into sums of float32, which get the scale of their row at once and
 * that of their token in the end.  That is done a span late, so that tiles and
 * vectors work side by side.
 */
#include "kernels/x86/int_vec.h"
#include "kernels/x86/step_amx.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/x86.h"

#define WIDE	SQ_TILE_BYTES		/* columns of a tile */
#define HALF	SQ_TILE_ROWS		/* rows of a panel, half of them */
#define LEAST	SQ_MM_UNIT		/* columns of a span */

struct panel {
	_Alignas(64) int8_t w[2][DEPTH / WIDE][HALF][WIDE];
	float scale[DEPTH / LEAST][SQ_MM_PANEL];
	size_t span;
};

/* The sums of a span: two vectors of tokens, by halves of the panel. */
struct span_sums {
	_Alignas(64) int32_t s[2][2][HALF][VL];
};

/* What waits for its scales. */
struct late {
	const struct span_sums *from;	/* NULL: nothing */
	const float *scale;
	float *to;
	int nv;
};

static void
order(const struct sq_weight *w, int direct, struct sq_mm_order *o)
{
	(void)direct;
	o->kind = sq_grid_bits(w->grid);
	o->group = group_of(w);
	o->unit = SQ_MM_UNIT;
	o->spread = 1;
}

/* Columns of one scale that are added up: at most a panel's. */
static size_t
span_of(const struct sq_weight *w)
{
	size_t n = DEPTH;

	while (w->group_cols < w->cols && w->group_cols % n != 0)
		n /= 2;
	return n;
}

/* 64 codes of 4 bits, each in its byte. */
SQ_INLINE VI
nibbles(__m256i v)
{
	VI w = _mm512_cvtepu8_epi16(v);

	return vi_and(vi_or(w, _mm512_slli_epi16(w, 4)), vi_set1_8(15));
}

/* -z of 64 columns, from those of their groups. */
SQ_INLINE VI
zeros_of(const float *z, size_t group)
{
	VI first = vi_set1_8((char)z[0]);

	return group >= WIDE ? first : _mm512_inserti64x4(first,
	    _mm256_set1_epi8((char)z[1]), 1);
}

/* n codes of a row to a panel, up to a whole tile: what is behind them meets
 * zeros.  bits: 4 or 8; even: all zero points are one. */
SQ_INLINE void
put_codes(const uint8_t *from, const float *zero, size_t group, size_t n,
    int8_t *to, const int bits, const int even)
{
	VI z = zeros_of(zero, WIDE), v;
	uint8_t copy[WIDE] = { 0 };
	size_t i;

	for (i = 0; i < n; i += WIDE, from += WIDE * bits / 8,
	    to += HALF * WIDE) {
		if (n - i < WIDE)
			from = memcpy(copy, from, ((n - i) * bits + 7) / 8);
		v = bits == 8 ? vi_loadu(from) :
		    nibbles(_mm256_loadu_si256((const void *)from));
		if (!even)
			z = zeros_of(zero + i / group, group);
		vi_storeu(to, _mm512_add_epi8(v, z));
	}
}

/* The codes of row r. */
static void
put_row(const uint8_t *from, const float *zero, size_t group, size_t n,
    int bits, int even, struct panel *p, size_t r)
{
	uint8_t u[DEPTH + SQ_CODES_BLOCK];
	int8_t *to = p->w[r / HALF][0][r % HALF];

	if (bits != 4 && bits != 8) {
		sq_codes_unpack(from, n, bits, u);
		from = u;
	}
	if (bits == 4 && even)
		put_codes(from, zero, group, n, to, 4, 1);
	else if (bits == 4)
		put_codes(from, zero, group, n, to, 4, 0);
	else
		put_codes(from, zero, group, n, to, 8, even);
}

/* Of n columns; 0 where the weight has none. */
static void
put_scales(const struct groups *g, size_t group, size_t n, struct panel *p,
    size_t r)
{
	size_t i;

	for (i = 0; i < n; i += p->span)
		p->scale[i / p->span][r] = g->scale[i / group];
}

static void
expand(const struct sq_mm_part *part, void *to)
{
	const struct sq_weight *w = part->w;
	size_t n = w->cols - part->col, row, r, bits;
	struct panel *p = to;
	const uint8_t *from;
	struct groups g;

	n = n < part->cols ? n : part->cols;
	bits = (size_t)part->order->kind;
	p->span = span_of(w);
	init_groups(w, &g);
	for (r = 0; r < part->rows; r++) {
		row = part->row + r;
		from = codes_of(part, row, n, (int)bits);
		load_groups(w, row, part->col, n, &g);
		put_row(from, g.zero, part->order->group, n, (int)bits,
		    w->zeros == NULL, p, r);
		put_scales(&g, part->order->group, part->cols, p, r);
	}
}

static void
pack(const struct sq_mm_x *x, void *packed)
{
	size_t c, t, n;
	char *out = packed;
	VF v[VL];
	int i;

	memset(v, 0, sizeof(v));
	for (c = 0; c < x->cols; c += WIDE, out += SQ_TILE_SIZE) {
		n = x->cols - c;
		for (t = 0; t < VL; t++)
			v[t] = t >= x->rows ? vf_zero() :
			    (VF)_mm512_maskz_loadu_epi8(n < WIDE ?
			    ((__mmask64)1 << n) - 1 : ~(__mmask64)0,
			    x->codes + t * x->stride + c);
		vf_transpose(v);
		SQ_UNROLL for (i = 0; i < VL; i++)
			vf_store((float *)out + i * VL, v[i]);
	}
	if (c % BLOCK != 0)
		memset(out, 0, SQ_TILE_SIZE);
}

/* f += scales of the rows times the sums. */
SQ_INLINE void
add_half(const int32_t (*s)[VL], const float *scale, float *f)
{
	int i;

	SQ_UNROLL for (i = 0; i < HALF; i++)
		vf_store(f + i * VL, vf_fma(vf_from_i(vi_load(s[i])),
		    vf_set1(scale[i]), vf_load(f + i * VL)));
}

SQ_INLINE void
add_late(const struct late *l)
{
	int v, h;

	if (l->from == NULL)
		return;
	for (v = 0; v < l->nv; v++)
		for (h = 0; h < 2; h++)
			add_half(l->from->s[v][h], l->scale + h * HALF,
			    l->to + (v * 2 + h) * HALF * VL);
}

/* The products of some steps: w of the panel's first half, x of the first
 * vector and, `next' bytes on, of the second. */
SQ_INLINE void
products(const struct panel *p, const int8_t *w, const char *x, size_t next,
    size_t steps, struct span_sums *t, const int nv)
{
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	for (; steps > 0; steps--, w += SQ_TILE_SIZE, x += SQ_TILE_SIZE) {
		_tile_loadd(6, x, SQ_TILE_BYTES);
		_tile_loadd(4, w, SQ_TILE_BYTES);
		if (nv > 1)
			_tile_loadd(7, x + next, SQ_TILE_BYTES);
		_tile_loadd(5, w + sizeof(p->w[0]), SQ_TILE_BYTES);
		_tile_dpbssd(0, 4, 6);
		if (nv > 1)
			_tile_dpbssd(1, 4, 7);
		_tile_dpbssd(2, 5, 6);
		if (nv > 1)
			_tile_dpbssd(3, 5, 7);
	}
	_tile_stored(0, t->s[0][0], SQ_TILE_BYTES);
	_tile_stored(2, t->s[0][1], SQ_TILE_BYTES);
	if (nv > 1) {
		_tile_stored(1, t->s[1][0], SQ_TILE_BYTES);
		_tile_stored(3, t->s[1][1], SQ_TILE_BYTES);
	}
}

/* All spans of the panel by nv vectors; t: two, in turn. */
SQ_INLINE void
spans(const struct panel *p, const char *x, size_t cols, size_t next,
    struct span_sums *t, struct late *late, float *sums, const int nv)
{
	const int8_t *w = p->w[0][0][0];
	const float *scale = p->scale[0];
	size_t c, n, steps;
	struct span_sums *s;

	for (c = 0; c < cols; c += n, scale += SQ_MM_PANEL) {
		n = cols - c < p->span ? cols - c : p->span;
		steps = (n + WIDE - 1) / WIDE;
		s = late->from == t ? t + 1 : t;
		/* of less than a tile's columns, half a row or half the rows */
		products(p, w + c / WIDE * SQ_TILE_SIZE + c % WIDE, x +
		    c * VL, next, steps, s, nv);
		add_late(late);
		*late = (struct late){ s, scale, sums, nv };
	}
}

/* Tiles of 32 columns, where a span has no more. */
static void
short_tiles(void)
{
	struct sq_tile_config c = sq_tiles_whole();

	c.bytes[4] = c.bytes[5] = LEAST;
	c.rows[6] = c.rows[7] = LEAST / 4;
	sq_tiles_set(&c);
}

static void
tile(const void *panel, const void *packed, size_t rows, size_t cols,
    size_t nvec, float *sums, int first)
{
	const size_t next = cols * VL;
	const struct panel *p = panel;
	const char *x = packed;
	struct late late = { .from = NULL };
	struct span_sums t[2];
	size_t v;

	(void)rows;
	if (first)
		memset(sums, 0, nvec * SQ_MM_PANEL * VL * sizeof(*sums));
	if (p->span < WIDE)
		short_tiles();
	for (v = 0; v + 1 < nvec; v += 2) {
		spans(p, x, cols, next, t, &late, sums, 2);
		x += 2 * next;
		sums += 2 * SQ_MM_PANEL * VL;
	}
	if (v < nvec)
		spans(p, x, cols, next, t, &late, sums, 1);
	add_late(&late);
}

static void
release(void)
{
	_tile_release();
}

const struct sq_mm_level sq_mm_byte_amx = {
	.lanes = VL, .size = 1, .whole = BLOCK,
	.depth = DEPTH, .block = 512, .at_once = 2, .order = order,
	.expand = expand, .pack = pack, .tile = tile, .scaled = finish_scaled,
	.begin = sq_tiles_begin, .end = release
};

/* Does u - z always fit a byte? */
static int
fits(const struct sq_weight *w)
{
	size_t n = (w->rows + w->group_rows - 1) / w->group_rows *
	    sq_groups_across(w->cols, w->group_cols), i;
	uint8_t most = 0;

	if (w->zeros == NULL)
		return 1;
	for (i = 0; i < n; i++)
		most = w->zeros[i] > most ? w->zeros[i] : most;
	return w->grid != SQ_INT8 && most <= 128;
}

int
sq_matmul_int8_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	struct sq_mm_level level = sq_mm_byte_avx512bf16;
	int steps = sq_matmul_int8_allows(w, x, y) && sq_step_allows(w), few;

	/* Few tokens wait for memory, not for products. */
	if (steps)
		level.few = SQ_STEP_TOKENS;
	few = sq_mm_is_few(&level, c, x->rows);
	if (few && steps)
		return sq_step_matmul_int8(c, w, x, y);
	if (few || (sq_mm_int_fits(w) && !fits(w)))
		return sq_matmul_int8_avx512bf16(c, w, x, y);
	return sq_mm_run_int8(&sq_mm_byte_amx, &sq_mm_avx512, c, w, x, y);
}
