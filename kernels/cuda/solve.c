/* GPTQ of whole weights, the host's side: cuda.c says how. */
#include <dlfcn.h>
#include <stdio.h>

#include "kernels/cuda/solve.h"
#include "kernels/panels.h"
#include "kernels/rounding.h"
#include "kernels/rows.h"

static int
said(const char *what)
{
	snprintf(sqc.err, sizeof(sqc.err), "%s: %s", sqc.name, what);
	return -1;
}

/* ---- products ---- */

/* The factor as the BLAS library takes it, in bf16 if that is wanted. */
static struct sq_mat
factor_in(struct sqc_call *k, const struct sq_operand *f, enum sq_dtype type)
{
	struct sq_mat m = sqc_mat(k, &f->m, SQC_IN), narrow = m;

	if (m.type == type || k->failed)
		return m;
	narrow.type = type;
	narrow.stride = m.cols;
	narrow.p = sqc_temp(k, m.rows * m.cols * sizeof(uint16_t));
	if (!k->failed)
		sqc_to_bf16(sqc.stream, m, narrow.p);
	return narrow;
}

/* The library's matrices are columns: y^T = b^T a^T. */
static int
multiply(const struct sq_operand *a, struct sq_mat ma,
    const struct sq_operand *b, struct sq_mat mb, int add, struct sq_mat y)
{
	const float one = 1, beta = add ? 1 : 0;
	int t = ma.type == SQ_F32 ? (int)GPU_R_32F : (int)GPU_R_16BF;

	if (GPU_BLAS(GemmEx)(sqc.blas,
	    b->lay == SQ_TURNED ? GPU_BLAS_T : GPU_BLAS_N,
	    a->lay == SQ_TURNED ? GPU_BLAS_T : GPU_BLAS_N, (int)y.cols,
	    (int)y.rows, (int)sq_operand_cols(a), &one, mb.p, t,
	    (int)mb.stride, ma.p, t, (int)ma.stride, &beta, y.p, GPU_R_32F,
	    (int)y.stride, GPU_BLAS_F32, GPU_BLAS_ALGO) == GPU_BLAS_OK)
		return 0;
	return said("matrix product failed");
}

/* Whether a factor is one that factor_in() can bring. */
static int
brings(const struct sq_operand *f, enum sq_dtype type)
{
	return f->lay != SQ_PANELS && (f->m.type == type ||
	    (f->m.type == SQ_F32 && type == SQ_BF16));
}

/* One matrix, which is brought once: H is a product with itself. */
static int
alike(const struct sq_mat *a, const struct sq_mat *b)
{
	return a->p == b->p && a->type == b->type && a->rows == b->rows &&
	    a->cols == b->cols && a->stride == b->stride;
}

static int
op_product(struct sq_ctx *c, const struct sq_operand *a,
    const struct sq_operand *b, enum sq_prec prec, int add,
    const struct sq_mat *y)
{
	enum sq_dtype type = prec == SQ_PREC_F32 ? SQ_F32 : SQ_BF16;
	struct sq_mat ma, mb, d;
	struct sqc_call k;
	int r = 0;

	(void)c;
	if (!sq_product_allows(a, b, prec, y) || !brings(a, type) ||
	    !brings(b, type))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	ma = factor_in(&k, a, type);
	mb = alike(&a->m, &b->m) ? ma : factor_in(&k, b, type);
	d = sqc_mat(&k, y, add ? SQC_INOUT : SQC_OUT);
	if (!k.failed && y->rows > 0 && y->cols > 0)
		r = multiply(a, ma, b, mb, add, d);
	return sqc_call_end(&k, r);
}

/* ---- H ---- */

static int
op_reflect(struct sq_ctx *c, const struct sq_mat *x, size_t col,
    const struct sq_mat *y)
{
	struct sqc_call k;
	struct sq_mat a, d;

	(void)c;
	if (!sq_reflect_allows(x, col, y))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, x, SQC_IN);
	d = sqc_mat(&k, y, SQC_INOUT);
	if (!k.failed)
		sqc_reflect(sqc.stream, a, col, d);
	return sqc_call_end(&k, 0);
}

/* The solver library, which is large, and loaded by the first factorization. */
static struct {
	void *so;
	gpu_solver handle;
	__typeof__(GPU_SOLVER(Create)) *create;
	__typeof__(GPU_SOLVER(SetStream)) *set_stream;
	__typeof__(GPU_SOLVER(Spotrf_bufferSize)) *size;
	__typeof__(GPU_SOLVER(Spotrf)) *factorize;
} lib;

/* POSIX: a function's address comes as an object's. */
#define FIND(to, name)							\
	((*(void **)&(to) = dlsym(lib.so, GPU_TEXT(GPU_SOLVER(name)))) != NULL)

static int
open_solver(void)
{
	if (lib.handle != NULL)
		return 0;
	if (lib.so == NULL && (lib.so = dlopen(GPU_SOLVER_LIB, RTLD_NOW |
	    RTLD_LOCAL)) == NULL)
		return said("no " GPU_SOLVER_LIB);
	if (FIND(lib.create, Create) && FIND(lib.set_stream, SetStream) &&
	    FIND(lib.size, Spotrf_bufferSize) &&
	    FIND(lib.factorize, Spotrf) &&
	    lib.create(&lib.handle) == GPU_SOLVER_OK &&
	    lib.set_stream(lib.handle, sqc.stream) == GPU_SOLVER_OK)
		return 0;
	lib.handle = NULL;
	return said(GPU_SOLVER_LIB " cannot be used");
}

/* L in the rows of a: 1 where there is one, 0 where not. */
static int
cholesky(struct sqc_call *k, struct sq_mat a)
{
	int n = (int)a.cols, size, *info, was = 0;
	float *work;

	if (open_solver() < 0)
		return -1;
	if (lib.size(lib.handle, GPU_SOLVER_UPPER, n, a.p, n, &size) !=
	    GPU_SOLVER_OK)
		return said("factorization failed");
	work = sqc_temp(k, (size_t)size * sizeof(float));
	info = sqc_temp(k, sizeof(*info));
	if (k->failed)
		return -1;
	if (lib.factorize(lib.handle, GPU_SOLVER_UPPER, n, a.p, n, work, size,
	    info) != GPU_SOLVER_OK)
		return said("factorization failed");
	if (sqc_ok(GPU(MemcpyAsync)(&was, info, sizeof(was),
	    GPU(MemcpyDeviceToHost), sqc.stream), "copy") < 0 ||
	    sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
		return -1;
	return was == 0;
}

static int
op_factor(struct sq_ctx *c, const struct sq_mat *h, const uint32_t *col,
    const float *more, const struct sq_mat *to, float *pivot)
{
	size_t n = h->cols;
	struct sqc_call k;
	struct sq_mat dh, dr;
	const uint32_t *dc;
	const float *dm;
	float *dp, *d;
	int r = 0;

	(void)c;
	if (!sq_rounding_mat(h, n, n) || !sq_rounding_mat(to, n, n) ||
	    to->stride != n)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dh = sqc_mat(&k, h, SQC_IN);
	dr = sqc_mat(&k, to, SQC_OUT);
	dc = sqc_bytes(&k, col, n * sizeof(*col), SQC_IN);
	dm = sqc_bytes(&k, more, n * sizeof(*more), SQC_IN);
	dp = sqc_bytes(&k, pivot, n * sizeof(*pivot), SQC_OUT);
	d = sqc_temp(&k, n * sizeof(*d));
	if (!k.failed) {
		sqc_gather(sqc.stream, dh, dc, dm, dr);
		r = cholesky(&k, dr);
		if (r == 1)
			sqc_turn_about(sqc.stream, dr, d, dp);
		else if (r == 0)
			r = sqc_ok(GPU(MemsetAsync)(dp, 0, n * sizeof(*dp),
			    sqc.stream), "memory");
	}
	return sqc_call_end(&k, r < 0 ? -1 : 0);
}

static int
op_partners(struct sq_ctx *c, const struct sq_mat *h, size_t most,
    uint32_t *with, float *has)
{
	size_t bytes = h->cols * most * 4;
	struct sqc_call k;
	struct sq_mat dh;
	uint32_t *dw;
	float *d;

	(void)c;
	if (!sq_rounding_mat(h, h->cols, h->cols) || most == 0)
		return SQ_UNSUP;
	sqc_call_begin(&k);
	dh = sqc_mat(&k, h, SQC_IN);
	/* where there are no more, what is there stays */
	dw = sqc_bytes(&k, with, bytes, SQC_INOUT);
	d = sqc_bytes(&k, has, bytes, SQC_INOUT);
	if (!k.failed)
		sqc_partners(sqc.stream, dh, most, dw, d);
	return sqc_call_end(&k, 0);
}

static int
op_row_forms(struct sq_ctx *c, const struct sq_mat *x, const struct sq_mat *g,
    const float *less, double *sum)
{
	struct sqc_call k;
	struct sq_mat a, b;
	const float *l;
	double *d;

	(void)c;
	if (!sq_rows_alike(x, g))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	a = sqc_mat(&k, x, SQC_IN);
	b = sqc_mat(&k, g, SQC_IN);
	l = sqc_bytes(&k, less, x->cols * sizeof(*less), SQC_IN);
	d = sqc_bytes(&k, sum, x->rows * sizeof(*sum), SQC_OUT);
	if (!k.failed && x->rows > 0)
		sqc_row_forms(sqc.stream, a, b, l, d);
	return sqc_call_end(&k, 0);
}

/* ---- rows ---- */

static struct sq_rounding
rounding(struct sqc_call *k, const struct sq_rounding *s)
{
	size_t n = s->rows * s->cols, g = s->rows * sq_round_groups(s);
	struct sq_rounding d = *s;

	d.w = sqc_bytes(k, s->w, n * sizeof(float), SQC_IN);
	d.x = sqc_bytes(k, s->x, n * sizeof(float), SQC_INOUT);
	d.codes = sqc_bytes(k, s->codes, n, SQC_INOUT);
	d.scales = sqc_bytes(k, s->scales, g * sizeof(float), SQC_INOUT);
	d.zeros = sqc_bytes(k, s->zeros, g * sizeof(float), SQC_INOUT);
	return d;
}

static int
op_weighted_scales(struct sq_ctx *c, const struct sq_rounding *s,
    const float *cost)
{
	struct sqc_call k;
	struct sq_rounding d;
	const float *dc;
	int *dbad, bad = 0, r = 0;

	(void)c;
	if (!sq_rounding_allows(s))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	d = rounding(&k, s);
	dc = sqc_bytes(&k, cost, s->cols * sizeof(*cost), SQC_IN);
	dbad = sqc_push(&k, &bad, sizeof(bad));
	if (!k.failed && s->rows > 0) {
		sqc_weighted_scales(sqc.stream, d, dc, dbad);
		if (sqc_ok(GPU(MemcpyAsync)(&bad, dbad, sizeof(bad),
		    GPU(MemcpyDeviceToHost), sqc.stream), "copy") < 0 ||
		    sqc_ok(GPU(StreamSynchronize)(sqc.stream), "kernel") < 0)
			k.failed = 1;
		else if (bad)
			r = said("a weight or a scale that is not finite");
	}
	return sqc_call_end(&k, r);
}

static int
op_round_columns(struct sq_ctx *c, const struct sq_rounding *s,
    const uint32_t *col, size_t n, const struct sq_mat *t,
    const struct sq_mat *m, const struct sq_mat *e)
{
	struct sqc_call k;
	struct sq_rounding d;
	struct sq_mat dt, dm, de;
	const uint32_t *dc;

	(void)c;
	if (!sq_round_columns_allows(s, n, t, m, e))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	d = rounding(&k, s);
	dc = sqc_bytes(&k, col, n * sizeof(*col), SQC_IN);
	dt = sqc_mat(&k, t, SQC_IN);
	dm = sqc_mat(&k, m, SQC_IN);
	de = sqc_mat(&k, e, SQC_OUT);
	if (!k.failed && s->rows > 0)
		sqc_round_columns(sqc.stream, d, dc, dt, dm, de);
	return sqc_call_end(&k, 0);
}

static int
op_move_columns(struct sq_ctx *c, const struct sq_rounding *s, size_t first,
    const struct sq_mat *h, const struct sq_mat *g, int refit, int passes)
{
	struct sqc_call k;
	struct sq_rounding d;
	struct sq_mat dh, dg;
	int r = 0;

	(void)c;
	if (!sq_move_columns_allows(s, first, h, g))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	d = rounding(&k, s);
	dh = sqc_mat(&k, h, SQC_IN);
	dg = sqc_mat(&k, g, SQC_INOUT);
	if (!k.failed && s->rows > 0)
		r = sqc_move_columns(sqc.stream, d, first, dh, dg, refit,
		    passes);
	return sqc_call_end(&k, r);
}

static int
op_move_pairs(struct sq_ctx *c, const struct sq_rounding *s,
    const struct sq_mat *h, size_t most, const uint32_t *with,
    const float *has, const struct sq_mat *g)
{
	size_t n = s->cols, bytes = n * most * 4;
	struct sqc_call k;
	struct sq_rounding d;
	struct sq_mat dh, dg;
	const uint32_t *dw;
	const float *dhas;
	float *diagonal;
	int r = 0;

	(void)c;
	if (!sq_rounding_allows(s) || !sq_rounding_mat(h, n, n) ||
	    !sq_rounding_mat(g, s->rows, n))
		return SQ_UNSUP;
	sqc_call_begin(&k);
	d = rounding(&k, s);
	dh = sqc_mat(&k, h, SQC_IN);
	dw = sqc_bytes(&k, with, bytes, SQC_IN);
	dhas = sqc_bytes(&k, has, bytes, SQC_IN);
	dg = sqc_mat(&k, g, SQC_INOUT);
	diagonal = sqc_temp(&k, n * sizeof(*diagonal));
	if (!k.failed && s->rows > 0)
		r = sqc_move_pairs(sqc.stream, d, dh, most, dw, dhas, dg,
		    diagonal);
	return sqc_call_end(&k, r);
}

void
sqc_solve_init(struct sq_kern *k)
{
	k->product = op_product;
	k->reflect = op_reflect;
	k->factor = op_factor;
	k->partners = op_partners;
	k->row_forms = op_row_forms;
	k->weighted_scales = op_weighted_scales;
	k->round_columns = op_round_columns;
	k->move_columns = op_move_columns;
	k->move_pairs = op_move_pairs;
}
