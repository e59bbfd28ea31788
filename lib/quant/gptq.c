/*
 * GPTQ, a tile of 128 rows at a time; see gptq.h.
 *
 * What the columns of a tile (gptq_tile.h) are while they are rounded:
 *
 *	x [n][ROWS]	in the order of quantization: weights, and then, where a
 *			column is done, its error w - q
 *	t [B][ROWS]	the columns of one panel: weight + what the errors
 *			before it ask for, which is what is rounded
 *
 * A panel's t is one product of all errors so far with the factor's panel; in
 * it, halves are done one after the other, with a product in between, down to
 * 16 columns, which go one by one.  Shapes of products do not depend on threads
 * or on how many rows there are: the last tile is filled up with zeros.
 */
#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "quant/chunks.h"
#include "quant/gptq_tile.h"

#define ROWS	SQ_GPTQ_ROWS
#define B	SQ_PANEL
#define LEAF	16		/* columns that go one by one */
#define LANES	SQ_LANES
#define STRIP	16		/* rows that are transposed together */
#define BLOCK	64		/* columns that are packed together */

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t
groups(size_t n, size_t cols)
{
	return (n + cols - 1) / cols;
}

/* ---- memory ---- */

/* The next n bytes at p + *used; p may be NULL, to count. */
static void *
carve(char *p, size_t *used, size_t n)
{
	size_t at = *used;

	*used += (n + 63) / 64 * 64;
	return p == NULL ? NULL : p + at;
}

/* Lays a tile out at s->memory: the bytes that it takes. */
static size_t
lay_out(struct sq_gptq_tile *s, size_t n, size_t across, int masked, int exact,
    int pairs)
{
	size_t column = ROWS * sizeof(float), used = 0;
	char *p = s->memory;

	s->x = carve(p, &used, n * column);
	s->t = carve(p, &used, B * column);
	s->rows = carve(p, &used, STRIP * n * sizeof(float));
	s->divisor = carve(p, &used, across * column);
	s->value = carve(p, &used, across * column);
	s->zero = carve(p, &used, across * column);
	s->offset = carve(p, &used, across * column);
	s->u = carve(p, &used, n * ROWS);
	s->saved_x = carve(p, &used, B * column);
	s->saved_t = carve(p, &used, B * column);
	s->fit = carve(p, &used, B * column);
	s->square = carve(p, &used, B * B * sizeof(float));
	s->codes = carve(p, &used, B * ROWS);
	s->all_g = pairs ? carve(p, &used, n * column) : NULL;
	s->moves = pairs ? carve(p, &used, n * (5 * SQ_PAIR_ROWS + 1) *
	    sizeof(float)) : NULL;
	s->keep = masked ? carve(p, &used, n * ROWS) : NULL;
	s->q = exact ? carve(p, &used, n * column) : NULL;
	return used;
}

uint64_t
sq_gptq_bytes(size_t n, size_t group_cols, int masked, int exact, int pairs)
{
	struct sq_gptq_tile s = { .memory = NULL };

	return lay_out(&s, n, groups(n, group_cols), masked, exact, pairs);
}

uint64_t
sq_gptq_shared(size_t n, int pairs)
{
	return pairs ? n * SQ_PARTNERS * (sizeof(uint32_t) + sizeof(float)) :
	    0;
}

static int
is_exact(const struct sq_gptq *g)
{
	return g->rule.grid == SQ_DENSE;
}

static int
has_mask(const struct sq_gptq *g)
{
	return g->masked || g->choose.kind != SQ_MASK_NONE;
}

int
sq_gptq_init(struct sq_gptq *g, int threads, char *err)
{
	size_t n = g->factor->n, across = groups(n, g->rule.group_cols), bytes;
	struct sq_gptq_tile *s;
	int i, pairs = g->pairs && g->sweeps > 0 && !is_exact(g);

	g->error = g->rtn_error = g->norm = 0;
	g->partner = NULL;
	g->partner_h = NULL;
	g->threads = threads;
	g->tile = calloc((size_t)threads, sizeof(*g->tile));
	for (i = 0; g->tile != NULL && i < threads; i++) {
		s = &g->tile[i];
		bytes = lay_out(s, n, across, has_mask(g), is_exact(g), pairs);
		s->memory = aligned_alloc(64, bytes);
		if (s->memory == NULL ||
		    sq_ctx_init(&s->ctx, g->ctx->kern, NULL) < 0)
			break;
		s->ctx.fell = g->ctx->fell;
		(void)lay_out(s, n, across, has_mask(g), is_exact(g), pairs);
	}
	if (g->tile != NULL && i == threads &&
	    (!pairs || sq_gptq_find_partners(g) == 0))
		return 0;
	sq_gptq_release(g);
	return sq_fail(err, "GPTQ of %zu columns: out of memory", n);
}

void
sq_gptq_release(struct sq_gptq *g)
{
	int i;

	free(g->partner);
	free(g->partner_h);
	g->partner = NULL;
	g->partner_h = NULL;
	for (i = 0; g->tile != NULL && i < g->threads; i++) {
		free(g->tile[i].memory);
		sq_ctx_release(&g->tile[i].ctx);
	}
	free(g->tile);
	g->tile = NULL;
}

/* ---- weights and scales of a tile ---- */

/* Rows of the tile as they are. */
static int
get_rows(const struct sq_gptq_work *k, size_t r, size_t n, float *to)
{
	const struct sq_mat *m = k->j->w;
	struct sq_weight w = { .grid = SQ_DENSE, .rows = m->rows,
	    .cols = m->cols, .type = m->type, .data = m->p };
	struct sq_mat out = { to, SQ_F32, n, w.cols, w.cols };

	return sq_dequantize(&k->s->ctx, &w, k->row + r, &out);
}

/* x: the weights, column col[i] as the i-th; col NULL: as they are. */
static int
load(const struct sq_gptq_work *k, const uint32_t *col)
{
	struct sq_gptq_tile *s = k->s;
	size_t n = k->f->n, r, i, m, l;
	const float *from;
	float *restrict to;

	for (r = 0; r < ROWS; r += STRIP) {
		m = r < k->rows ? least(STRIP, k->rows - r) : 0;
		if (m > 0 && get_rows(k, r, m, s->rows) != 0)
			return -1;
		memset(s->rows + m * n, 0, (STRIP - m) * n * sizeof(float));
		for (i = 0; i < n; i++) {
			from = s->rows + (col == NULL ? i : col[i]);
			to = s->x + i * ROWS + r;
			for (l = 0; l < STRIP; l++)
				to[l] = from[l * n];
		}
	}
	return 0;
}

/* Scale and offset of group g of a super-block. */
static void
load_super(const struct sq_gptq_work *k, size_t g, size_t r, size_t at)
{
	const struct sq_dst *q = k->j->q;
	size_t supers = k->f->n / SQ_SUPER, in = k->j->across / supers;
	size_t b = (k->row + r) * supers + g / in;

	k->s->offset[g * ROWS + r] = 0;
	if (!k->j->levels.offsets) {
		k->s->value[g * ROWS + r] = sq_f16_to_f32(q->super[b]) *
		    (int8_t)q->scales8[at];
		return;
	}
	k->s->value[g * ROWS + r] = sq_f16_to_f32(q->super[b]) *
	    q->scales8[at];
	k->s->offset[g * ROWS + r] = sq_f16_to_f32(q->supermins[b]) *
	    q->submins[at];
}

void
sq_gptq_load_scales(const struct sq_gptq_work *k, size_t g)
{
	const struct sq_gptq_job *j = k->j;
	size_t r, at = k->row * j->across + g;
	float *d = k->s->divisor + g * ROWS, *v = k->s->value + g * ROWS;
	float *z = k->s->zero + g * ROWS;

	for (r = 0; r < ROWS; r++, at += j->across) {
		z[r] = j->levels.zero;
		if (r >= k->rows)
			v[r] = k->s->offset[g * ROWS + r] = 0;
		else if (j->levels.super)
			load_super(k, g, r, at);
		else if (j->q->scales8 != NULL)
			v[r] = sq_e8m0_to_f32(j->q->scales8[at]);
		else
			v[r] = sq_f16_to_f32(j->q->scales[at]);
		if (r < k->rows && j->q->zeros != NULL)
			z[r] = j->q->zeros[at];
		d[r] = v[r] == 0 ? INFINITY : v[r];
	}
}

/* Scales by weight; x are the weights, columns as they are. */
static int
search(const struct sq_gptq_work *k)
{
	size_t n = k->j->across, g;

	if (k->j->levels.super) {
		for (g = 0; g < k->f->n / SQ_SUPER; g++)
			if (sq_gptq_search_super(k, g, k->s->x +
			    g * SQ_SUPER * ROWS) < 0)
				return -1;
		return 0;
	}
	for (g = 0; g < n; g++)
		if (sq_gptq_search(k, g, k->s->x + sq_gptq_first(k, g) *
		    ROWS) < 0)
			return -1;
	return 0;
}

/* Scales by `quantize'; the codes that come with them are not used. */
static int
quantize(const struct sq_gptq_work *k)
{
	const struct sq_gptq_job *j = k->j;
	const struct sq_mat *w = j->w;
	size_t n = w->cols, g;
	struct sq_mat m = { (char *)w->p + k->row * n * sq_dtype_size(w->type),
	    w->type, k->rows, n, n };
	struct sq_qdst q = {
	    .codes = j->q->codes + k->row * sq_row_bytes(n, j->bits),
	    .scales = j->q->scales + k->row * j->across,
	    .zeros = j->q->zeros == NULL ? NULL :
	    j->q->zeros + k->row * j->across };

	if (sq_quantize(&k->s->ctx, &m, &j->g->rule, &q) != 0)
		return -1;
	for (g = 0; g < j->across; g++)
		sq_gptq_load_scales(k, g);
	return 0;
}

static void
pack_row(const uint8_t *u, size_t n, int bits, uint8_t *to)
{
	uint64_t v;
	size_t i, c, m;

	for (c = 0; c < n; c += 8, to += bits) {
		m = least(8, n - c);
		v = 0;
		for (i = 0; i < m; i++)
			v |= (uint64_t)u[(c + i) * ROWS] << i * (size_t)bits;
		v = htole64(v);
		memcpy(to, &v, sq_row_bytes(m, bits));
	}
}

/* Values of no grid; -1 when one is not finite. */
static int
put_values(const struct sq_gptq_work *k)
{
	size_t n = k->f->n, c, r;
	float *to = k->j->q->values + k->row * n;

	for (r = 0; r < k->rows; r++)
		for (c = 0; c < n; c++, to++) {
			*to = k->s->q[c * ROWS + r];
			if (!isfinite(*to))
				return -1;
		}
	return 0;
}

static int
pack(const struct sq_gptq_work *k)
{
	const struct sq_gptq_job *j = k->j;
	size_t n = k->f->n, bytes = sq_row_bytes(n, j->bits), c, r;

	if (k->s->q != NULL)
		return put_values(k);
	for (c = 0; c < n; c += BLOCK)
		for (r = 0; r < k->rows; r++)
			pack_row(k->s->u + c * ROWS + r, least(BLOCK, n - c),
			    j->bits, j->q->codes + (k->row + r) * bytes +
			    sq_row_bytes(c, j->bits));
	return 0;
}

/* ---- errors ---- */

static double
fold(const double sum[LANES])
{
	double s = 0;
	int l;

	for (l = 0; l < LANES; l++)
		s += sum[l];
	return s;
}

/* Adds pivot t^2 - added x^2 of the rows of one column. */
static void
add_squares(double sum[LANES], double pivot, const float *t, double added,
    const float *x)
{
	size_t r, l;
	double a, b;

	for (r = 0; r < ROWS; r += LANES)
		for (l = 0; l < LANES; l++) {
			a = t[r + l];
			b = x[r + l];
			sum[l] += pivot * (a * a) - added * (b * b);
		}
}

/* tr(X H X^T): with H + D = R R^T, the squares of X R less those that D
 * adds. */
static double
form(const struct sq_gptq_work *k)
{
	const struct sq_factor *f = k->f;
	double sum[LANES] = { 0 };
	size_t first, p, c, w;

	for (first = p = 0; first < f->n; first += B, p++) {
		w = least(B, f->n - first);
		sq_sgemm(k->j->g->lapack, 'N', 'T', ROWS, (int)w,
		    (int)(first + w), 1, k->s->x, ROWS,
		    sq_factor_at(f, 0, p), B, 0, k->s->t, ROWS);
		for (c = 0; c < w; c++)
			add_squares(sum, f->pivot[first + c],
			    k->s->t + c * ROWS, f->added[first + c],
			    k->s->x + (first + c) * ROWS);
	}
	return fold(sum);
}

/* ---- columns ---- */

/* What a mask drops is zero. */
static void
drop_lanes(const struct sq_gptq_work *k, size_t g, size_t at, size_t r,
    float *q, uint8_t *u)
{
	const uint8_t *keep = k->s->keep + at;
	size_t l;

	for (l = 0; l < LANES; l++)
		if (!keep[l]) {
			q[l] = 0;
			u[l] = sq_gptq_zero(k, g, r + l);
		}
}

/* LANES rows of a column: t is rounded, x becomes the error. */
static void
round_lanes(const struct sq_gptq_work *k, size_t col, size_t r, float *t,
    float *x, uint8_t *u)
{
	const struct sq_gptq_tile *s = k->s;
	size_t g = col / k->j->g->rule.group_cols, at = col * ROWS + r;
	float q[LANES];
	int l;

	if (s->q != NULL)
		memcpy(q, t, sizeof(q));
	else
		sq_gptq_nearest(k, g, r, t, u, q);
	if (s->keep != NULL)
		drop_lanes(k, g, at, r, q, u);
	if (s->q != NULL)
		memcpy(s->q + at, q, sizeof(q));
	for (l = 0; l < LANES; l++) {
		x[l] -= q[l];
		t[l] -= q[l];
	}
}

/* The same as if nothing were rounded. */
static void
whole_lanes(const struct sq_gptq_work *k, size_t col, size_t r,
    const float *t, float *x)
{
	const uint8_t *keep = k->s->keep;
	size_t l, at = col * ROWS + r;

	for (l = 0; l < LANES; l++)
		if (keep == NULL || keep[at + l])
			x[l] -= t[l];
}

/* t += m x */
static void
add_lanes(float *restrict t, float m, const float *restrict x)
{
	int l;

	for (l = 0; l < LANES; l++)
		t[l] += m * x[l];
}

/* Columns a to b of panel p, LANES rows; those up to end follow. */
static void
leaf_lanes(struct sq_gptq_work *k, size_t p, size_t a, size_t b, size_t end,
    size_t r)
{
	struct sq_gptq_tile *s = k->s;
	const struct sq_factor *f = k->f;
	size_t c, i, first = p * B;
	float *t, *x;
	const float *m;

	for (c = a; c < b; c++) {
		t = s->t + c * ROWS + r;
		x = s->x + (first + c) * ROWS + r;
		if (k->whole)
			whole_lanes(k, f->col[first + c], r, t, x);
		else
			round_lanes(k, f->col[first + c], r, t, x,
			    s->u + f->col[first + c] * ROWS + r);
		m = sq_factor_at(f, first + c, p);
		for (i = c + 1; i < end; i++)
			add_lanes(s->t + i * ROWS + r, m[i], x);
	}
}

/* t of columns b to c, from the errors of columns a to b of the same panel. */
static void
carry(const struct sq_gptq_work *k, size_t p, size_t a, size_t b, size_t c)
{
	size_t row = p * B + a;

	sq_sgemm(k->j->g->lapack, 'N', 'T', ROWS, (int)(c - b), (int)(b - a),
	    1, k->s->x + row * ROWS, ROWS, sq_factor_at(k->f, row, p) + b, B,
	    1, k->s->t + b * ROWS, ROWS);
}

/* What of columns a to b is not decided yet: sizes of spans, or 0. */
struct undecided {
	size_t scales, mask;
};

static int do_columns(struct sq_gptq_work *k, size_t p, size_t a, size_t b,
    struct undecided un);
static int refit(struct sq_gptq_work *k, size_t p, size_t a, size_t b);

/* A trial of columns a to b of panel p: t becomes what their weights
 * would be if none of them were rounded, all that the columns before them ask
 * for. */
static void
begin_trial(struct sq_gptq_work *k, size_t p, size_t a, size_t b)
{
	const struct undecided none = { 0, 0 };
	struct sq_gptq_tile *s = k->s;
	size_t bytes = (b - a) * ROWS * sizeof(float);

	memcpy(s->saved_x, s->x + (p * B + a) * ROWS, bytes);
	memcpy(s->saved_t, s->t + a * ROWS, bytes);
	k->whole = 1;
	(void)do_columns(k, p, a, b, none);
	k->whole = 0;
}

static void
end_trial(const struct sq_gptq_work *k, size_t p, size_t a, size_t b)
{
	struct sq_gptq_tile *s = k->s;
	size_t bytes = (b - a) * ROWS * sizeof(float);

	memcpy(s->x + (p * B + a) * ROWS, s->saved_x, bytes);
	memcpy(s->t + a * ROWS, s->saved_t, bytes);
}

/* The mask of columns a to b of panel p. */
static void
choose(struct sq_gptq_work *k, size_t p, size_t a, size_t b, int rounded)
{
	begin_trial(k, p, a, b);
	sq_gptq_mask_choose(k, p, a, b, rounded);
	end_trial(k, p, a, b);
}

/* Columns a to b of panel p, one by one, or in runs that choose their mask. */
static void
do_leaf(struct sq_gptq_work *k, size_t p, size_t a, size_t b,
    const struct undecided *un)
{
	size_t run = un->mask == 0 ? b - a : un->mask, r;

	for (; a < b; a += run) {
		if (un->mask != 0)
			choose(k, p, a, a + run, 1);
		for (r = 0; r < ROWS; r += LANES)
			leaf_lanes(k, p, a, a + run, b, r);
	}
}

/* Columns a to b of panel p. */
static int
do_columns(struct sq_gptq_work *k, size_t p, size_t a, size_t b,
    struct undecided un)
{
	size_t half;

	if (un.scales != 0 && b - a <= un.scales) {
		if (k->j->levels.super)
			sq_gptq_search_group(k, p, a);
		else if (refit(k, p, a, b) < 0)
			return -1;
		un.scales = 0;
	}
	if (un.mask >= LEAF && b - a <= un.mask) {
		choose(k, p, a, b, un.scales == 0);
		un.mask = 0;
	}
	if (b - a <= LEAF) {
		do_leaf(k, p, a, b, &un);
		return 0;
	}
	for (half = LEAF; 2 * half < b - a; half *= 2)
		;
	if (do_columns(k, p, a, a + half, un) < 0)
		return -1;
	carry(k, p, a, a + half, b);
	return do_columns(k, p, a + half, b, un);
}

/* The scales of group g, whose weights are in t from column a on. */
static int
fit_scales(struct sq_gptq_work *k, size_t g, size_t a, size_t n)
{
	struct sq_gptq_tile *s = k->s;
	const struct sq_gptq_job *j = k->j;
	struct sq_qrule rule = j->g->rule;
	uint16_t scale[ROWS];
	uint8_t zero[ROWS];
	struct sq_mat m = { s->fit, SQ_F32, k->rows, n, n };
	struct sq_qdst q = { .codes = s->codes, .scales = scale,
	    .zeros = rule.symmetric ? NULL : zero };
	size_t r, c;

	if (rule.scale == SQ_WEIGHTED)
		return sq_gptq_search(k, g, s->t + a * ROWS);
	for (r = 0; r < k->rows; r++)
		for (c = 0; c < n; c++)
			s->fit[r * n + c] = s->t[(a + c) * ROWS + r];
	rule.group_cols = n;
	if (sq_quantize(&s->ctx, &m, &rule, &q) != 0)
		return -1;
	for (r = 0; r < k->rows; r++) {
		j->q->scales[(k->row + r) * j->across + g] = scale[r];
		if (!rule.symmetric)
			j->q->zeros[(k->row + r) * j->across + g] = zero[r];
	}
	sq_gptq_load_scales(k, g);
	return 0;
}

/* The scales of the group in columns a to b. */
static int
refit(struct sq_gptq_work *k, size_t p, size_t a, size_t b)
{
	int r;

	begin_trial(k, p, a, b);
	r = fit_scales(k, (p * B + a) / k->j->refit, a, b - a);
	end_trial(k, p, a, b);
	return r;
}

static int
do_panel(struct sq_gptq_work *k, size_t p)
{
	const struct sq_factor *f = k->f;
	struct sq_gptq_tile *s = k->s;
	size_t first = p * B, w = least(B, f->n - first), c;
	const struct undecided un = { k->j->refit, k->open };

	memcpy(s->t, s->x + first * ROWS, w * ROWS * sizeof(float));
	if (first > 0)
		sq_sgemm(k->j->g->lapack, 'N', 'T', ROWS, (int)w, (int)first,
		    1, s->x, ROWS, sq_factor_at(f, 0, p), B, 1, s->t, ROWS);
	if (do_columns(k, p, 0, w, un) < 0)
		return -1;
	if (k->j->g->want_error)	/* t: what was rounded off */
		for (c = 0; c < w; c++)
			add_squares(k->error, f->pivot[first + c],
			    s->t + c * ROWS, f->added[first + c],
			    s->x + (first + c) * ROWS);
	return 0;
}

/* ---- tiles ---- */

/* x, in the order of quantization, becomes the errors of rounding to nearest;
 * or, columns as they are, what the codes leave. */
static void
take_nearest(const struct sq_gptq_work *k)
{
	struct sq_gptq_tile *s = k->s;
	float t[LANES];
	uint8_t u[LANES];
	size_t i, r;

	for (i = 0; i < k->f->n; i++)
		for (r = 0; r < ROWS; r += LANES) {
			memcpy(t, s->x + i * ROWS + r, sizeof(t));
			round_lanes(k, k->f->col[i], r, t,
			    s->x + i * ROWS + r, u);
		}
}

static void
take_codes(const struct sq_gptq_work *k)
{
	struct sq_gptq_tile *s = k->s;
	size_t c, r, g;
	const uint8_t *u;
	float *x;

	for (c = 0; c < k->f->n; c++) {
		g = c / k->j->g->rule.group_cols;
		x = s->x + c * ROWS;
		u = s->u + c * ROWS;
		for (r = 0; r < ROWS; r++)
			x[r] -= s->q != NULL ? s->q[c * ROWS + r] :
			    sq_gptq_value(k, g, r, u[r]);
	}
}

/* Values are the weights x, columns as they are, and zeros. */
static void
take_weights(const struct sq_gptq_work *k)
{
	const struct sq_gptq_tile *s = k->s;
	size_t i;

	for (i = 0; i < k->f->n * ROWS; i++)
		s->q[i] = s->keep == NULL || s->keep[i] ? s->x[i] : 0;
}

/* x, in the order of columns, becomes the errors of the mask alone. */
static void
take_mask(const struct sq_gptq_work *k)
{
	const uint8_t *keep = k->s->keep;
	size_t i, r;

	for (i = 0; i < k->f->n; i++)
		for (r = 0; r < ROWS; r++)
			if (keep == NULL || keep[k->f->col[i] * ROWS + r])
				k->s->x[i * ROWS + r] = 0;
}

/* Every code is the nearest to its weight, and that is all. */
static void
code_nearest(const struct sq_gptq_work *k)
{
	struct sq_gptq_tile *s = k->s;
	size_t c, r, at;
	float q[LANES];

	for (c = 0; c < k->f->n; c++)
		for (r = 0; r < ROWS; r += LANES) {
			at = c * ROWS + r;
			sq_gptq_nearest(k, c / k->j->g->rule.group_cols, r,
			    s->x + at, s->u + at, q);
			if (s->keep != NULL)
				drop_lanes(k, c / k->j->g->rule.group_cols, at,
				    r, q, s->u + at);
		}
}

/* sum H_cc x^2 */
static double
squares(const struct sq_gptq_work *k)
{
	double sum = 0;
	size_t c, r;
	const float *x;
	float h;

	for (c = 0; c < k->f->n; c++) {
		h = sq_factor_weight(k->f, c);
		x = k->s->x + c * ROWS;
		for (r = 0; r < k->rows; r++)
			sum += (double)h * x[r] * x[r];
	}
	return sum;
}

static int
find_scales(const struct sq_gptq_work *k)
{
	if (k->j->g->rule.scale != SQ_WEIGHTED)
		return quantize(k);
	return load(k, NULL) < 0 ? -1 : search(k);
}

/* Scales by weight of codes that are the nearest, and no more. */
static int
do_nearest(const struct sq_gptq_work *k, double sums[3])
{
	code_nearest(k);
	take_codes(k);
	sums[0] = squares(k);
	if (load(k, NULL) < 0)
		return -1;
	sums[2] = squares(k);
	return pack(k);
}

/* The errors of rounding to nearest, or of the mask alone, and the norm. */
static int
measure(const struct sq_gptq_work *k, void (*take)(const struct sq_gptq_work *),
    double *error, double *norm)
{
	if (load(k, k->f->col) < 0)
		return -1;
	take(k);
	*error = form(k);
	if (load(k, k->f->col) < 0)
		return -1;
	*norm = form(k);
	return 0;
}

/* Column by column, then the sweeps. */
static int
do_panels(struct sq_gptq_work *k, double *error)
{
	const struct sq_gptq *g = k->j->g;
	size_t p;

	if (load(k, k->f->col) < 0)
		return -1;
	for (p = 0; p * B < k->f->n; p++)
		if (do_panel(k, p) < 0)
			return -1;
	*error = fold(k->error);
	if (g->sweeps == 0)
		return 0;
	if (load(k, NULL) < 0)
		return -1;
	take_codes(k);
	return sq_gptq_refine(k, g->want_error ? error : NULL);
}

/* A weight of no grid. */
static int
do_exact(struct sq_gptq_work *k, double sums[3])
{
	int r = 0;

	if (k->j->g->plain) {
		if ((r = load(k, NULL)) == 0)
			take_weights(k);
	} else {
		r = do_panels(k, &sums[0]);
	}
	if (r == 0 && k->j->g->want_error)
		r = measure(k, take_mask, &sums[1], &sums[2]);
	if (k->j->g->plain)
		sums[0] = sums[1];
	return r;
}

static int
do_grid(struct sq_gptq_work *k, double sums[3])
{
	int want = k->j->g->want_error;

	if ((want || k->j->refit == 0 || k->j->levels.super) &&
	    find_scales(k) < 0)
		return -1;
	if (want && measure(k, take_nearest, &sums[1], &sums[2]) < 0)
		return -1;
	return do_panels(k, &sums[0]);
}

static int
do_tile(struct sq_gptq_work *k, double sums[3])
{
	int r;

	if (k->s->keep != NULL)
		sq_gptq_mask_load(k);
	if (k->j->g->nearest)
		return find_scales(k) < 0 ? -1 : do_nearest(k, sums);
	r = k->s->q != NULL ? do_exact(k, sums) : do_grid(k, sums);
	if (r < 0)
		return -1;
	if (k->s->keep != NULL)
		sq_gptq_mask_store(k);
	return pack(k);
}

/* Tiles, one after the other, in the workspace of one lane: the pool may have
 * more threads than there are workspaces. */
static void
run_lane(void *arg, long lane, int thread)
{
	struct sq_gptq_job *j = arg;
	size_t tile;

	(void)thread;
	while ((tile = atomic_fetch_add(&j->next, 1)) < j->tiles &&
	    !atomic_load(&j->bad)) {
		struct sq_gptq_work k = { .j = j, .s = &j->g->tile[lane],
		    .f = j->g->factor, .row = tile * ROWS };

		k.rows = least(ROWS, j->w->rows - k.row);
		k.open = sq_gptq_mask_span(j->g);
		if (do_tile(&k, j->sums + 3 * tile) < 0)
			atomic_store(&j->bad, 1);
	}
}

static size_t
late_groups(const struct sq_gptq *g)
{
	size_t n = g->rule.group_cols;
	int together = g->order == SQ_NATURAL ||
	    (sq_grid_is_super(g->rule.grid) && g->factor->run == n);

	return together && !g->nearest && !is_exact(g) && n >= LEAF &&
	    n <= B && (n & (n - 1)) == 0 ? n : 0;
}

int
sq_gptq_rows(struct sq_gptq *g, const struct sq_mat *w,
    const struct sq_dst *q, char *err)
{
	struct sq_gptq_job j = { .g = g, .w = w, .q = q,
	    .bits = is_exact(g) ? 0 : sq_grid_bits(g->rule.grid) };
	size_t i;

	j.tiles = (w->rows + ROWS - 1) / ROWS;
	if (!is_exact(g))
		sq_levels_init(&j.levels, g->rule.grid);
	j.across = groups(w->cols, g->rule.group_cols);
	j.refit = late_groups(g);
	if ((j.sums = calloc(3 * j.tiles + 1, sizeof(*j.sums))) == NULL)
		return sq_fail(err, "out of memory");
	sq_pool_run(g->threads == 1 ? NULL : g->ctx->pool, run_lane, &j,
	    (long)g->threads);
	for (i = 0; i < j.tiles; i++) {
		g->error += j.sums[3 * i];
		g->rtn_error += j.sums[3 * i + 1];
		g->norm += j.sums[3 * i + 2];
	}
	free(j.sums);
	return atomic_load(&j.bad) ? sq_fail(err, SQ_CHUNKS_BAD) : 0;
}
