/* The decoder's memory; see dec.h. */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dec_state.h"

#define RESERVE		((size_t)4 << 30)	/* not for the cache */

int
dec_why(char *err)
{
	snprintf(err, SQ_ERR, "%s", sqc.err);
	return -1;
}

static void *
room(size_t n, int *bad)
{
	void *p = NULL;

	if (!*bad && sqc_ok(GPU(Malloc)(&p, n > 0 ? n : 1), "memory") < 0)
		*bad = 1;
	return *bad ? NULL : p;
}

static size_t
qkv_rows(const struct sq_dec_shape *s)
{
	return (s->heads + 2 * s->kv_heads) * s->head_dim;
}

static void
lin_init(const struct sq_decoder *d, struct dec_lin *l, size_t rows,
    size_t cols, int inside, int *bad)
{
	l->rows = rows;
	l->cols = cols;
	if (d->s.mode == SQ_DEC_BF16) {
		l->w16 = room(rows * cols * 2, bad);
		return;
	}
	l->w8 = room(rows * cols, bad);
	l->s8 = room(rows * sizeof(float), bad);
	if (d->s.mode == SQ_DEC_W4 && inside)
		l->w4 = room(rows / 16 * (cols / 128) * DEC_W4_UNIT, bad);
}

static void
lin_free(struct dec_lin *l)
{
	(void)GPU(Free)(l->w16);
	(void)GPU(Free)(l->w8);
	(void)GPU(Free)(l->s8);
	(void)GPU(Free)(l->w4);
}

static size_t
layer_kv(const struct sq_dec_shape *s)
{
	return (s->pages + 1) * s->kv_heads * DEC_PAGE_BYTES(s->kv,
	    s->head_dim);
}

static void
layer_init(struct sq_decoder *d, struct dec_layer *l, int *bad)
{
	const struct sq_dec_shape *s = &d->s;
	size_t q = s->heads * s->head_dim;

	lin_init(d, &l->qkv, qkv_rows(s), s->dim, 1, bad);
	lin_init(d, &l->o, s->dim, q, 1, bad);
	lin_init(d, &l->gu, 2 * s->ffn, s->dim, 1, bad);
	lin_init(d, &l->down, s->dim, s->ffn, 1, bad);
	l->attn_norm = room(s->dim * sizeof(float), bad);
	l->ffn_norm = room(s->dim * sizeof(float), bad);
}

/* The cache; with pages 0, of what is left but RESERVE. */
static void
cache_init(struct sq_decoder *d, int *bad)
{
	size_t n, one, unused = 0, total, i;
	struct dec_layer *l;

	one = 2 * d->s.layers * (layer_kv(&d->s) / (d->s.pages + 1));
	*bad = *bad || sqc_ok(GPU(MemGetInfo)(&unused, &total), "memory") < 0;
	d->bytes -= unused;
	if (d->s.pages == 0 && !*bad && unused > RESERVE)
		d->s.pages = (unused - RESERVE) / one;
	if (d->s.pages < 2)
		*bad = *bad || sqc_ok(GPU(ErrorMemoryAllocation),
		    "the cache") < 0;
	n = layer_kv(&d->s);
	for (i = 0; i < d->s.layers; i++) {
		l = &d->layer[i];
		l->k = room(n, bad);
		l->v = room(n, bad);
		if (!*bad && (sqc_ok(GPU(MemsetAsync)(l->k, 0, n, sqc.stream),
		    "memory") < 0 || sqc_ok(GPU(MemsetAsync)(l->v, 0, n,
		    sqc.stream), "memory") < 0))
			*bad = 1;
	}
}

static size_t
greatest(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Bytes of what a product leaves of n tokens, in pieces or not. */
static size_t
left_bytes(size_t n, size_t cols)
{
	return greatest(n * cols * 2, (cols / DEC_PIECE + (size_t)sqc.units) *
	    DEC_MID * DEC_PIECE * 2);
}

/* Floats of what the attention of a step leaves. */
static size_t
left_sums(const struct sq_decoder *d)
{
	const struct sq_dec_shape *s = &d->s;

	return greatest((s->slots + 16) * s->heads * DEC_SPLITS,
	    ((s->slots + 64) * s->kv_heads + d->plan.units) * (s->heads /
	    s->kv_heads)) * DEC_SUMS(s->head_dim);
}

static void
activations(struct sq_decoder *d, int *bad)
{
	const struct sq_dec_shape *s = &d->s;
	size_t q = s->heads * s->head_dim, n, widest, tiles;

	d->rows = n = (greatest(s->rows, s->slots + 1) + 127) / 128 * 128;
	widest = greatest(greatest(s->dim, s->ffn), q);
	d->h = room(n * s->dim * sizeof(float), bad);
	d->last = room((s->slots + 16) * s->dim * sizeof(float), bad);
	d->logits = room((greatest(s->slots, DEC_LOGITS) + 16) * s->vocab *
	    sizeof(float), bad);
	d->plan.units = dec_ring_units((uint32_t)s->head_dim, s->kv);
	d->plan.unit = room(d->plan.units * sizeof(*d->plan.unit), bad);
	d->plan.run = room((s->slots + 64) * s->kv_heads *
	    sizeof(*d->plan.run), bad);
	d->sums = room(left_sums(d) * sizeof(float), bad);
	d->best = room((greatest(s->slots, DEC_LOGITS) + 16) * DEC_PARTS * 8,
	    bad);
	d->scale = room(n * sizeof(float), bad);
	d->x = room(n * widest * 2, bad);
	d->y = room(n * widest * 2, bad);
	d->qkv = room(n * qkv_rows(s) * 2, bad);
	d->gu = room(left_bytes(n, greatest(greatest(2 * s->ffn,
	    qkv_rows(s)), s->dim)), bad);
	d->out = room(left_bytes(n, s->dim), bad);
	d->att = room(n * q * 2, bad);
	d->squares = room(DEC_MID * (s->dim / DEC_SQUARES) * sizeof(float),
	    bad);
	d->ntiles = (uint32_t)(greatest(greatest(2 * s->ffn, qkv_rows(s)),
	    s->dim) / DEC_PIECE + 1);
	tiles = 3 * d->ntiles * sizeof(*d->done);
	d->done = room(tiles, bad);
	*bad = *bad || sqc_ok(GPU(MemsetAsync)(d->done, 0, tiles, sqc.stream),
	    "memory") < 0;
	d->ids = room(n * 4, bad);
	d->pos = room(n * 4, bad);
	d->slot = room(n * 4, bad);
	d->first = room((s->slots + 2) * 4, bad);
	d->row = room((s->slots + 2) * 4, bad);
}

/* Page 0 is nobody's slot's. */
static void
sequences(struct sq_decoder *d, int *bad)
{
	const struct sq_dec_shape *s = &d->s;
	size_t n = s->slots + 1, i;

	d->max_pages = (uint32_t)((s->context + SQ_DEC_PAGE - 1) /
	    SQ_DEC_PAGE + 1);
	d->next = room(n * 4, bad);
	d->length = room(n * 4, bad);
	d->nmade = room(n * 4, bad);
	d->active = room((n + 128) * 4, bad);
	d->how = room(n * sizeof(*d->how), bad);
	d->table = room(n * d->max_pages * 4, bad);
	d->made = room(n * s->context * 4, bad);
	d->host_table = calloc(n * d->max_pages, 4);
	d->unused = calloc(s->pages, 4);
	d->slot_pages = calloc(n, sizeof(*d->slot_pages));
	d->host_made = calloc(n, sizeof(*d->host_made));
	d->host_length = calloc(n, sizeof(*d->host_length));
	d->host_draws = calloc(n, 1);
	d->holders = calloc(s->pages + 1, sizeof(*d->holders));
	if (d->host_table == NULL || d->unused == NULL ||
	    d->slot_pages == NULL || d->host_made == NULL ||
	    d->host_length == NULL || d->host_draws == NULL ||
	    d->holders == NULL) {
		snprintf(sqc.err, sizeof(sqc.err), "out of memory");
		*bad = 1;
		return;
	}
	for (i = 0; i < s->pages; i++)
		d->unused[d->nunused++] = (uint32_t)(s->pages - i);
	if (*bad || sqc_ok(GPU(MemsetAsync)(d->table, 0, n * d->max_pages * 4,
	    sqc.stream), "memory") < 0 || sqc_ok(GPU(MemsetAsync)(d->next, 0,
	    n * 4, sqc.stream), "memory") < 0 ||
	    sqc_ok(GPU(MemsetAsync)(d->how, 0, n * sizeof(*d->how),
	    sqc.stream), "memory") < 0 ||
	    sqc_ok(GPU(MemsetAsync)(d->nmade, 0, n * 4, sqc.stream),
	    "memory") < 0 || sqc_ok(GPU(MemsetAsync)(d->length, 0, n * 4,
	    sqc.stream), "memory") < 0)
		*bad = 1;
}

void
dec_close(struct sq_decoder *d)
{
	void *all[] = { d->embed, d->norm, d->angles, d->h, d->last,
	    d->logits, d->sums, d->scale, d->x, d->y, d->qkv, d->gu, d->out,
	    d->att, d->best, d->next, d->length, d->table, d->made, d->nmade,
	    d->active, d->ids, d->pos, d->slot, d->first, d->row,
	    d->plan.unit, d->plan.run, d->how, d->squares, d->done };
	struct dec_layer *l;
	size_t i;

	(void)GPU(StreamSynchronize)(sqc.stream);
	for (i = 0; d->layer != NULL && i < d->s.layers; i++) {
		l = &d->layer[i];
		lin_free(&l->qkv);
		lin_free(&l->o);
		lin_free(&l->gu);
		lin_free(&l->down);
		(void)GPU(Free)(l->attn_norm);
		(void)GPU(Free)(l->ffn_norm);
		(void)GPU(Free)(l->k);
		(void)GPU(Free)(l->v);
	}
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		(void)GPU(Free)(all[i]);
	for (i = 0; i < (size_t)d->ngraphs; i++)
		(void)cudaGraphExecDestroy(d->graph[i].exec);
	lin_free(&d->head);
	dec_gemm_close(d->gemm);
	free(d->layer);
	free(d->host_table);
	free(d->unused);
	free(d->slot_pages);
	free(d->host_made);
	free(d->host_length);
	free(d->host_draws);
	free(d->holders);
	free(d);
}

struct sq_decoder *
dec_open(const struct sq_dec_shape *s, char *err)
{
	struct sq_decoder *d;
	size_t i, total;
	int bad = 0;

	if ((s->head_dim != 64 && s->head_dim != 128) ||
	    s->heads % s->kv_heads != 0 || s->heads / s->kv_heads > 8 ||
	    s->dim % 128 != 0 || s->ffn % 128 != 0 || s->vocab % 16 != 0 ||
	    s->slots < 1 || s->context < 1 || (s->kv == SQ_DEC_KV_INT4 &&
	    (s->heads % 2 != 0 || s->kv_heads % 2 != 0))) {
		snprintf(err, SQ_ERR, "decoder: not a shape that it knows");
		return NULL;
	}
	if ((d = calloc(1, sizeof(*d))) == NULL ||
	    (d->layer = calloc(s->layers, sizeof(*d->layer))) == NULL) {
		free(d);
		snprintf(err, SQ_ERR, "out of memory");
		return NULL;
	}
	d->s = *s;
	(void)GPU(MemGetInfo)(&d->bytes, &total);
	if ((d->gemm = dec_gemm_open(s->table, err)) == NULL) {
		dec_close(d);
		return NULL;
	}
	for (i = 0; i < s->layers; i++)
		layer_init(d, &d->layer[i], &bad);
	lin_init(d, &d->head, s->vocab, s->dim, 0, &bad);
	d->embed = room(s->vocab * s->dim * 2, &bad);
	d->norm = room(s->dim * sizeof(float), &bad);
	activations(d, &bad);
	cache_init(d, &bad);
	sequences(d, &bad);
	if (!bad)
		return d;
	dec_why(err);
	dec_close(d);
	return NULL;
}
