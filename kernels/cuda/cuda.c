/*
 * The CUDA plug-in: its memory and the host's side of its operations.  Each
 * checks what it was given, as ref does, brings operands over (stage.c), and
 * starts kernels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grid.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/solve.h"
#include "kernels/quant.h"
#include "kernels/rows.h"

#define WIDE	((size_t)256 << 20)	/* bytes of a weight made wide at once */

struct sqc sqc;

int
sqc_ok(gpu_error e, const char *what)
{
	if (e == GPU(Success))
		return 0;
	snprintf(sqc.err, sizeof(sqc.err), "%s: %s: %s", sqc.name, what,
	    GPU(GetErrorString)(e));
	return -1;
}

/* ---- memory ---- */

static void *
mem_alloc(size_t n)
{
	void *p;

	if (sqc_ok(GPU(Malloc)(&p, n > 0 ? n : 1), "memory") == 0)
		return p;
	(void)GPU(GetLastError)();	/* the next call is not to blame */
	return NULL;
}

static void
mem_free(void *p)
{
	(void)GPU(Free)(p);
}

static int
mem_sync(void)
{
	return sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel");
}

static int
copy(void *to, const void *from, size_t n)
{
	return sqc_ok(GPU(MemcpyAsync)(to, from, n, GPU(MemcpyDefault),
	    sqc.stream), "copy") < 0 ? -1 : mem_sync();
}

static int
mem_probe(char *name, size_t *total, size_t *unused)
{
	snprintf(name, SQ_ERR, "%s", sqc.name);
	return sqc_ok(GPU(MemGetInfo)(unused, total), "memory");
}

static const char *
mem_error(void)
{
	return sqc.err[0] != '\0' ? sqc.err : "no kernel for this case";
}

static const struct sq_mem mem = {
	.device = 1, .alloc = mem_alloc, .free = mem_free, .put = copy,
	.get = copy, .sync = mem_sync, .probe = mem_probe, .error = mem_error
};

/* ---- operations on rows ---- */

static int
op_add(struct sq_ctx *c, const struct sq_mat *y, const struct sq_mat *x)
{
	struct sqc_call k;
	struct sq_mat a, b;

	(void)c;
	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, y, SQC_IN);
	b = sqc_mat(&k, x, SQC_INOUT);
	if (!k.failed)
		sqc_add(sqc.stream, a, b);
	return sqc_call_end(&k, 0);
}

static int
op_add_bias(struct sq_ctx *c, const float *bias, const struct sq_mat *x)
{
	struct sqc_call k;
	const float *b;
	struct sq_mat d;

	(void)c;
	if (x->type != SQ_F32)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	b = sqc_bytes(&k, bias, x->cols * sizeof(*bias), SQC_IN);
	d = sqc_mat(&k, x, SQC_INOUT);
	if (!k.failed)
		sqc_add_bias(sqc.stream, b, d);
	return sqc_call_end(&k, 0);
}

static int
op_silu_mul(struct sq_ctx *c, const struct sq_mat *gate,
    const struct sq_mat *up, const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_mat g, u, d;

	(void)c;
	if (!sq_rows_alike(gate, up) || !sq_rows_alike(gate, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	g = sqc_mat(&k, gate, SQC_IN);
	u = sqc_mat(&k, up, SQC_IN);
	d = sqc_mat(&k, y, SQC_OUT);
	if (!k.failed)
		sqc_silu_mul(sqc.stream, g, u, d);
	return sqc_call_end(&k, 0);
}

static int
op_rmsnorm(struct sq_ctx *c, const struct sq_mat *x, const float *weight,
    float eps, const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_mat a, d;
	const float *w;

	(void)c;
	if (!sq_rows_alike(x, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, x, SQC_IN);
	w = sqc_bytes(&k, weight, x->cols * sizeof(*weight), SQC_IN);
	d = sqc_mat(&k, y, SQC_OUT);
	if (!k.failed)
		sqc_rmsnorm(sqc.stream, a, w, eps, d);
	return sqc_call_end(&k, 0);
}

/* A table of the host's is brought as far as the positions reach. */
static int
op_rope(struct sq_ctx *c, const float *angles, const uint32_t *pos,
    size_t dim, const struct sq_mat *x)
{
	struct sqc_call k;
	const uint32_t *p;
	const float *a;
	struct sq_mat d;
	size_t i, most = 0;

	(void)c;
	if (!sq_rope_allows(x, dim))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	if (!sqc_on_device(angles)) {
		if (sqc_on_device(pos)) {
			snprintf(sqc.err, sizeof(sqc.err), "rope: positions "
			    "on the device, angles not");
			k.failed = 1;
		}
		for (i = 0; !k.failed && i < x->rows; i++)
			most = pos[i] > most ? pos[i] : most;
	}
	a = sqc_bytes(&k, angles, (most + 1) * dim * sizeof(*angles), SQC_IN);
	p = sqc_bytes(&k, pos, x->rows * sizeof(*pos), SQC_IN);
	d = sqc_mat(&k, x, SQC_INOUT);
	if (!k.failed)
		sqc_rope(sqc.stream, a, p, dim, d);
	return sqc_call_end(&k, 0);
}

/* ---- weights ---- */

static int
op_dequantize(struct sq_ctx *c, const struct sq_weight *w, size_t row,
    const struct sq_mat *out)
{
	struct sqc_call k;
	struct sq_weight dw;
	struct sq_mat d;

	(void)c;
	if (!sq_dequantize_allows(w, row, out))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dw = sqc_weight(&k, w);
	d = sqc_mat(&k, out, SQC_OUT);
	if (!k.failed)
		sqc_dequantize(sqc.stream, dw, NULL, row, d);
	return sqc_call_end(&k, 0);
}

static int
op_embed(struct sq_ctx *c, const struct sq_weight *w, const uint32_t *ids,
    const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_weight dw;
	struct sq_mat d;
	const uint32_t *i;

	(void)c;
	if (!sq_embed_allows(w, ids, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dw = sqc_weight(&k, w);
	i = sqc_push(&k, ids, y->rows * sizeof(*ids));
	d = sqc_mat(&k, y, SQC_OUT);
	if (!k.failed)
		sqc_dequantize(sqc.stream, dw, i, 0, d);
	return sqc_call_end(&k, 0);
}

/* y columns from .. from+n-1 = x W^T, W and x of one type; true float32 where
 * that is F32: no TF32. */
static int
gemm(const void *w, const void *x, size_t ldx, enum sq_dtype type,
    const struct sq_mat *y, size_t from, size_t n, size_t k)
{
	const float one = 1, zero = 0;
	int t = type == SQ_F32 ? (int)GPU_R_32F : (int)GPU_R_16BF;

	if (GPU_BLAS(GemmEx)(sqc.blas, GPU_BLAS_T, GPU_BLAS_N, (int)n,
	    (int)y->rows, (int)k, &one, w, t, (int)k, x, t, (int)ldx, &zero,
	    (float *)y->p + from, GPU_R_32F, (int)y->stride, GPU_BLAS_F32,
	    GPU_BLAS_ALGO) == GPU_BLAS_OK)
		return 0;
	snprintf(sqc.err, sizeof(sqc.err), "%s: matrix product failed",
	    sqc.name);
	return -1;
}

/* Weights that are not of the type of the product are made so, as many rows at
 * a time as WIDE holds. */
static int
product(struct sqc_call *k, const struct sq_weight *w, const struct sq_mat *x,
    enum sq_dtype type, const struct sq_mat *y)
{
	size_t size = sq_dtype_size(type), step = WIDE / (w->cols * size), i;
	struct sq_mat wide = { NULL, type, 0, w->cols, w->cols };
	const void *px = x->p, *pw;
	size_t ldx = x->stride;

	if (type == SQ_BF16) {
		px = sqc_temp(k, x->rows * x->cols * size);
		ldx = x->cols;
		if (k->failed)
			return -1;
		sqc_to_bf16(sqc.stream, *x, (void *)(uintptr_t)px);
	}
	if (w->grid == SQ_DENSE && w->type == type)
		return gemm(w->data, px, ldx, type, y, 0, w->rows, w->cols);
	step = step < 1 ? 1 : step > w->rows ? w->rows : step;
	pw = wide.p = sqc_temp(k, step * w->cols * size);
	for (i = 0; i < w->rows && !k->failed; i += wide.rows) {
		wide.rows = w->rows - i < step ? w->rows - i : step;
		sqc_dequantize(sqc.stream, *w, NULL, i, wide);
		if (gemm(pw, px, ldx, type, y, i, wide.rows, w->cols) < 0)
			k->failed = 1;
	}
	return k->failed ? -1 : 0;
}

static int
op_matmul(struct sq_ctx *c, const struct sq_weight *w, const struct sq_mat *x,
    enum sq_prec prec, const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_weight dw;
	struct sq_mat a, d;
	size_t temp;
	void *p;
	int r = 0;

	(void)c;
	if (!sq_weight_allows(w) || x->type != SQ_F32 || y->type != SQ_F32 ||
	    x->rows != y->rows || x->cols != w->cols || y->cols != w->rows ||
	    w->cols == 0)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dw = sqc_weight(&k, w);
	a = sqc_mat(&k, x, SQC_IN);
	d = sqc_mat(&k, y, SQC_OUT);
	if (!k.failed && x->rows > 0) {
		if (prec == SQ_PREC_BF16 &&
		    sqc_skinny_knows(&dw, a.rows, &temp)) {
			if ((p = sqc_temp(&k, temp)) != NULL)
				sqc_skinny(sqc.stream, dw, a, d, p);
		} else
			r = product(&k, &dw, &a, prec == SQ_PREC_F32 ? SQ_F32 :
			    SQ_BF16, &d);
	}
	return sqc_call_end(&k, r);
}

/* ---- activations of eight bits ---- */

/* The codes where the device reaches them. */
static struct sq_qmat
qmat(struct sqc_call *k, const struct sq_qmat *q, int how)
{
	struct sq_qmat d = *q;

	if (q->rows == 0)
		return d;
	d.codes = sqc_bytes(k, q->codes, (q->rows - 1) * q->stride + q->cols,
	    how);
	d.scale = sqc_bytes(k, q->scale, q->rows * sizeof(*q->scale), how);
	return d;
}

static int
op_quantize_act(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_act *a, const struct sq_qmat *q)
{
	struct sqc_call k;
	struct sq_mat d;
	struct sq_qmat dq;

	(void)c;
	if (!sq_act_allows(x, a->kind, q))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	d = sqc_mat(&k, x, SQC_IN);
	/* between rows, what is there stays */
	dq = qmat(&k, q, q->stride > q->cols ? SQC_INOUT : SQC_OUT);
	if (!k.failed && x->rows > 0)
		sqc_quantize_act(sqc.stream, d, a->scale, dq);
	return sqc_call_end(&k, 0);
}

static int
op_dequantize_act(struct sq_ctx *c, const struct sq_qmat *q,
    const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_qmat dq;
	struct sq_mat d;

	(void)c;
	if (!sq_act_allows(y, q->kind, q))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dq = qmat(&k, q, SQC_IN);
	d = sqc_mat(&k, y, SQC_OUT);
	if (!k.failed)
		sqc_dequantize_act(sqc.stream, dq, d);
	return sqc_call_end(&k, 0);
}

/* In float32, of what the codes stand for. */
static int
op_matmul_int8(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_qmat *x, const struct sq_mat *y)
{
	struct sq_mat values = { NULL, SQ_F32, x->rows, x->cols, x->cols }, d;
	struct sqc_call k;
	struct sq_weight dw;
	struct sq_qmat dx;
	int r = 0;

	(void)c;
	if (!sq_matmul_int8_allows(w, x, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dw = sqc_weight(&k, w);
	dx = qmat(&k, x, SQC_IN);
	d = sqc_mat(&k, y, SQC_OUT);
	values.p = sqc_temp(&k, x->rows * x->cols * sizeof(float));
	if (!k.failed && x->rows > 0) {
		sqc_dequantize_act(sqc.stream, dx, values);
		r = product(&k, &dw, &values, SQ_F32, &d);
	}
	return sqc_call_end(&k, r);
}

static int
op_matmul_each(struct sq_ctx *c, const struct sq_weight *const *w, size_t n,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		r = op_matmul(c, w[i], x, prec, &y[i]);
	return r;
}

static int
op_matmul_int8_each(struct sq_ctx *c, const struct sq_weight *const *w,
    size_t n, const struct sq_qmat *x, const struct sq_mat *y)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n && r == 0; i++)
		r = op_matmul_int8(c, w[i], x, &y[i]);
	return r;
}

/* ---- attention ---- */

#define MAX_PAGES	((size_t)1 << 24)

static size_t
pages_of(const struct sq_kv *kv, const struct sq_seq *s)
{
	return (s->pos + s->n + kv->page - 1) / kv->page;
}

static size_t
page_bytes(const struct sq_kv *kv)
{
	return kv->heads * kv->page * kv->dim * sq_dtype_size(kv->type);
}

/* Pages that lie in the host's memory, where they are copied to and, when
 * `back', from. */
struct pages {
	void **dev;			/* for the device: [2][n] */
	size_t n;
	int any_host;
};

static int
one_page(struct sqc_call *k, const struct sq_kv *kv, void *p, void **to,
    struct pages *ps)
{
	*to = p;
	if (p == NULL || sqc_on_device(p))
		return 0;
	ps->any_host = 1;
	if ((*to = sqc_temp(k, page_bytes(kv))) == NULL)
		return -1;
	return sqc_ok(GPU(MemcpyAsync)(*to, p, page_bytes(kv),
	    GPU(MemcpyHostToDevice), sqc.stream), "copy");
}

/* The host's memory is asked about by the first page of a sequence. */
static int
list_pages(struct sqc_call *k, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, struct pages *ps)
{
	size_t i, p, at = 0, n;
	int host;

	ps->n = 0;
	ps->any_host = 0;
	for (i = 0; i < nseq; i++)
		ps->n += pages_of(kv, &seq[i]);
	ps->dev = ps->n > MAX_PAGES ? NULL :
	    malloc((2 * ps->n + 1) * sizeof(*ps->dev));
	if (ps->dev == NULL) {
		snprintf(sqc.err, sizeof(sqc.err), "attention: out of memory");
		return -1;
	}
	for (i = 0; i < nseq; i++) {
		n = pages_of(kv, &seq[i]);
		host = n > 0 && seq[i].k[n - 1] != NULL &&
		    !sqc_on_device(seq[i].k[n - 1]);
		for (p = 0; p < n; p++, at++) {
			ps->dev[at] = seq[i].k[p];
			ps->dev[ps->n + at] = seq[i].v[p];
			if (host && (one_page(k, kv, seq[i].k[p],
			    &ps->dev[at], ps) < 0 || one_page(k, kv,
			    seq[i].v[p], &ps->dev[ps->n + at], ps) < 0))
				return -1;
		}
	}
	return 0;
}

static int
pages_back(const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct pages *ps)
{
	size_t i, p, at = 0;
	void *const *d = ps->dev;

	for (i = 0; ps->any_host && i < nseq; i++)
		for (p = 0; p < pages_of(kv, &seq[i]); p++, at++)
			if (d[at] != seq[i].k[p] &&
			    (copy(seq[i].k[p], d[at], page_bytes(kv)) < 0 ||
			    copy(seq[i].v[p], d[ps->n + at],
			    page_bytes(kv)) < 0))
				return -1;
	return 0;
}

struct tiles {
	struct sqc_tile *t;
	size_t n, room;
	uint32_t sums;
};

static int
add_tile(struct tiles *ts, struct sqc_tile t)
{
	struct sqc_tile *p;

	if (ts->n == ts->room) {
		ts->room = ts->room == 0 ? 256 : 2 * ts->room;
		if ((p = realloc(ts->t, ts->room * sizeof(*p))) == NULL) {
			snprintf(sqc.err, sizeof(sqc.err), "attention: out "
			    "of memory");
			return -1;
		}
		ts->t = p;
	}
	ts->t[ts->n++] = t;
	return 0;
}

/* The parts of SQC_TILE queries.  How keys are cut depends on where the
 * queries stand and on nothing else: others in the batch do not matter. */
static int
cut(struct tiles *ts, const struct sq_attn *a, const struct sq_seq *s,
    struct sqc_tile t, size_t group)
{
	size_t first = t.query / group, last = (t.query + t.nquery - 1) / group;
	size_t from = sq_window_start(a, s->pos + first);
	size_t to = s->pos + last + 1;

	t.parts = (uint32_t)((to - from + SQC_PART - 1) / SQC_PART);
	if (t.parts > 1) {
		t.sums = ts->sums;
		ts->sums += t.parts;
	}
	for (t.part = 0; t.part < t.parts; t.part++) {
		t.from = (uint32_t)(from + t.part * SQC_PART);
		t.to = (uint32_t)(t.part + 1 < t.parts ? t.from + SQC_PART :
		    to);
		if (add_tile(ts, t) < 0)
			return -1;
	}
	return 0;
}

static int
list_tiles(struct tiles *ts, const struct sq_attn *a, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq)
{
	size_t i, q, n, at = 0, group = a->heads / kv->heads;
	struct sqc_tile t;

	for (i = 0; i < nseq; at += pages_of(kv, &seq[i++])) {
		n = seq[i].n * group;
		for (q = 0; q < n; q += SQC_TILE) {
			memset(&t, 0, sizeof(t));
			t.row = (uint32_t)seq[i].row;
			t.pos = (uint32_t)seq[i].pos;
			t.query = (uint32_t)q;
			t.nquery = (uint32_t)(n - q < SQC_TILE ? n - q :
			    SQC_TILE);
			t.pages = (uint32_t)at;
			if (cut(ts, a, &seq[i], t, group) < 0)
				return -1;
		}
	}
	return 0;
}

static int
op_attention(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *q, const struct sq_mat *y)
{
	struct sqc_attn j = { .a = *a, .kv = *kv };
	struct tiles ts = { NULL, 0, 0, 0 };
	struct pages ps = { NULL, 0, 0 };
	struct sqc_call k;
	struct sq_mat dq, dy;
	size_t i;

	(void)c;
	if (!sq_attention_allows(a, kv, seq, nseq, q, y) ||
	    !sq_kv_plain(kv) || kv->dim > 512)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dq = sqc_mat(&k, q, SQC_IN);
	/* rows of no sequence stay as they are */
	dy = sqc_mat(&k, y, SQC_INOUT);
	if (list_pages(&k, kv, seq, nseq, &ps) < 0 ||
	    list_tiles(&ts, a, kv, seq, nseq) < 0)
		k.failed = 1;
	if (!k.failed && ts.n > 0) {
		j.k = sqc_push(&k, ps.dev, 2 * ps.n * sizeof(*ps.dev));
		j.v = j.k + ps.n;
		j.ntiles = (uint32_t)ts.n;
		j.tile = sqc_push(&k, ts.t, ts.n * sizeof(*ts.t));
		i = ts.sums * kv->heads * SQC_TILE * (kv->dim + 2);
		j.sums = i > 0 ? sqc_temp(&k, i * sizeof(float)) : NULL;
	}
	if (!k.failed && ts.n > 0)
		sqc_attention(sqc.stream, j, dq, dy);
	free(ps.dev);
	free(ts.t);
	return sqc_call_end(&k, 0);
}

/* A tile for each sequence: all of its new tokens. */
static int
op_kv_append(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *mk,
    const struct sq_mat *mv)
{
	struct sqc_attn j = { .kv = *kv };
	struct tiles ts = { NULL, 0, 0, 0 };
	struct pages ps = { NULL, 0, 0 };
	struct sqc_tile t;
	struct sqc_call k;
	struct sq_mat dk, dv;
	size_t i, n, at = 0;
	int r = 0;

	(void)c;
	if (!sq_append_allows(kv, seq, nseq, mk, mv) || !sq_kv_plain(kv))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dk = sqc_mat(&k, mk, SQC_IN);
	dv = sqc_mat(&k, mv, SQC_IN);
	if (list_pages(&k, kv, seq, nseq, &ps) < 0)
		k.failed = 1;
	for (i = 0; i < nseq && !k.failed; at += pages_of(kv, &seq[i++]))
		for (n = 0; n < seq[i].n && !k.failed; n += SQC_TILE) {
			memset(&t, 0, sizeof(t));
			t.row = (uint32_t)(seq[i].row + n);
			t.pos = (uint32_t)(seq[i].pos + n);
			t.nquery = (uint32_t)(seq[i].n - n < SQC_TILE ?
			    seq[i].n - n : SQC_TILE);
			t.pages = (uint32_t)at;
			k.failed = add_tile(&ts, t) < 0;
		}
	if (!k.failed && ts.n > 0) {
		j.k = sqc_push(&k, ps.dev, 2 * ps.n * sizeof(*ps.dev));
		j.v = j.k + ps.n;
		j.ntiles = (uint32_t)ts.n;
		j.tile = sqc_push(&k, ts.t, ts.n * sizeof(*ts.t));
		if (!k.failed) {
			sqc_kv_append(sqc.stream, j, dk, dv);
			r = pages_back(kv, seq, nseq, &ps);
		}
	}
	free(ps.dev);
	free(ts.t);
	return sqc_call_end(&k, r);
}

/* ---- logits and statistics ---- */

static int
op_nll(struct sq_ctx *c, const struct sq_mat *logits, const uint32_t *target,
    float *nll, uint32_t *top)
{
	struct sqc_call k;
	struct sq_mat x;
	const uint32_t *t;
	float *dn;
	uint32_t *dt;
	size_t n = logits->rows * 4;

	(void)c;
	if (!sq_nll_allows(logits, target))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	x = sqc_mat(&k, logits, SQC_IN);
	t = target == NULL ? NULL : sqc_push(&k, target, n);
	dn = sqc_bytes(&k, nll, n, SQC_OUT);
	dt = sqc_bytes(&k, top, n, SQC_OUT);
	if (!k.failed)
		sqc_nll(sqc.stream, x, t, dn, dt);
	return sqc_call_end(&k, 0);
}

static int
op_kl(struct sq_ctx *c, const struct sq_mat *ref, const struct sq_mat *x,
    float *kl)
{
	struct sqc_call k;
	struct sq_mat a, b;
	float *d;

	(void)c;
	if (!sq_rows_alike(ref, x) || ref->cols == 0)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, ref, SQC_IN);
	b = sqc_mat(&k, x, SQC_IN);
	d = sqc_bytes(&k, kl, ref->rows * sizeof(*kl), SQC_OUT);
	if (!k.failed)
		sqc_kl(sqc.stream, a, b, d);
	return sqc_call_end(&k, 0);
}

static int
op_moments(struct sq_ctx *c, const struct sq_mat *x,
    const struct sq_moments *m)
{
	struct sqc_call k;
	struct sq_moments d;
	struct sq_mat a;
	size_t n = x->cols;

	(void)c;
	if (x->type != SQ_F32)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, x, SQC_IN);
	d.min = sqc_bytes(&k, m->min, n * sizeof(float), SQC_INOUT);
	d.max = sqc_bytes(&k, m->max, n * sizeof(float), SQC_INOUT);
	d.sum = sqc_bytes(&k, m->sum, n * sizeof(double), SQC_INOUT);
	d.abssum = sqc_bytes(&k, m->abssum, n * sizeof(double), SQC_INOUT);
	d.hist = sqc_bytes(&k, m->hist, 256 * sizeof(uint64_t), SQC_INOUT);
	if (!k.failed)
		sqc_moments(sqc.stream, a, d);
	return sqc_call_end(&k, 0);
}

/* ---- the plug-in ---- */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define OP(name, params, args, bound)					\
static int								\
none_##name params							\
{									\
	return SQ_UNSUP;						\
}
#include "kernels/ops.def"
#undef OP
#pragma GCC diagnostic pop

static int
open_device(char *err)
{
	struct GPU(DeviceProp) p;
	int n = 0;

	if (GPU(GetDeviceCount)(&n) != GPU(Success) || n == 0) {
		snprintf(err, SQ_ERR, "no device that its driver shows");
		return -1;
	}
	if (sqc_ok(GPU(GetDeviceProperties)(&p, 0), "device") < 0 ||
	    sqc_ok(GPU(SetDevice)(0), "device") < 0 ||
	    sqc_ok(GPU(StreamCreateWithFlags)(&sqc.stream,
	    GPU(StreamNonBlocking)), "stream") < 0)
		goto failed;
	snprintf(sqc.name, sizeof(sqc.name), "%s", p.name);
	sqc.units = p.multiProcessorCount;
	if (sqc_tables() < 0)
		goto failed;
	if (GPU_BLAS(Create)(&sqc.blas) == GPU_BLAS_OK &&
	    GPU_BLAS(SetStream)(sqc.blas, sqc.stream) == GPU_BLAS_OK)
		return 0;
	snprintf(sqc.err, sizeof(sqc.err), "%s: no BLAS library", sqc.name);
failed:
	snprintf(err, SQ_ERR, "%s", sqc.err);
	return -1;
}

#define EXPORT	__attribute__((visibility("default")))

EXPORT const char *
sq_plugin_abi(void)
{
	return sq_kern_abi();
}

EXPORT int
sq_plugin_init(struct sq_kern *k, char *err)
{
	int (*quantize)(struct sq_ctx *, const struct sq_mat *,
	    const struct sq_qrule *, const struct sq_qdst *) = k->quantize;

	if (open_device(err) < 0)
		return -1;
#define OP(name, params, args, bound)	k->name = none_##name;
#include "kernels/ops.def"
#undef OP
	k->mem = &mem;
	k->quantize = quantize;		/* its callers are on the host */
	k->dequantize = op_dequantize;
	k->embed = op_embed;
	k->matmul = op_matmul;
	k->matmul_int8 = op_matmul_int8;
	k->matmul_each = op_matmul_each;
	k->matmul_int8_each = op_matmul_int8_each;
	k->quantize_act = op_quantize_act;
	k->dequantize_act = op_dequantize_act;
	k->rmsnorm = op_rmsnorm;
	k->add_bias = op_add_bias;
	k->add = op_add;
	k->silu_mul = op_silu_mul;
	k->rope = op_rope;
	k->kv_append = op_kv_append;
	k->attention = op_attention;
	k->nll = op_nll;
	k->kl = op_kl;
	k->moments = op_moments;
	sqc_solve_init(k);
	return 0;
}
