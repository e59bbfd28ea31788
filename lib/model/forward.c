/* The forward pass; see forward.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "model/experts.h"
#include "model/forward.h"
#include "model/rope.h"

#define TOGETHER	3		/* layers of one product, at most */

enum sq_dtype
sq_forward_kv_type(enum sq_prec prec)
{
	return prec == SQ_PREC_F32 ? SQ_F32 : SQ_BF16;
}

static float *
carve(float **mem, size_t n)
{
	float *p = *mem;

	*mem += (n + 15) / 16 * 16;
	return p;
}

static size_t
widest(const struct sq_config *c)
{
	return (size_t)(c->expert_ffn > c->ffn ? c->expert_ffn : c->ffn);
}

/* For each row: three rows of the hidden states, the router's scores, the choice
 * with its weights, and a list of rows with weights. */
static size_t
moe_floats(const struct sq_config *c, size_t rows)
{
	return rows * (size_t)(3 * c->dim + c->experts + 2 * c->chosen + 2);
}

int
sq_forward_init(struct sq_forward *f, const struct sq_model *m,
    struct sq_ctx *ctx, enum sq_prec prec, size_t max_rows, char *err)
{
	const struct sq_config *c = &m->config;
	size_t r = max_rows, dim = (size_t)c->dim, ffn = widest(c);
	size_t q = (size_t)(c->heads * c->head_dim);
	size_t kv = (size_t)(c->kv_heads * c->head_dim);
	size_t n = (r * (3 * dim + 2 * q + 2 * kv + 2 * ffn) + 9 * 16) /
	    16 * 16 * sizeof(float);
	float *p;

	memset(f, 0, sizeof(*f));
	f->model = m;
	f->ctx = ctx;
	f->prec = prec;
	f->max_rows = max_rows;
	f->expert = -1;
	if (c->experts > 0)
		f->moe = malloc(moe_floats(c, r) * sizeof(*f->moe));
	p = f->mem = ctx->kern->mem->alloc(n);
	f->pos = ctx->kern->mem->alloc(r * sizeof(*f->pos));
	f->place = malloc(r * sizeof(*f->place));
	if (f->mem == NULL || f->pos == NULL || f->place == NULL ||
	    (c->experts > 0 && f->moe == NULL)) {
		sq_forward_release(f);
		return sq_fail(err, "out of memory");
	}
	f->hidden = carve(&p, r * dim);
	f->normed = carve(&p, r * dim);
	f->q = carve(&p, r * q);
	f->k = carve(&p, r * kv);
	f->v = carve(&p, r * kv);
	f->att = carve(&p, r * q);
	f->gate = carve(&p, r * ffn);
	f->up = carve(&p, r * ffn);
	f->out = f->ffn_normed = f->normed;
	f->act = f->gate;
	f->x = (struct sq_mat){ f->hidden, SQ_F32, 0, dim, dim };
	return 0;
}

int
sq_forward_keep(struct sq_forward *f, char *err)
{
	const struct sq_config *c = &f->model->config;
	size_t r = f->max_rows, dim = (size_t)c->dim, ffn = (size_t)c->ffn;
	size_t q = (size_t)(c->heads * c->head_dim);
	size_t kv = (size_t)(c->kv_heads * c->head_dim);
	float *p;

	if (f->ctx->kern->mem->device)
		return sq_fail(err, "training works in the host's memory");
	p = f->kept = f->ctx->kern->mem->alloc((r * (4 * dim + ffn + q + kv) +
	    7 * 16) / 16 * 16 * sizeof(float));
	if (p == NULL)
		return sq_fail(err, "out of memory");
	f->out = carve(&p, r * dim);
	f->ffn_normed = carve(&p, r * dim);
	f->entry = carve(&p, r * dim);
	f->mid = carve(&p, r * dim);
	f->act = carve(&p, r * ffn);
	f->q_raw = carve(&p, r * q);
	f->k_raw = carve(&p, r * kv);
	return 0;
}

void
sq_forward_release(struct sq_forward *f)
{
	if (f->ctx != NULL) {
		f->ctx->kern->mem->free(f->mem);
		f->ctx->kern->mem->free(f->kept);
		f->ctx->kern->mem->free(f->pos);
		f->ctx->kern->mem->free(f->angles);
		f->ctx->kern->mem->free(f->qx.codes);
		f->ctx->kern->mem->free(f->qx.scale);
		f->ctx->kern->mem->free(f->qx_values);
	}
	free(f->place);
	free(f->seq);
	sq_attn_plan_release(&f->sparse);
	free(f->moe);
	memset(f, 0, sizeof(*f));
}

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

/* The same memory, a row for each head. */
static struct sq_mat
by_head(const struct sq_mat *m, size_t dim)
{
	return mat(m->p, m->rows * (m->cols / dim), dim);
}

static int
no_kernel(struct sq_forward *f, char *err, enum sq_op op)
{
	return sq_fail(err, "'%s': %s", sq_op_name(op),
	    f->ctx->kern->mem->error());
}

/* Memory for quantized inputs of linear layers, the widest one's: for models
 * that have such, when the first one comes. */
static int
init_act(struct sq_forward *f, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_mem *mem = f->ctx->kern->mem;
	size_t n = (size_t)(c->heads * c->head_dim), rows = f->max_rows;

	n = n < c->dim ? (size_t)c->dim : n;
	n = n < c->ffn ? (size_t)c->ffn : n;
	f->qx.codes = mem->alloc(rows * n);
	f->qx.scale = mem->alloc(rows * sizeof(*f->qx.scale));
	f->qx_values = mem->alloc(rows * n * sizeof(float));
	if (f->qx.codes == NULL || f->qx.scale == NULL || f->qx_values == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

/* The codes of x.  Layers that share an input share them too, until tap() sees
 * the next one. */
static int
quantize(struct sq_forward *f, const struct sq_act *a,
    const struct sq_mat *x, char *err)
{
	struct sq_qmat *q = &f->qx;

	if (f->qx_values == NULL && init_act(f, err) < 0)
		return -1;
	if (f->qx_of == x->p && q->kind == a->kind && f->qx_scale == a->scale)
		return 0;
	q->kind = a->kind;
	q->rows = x->rows;
	q->cols = q->stride = x->cols;
	f->qx_of = x->p;
	f->qx_scale = a->scale;
	f->qx_valued = 0;
	if (sq_quantize_act(f->ctx, x, a, q) != 0)
		return no_kernel(f, err, SQ_OP_quantize_act);
	return 0;
}

/* What the codes mean: what a product takes that does not take codes. */
static int
values_of(struct sq_forward *f, struct sq_mat *y, char *err)
{
	*y = mat(f->qx_values, f->qx.rows, f->qx.cols);
	if (f->qx_valued)
		return 0;
	if (sq_dequantize_act(f->ctx, &f->qx, y) != 0)
		return no_kernel(f, err, SQ_OP_dequantize_act);
	f->qx_valued = 1;
	return 0;
}

/* Layers that one product can be made of: their inputs and the ways in which
 * weights lie are the same. */
static int
alike(const struct sq_linear *const *l, size_t n)
{
	size_t i;

	for (i = 1; i < n; i++)
		if (l[i]->act.kind != l[0]->act.kind ||
		    l[i]->act.scale != l[0]->act.scale ||
		    l[i]->w.layout != SQ_ROWS || l[0]->w.layout != SQ_ROWS ||
		    sq_grid_is_int(l[i]->w.grid) !=
		    sq_grid_is_int(l[0]->w.grid))
			return 0;
	return n <= TOGETHER;
}

/* Of layers that are alike. */
static int
product(struct sq_forward *f, const struct sq_linear *const *l, size_t n,
    const struct sq_mat *x, const struct sq_mat *y, char *err)
{
	const struct sq_weight *w[TOGETHER];
	struct sq_mat values;
	size_t i;

	for (i = 0; i < n; i++)
		w[i] = &l[i]->w;
	if (l[0]->act.kind != SQ_ACT_NONE) {
		if (quantize(f, &l[0]->act, x, err) < 0)
			return -1;
		if (l[0]->act.kind == SQ_ACT_INT8 &&
		    sq_grid_is_int(w[0]->grid) && w[0]->layout == SQ_ROWS) {
			if (sq_matmul_int8_each(f->ctx, w, n, &f->qx, y) != 0)
				return no_kernel(f, err, SQ_OP_matmul_int8_each);
			return 0;
		}
		if (values_of(f, &values, err) < 0)
			return -1;
		x = &values;
	}
	if (w[0]->layout != SQ_ROWS) {
		if (sq_sparse_matmul(f->ctx, w[0], x, f->prec, y) != 0)
			return no_kernel(f, err, SQ_OP_sparse_matmul);
	} else if (sq_matmul_each(f->ctx, w, n, x, f->prec, y) != 0)
		return no_kernel(f, err, SQ_OP_matmul_each);
	return 0;
}

/* Layers of one input: y[i] is what the i-th makes of it. */
static int
linears(struct sq_forward *f, const struct sq_linear *const *l, size_t n,
    const struct sq_mat *x, const struct sq_mat *y, char *err)
{
	size_t i, step = alike(l, n) ? n : 1;

	for (i = 0; i < n; i += step)
		if (product(f, l + i, step, x, y + i, err) < 0)
			return -1;
	for (i = 0; i < n; i++)
		if (l[i]->bias != NULL && sq_add_bias(f->ctx, l[i]->bias,
		    &y[i]) != 0)
			return no_kernel(f, err, SQ_OP_add_bias);
	return 0;
}

static int
linear(struct sq_forward *f, const struct sq_linear *l,
    const struct sq_mat *x, const struct sq_mat *y, char *err)
{
	return linears(f, &l, 1, x, y, err);
}

static int
norm(struct sq_forward *f, const struct sq_mat *x, const float *weight,
    const struct sq_mat *y, char *err)
{
	if (sq_rmsnorm(f->ctx, x, weight, (float)f->model->config.eps, y) != 0)
		return no_kernel(f, err, SQ_OP_rmsnorm);
	return 0;
}

static int
tap(struct sq_forward *f, enum sq_role role, size_t layer,
    const struct sq_mat *x, char *err)
{
	f->qx_of = NULL;		/* a new input */
	if (f->tap != NULL && f->tap(f->tap_arg, role, layer, x) < 0)
		return sq_fail(err, "stopped");
	return 0;
}

/* A copy of m, where it is kept. */
static void
keep(struct sq_forward *f, float *to, const struct sq_mat *m)
{
	if (to != NULL)
		sq_pool_copy(f->ctx->pool, to, m->p, m->rows * m->cols *
		    sizeof(*to));
}

/* Angles for the positions up to need. */
static int
more_angles(struct sq_forward *f, size_t need, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_mem *mem = f->ctx->kern->mem;
	float *a;
	size_t n;

	need = need < 2 * f->npos ? 2 * f->npos : need;
	n = need * (size_t)c->head_dim * sizeof(*a);
	mem->free(f->angles);
	f->npos = 0;
	if ((f->angles = mem->alloc(n)) == NULL || (a = malloc(n)) == NULL)
		return sq_fail(err, "out of memory");
	if (sq_rope_table(c, 0, need, a) < 0) {
		free(a);
		return sq_fail(err, "out of memory");
	}
	if (mem->put(f->angles, a, n) < 0) {
		free(a);
		return sq_fail(err, "%s", mem->error());
	}
	free(a);
	f->npos = need;
	return 0;
}

/* Positions of all rows, angles for them, and views for the kernels. */
static int
place(struct sq_forward *f, const struct sq_feed *feed, size_t n, char *err)
{
	const struct sq_mem *mem = f->ctx->kern->mem;
	size_t i, j, row = 0, need = 0;

	for (i = 0; i < n; i++) {
		for (j = 0; j < feed[i].n; j++)
			f->place[row++] = (uint32_t)(feed[i].kv->length + j);
		if (feed[i].kv->length + feed[i].n > need)
			need = feed[i].kv->length + feed[i].n;
	}
	if (mem->put(f->pos, f->place, row * sizeof(*f->pos)) < 0)
		return sq_fail(err, "%s", mem->error());
	if (n > f->max_seqs) {
		free(f->seq);
		f->max_seqs = n;
		if ((f->seq = calloc(n, sizeof(*f->seq))) == NULL)
			return sq_fail(err, "out of memory");
	}
	return need <= f->npos ? 0 : more_angles(f, need, err);
}

static int
rotate(struct sq_forward *f, const float *weight, const struct sq_mat *x,
    float *raw, char *err)
{
	size_t dim = (size_t)f->model->config.head_dim;
	struct sq_mat heads = by_head(x, dim);

	if (weight != NULL)
		keep(f, raw, x);
	if (weight != NULL && norm(f, &heads, weight, &heads, err) < 0)
		return -1;
	if (sq_rope(f->ctx, f->angles, f->pos, dim, x) != 0)
		return no_kernel(f, err, SQ_OP_rope);
	return 0;
}

/* Over the keys that the model's choice leaves; where the architecture has a
 * window of its own, there is nothing to choose. */
static int
attend_all(struct sq_forward *f, const struct sq_attn *a,
    const struct sq_kv *kv, size_t n, const struct sq_mat *q,
    const struct sq_mat *y, char *err)
{
	struct sq_attn_plan *p = &f->sparse;

	if (f->model->attention.pick == SQ_ATTN_ALL || a->window > 0)
		return sq_attention(f->ctx, a, kv, f->seq, n, q, y) == 0 ? 0 :
		    no_kernel(f, err, SQ_OP_attention);
	if (f->ctx->kern->mem->device)
		return sq_fail(err, "attention to chosen keys works in the "
		    "host's memory");
	if (sq_attn_plan(p, &f->model->attention, f->ctx, a, kv, f->seq, n, q,
	    err) < 0)
		return -1;
	return sq_sparse_attention(f->ctx, a, &p->keep, kv, p->piece, p->n, q,
	    y) == 0 ? 0 : no_kernel(f, err, SQ_OP_sparse_attention);
}

static int
attend(struct sq_forward *f, size_t layer, const struct sq_feed *feed,
    size_t n, const struct sq_mat *q, const struct sq_mat *k,
    const struct sq_mat *v, const struct sq_mat *y, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_kvcache *cache = feed[0].kv->cache;
	const struct sq_kv *kv = sq_kvcache_layer(cache, layer);
	struct sq_attn a = { .heads = (size_t)c->heads,
	    .window = layer >= c->window_from ? (size_t)c->window : 0,
	    .scale = (float)(1 / sqrt((double)c->head_dim)),
	    .prec = f->prec };
	size_t i, row = 0;

	for (i = 0; i < n; row += feed[i++].n)
		f->seq[i] = sq_kvseq_view(feed[i].kv, layer, row, feed[i].n);
	if (cache->policy.hadamard && kv->k.grid != SQ_PAGE_PLAIN &&
	    (sq_hadamard(f->ctx, kv->dim, q) != 0 ||
	    sq_hadamard(f->ctx, kv->dim, k) != 0))
		return no_kernel(f, err, SQ_OP_hadamard);
	if (sq_kv_append(f->ctx, kv, f->seq, n, k, v) != 0)
		return no_kernel(f, err, SQ_OP_kv_append);
	return attend_all(f, &a, kv, n, q, y, err);
}

/* The end of a half: its last layer, of what was made of x, and x again. */
static int
leave(struct sq_forward *f, const struct sq_linear *l, const struct sq_mat *in,
    char *err)
{
	struct sq_mat out = mat(f->out, in->rows, f->x.cols);

	if (linear(f, l, in, &out, err) < 0)
		return -1;
	return sq_add(f->ctx, &out, &f->x) == 0 ? 0 :
	    no_kernel(f, err, SQ_OP_add);
}

static int
attention_half(struct sq_forward *f, size_t layer, const struct sq_feed *feed,
    size_t n, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_layer *l = &f->model->layer[layer];
	size_t rows = f->x.rows, nq = (size_t)(c->heads * c->head_dim);
	size_t nkv = (size_t)(c->kv_heads * c->head_dim);
	const struct sq_linear *const qkv[] = { &l->q, &l->k, &l->v };
	struct sq_mat h = mat(f->normed, rows, (size_t)c->dim);
	struct sq_mat att = mat(f->att, rows, nq);
	struct sq_mat y[] = { mat(f->q, rows, nq), mat(f->k, rows, nkv),
	    mat(f->v, rows, nkv) };

	keep(f, f->entry, &f->x);
	if (norm(f, &f->x, l->attn_norm, &h, err) < 0 ||
	    tap(f, SQ_Q, layer, &h, err) < 0 ||
	    linears(f, qkv, 3, &h, y, err) < 0 ||
	    rotate(f, l->q_norm, &y[0], f->q_raw, err) < 0 ||
	    rotate(f, l->k_norm, &y[1], f->k_raw, err) < 0 ||
	    tap(f, SQ_K, layer, &y[1], err) < 0 ||
	    tap(f, SQ_V, layer, &y[2], err) < 0 ||
	    attend(f, layer, feed, n, &y[0], &y[1], &y[2], &att, err) < 0 ||
	    tap(f, SQ_O, layer, &att, err) < 0)
		return -1;
	return leave(f, &l->o, &att, err);
}

/* The rows in x through one expert, back to where they are. */
static int
one_expert(struct sq_forward *f, size_t layer, size_t e,
    const struct sq_mat *x, char *err)
{
	const struct sq_expert *w = &f->model->layer[layer].expert[e];
	size_t ffn = (size_t)f->model->config.expert_ffn;
	const struct sq_linear *const both[] = { &w->gate, &w->up };
	struct sq_mat y[] = { mat(f->gate, x->rows, ffn),
	    mat(f->up, x->rows, ffn) };

	f->expert = (int64_t)e;
	if (tap(f, SQ_GATE, layer, x, err) < 0 ||
	    linears(f, both, 2, x, y, err) < 0)
		return -1;
	if (sq_silu_mul(f->ctx, &y[0], &y[1], &y[0]) != 0)
		return no_kernel(f, err, SQ_OP_silu_mul);
	if (tap(f, SQ_DOWN, layer, &y[0], err) < 0 ||
	    linear(f, &w->down, &y[0], x, err) < 0)
		return -1;
	f->expert = -1;
	return 0;
}

static int
experts_half(struct sq_forward *f, size_t layer, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_layer *l = &f->model->layer[layer];
	size_t rows = f->x.rows, dim = (size_t)c->dim, e, n;
	size_t experts = (size_t)c->experts, k = (size_t)c->chosen;
	struct sq_mat h = mat(f->normed, rows, dim);
	struct sq_mat x = mat(f->moe, 0, dim);
	struct sq_mat y = mat(f->moe + rows * dim, rows, dim);
	struct sq_mat scores = mat((float *)y.p + rows * dim, rows, experts);
	struct sq_mat far = mat(NULL, rows, dim);	/* h, on the host */
	const struct sq_mem *mem = f->ctx->kern->mem;
	struct sq_choice to = { .chosen = k };
	float *weight = (float *)scores.p + rows * experts;
	uint32_t *row;

	to.weight = weight + rows;
	to.expert = (uint32_t *)(void *)(to.weight + rows * k);
	row = to.expert + rows * k;
	far.p = (float *)(void *)(row + rows);
	if (norm(f, &f->x, l->ffn_norm, &h, err) < 0)
		return -1;
	if (sq_matmul(f->ctx, &l->router.w, &h, SQ_PREC_F32, &scores) != 0)
		return no_kernel(f, err, SQ_OP_matmul);
	sq_experts_choose(c, &scores, &to);
	if (mem->device) {
		if (mem->get(far.p, h.p, rows * dim * sizeof(float)) < 0)
			return sq_fail(err, "%s", mem->error());
		h = far;
	}
	memset(y.p, 0, rows * dim * sizeof(float));
	for (e = 0; e < experts; e++) {
		n = sq_experts_gather(&to, (uint32_t)e, &h, x.p, row, weight);
		x.rows = n;
		if (n == 0)
			continue;
		if (one_expert(f, layer, e, &x, err) < 0)
			return -1;
		sq_experts_scatter(&y, x.p, n, row, weight);
	}
	return sq_add(f->ctx, &y, &f->x) == 0 ? 0 : no_kernel(f, err, SQ_OP_add);
}

static int
ffn_half(struct sq_forward *f, size_t layer, char *err)
{
	const struct sq_config *c = &f->model->config;
	const struct sq_layer *l = &f->model->layer[layer];
	size_t rows = f->x.rows;
	struct sq_mat h = mat(f->ffn_normed, rows, (size_t)c->dim);
	const struct sq_linear *const both[] = { &l->gate, &l->up };
	struct sq_mat y[] = { mat(f->gate, rows, (size_t)c->ffn),
	    mat(f->up, rows, (size_t)c->ffn) };
	struct sq_mat act = mat(f->act, rows, (size_t)c->ffn);

	keep(f, f->mid, &f->x);
	if (sq_config_has_experts(c, layer))
		return experts_half(f, layer, err);
	if (norm(f, &f->x, l->ffn_norm, &h, err) < 0 ||
	    tap(f, SQ_GATE, layer, &h, err) < 0 ||
	    linears(f, both, 2, &h, y, err) < 0)
		return -1;
	if (sq_silu_mul(f->ctx, &y[0], &y[1], &act) != 0)
		return no_kernel(f, err, SQ_OP_silu_mul);
	if (tap(f, SQ_DOWN, layer, &act, err) < 0)
		return -1;
	return leave(f, &l->down, &act, err);
}

int
sq_forward_embed(struct sq_forward *f, const struct sq_feed *feed, size_t n,
    char *err)
{
	struct sq_mat y = f->x;
	size_t i, j, row = 0;

	f->x.p = f->hidden;
	for (i = 0; i < n; row += feed[i++].n) {
		if (row + feed[i].n > f->max_rows)
			return sq_fail(err, "a batch of more than %zu tokens",
			    f->max_rows);
		for (j = 0; j < feed[i].n; j++)
			if (feed[i].ids[j] >= f->model->config.vocab)
				return sq_fail(err, "token %u is not in the "
				    "model's vocabulary", feed[i].ids[j]);
		y.p = f->hidden + row * y.cols;
		y.rows = feed[i].n;
		if (sq_embed(f->ctx, &f->model->embed.w, feed[i].ids,
		    &y) != 0)
			return no_kernel(f, err, SQ_OP_embed);
	}
	f->x.rows = row;
	return 0;
}

int
sq_forward_attention(struct sq_forward *f, size_t layer,
    const struct sq_feed *feed, size_t n, char *err)
{
	if (place(f, feed, n, err) < 0)
		return -1;
	return attention_half(f, layer, feed, n, err);
}

int
sq_forward_ffn(struct sq_forward *f, size_t layer, const struct sq_feed *feed,
    size_t n, char *err)
{
	(void)feed;
	(void)n;
	return ffn_half(f, layer, err);
}

int
sq_forward_leave(struct sq_forward *f, enum sq_role role, size_t layer,
    const struct sq_mat *in, char *err)
{
	const struct sq_layer *l = &f->model->layer[layer];

	f->qx_of = NULL;
	return leave(f, role == SQ_O ? &l->o : &l->down, in, err);
}

int
sq_forward_put(struct sq_forward *f, const float *x, size_t rows, char *err)
{
	const struct sq_mem *mem = f->ctx->kern->mem;

	f->x.p = f->hidden;
	f->x.rows = rows;
	if (mem->put(f->hidden, x, rows * f->x.cols * sizeof(*x)) < 0)
		return sq_fail(err, "%s", mem->error());
	return 0;
}

int
sq_forward_get(struct sq_forward *f, float *x, char *err)
{
	const struct sq_mem *mem = f->ctx->kern->mem;

	if (mem->get(x, f->x.p, f->x.rows * f->x.cols * sizeof(*x)) < 0)
		return sq_fail(err, "%s", mem->error());
	return 0;
}

int
sq_forward_lend(struct sq_forward *f, float *x, size_t rows)
{
	if (f->ctx->kern->mem->device)
		return 0;
	f->x.p = x;
	f->x.rows = rows;
	return 1;
}

int
sq_forward_block(struct sq_forward *f, size_t layer,
    const struct sq_feed *feed, size_t n, char *err)
{
	if (sq_forward_attention(f, layer, feed, n, err) < 0)
		return -1;
	return ffn_half(f, layer, err);
}

int
sq_forward(struct sq_forward *f, const struct sq_feed *feed, size_t n,
    char *err)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (sq_kvseq_reserve(feed[i].kv, feed[i].n, err) < 0)
			return -1;
	if (sq_forward_embed(f, feed, n, err) < 0)
		return -1;
	for (i = 0; i < f->model->config.layers; i++)
		if (sq_forward_block(f, i, feed, n, err) < 0)
			return -1;
	for (i = 0; i < n; i++)
		sq_kvseq_advance(feed[i].kv, feed[i].n);
	return 0;
}

int
sq_forward_logits(struct sq_forward *f, size_t row, size_t n,
    const struct sq_mat *logits, char *err)
{
	struct sq_mat x = f->x, h = mat(f->normed, n, f->x.cols);

	x.p = (float *)x.p + row * x.cols;
	x.rows = n;
	if (norm(f, &x, f->model->norm, &h, err) < 0)
		return -1;
	return linear(f, &f->model->head, &h, logits, err);
}

size_t
sq_forward_bytes(const struct sq_forward *f)
{
	const struct sq_config *c = &f->model->config;
	uint64_t row = 3 * c->dim + 2 * (c->heads + c->kv_heads) *
	    c->head_dim + 2 * widest(c);

	return f->max_rows * (size_t)row * sizeof(float) + (c->experts > 0 ?
	    moe_floats(c, f->max_rows) * sizeof(float) : 0);
}
