/*
 * H += X X^T; see gram.h.
 *
 *	        C                   The product is done in bands of rows: band b
 *	   +---------+              times everything from its first column on.
 *	   |\ band 0 |              A sample is [token][channel], as it came but
 *	   | +\------|              rounded, and a second time in the panels
 *	   |   \ 1   |              that products want (panels.h), made once for
 *	   |    +\---|              all bands.  The little triangle under the
 *	   +---------+              diagonal is thrown away.
 */
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "calib/gram.h"
#include "kernels/panels.h"

#define BAND	256			/* rows of a band */
#define PIECE	1024			/* columns of a piece of one */

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
	return (uint64_t)c * length * sq_dtype_size(sq_panel_type(prec)) +
	    sq_panel_bytes(length, c, sq_panel_type(prec));
}

uint64_t
sq_gram_bytes(size_t c, size_t length, enum sq_prec prec)
{
	return sq_gram_h_bytes(c) + sq_gram_x_bytes(c, length, prec) +
	    (uint64_t)BAND * c * sizeof(float);
}

uint64_t
sq_gram_space_bytes(void)
{
	return (uint64_t)BAND * PIECE * sizeof(float);
}

static int
no_memory(struct sq_gram *g, size_t c, char *err)
{
	sq_gram_release(g);
	return sq_fail(err, "statistics of %zu channels: out of memory", c);
}

static int
no_product(const struct sq_ctx *ctx, char *err)
{
	return sq_fail(err, "statistics: %s", ctx->kern->mem->error());
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
		g->x = aligned_alloc(64, ((size_t)sq_gram_x_bytes(c, length,
		    prec) + 127) / 64 * 64);
	if (g->x == NULL && g->far == NULL)
		return no_memory(g, c, err);
	if (g->x != NULL)
		g->panels = (char *)g->x + (c * length *
		    sq_dtype_size(sq_panel_type(prec)) + 63) / 64 * 64;
	return 0;
}

int
sq_gram_init_plain(struct sq_gram *g, struct sq_ctx *ctx, size_t c,
    size_t length, enum sq_prec prec, char *err)
{
	if (sq_gram_init_sample(g, ctx, c, length, prec, err) < 0)
		return -1;
	g->tile = malloc(BAND * c * sizeof(*g->tile));
	return g->tile != NULL ? 0 : no_memory(g, c, err);
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
sq_gram_space_init(struct sq_gram_space *p, struct sq_ctx *ctx, char *err)
{
	p->ctx = ctx;
	p->tile = malloc(BAND * PIECE * sizeof(*p->tile));
	return p->tile != NULL ? 0 : sq_fail(err, "statistics: out of memory");
}

void
sq_gram_space_release(struct sq_gram_space *p)
{
	free(p->tile);
	p->tile = NULL;
}

void
sq_gram_release(struct sq_gram *g)
{
	if (g->far != NULL)
		g->ctx->kern->mem->free(g->far);
	free(g->x);
	free(g->h);
	free(g->tile);
	memset(g, 0, sizeof(*g));
}

/* Rows as they come, rounded. */
static int
take_rows(struct sq_gram *g, const float *rows, size_t n)
{
	struct sq_weight from = { .grid = SQ_DENSE, .type = SQ_F32, .rows = n,
	    .cols = g->channels, .data = rows };
	enum sq_dtype type = sq_panel_type(g->prec);
	struct sq_mat to = { (char *)g->x + g->have * g->channels *
	    sq_dtype_size(type), type, n, g->channels, g->channels };

	g->have += n;
	return sq_dequantize(g->ctx, &from, 0, &to);
}

/* x^T x, where x is. */
static int
take_far(struct sq_gram *g, const struct sq_mat *x, char *err)
{
	struct sq_operand left = { *x, SQ_TURNED }, right = { *x, SQ_AS_IS };
	struct sq_mat h = { g->far, SQ_F32, g->channels, g->channels,
	    g->channels };

	if (sq_product(g->ctx, &left, &right, g->prec, g->far_any, &h) != 0)
		return no_product(g->ctx, err);
	g->far_any = 1;
	g->have += x->rows;
	return 0;
}

int
sq_gram_take(struct sq_gram *g, const struct sq_mat *x, char *err)
{
	size_t step = x->stride == x->cols ? x->rows : 1, i;
	int r = 0;

	if (x->rows > g->length - g->have || x->cols != g->channels)
		return sq_fail(err, "a sample longer than it should be");
	if (x->rows == 0)
		return 0;
	if (g->far != NULL)
		return take_far(g, x, err);
	for (i = 0; r == 0 && i < x->rows; i += step)
		r = take_rows(g, (const float *)x->p + i * x->stride, step);
	return r == 0 ? 0 : no_product(g->ctx, err);
}

void
sq_gram_pad(struct sq_gram *g)
{
	size_t row = g->channels * sq_dtype_size(sq_panel_type(g->prec));

	if (g->x != NULL)
		memset((char *)g->x + g->have * row, 0,
		    (g->length - g->have) * row);
	g->have = g->length;
}

/* Of the sample, some channels. */
static struct sq_mat
channels(const struct sq_gram *g, size_t first, size_t n)
{
	enum sq_dtype type = sq_panel_type(g->prec);

	return (struct sq_mat){ (char *)g->x + first * sq_dtype_size(type),
	    type, g->have, n, g->channels };
}

static int
whole(const struct sq_gram *g, char *err)
{
	return g->have == g->length ? 0 : sq_fail(err, "a sample shorter than "
	    "it should be");
}

int
sq_gram_lay(struct sq_gram *g, char *err)
{
	struct sq_operand x = { channels(g, 0, g->channels), SQ_AS_IS };
	struct sq_mat to = { g->panels, sq_panel_type(g->prec), g->have,
	    g->channels, g->channels };

	if (whole(g, err) < 0)
		return -1;
	if (!g->laid && g->x != NULL && sq_panels(g->ctx, &x, &to) != 0)
		return no_product(g->ctx, err);
	g->laid = 1;
	return 0;
}

/* Rows of a product, and its columns: of first up to end. */
struct band {
	const struct sq_gram *g;
	struct sq_gram_space space;
	size_t row, rows, first, end;
	float *to;			/* a triangle */
};

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

/* The band's rows times those of y, to y's tile. */
static int
multiply(const struct band *b, const struct sq_gram *y, int add,
    struct sq_mat *to, char *err)
{
	const struct sq_gram *g = b->g;
	struct sq_ctx *ctx = b->space.ctx;
	size_t n = b->end - b->first;
	struct sq_operand left = { channels(g, b->row, b->rows), SQ_TURNED };
	struct sq_operand right = { channels(y, b->first, n), SQ_PANELS };

	right.m.p = (char *)y->panels + sq_panel_bytes(g->have, b->first,
	    sq_panel_type(g->prec));
	if (sq_product(ctx, &left, &right, g->prec, add, to) != 0)
		return no_product(ctx, err);
	return 0;
}

/* H, from the band's first column on. */
static int
add_band(struct band *b, char *err)
{
	size_t n = b->end - b->first;
	struct sq_mat tile = { b->space.tile, SQ_F32, b->rows, n, n };

	if (multiply(b, b->g, 0, &tile, err) < 0)
		return -1;
	sq_pool_run(b->space.ctx->pool, add_row, b, (long)b->rows);
	return 0;
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
	struct band b = { .g = g, .space = { g->ctx, g->tile }, .to = g->h };

	if (sq_gram_lay(g, err) < 0)
		return -1;
	for (set_rows(&b, 0); b.row < g->channels;
	    set_rows(&b, b.row + b.rows))
		if (add_band(&b, err) < 0)
			return -1;
	sq_gram_end(g);
	return 0;
}

int
sq_gram_cross(struct sq_gram *g, struct sq_gram *y, float *to, char *err)
{
	size_t c = g->channels;
	struct band all = { .g = g, .space = { g->ctx, g->tile }, .rows = c,
	    .end = c };
	struct sq_mat square = { to, SQ_F32, c, c, c };

	if (whole(g, err) < 0 || sq_gram_lay(y, err) < 0 ||
	    multiply(&all, y, 1, &square, err) < 0)
		return -1;
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
		if (add_band(&b, err) < 0)
			return -1;
	}
	return 0;
}

void
sq_gram_end(struct sq_gram *g)
{
	g->have = 0;
	g->laid = 0;
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
