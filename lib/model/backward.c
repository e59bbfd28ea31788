/*
 * The backward pass; see backward.h.
 *
 * Of y = x W^T:   dx = dy W
 *                 dW = dy^T x
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/panels.h"
#include "model/backward.h"
#include "model/rope.h"

#define PAGE	64			/* tokens of a KV page */

struct sq_linear *
sq_layer_linear(struct sq_layer *l, int i)
{
	struct sq_linear *const all[SQ_LINEARS] = { &l->q, &l->k, &l->v,
	    &l->o, &l->gate, &l->up, &l->down };

	return all[i];
}

struct sq_linear_grad *
sq_layer_linear_grad(struct sq_layer_grad *g, int i)
{
	struct sq_linear_grad *const all[SQ_LINEARS] = { &g->q, &g->k, &g->v,
	    &g->o, &g->gate, &g->up, &g->down };

	return all[i];
}

static size_t
most(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Widths of a block's activations, and its greatest weight. */
struct widths {
	size_t dim, query, kv, ffn, weight;
};

static struct widths
widths_of(const struct sq_config *c)
{
	struct widths w = { (size_t)c->dim, (size_t)(c->heads * c->head_dim),
	    (size_t)(c->kv_heads * c->head_dim), (size_t)c->ffn, 0 };

	w.weight = w.dim * most(most(w.query, w.kv), w.ffn);
	return w;
}

static size_t
floats(const struct widths *w, size_t rows)
{
	return rows * (2 * w->dim + 2 * w->query + 2 * w->kv + w->ffn) +
	    w->weight + 8 * 16;
}

uint64_t
sq_backward_bytes(const struct sq_config *c, size_t samples, size_t length)
{
	struct widths w = widths_of(c);
	uint64_t rows = samples * length;

	return 4 * (floats(&w, rows) + rows * (7 * w.dim + 3 * w.query +
	    5 * w.kv + 3 * w.ffn));
}

uint64_t
sq_backward_forth_bytes(const struct sq_config *c, size_t samples,
    size_t length)
{
	struct widths w = widths_of(c);

	return 4 * samples * length * (3 * w.dim + 2 * w.query + 4 * w.kv +
	    2 * w.ffn);
}

static float *
carve(float **mem, size_t n)
{
	float *p = *mem;

	*mem += (n + 15) / 16 * 16;
	return p;
}

static int
set_memory(struct sq_backward *b, char *err)
{
	struct widths w = widths_of(&b->f.model->config);
	size_t rows = b->samples * b->length, i;
	float *p;

	p = b->mem = sq_mem_host.alloc(floats(&w, rows) / 16 * 16 *
	    sizeof(*p));
	if (p == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < 2; i++) {
		b->dim[i] = carve(&p, rows * w.dim);
		b->query[i] = carve(&p, rows * w.query);
		b->kv[i] = carve(&p, rows * w.kv);
	}
	b->ffn = carve(&p, rows * w.ffn);
	b->weight = carve(&p, w.weight);
	b->weight_size = w.weight;
	return 0;
}

static int
set_angles(struct sq_backward *b, char *err)
{
	const struct sq_config *c = &b->f.model->config;
	size_t n = (size_t)c->head_dim, i, k;

	b->angles = malloc(b->length * n * sizeof(*b->angles));
	if (b->angles == NULL ||
	    sq_rope_table(c, 0, b->length, b->angles) < 0)
		return sq_fail(err, "out of memory");
	for (i = 0; i < b->length; i++)
		for (k = n / 2; k < n; k++)
			b->angles[i * n + k] = -b->angles[i * n + k];
	return 0;
}

int
sq_backward_init_forth(struct sq_backward *b, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, size_t samples, size_t length,
    char *err)
{
	const struct sq_config *c = &m->config;
	struct sq_kv kv = { .type = sq_forward_kv_type(prec),
	    .heads = (size_t)c->kv_heads, .dim = (size_t)c->head_dim,
	    .page = PAGE };
	size_t i, whole = (length + PAGE - 1) / PAGE * PAGE;

	memset(b, 0, sizeof(*b));
	b->samples = samples;
	b->length = length;
	if (sq_forward_init(&b->f, m, ctx, prec, samples * length, err) < 0 ||
	    sq_kvcache_init(&b->cache, &kv, &sq_mem_host, 1,
	    samples * whole, err) < 0)
		return -1;
	b->seq = calloc(samples, sizeof(*b->seq));
	b->feed = calloc(samples, sizeof(*b->feed));
	if (b->seq == NULL || b->feed == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < samples; i++) {
		if (sq_kvseq_init(&b->seq[i], &b->cache, length, err) < 0)
			return -1;
		b->feed[i] = (struct sq_feed){ .kv = &b->seq[i], .n = length };
	}
	return 0;
}

int
sq_backward_init(struct sq_backward *b, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, size_t samples, size_t length,
    char *err)
{
	if (sq_backward_init_forth(b, m, ctx, prec, samples, length, err) < 0)
		return -1;
	if (m->config.experts > 0)
		return sq_fail(err, "no backward pass for a mixture of "
		    "experts");
	return sq_forward_keep(&b->f, err) < 0 || set_memory(b, err) < 0 ? -1 :
	    set_angles(b, err);
}

int
sq_backward_hold(struct sq_backward *b, uint64_t most, char *err)
{
	return sq_trail_init(&b->trail, &b->f, most, err);
}

void
sq_backward_release(struct sq_backward *b)
{
	size_t i;

	for (i = 0; b->seq != NULL && i < b->samples; i++)
		sq_kvseq_release(&b->seq[i]);
	free(b->seq);
	free(b->feed);
	free(b->angles);
	sq_mem_host.free(b->mem);
	sq_trail_release(&b->trail);
	sq_kvcache_release(&b->cache);
	sq_forward_release(&b->f);
	memset(b, 0, sizeof(*b));
}

/* ---- forth ---- */

int
sq_backward_embed(struct sq_backward *b, const uint32_t *ids, size_t n,
    char *err)
{
	size_t i;
	int r;

	for (i = 0; i < n; i++)
		b->feed[i].ids = ids + i * b->length;
	r = sq_forward_embed(&b->f, b->feed, n, err);
	for (i = 0; i < n; i++)
		b->feed[i].ids = NULL;
	return r;
}

static int
pass(struct sq_backward *b, size_t layer, char *err)
{
	size_t i, n = b->f.x.rows / b->length;

	for (i = 0; i < n; i++) {
		sq_kvseq_clear(&b->seq[i]);
		if (sq_kvseq_reserve(&b->seq[i], b->length, err) < 0)
			return -1;
	}
	return sq_forward_block(&b->f, layer, b->feed, n, err);
}

int
sq_backward_forward(struct sq_backward *b, size_t layer, char *err)
{
	if (b->trail.layer != NULL)
		sq_trail_forth(&b->trail, &b->f, layer);
	return pass(b, layer, err);
}

int
sq_backward_return(struct sq_backward *b, size_t layer, char *err)
{
	int r = sq_trail_back(&b->trail, &b->f, layer, b->f.x.rows, err);

	return r == 0 ? pass(b, layer, err) : r < 0 ? -1 : 0;
}

/* ---- back ---- */

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

/* g += dy^T x */
static int
weight_grad(struct sq_backward *b, const struct sq_mat *x,
    const struct sq_mat *dy, float *g, char *err)
{
	const struct sq_operand left = { *dy, SQ_TURNED };
	const struct sq_operand right = { *x, SQ_AS_IS };
	struct sq_mat sum = mat(g, dy->cols, x->cols);

	return sq_product(b->f.ctx, &left, &right, b->f.prec, 1, &sum) == 0 ?
	    0 : sq_no_kernel(err, SQ_OP_product);
}

/* dx = dy W, or with `add' dx += dy W */
static int
input_grad(struct sq_backward *b, const struct sq_weight *w,
    const struct sq_mat *dy, int add, const struct sq_mat *dx, char *err)
{
	const struct sq_operand left = { *dy, SQ_AS_IS };
	struct sq_operand right = { mat(b->weight, w->rows, w->cols),
	    SQ_AS_IS };

	right.m.type = sq_panel_type(b->f.prec);
	if (w->grid == SQ_DENSE) {
		right.m.p = (void *)(uintptr_t)w->data;
		right.m.type = w->type;
	} else if (sq_dequantize(b->f.ctx, w, 0, &right.m) != 0)
		return sq_no_kernel(err, SQ_OP_dequantize);
	return sq_product(b->f.ctx, &left, &right, b->f.prec, add, dx) == 0 ?
	    0 : sq_no_kernel(err, SQ_OP_product);
}

/* sq_backward_linear, or with `add' dx is added to. */
static int
linear_back(struct sq_backward *b, const struct sq_linear *l,
    const struct sq_mat *x, const struct sq_mat *dy, int add,
    const struct sq_mat *dx, const struct sq_linear_grad *g, char *err)
{
	if (l->w.rows * l->w.cols > b->weight_size)
		return sq_fail(err, "a layer of %zu by %zu is too large for "
		    "the backward pass", l->w.rows, l->w.cols);
	if (g->bias != NULL && sq_sum_rows(b->f.ctx, dy, g->bias) != 0)
		return sq_no_kernel(err, SQ_OP_sum_rows);
	if (g->w != NULL && weight_grad(b, x, dy, g->w, err) < 0)
		return -1;
	return dx == NULL ? 0 : input_grad(b, &l->w, dy, add, dx, err);
}

int
sq_backward_linear(struct sq_backward *b, const struct sq_linear *l,
    const struct sq_mat *x, const struct sq_mat *dy, const struct sq_mat *dx,
    const struct sq_linear_grad *g, char *err)
{
	return linear_back(b, l, x, dy, 0, dx, g, err);
}

/* The gradient d of a norm's output becomes that of its input, x; out holds
 * it, and is not d. */
static int
norm_back(struct sq_backward *b, const struct sq_mat *x, const float *weight,
    const struct sq_mat *d, const struct sq_mat *out, float *g, char *err)
{
	return sq_rmsnorm_backward(b->f.ctx, x, weight,
	    (float)b->f.model->config.eps, d, out, g) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_rmsnorm_backward);
}

static int
ffn_back(struct sq_backward *b, size_t layer, const struct sq_mat *dx,
    const struct sq_layer_grad *g, char *err)
{
	const struct sq_config *c = &b->f.model->config;
	const struct sq_layer *l = &b->f.model->layer[layer];
	size_t rows = dx->rows, dim = (size_t)c->dim, ffn = (size_t)c->ffn;
	struct sq_mat h = mat(b->f.ffn_normed, rows, dim);
	struct sq_mat act = mat(b->f.act, rows, ffn);
	struct sq_mat gate = mat(b->f.gate, rows, ffn);
	struct sq_mat up = mat(b->f.up, rows, ffn);
	struct sq_mat d = mat(b->ffn, rows, ffn);
	struct sq_mat dh = mat(b->dim[0], rows, dim);
	struct sq_mat spare = mat(b->dim[1], rows, dim);
	struct sq_mat mid = mat(b->f.mid, rows, dim);

	if (sq_backward_linear(b, &l->down, &act, dx, &d, &g->down, err) < 0)
		return -1;
	if (sq_silu_mul_backward(b->f.ctx, &gate, &up, &d, &gate, &up) != 0)
		return sq_no_kernel(err, SQ_OP_silu_mul_backward);
	if (sq_backward_linear(b, &l->gate, &h, &gate, &dh, &g->gate,
	    err) < 0 ||
	    linear_back(b, &l->up, &h, &up, 1, &dh, &g->up, err) < 0 ||
	    norm_back(b, &mid, l->ffn_norm, &dh, &spare, g->ffn_norm,
	    err) < 0)
		return -1;
	return sq_add(b->f.ctx, &spare, dx) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_add);
}

/* From the gradient d of a query or key after the rotary embedding to that
 * before it and before its norm; the result is in d or in spare: *out. */
static int
rotate_back(struct sq_backward *b, const struct sq_mat *d, float *raw,
    const float *weight, const struct sq_mat *spare, float *g,
    const struct sq_mat **out, char *err)
{
	size_t dim = (size_t)b->f.model->config.head_dim;
	size_t n = d->rows * d->cols / dim;
	struct sq_mat heads = mat(d->p, n, dim), x = mat(raw, n, dim);
	struct sq_mat to = mat(spare->p, n, dim);

	*out = d;
	if (sq_rope(b->f.ctx, b->angles, b->f.pos, dim, d) != 0)
		return sq_no_kernel(err, SQ_OP_rope);
	if (weight == NULL)
		return 0;
	*out = spare;
	return norm_back(b, &x, weight, &heads, &to, g, err);
}

static int
attend_back(struct sq_backward *b, size_t layer, struct sq_attn_grad *g,
    size_t rows, char *err)
{
	const struct sq_config *c = &b->f.model->config;
	size_t nq = (size_t)(c->heads * c->head_dim);
	size_t nkv = (size_t)(c->kv_heads * c->head_dim);
	struct sq_attn a = { .heads = (size_t)c->heads,
	    .window = layer >= c->window_from ? (size_t)c->window : 0,
	    .scale = (float)(1 / sqrt((double)c->head_dim)),
	    .prec = b->f.prec };

	g->q = mat(b->f.q, rows, nq);
	g->k = mat(b->f.k, rows, nkv);
	g->v = mat(b->f.v, rows, nkv);
	g->dy = mat(b->query[0], rows, nq);
	g->dq = mat(b->query[1], rows, nq);
	g->dk = mat(b->kv[0], rows, nkv);
	g->dv = mat(b->kv[1], rows, nkv);
	return sq_attention_backward(b->f.ctx, &a, (size_t)c->kv_heads,
	    b->length, g) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_attention_backward);
}

static int
attention_back(struct sq_backward *b, size_t layer, const struct sq_mat *dx,
    const struct sq_layer_grad *g, int through, char *err)
{
	const struct sq_config *c = &b->f.model->config;
	const struct sq_layer *l = &b->f.model->layer[layer];
	size_t rows = dx->rows, dim = (size_t)c->dim;
	struct sq_mat att = mat(b->f.att, rows, (size_t)(c->heads *
	    c->head_dim));
	struct sq_mat h = mat(b->f.normed, rows, dim);
	struct sq_mat dh = mat(b->dim[0], rows, dim);
	struct sq_mat spare = mat(b->dim[1], rows, dim);
	struct sq_mat entry = mat(b->f.entry, rows, dim);
	const struct sq_mat *dq, *dk, *to = through ? &dh : NULL;
	struct sq_attn_grad a;

	a.dy = mat(b->query[0], rows, att.cols);
	/* q, k and the gradient of att are free again once dq and dk are
	 * there */
	if (sq_backward_linear(b, &l->o, &att, dx, &a.dy, &g->o, err) < 0 ||
	    attend_back(b, layer, &a, rows, err) < 0 ||
	    rotate_back(b, &a.dq, b->f.q_raw, l->q_norm, &a.dy, g->q_norm,
	    &dq, err) < 0 ||
	    rotate_back(b, &a.dk, b->f.k_raw, l->k_norm, &a.k, g->k_norm,
	    &dk, err) < 0 ||
	    sq_backward_linear(b, &l->q, &h, dq, to, &g->q, err) < 0 ||
	    linear_back(b, &l->k, &h, dk, 1, to, &g->k, err) < 0 ||
	    linear_back(b, &l->v, &h, &a.dv, 1, to, &g->v, err) < 0)
		return -1;
	if (!through)
		return 0;
	if (norm_back(b, &entry, l->attn_norm, &dh, &spare, g->attn_norm,
	    err) < 0)
		return -1;
	return sq_add(b->f.ctx, &spare, dx) == 0 ? 0 :
	    sq_no_kernel(err, SQ_OP_add);
}

int
sq_backward_block(struct sq_backward *b, size_t layer,
    const struct sq_mat *dx, const struct sq_layer_grad *g, int through,
    char *err)
{
	if (ffn_back(b, layer, dx, g, err) < 0)
		return -1;
	return attention_back(b, layer, dx, g, through, err);
}
