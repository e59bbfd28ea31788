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
sq_gram_bytes(size_t c, size_t length, enum sq_prec prec)
{
	return (uint64_t)triangle(c) * sizeof(float) +
	    (uint64_t)c * length * sq_dtype_size(type_of(prec)) +
	    (uint64_t)BAND * (length + c) * sizeof(float);
}

int
sq_gram_init_plain(struct sq_gram *g, struct sq_ctx *ctx, size_t c,
    size_t length, enum sq_prec prec, char *err)
{
	memset(g, 0, sizeof(*g));
	g->ctx = ctx;
	g->channels = c;
	g->length = length;
	g->prec = prec;
	g->x = malloc(c * length * sq_dtype_size(type_of(prec)));
	g->left = malloc(BAND * length * sizeof(*g->left));
	g->tile = malloc(BAND * c * sizeof(*g->tile));
	if (g->x != NULL && g->left != NULL && g->tile != NULL)
		return 0;
	sq_gram_release(g);
	return sq_fail(err, "statistics of %zu channels: out of memory", c);
}

int
sq_gram_init(struct sq_gram *g, struct sq_ctx *ctx, size_t c, size_t length,
    enum sq_prec prec, char *err)
{
	if (sq_gram_init_plain(g, ctx, c, length, prec, err) < 0)
		return -1;
	if ((g->h = calloc(triangle(c), sizeof(*g->h))) != NULL)
		return 0;
	sq_gram_release(g);
	return sq_fail(err, "statistics of %zu channels: out of memory", c);
}

void
sq_gram_release(struct sq_gram *g)
{
	free(g->x);
	free(g->h);
	free(g->left);
	free(g->tile);
	memset(g, 0, sizeof(*g));
}

static inline void
put(struct sq_gram *g, size_t at, float v)
{
	if (g->prec == SQ_PREC_F32)
		((float *)g->x)[at] = v;
	else
		((uint16_t *)g->x)[at] = sq_f32_to_bf16(v);
}

struct take {
	struct sq_gram *g;
	const struct sq_mat *x;
};

/* Turns tokens x channels into channels x tokens: a block of channels, in
 * squares that the cache holds. */
static void
take_block(void *arg, long task, int thread)
{
	const struct take *t = arg;
	struct sq_gram *g = t->g;
	size_t first = (size_t)task * BLOCK, end = first + BLOCK, c, i, j, to;
	const float *src = t->x->p;

	(void)thread;
	end = end < g->channels ? end : g->channels;
	for (i = 0; i < t->x->rows; i = to) {
		to = i + SQUARE < t->x->rows ? i + SQUARE : t->x->rows;
		for (c = first; c < end; c++)
			for (j = i; j < to; j++)
				put(g, c * g->length + g->have + j,
				    src[j * t->x->stride + c]);
	}
}

int
sq_gram_take(struct sq_gram *g, const struct sq_mat *x, char *err)
{
	struct take t = { g, x };

	if (x->rows > g->length - g->have || x->cols != g->channels)
		return sq_fail(err, "a sample longer than it should be");
	sq_pool_run(g->ctx->pool, take_block, &t,
	    (long)((g->channels + BLOCK - 1) / BLOCK));
	g->have += x->rows;
	return 0;
}

void
sq_gram_pad(struct sq_gram *g)
{
	size_t size = sq_dtype_size(type_of(g->prec)), c;

	for (c = 0; c < g->channels; c++)
		memset((char *)g->x + (c * g->length + g->have) * size, 0,
		    (g->length - g->have) * size);
	g->have = g->length;
}

struct band {
	struct sq_gram *g;
	size_t row, rows;
};

/* Row `task' of the band: its tokens as float32. */
static void
widen_row(void *arg, long task, int thread)
{
	const struct band *b = arg;
	struct sq_gram *g = b->g;
	size_t c = b->row + (size_t)task, i;
	const uint16_t *src = (const uint16_t *)g->x + c * g->length;
	float *dst = g->left + (size_t)task * g->length;

	(void)thread;
	if (g->prec == SQ_PREC_F32) {
		memcpy(dst, (const float *)g->x + c * g->length,
		    g->have * sizeof(*dst));
		return;
	}
	for (i = 0; i < g->have; i++)
		dst[i] = sq_bf16_to_f32(src[i]);
}

/* Adds row `task' of the tile to H, from the diagonal on. */
static void
add_row(void *arg, long task, int thread)
{
	const struct band *b = arg;
	const struct sq_gram *g = b->g;
	size_t c = g->channels, t = (size_t)task, row = b->row + t, j;
	float *h = g->h + row * (2 * c - row + 1) / 2;
	const float *tile = g->tile + t * (c - b->row) + t;

	(void)thread;
	for (j = 0; j < c - row; j++)
		h[j] += tile[j];
}

struct to {
	const struct band *b;
	float *to;
};

/* The same of all columns, to a square. */
static void
add_whole(void *arg, long task, int thread)
{
	const struct to *t = arg;
	const struct sq_gram *g = t->b->g;
	size_t c = g->channels, j;
	float *to = t->to + (t->b->row + (size_t)task) * c;
	const float *tile = g->tile + (size_t)task * c;

	(void)thread;
	for (j = 0; j < c; j++)
		to[j] += tile[j];
}

/* The tile becomes the band's rows times those of y from `first' on. */
static int
multiply(struct band *b, const struct sq_gram *y, size_t first, char *err)
{
	struct sq_gram *g = b->g;
	struct sq_weight w = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .type = type_of(g->prec), .rows = g->channels - first,
	    .cols = g->have };
	struct sq_mat x = { g->left, SQ_F32, b->rows, g->have, g->length };
	struct sq_mat t = { g->tile, SQ_F32, b->rows, w.rows, w.rows };

	sq_pool_run(g->ctx->pool, widen_row, b, (long)b->rows);
	w.data = (char *)y->x + first * g->have * sq_dtype_size(w.type);
	if (sq_matmul(g->ctx, &w, &x, g->prec, &t) != 0)
		return sq_fail(err, "statistics: %s",
		    g->ctx->kern->mem->error());
	return 0;
}

int
sq_gram_add(struct sq_gram *g, char *err)
{
	size_t c = g->channels;
	struct band b = { g, 0, 0 };

	if (g->have != g->length)
		return sq_fail(err, "a sample shorter than it should be");
	for (b.row = 0; b.row < c; b.row += b.rows) {
		b.rows = c - b.row < BAND ? c - b.row : BAND;
		if (multiply(&b, g, b.row, err) < 0)
			return -1;
		sq_pool_run(g->ctx->pool, add_row, &b, (long)b.rows);
	}
	g->have = 0;
	return 0;
}

int
sq_gram_cross(struct sq_gram *g, const struct sq_gram *y, float *to,
    char *err)
{
	size_t c = g->channels;
	struct band b = { g, 0, 0 };
	struct to t = { &b, to };

	if (g->have != g->length || y->have != g->length)
		return sq_fail(err, "a sample shorter than it should be");
	for (b.row = 0; b.row < c; b.row += b.rows) {
		b.rows = c - b.row < BAND ? c - b.row : BAND;
		if (multiply(&b, y, 0, err) < 0)
			return -1;
		sq_pool_run(g->ctx->pool, add_whole, &t, (long)b.rows);
	}
	g->have = 0;
	return 0;
}
