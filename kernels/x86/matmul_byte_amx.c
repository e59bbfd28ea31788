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
#include "kernels/x86/few.h"
#include "kernels/x86/tiles.h"
#include "kernels/x86/x86.h"

#define WIDE	SQ_TILE_BYTES		/* columns of a tile */
#define HALF	SQ_TILE_ROWS		/* rows of a panel, half of them */
#define LEAST	SQ_MM_UNIT		/* columns of a span */
#define DEEP	1024			/* columns of a panel */
#define SOON	2			/* steps that tiles are fetched ahead */
#define PARTS	8			/* of a step: its instructions */
#define SECOND	((size_t)DEEP * HALF)	/* bytes to the panel's second half */

struct panel {
	_Alignas(64) int8_t w[2][DEEP / WIDE][HALF][WIDE];
	float scale[DEEP / LEAST][SQ_MM_PANEL];
	size_t span;
};

/* The sums of a span: two vectors of tokens, by halves of the panel. */
struct span_sums {
	_Alignas(64) int32_t s[2][2][HALF][VL];
};

/* What waits for its scales. */
struct late {
	const struct span_sums *from;
	const float *scale;
	float *to;
	size_t rows;
	__mmask16 keep;			/* of what is there: all, or none */
};

/* Where the next step's tiles lie: w of the panel's first half, x of the first
 * vector of tokens and, `next' bytes on, of the second. */
struct place {
	const int8_t *w;
	const char *x;
	size_t next;
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
	size_t n = DEEP;

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
	uint8_t u[DEEP + SQ_CODES_BLOCK];
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

/* n rows of a span's sums, from `row' of those of all halves: sums of float32
 * = or += the scale of the row times them. */
SQ_INLINE void
add_rows(const struct late *l, size_t row, const size_t n)
{
	const int32_t *s = (const int32_t *)l->from + row * VL;
	const float *scale = l->scale + row % SQ_MM_PANEL;
	float *to = l->to + row * VL;
	size_t i;

	SQ_UNROLL for (i = 0; i < n; i++)
		vf_store(to + i * VL, vf_fma(vf_from_i(vi_load(s + i * VL)),
		    vf_set1(scale[i]), _mm512_maskz_load_ps(l->keep,
		    to + i * VL)));
}

static void
add_late(const struct late *l)
{
	size_t row;

	for (row = 0; row < l->rows; row += HALF)
		add_rows(l, row, HALF);
}

/* Part i of the tiles of a later step. */
SQ_INLINE void
fetch(const struct place *at, size_t i)
{
	const size_t n = 2 * SQ_TILE_SIZE / PARTS;
	const size_t second = i * n / SQ_TILE_SIZE;
	const char *w = (const char *)at->w + second * SECOND, *x = at->x;
	size_t j;

	w += SOON * SQ_TILE_SIZE + i * n % SQ_TILE_SIZE;
	x += second * at->next + SOON * SQ_TILE_SIZE + i * n % SQ_TILE_SIZE;
	SQ_UNROLL for (j = 0; j < n; j += 64) {
		_mm_prefetch(w + j, _MM_HINT_T0);
		_mm_prefetch(x + j, _MM_HINT_T0);
	}
}

/* Part i of what goes on between the instructions of a step, as tiles.h
 * wants: rows of what is late, from `row' on, or fetches. */
SQ_INLINE void
between(const struct place *at, const struct late *l, size_t row, size_t i,
    const size_t rows)
{
	if (rows > 0)
		add_rows(l, row + i * rows, rows);
	else
		fetch(at, i);
	__asm__ volatile("" : : : "memory");
}

SQ_INLINE void
step(struct place *at, const struct late *l, size_t row, const size_t rows)
{
	_tile_loadd(6, at->x, SQ_TILE_BYTES);
	between(at, l, row, 0, rows);
	_tile_loadd(4, at->w, SQ_TILE_BYTES);
	between(at, l, row, 1, rows);
	_tile_dpbssd(0, 4, 6);
	between(at, l, row, 2, rows);
	_tile_loadd(5, at->w + SECOND, SQ_TILE_BYTES);
	between(at, l, row, 3, rows);
	_tile_dpbssd(2, 5, 6);
	sq_tile_done(6);
	between(at, l, row, 4, rows);
	_tile_loadd(7, at->x + at->next, SQ_TILE_BYTES);
	between(at, l, row, 5, rows);
	_tile_dpbssd(1, 4, 7);
	sq_tile_done(4);
	between(at, l, row, 6, rows);
	_tile_dpbssd(3, 5, 7);
	sq_tile_done(5);
	sq_tile_done(7);
	between(at, l, row, 7, rows);
	at->w += SQ_TILE_SIZE;
	at->x += SQ_TILE_SIZE;
}

/* The steps of a span by two vectors, and what is late. */
SQ_INLINE void
two_vectors(struct place at, size_t steps, const struct late *l,
    struct span_sums *t)
{
	const size_t all = 2 * SQ_MM_PANEL;

	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	if (steps == 1) {
		step(&at, l, 0, all / PARTS);
	} else {
		step(&at, l, 0, all / 2 / PARTS);
		step(&at, l, all / 2, all / 2 / PARTS);
		for (; steps > 2; steps--)
			step(&at, l, 0, 0);
	}
	_tile_stored(0, t->s[0][0], SQ_TILE_BYTES);
	_tile_stored(1, t->s[1][0], SQ_TILE_BYTES);
	_tile_stored(2, t->s[0][1], SQ_TILE_BYTES);
	_tile_stored(3, t->s[1][1], SQ_TILE_BYTES);
}

SQ_INLINE void
one_vector(struct place at, size_t steps, const struct late *l,
    struct span_sums *t)
{
	add_late(l);
	_tile_zero(0);
	_tile_zero(2);
	for (; steps > 0; steps--) {
		_tile_loadd(6, at.x, SQ_TILE_BYTES);
		_tile_loadd(4, at.w, SQ_TILE_BYTES);
		_tile_dpbssd(0, 4, 6);
		sq_tile_done(4);
		_tile_loadd(5, at.w + SECOND, SQ_TILE_BYTES);
		_tile_dpbssd(2, 5, 6);
		sq_tile_done(5);
		sq_tile_done(6);
		at.w += SQ_TILE_SIZE;
		at.x += SQ_TILE_SIZE;
	}
	_tile_stored(0, t->s[0][0], SQ_TILE_BYTES);
	_tile_stored(2, t->s[0][1], SQ_TILE_BYTES);
}

/* All spans of the panel by nv vectors; t: two, in turn. */
SQ_INLINE void
spans(const struct panel *p, const char *x, size_t cols, size_t next,
    struct span_sums *t, struct late *late, float *sums, int first,
    const int nv)
{
	const float *scale = p->scale[0];
	struct place at = { .next = next };
	size_t c, n, steps;
	struct span_sums *s;

	for (c = 0; c < cols; c += n, scale += SQ_MM_PANEL) {
		n = cols - c < p->span ? cols - c : p->span;
		steps = (n + WIDE - 1) / WIDE;
		s = late->from == t ? t + 1 : t;
		/* of less than a tile's columns, half a row or half the rows */
		at.w = p->w[0][c / WIDE][0] + c % WIDE;
		at.x = x + c * VL;
		if (nv > 1)
			two_vectors(at, steps, late, s);
		else
			one_vector(at, steps, late, s);
		*late = (struct late){ s, scale, sums, (size_t)nv *
		    SQ_MM_PANEL, first && c == 0 ? 0 : 0xffff };
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
	static const struct span_sums none;
	static const float no_scale[SQ_MM_PANEL];
	struct span_sums t[2];
	struct late late = { &none, no_scale, sums, 0, 0xffff };
	size_t v;

	(void)rows;
	if (p->span < WIDE)
		short_tiles();
	for (v = 0; v + 1 < nvec; v += 2) {
		spans(p, x, cols, next, t, &late, sums, first, 2);
		x += 2 * next;
		sums += 2 * SQ_MM_PANEL * VL;
	}
	if (v < nvec)
		spans(p, x, cols, next, t, &late, sums, first, 1);
	add_late(&late);
}

static void
release(void)
{
	_tile_release();
}

const struct sq_mm_level sq_mm_byte_amx = {
	.lanes = VL, .size = 1, .whole = BLOCK,
	.depth = DEEP, .block = 512, .order = order,
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
	const struct sq_few one = { &w, 1, NULL, x, y };
	struct sq_mm_level level = sq_mm_byte_avx512vnni;
	int steps = sq_matmul_int8_allows(w, x, y) && sq_few_allows(w), few;

	/* Few tokens wait for memory, not for products. */
	if (steps)
		level.few = SQ_FEW_TOKENS;
	few = sq_mm_is_few(&level, c, x->rows);
	if (few && steps)
		return sq_few_amx(c, &one);
	if (few || (sq_mm_int_fits(w) && !fits(w)))
		return sq_matmul_int8_avx512vnni(c, w, x, y);
	return sq_mm_run_int8(&sq_mm_byte_amx, &sq_mm_avx512, c, w, x, y);
}
