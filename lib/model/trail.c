/* What blocks leave behind; see trail.h. */
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "model/trail.h"

struct sq_trail_layer {
	float *entry, *mid, *q, *k, *v, *att, *gate, *up, *q_raw, *k_raw;
};

/* Floats of a row: what went in, and the rest. */
static size_t
row_entry(const struct sq_config *c)
{
	return (size_t)c->dim;
}

static size_t
row_rest(const struct sq_config *c)
{
	size_t q = (size_t)(c->heads * c->head_dim);
	size_t kv = (size_t)(c->kv_heads * c->head_dim);

	return (size_t)(c->dim + 2 * c->ffn) + 2 * q + 2 * kv +
	    (c->arch->qk_norm ? q + kv : 0);
}

/* How many layers are held whole. */
static size_t
whole(const struct sq_config *c, size_t rows, uint64_t most)
{
	uint64_t n = most / (sizeof(float) * rows * row_rest(c));

	return (size_t)(n < c->layers ? n : c->layers);
}

uint64_t
sq_trail_bytes(const struct sq_config *c, size_t rows, uint64_t most)
{
	return sizeof(float) * rows * (c->layers * row_entry(c) +
	    whole(c, rows, most) * row_rest(c));
}

static float *
carve(float **mem, size_t n)
{
	float *p = *mem;

	*mem += n;
	return p;
}

int
sq_trail_init(struct sq_trail *h, const struct sq_forward *f, uint64_t most,
    char *err)
{
	const struct sq_config *c = &f->model->config;
	size_t r = (f->max_rows + 15) / 16 * 16, i;
	size_t q = r * (size_t)(c->heads * c->head_dim);
	size_t kv = r * (size_t)(c->kv_heads * c->head_dim);
	struct sq_trail_layer *l;
	float *p;

	*h = (struct sq_trail){ .layers = (size_t)c->layers, .rows = r,
	    .own = *f };
	h->first = h->layers - whole(c, r, most);
	h->layer = calloc(h->layers, sizeof(*h->layer));
	p = h->mem = sq_mem_host.alloc(sq_trail_bytes(c, r, most));
	if (h->layer == NULL || p == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i < h->layers; i++) {
		l = &h->layer[i];
		l->entry = carve(&p, r * (size_t)c->dim);
		if (i < h->first)
			continue;
		l->mid = carve(&p, r * (size_t)c->dim);
		l->q = carve(&p, q);
		l->k = carve(&p, kv);
		l->v = carve(&p, kv);
		l->att = carve(&p, q);
		l->gate = carve(&p, r * (size_t)c->ffn);
		l->up = carve(&p, r * (size_t)c->ffn);
		if (c->arch->qk_norm) {
			l->q_raw = carve(&p, q);
			l->k_raw = carve(&p, kv);
		}
	}
	return 0;
}

void
sq_trail_release(struct sq_trail *h)
{
	free(h->layer);
	sq_mem_host.free(h->mem);
	memset(h, 0, sizeof(*h));
}

void
sq_trail_forth(struct sq_trail *h, struct sq_forward *f, size_t layer)
{
	const struct sq_forward *own = &h->own;
	const struct sq_trail_layer *l = &h->layer[layer];
	int held = layer >= h->first;

	f->entry = l->entry;
	f->mid = held ? l->mid : own->mid;
	f->q = held ? l->q : own->q;
	f->k = held ? l->k : own->k;
	f->v = held ? l->v : own->v;
	f->att = held ? l->att : own->att;
	f->gate = held ? l->gate : own->gate;
	f->up = held ? l->up : own->up;
	f->q_raw = l->q_raw != NULL ? l->q_raw : own->q_raw;
	f->k_raw = l->k_raw != NULL ? l->k_raw : own->k_raw;
}

const float *
sq_trail_entry(const struct sq_trail *h, size_t layer)
{
	return h->layer[layer].entry;
}

static struct sq_mat
mat(float *p, size_t rows, uint64_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, (size_t)cols, (size_t)cols };
}

int
sq_trail_back(struct sq_trail *h, struct sq_forward *f, size_t layer,
    size_t rows, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_layer *w = &f->model->layer[layer];
	struct sq_mat x = mat(h->layer[layer].entry, rows, c->dim), y, z;
	float eps = (float)c->eps;

	if (layer < h->first) {
		f->x.rows = rows;
		sq_pool_copy(f->ctx->pool, f->x.p, x.p, rows * x.cols *
		    sizeof(float));
		sq_trail_forth(h, f, layer);
		/* it copies what it passes there */
		f->entry = h->own.entry;
		return 0;
	}
	sq_trail_forth(h, f, layer);
	y = mat(f->normed, rows, c->dim);
	if (sq_rmsnorm(f->ctx, &x, w->attn_norm, eps, &y) != 0)
		return sq_no_kernel(err, SQ_OP_rmsnorm);
	x.p = f->mid;
	y.p = f->ffn_normed;
	if (sq_rmsnorm(f->ctx, &x, w->ffn_norm, eps, &y) != 0)
		return sq_no_kernel(err, SQ_OP_rmsnorm);
	x = mat(f->gate, rows, c->ffn);
	y = mat(f->up, rows, c->ffn);
	z = mat(f->act, rows, c->ffn);
	if (sq_silu_mul(f->ctx, &x, &y, &z) != 0)
		return sq_no_kernel(err, SQ_OP_silu_mul);
	return 1;
}
