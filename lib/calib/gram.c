/*
 * H += X X^T; see gram.h.
 *
 *	        C                   The product is done in bands of rows: band b
 *	   +---------+              times everything from its first column on.
 *	   |\ band 0 |              A band is a matrix product of the kernels'
 *	   | +\------|              own: its rows are the activations, the rest
 *	   |   \ 1   |              of X the weight, both [channel][token].  The
 *	   |    +\---|              little triangle under the diagonal is thrown
 *	   +---------+              away.
 */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "calib/gram.h"

#define BAND	256			/* rows of a band */
#define PIECE	512			/* columns of a piece of one */
#define BLOCK	64			/* channels of a task of transposing */
#define SQUARE	32			/* tokens at a time there */

static enum sq_dtype
type_of(enum sq_prec prec)
{
	return prec == SQ_PREC_F32 ? SQ_F32 : SQ_BF16;
}

static size_t
triangle(size_t c)
{
	return c * (c + 1) / 2;
}

uint64_t
sq_gram_h_bytes(size_t c)
{
	return (uint64_t)triangle(c) * sizeof(float);
}

uint64_t
sq_gram_x_bytes(size_t c, size_t length, enum sq_prec prec)
{
	return (uint64_t)c * length * sq_dtype_size(type_of(prec));
}

uint64_t
sq_gram_bytes(size_t c, size_t length, enum sq_prec prec)
{
	return sq_gram_h_bytes(c) + sq_gram_x_bytes(c, length, prec) +
	    (uint64_t)BAND * (length + c) * sizeof(float);
}

uint64_t
sq_gram_space_bytes(size_t length)
{
	return (uint64_t)BAND * (length + PIECE) * sizeof(float);
}

static int
no_memory(struct sq_gram *g, size_t c, char *err)
{
	sq_gram_release(g);
	return sq_fail(err, "statistics of %zu channels: out of memory", c);
}

int
sq_gram_init_sample(struct sq_gram *g, struct sq_ctx *ctx, size_t c,
    size_t length, enum sq_prec prec, char *err)
{
	memset(g, 0, sizeof(*g));
	g->ctx = ctx;
	g->channels = c;
	g->length = length;
	g->prec = prec;
	if (ctx->kern->mem->device)
		g->far = ctx->kern->mem->alloc(c * c * sizeof(*g->far));
	else
		g->x = malloc((size_t)sq_gram_x_bytes(c, length, prec));
	return g->x != NULL || g->far != NULL ? 0 : no_memory(g, c, err);
}

int
sq_gram_init_plain(struct sq_gram *g, struct sq_ctx *ctx, size_t c,
    size_t length, enum sq_prec prec, char *err)
{
	if (sq_gram_init_sample(g, ctx, c, length, prec, err) < 0)
		return -1;
	g->left = malloc(BAND * length * sizeof(*g->left));
	g->tile = malloc(BAND * c * sizeof(*g->tile));
	return g->left != NULL && g->tile != NULL ? 0 : no_memory(g, c, err);
}

int
sq_gram_init(struct sq_gram *g, struct sq_ctx *ctx, size_t c, size_t length,
    enum sq_prec prec, char *err)
{
	if (sq_gram_init_plain(g, ctx, c, length, prec, err) < 0)
		return -1;
	g->h = calloc(triangle(c), sizeof(*g->h));
	return g->h != NULL ? 0 : no_memory(g, c, err);
}

int
sq_gram_space_init(struct sq_gram_space *p, struct sq_ctx *ctx, size_t length,
    char *err)
{
	p->ctx = ctx;
	p->left = malloc(BAND * length * sizeof(*p->left));
	p->tile = malloc(BAND * PIECE * sizeof(*p->tile));
	if (p->left != NULL && p->tile != NULL)
		return 0;
	sq_gram_space_release(p);
	return sq_fail(err, "statistics: out of memory");
}

void
sq_gram_space_release(struct sq_gram_space *p)
{
	free(p->left);
	free(p->tile);
	p->left = p->tile = NULL;
}

void
sq_gram_release(struct sq_gram *g)
{
	if (g->far != NULL)
		g->ctx->kern->mem->free(g->far);
	free(g->x);
	free(g->h);
	free(g->left);
	free(g->tile);
	memset(g, 0, sizeof(*g));
}

struct take {
	struct sq_gram *g;
	const struct sq_mat *x;
};

/* n columns of a row: 16 at a time as vectors. */
static void
round_row(uint16_t *to, const float *from, size_t n)
{
	size_t i = 0;
	int k;

	for (; i + 16 <= n; i += 16)
		for (k = 0; k < 16; k++)
			to[i + k] = sq_f32_to_bf16(from[i + k]);
	for (; i < n; i++)
		to[i] = sq_f32_to_bf16(from[i]);
}

/* A square of n tokens and m channels, rounded before it is turned. */
static void
turn_bf16(uint16_t *to, size_t stride, const float *from, size_t from_stride,
    size_t n, size_t m)
{
	uint16_t square[SQUARE][BLOCK], four[4];
	size_t c, j;

	for (j = 0; j < n; j++)
		round_row(square[j], from + j * from_stride, m);
	for (c = 0; c < m; c++, to += stride) {
		for (j = 0; j + 4 <= n; j += 4) {
			four[0] = square[j][c];
			four[1] = square[j + 1][c];
			four[2] = square[j + 2][c];
			four[3] = square[j + 3][c];
			memcpy(to + j, four, sizeof(four));
		}
		for (; j < n; j++)
			to[j] = square[j][c];
	}
}

static void
turn_f32(float *to, size_t stride, const float *from, size_t from_stride,
    size_t n, size_t m)
{
	size_t c, j;

	for (c = 0; c < m; c++)
		for (j = 0; j < n; j++)
			to[c * stride + j] = from[j * from_stride + c];
}

/* Turns tokens x channels into channels x tokens: a block of channels, in
 * squares that the cache holds. */
static void
take_block(void *arg, long task, int thread)
{
	const struct take *t = arg;
	struct sq_gram *g = t->g;
	size_t c = (size_t)task * BLOCK, m = g->channels - c, i, n, at;
	const float *from = (const float *)t->x->p + c;

	(void)thread;
	m = m < BLOCK ? m : BLOCK;
	for (i = 0; i < t->x->rows; i += n, from += n * t->x->stride) {
		n = t->x->rows - i < SQUARE ? t->x->rows - i : SQUARE;
		at = c * g->length + g->have + i;
		if (g->prec == SQ_PREC_F32)
			turn_f32((float *)g->x + at, g->length, from,
			    t->x->stride, n, m);
		else
			turn_bf16((uint16_t *)g->x + at, g->length, from,
			    t->x->stride, n, m);
	}
}

/* x^T x, where x is. */
static int
take_far(struct sq_gram *g, const struct sq_mat *x, char *err)
{
	struct sq_operand left = { *x, SQ_TURNED }, right = { *x, SQ_AS_IS };
	struct sq_mat h = { g->far, SQ_F32, g->channels, g->channels,
	    g->channels };

	if (sq_product(g->ctx, &left, &right, g->prec, g->far_any, &h) != 0)
		return sq_fail(err, "statistics: %s",
		    g->ctx->kern->mem->error());
	g->far_any = 1;
	g->have += x->rows;
	return 0;
}

int
sq_gram_take(struct sq_gram *g, const struct sq_mat *x, char *err)
{
	struct take t = { g, x };

	if (x->rows > g->length - g->have || x->cols != g->channels)
		return sq_fail(err, "a sample longer than it should be");
	if (x->rows == 0)
		return 0;
	if (g->far != NULL)
		return take_far(g, x, err);
	sq_pool_run(g->ctx->pool, take_block, &t,
	    (long)((g->channels + BLOCK - 1) / BLOCK));
	g->have += x->rows;
	return 0;
}

void
sq_gram_pad(struct sq_gram *g)
{
	size_t size = sq_dtype_size(type_of(g->prec)), c;

	for (c = 0; g->x != NULL && c < g->channels; c++)
		memset((char *)g->x + (c * g->length + g->have) * size, 0,
		    (g->length - g->have) * size);
	g->have = g->length;
}

/* Rows of a product, and its columns: of first up to end. */
struct band {
	const struct sq_gram *g;
	struct sq_gram_space space;
	size_t row, rows, first, end;
	float *to;			/* a triangle, or a square */
};

/* Row `task' of the band: its tokens as float32. */
static void
widen_row(void *arg, long task, int thread)
{
	const struct band *b = arg;
	const struct sq_gram *g = b->g;
	size_t c = b->row + (size_t)task, i = 0;
	const uint16_t *src = (const uint16_t *)g->x + c * g->length;
	float *dst = b->space.left + (size_t)task * g->length;
	int k;

	(void)thread;
	if (g->prec == SQ_PREC_F32) {
		memcpy(dst, (const float *)g->x + c * g->length,
		    g->have * sizeof(*dst));
		return;
	}
	for (; i + 16 <= g->have; i += 16)
		for (k = 0; k < 16; k++)
			dst[i + k] = sq_bf16_to_f32(src[i + k]);
	for (; i < g->have; i++)
		dst[i] = sq_bf16_to_f32(src[i]);
}

/* Adds row `task' of the tile to H, from the diagonal on. */
static void
add_row(void *arg, long task, int thread)
{
	const struct band *b = arg;
	size_t c = b->g->channels, t = (size_t)task, row = b->row + t, j;
	size_t first = row > b->first ? row : b->first;
	float *h = b->to + row * (2 * c - row + 1) / 2 + (first - row);
	const float *tile = b->space.tile + t * (b->end - b->first) +
	    (first - b->first);

	(void)thread;
	for (j = 0; first + j < b->end; j++)
		h[j] += tile[j];
}

/* The same of all columns, to a square. */
static void
add_whole(void *arg, long task, int thread)
{
	const struct band *b = arg;
	size_t c = b->g->channels, j;
	float *to = b->to + (b->row + (size_t)task) * c;
	const float *tile = b->space.tile + (size_t)task * c;

	(void)thread;
	for (j = 0; j < c; j++)
		to[j] += tile[j];
}

/* The tile becomes the band's rows times those of y. */
static int
multiply(struct band *b, const struct sq_gram *y, char *err)
{
	const struct sq_gram *g = b->g;
	struct sq_ctx *ctx = b->space.ctx;
	struct sq_weight w = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .type = type_of(g->prec), .rows = b->end - b->first,
	    .cols = g->have };
	struct sq_mat x = { b->space.left, SQ_F32, b->rows, g->have,
	    g->length };
	struct sq_mat t = { b->space.tile, SQ_F32, b->rows, w.rows, w.rows };

	sq_pool_run(ctx->pool, widen_row, b, (long)b->rows);
	w.data = (char *)y->x + b->first * g->have * sq_dtype_size(w.type);
	if (sq_matmul(ctx, &w, &x, g->prec, &t) != 0)
		return sq_fail(err, "statistics: %s",
		    ctx->kern->mem->error());
	return 0;
}

static int
whole(const struct sq_gram *g, char *err)
{
	return g->have == g->length ? 0 : sq_fail(err, "a sample shorter than "
	    "it should be");
}

/* The band that begins with a row. */
static void
set_rows(struct band *b, size_t row)
{
	size_t c = b->g->channels;

	b->row = b->first = row;
	b->rows = c - row < BAND ? c - row : BAND;
	b->end = c;
}

int
sq_gram_add(struct sq_gram *g, char *err)
{
	struct band b = { .g = g, .space = { g->ctx, g->left, g->tile },
	    .to = g->h };

	if (whole(g, err) < 0)
		return -1;
	for (set_rows(&b, 0); b.row < g->channels;
	    set_rows(&b, b.row + b.rows)) {
		if (multiply(&b, g, err) < 0)
			return -1;
		sq_pool_run(g->ctx->pool, add_row, &b, (long)b.rows);
	}
	sq_gram_end(g);
	return 0;
}

int
sq_gram_cross(struct sq_gram *g, const struct sq_gram *y, float *to,
    char *err)
{
	struct band b = { .g = g, .space = { g->ctx, g->left, g->tile },
	    .to = to };

	if (whole(g, err) < 0 || whole(y, err) < 0)
		return -1;
	for (set_rows(&b, 0); b.row < g->channels;
	    set_rows(&b, b.row + b.rows)) {
		b.first = 0;
		if (multiply(&b, y, err) < 0)
			return -1;
		sq_pool_run(g->ctx->pool, add_whole, &b, (long)b.rows);
	}
	sq_gram_end(g);
	return 0;
}

/* ---- in pieces ---- */

/* Pieces of the band that begins with a row. */
static size_t
across(size_t c, size_t row)
{
	return (c - row + PIECE - 1) / PIECE;
}

size_t
sq_gram_pieces(size_t c)
{
	size_t row, n = 0;

	for (row = 0; row < c; row += BAND)
		n += across(c, row);
	return n;
}

int
sq_gram_piece(float *h, const struct sq_gram *const *sample, size_t n,
    size_t piece, const struct sq_gram_space *space, char *err)
{
	size_t c = sample[0]->channels, row = 0, i;
	struct band b = { .space = *space, .to = h };

	for (; piece >= across(c, row); row += BAND)
		piece -= across(c, row);
	for (i = 0; i < n; i++) {
		b.g = sample[i];
		if (b.g->have == 0 || b.g->far != NULL)
			continue;
		if (whole(b.g, err) < 0)
			return -1;
		set_rows(&b, row);
		b.first = row + piece * PIECE;
		b.end = b.end - b.first < PIECE ? b.end : b.first + PIECE;
		if (multiply(&b, b.g, err) < 0)
			return -1;
		sq_pool_run(space->ctx->pool, add_row, &b, (long)b.rows);
	}
	return 0;
}

void
sq_gram_end(struct sq_gram *g)
{
	g->have = 0;
}

/* ---- from a device ---- */

int
sq_gram_fetch(struct sq_gram *g, float *h, char *err)
{
	const struct sq_mem *mem = g->ctx->kern->mem;
	size_t c = g->channels, row, n, i;
	float *band;

	if (!g->far_any)
		return 0;
	if ((band = malloc(BAND * c * sizeof(*band))) == NULL)
		return sq_fail(err, "statistics of %zu channels: out of "
		    "memory", c);
	for (row = 0; row < c; row += n) {
		n = c - row < BAND ? c - row : BAND;
		if (mem->get(band, g->far + row * c, n * c *
		    sizeof(*band)) < 0) {
			free(band);
			return sq_fail(err, "statistics: %s", mem->error());
		}
		for (i = 0; i < n; h += c - row - i, i++)
			memcpy(h, band + i * c + row + i, (c - row - i) *
			    sizeof(*h));
	}
	free(band);
	g->far_any = 0;
	return 0;
}
