/* Products through cuBLASLt; see dec_gemm.h. */
#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dec_gemm.h"
#include "kernels/cuda/dec_table.h"

#define WORKSPACE	((size_t)64 << 20)
#define CHOICES		12
#define TIMES		2		/* that a kernel is timed */

/* What one shape needs, and the kernel that was picked for it. */
struct plan {
	struct plan *next;
	struct dec_product is;
	cublasLtMatmulDesc_t op;
	cublasLtMatrixLayout_t a, b, d;
	cublasLtMatmulAlgo_t algo;
};

struct dec_gemm {
	cublasLtHandle_t lt;
	void *work;
	GPU(Event_t) start, end;
	struct plan *plans;
	struct dec_table *table;	/* or NULL */
};

static int
bad(cublasStatus_t s, const char *what)
{
	if (s == CUBLAS_STATUS_SUCCESS)
		return 0;
	snprintf(sqc.err, sizeof(sqc.err), "%s: %s: status %d", sqc.name,
	    what, (int)s);
	return -1;
}

static void
drop(struct plan *p)
{
	if (p->a != NULL)
		(void)cublasLtMatrixLayoutDestroy(p->a);
	if (p->b != NULL)
		(void)cublasLtMatrixLayoutDestroy(p->b);
	if (p->d != NULL)
		(void)cublasLtMatrixLayoutDestroy(p->d);
	if (p->op != NULL)
		(void)cublasLtMatmulDescDestroy(p->op);
	free(p);
}

/* What a table is of. */
static struct dec_table *
table_of(const char *path)
{
	char of[400];

	snprintf(of, sizeof(of), "%s, cublasLt %zu", sqc.name,
	    cublasLtGetVersion());
	return dec_table_open(path, of, sqc.err);
}

struct dec_gemm *
dec_gemm_open(const char *table, char *err)
{
	struct dec_gemm *g = calloc(1, sizeof(*g));

	if (g != NULL && bad(cublasLtCreate(&g->lt), "cublasLt") == 0 &&
	    sqc_ok(GPU(Malloc)(&g->work, WORKSPACE), "workspace") == 0 &&
	    sqc_ok(GPU(EventCreate)(&g->start), "event") == 0 &&
	    sqc_ok(GPU(EventCreate)(&g->end), "event") == 0 &&
	    (table == NULL || (g->table = table_of(table)) != NULL))
		return g;
	snprintf(err, SQ_ERR, "%s", g == NULL ? "out of memory" : sqc.err);
	dec_gemm_close(g);
	return NULL;
}

void
dec_gemm_close(struct dec_gemm *g)
{
	struct plan *p;

	if (g == NULL)
		return;
	while ((p = g->plans) != NULL) {
		g->plans = p->next;
		drop(p);
	}
	if (g->lt != NULL)
		(void)cublasLtDestroy(g->lt);
	if (g->start != NULL)
		(void)GPU(EventDestroy)(g->start);
	if (g->end != NULL)
		(void)GPU(EventDestroy)(g->end);
	(void)GPU(Free)(g->work);
	dec_table_close(g->table);
	free(g);
}

static int
set(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t what,
    const void *v, size_t size)
{
	return bad(cublasLtMatmulDescSetAttribute(op, what, v, size),
	    "product's attribute");
}

static int
describe(struct plan *p)
{
	cublasOperation_t t = CUBLAS_OP_T;
	cudaDataType in = p->is.fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
	cudaDataType out = p->is.f32 ? CUDA_R_32F : CUDA_R_16BF;
	int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
	int8_t fast = 1;

	if (bad(cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F,
	    CUDA_R_32F), "product") < 0 ||
	    set(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof(t)) < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->a, in, p->is.cols, p->is.rows,
	    (int64_t)p->is.cols), "layout") < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->b, in, p->is.cols, p->is.n,
	    (int64_t)p->is.cols), "layout") < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->d, out, p->is.rows, p->is.n,
	    (int64_t)p->is.rows), "layout") < 0)
		return -1;
	if (!p->is.fp8)
		return 0;
	if (set(p->op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
	    sizeof(fast)) < 0)
		return -1;
	return p->is.scaled && (set(p->op, CUBLASLT_MATMUL_DESC_A_SCALE_MODE,
	    &mode, sizeof(mode)) < 0 || set(p->op,
	    CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof(mode)) < 0) ?
	    -1 : 0;
}

static int
scales(struct plan *p, const float *a, const float *b)
{
	if (!p->is.scaled)
		return 0;
	return set(p->op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &a,
	    sizeof(a)) < 0 || set(p->op,
	    CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &b, sizeof(b)) < 0 ? -1 : 0;
}

/* What a kernel is tried with. */
struct trial {
	const void *w, *x;
	void *y;
};

static int
run(struct dec_gemm *g, struct plan *p, const cublasLtMatmulAlgo_t *algo,
    const struct trial *t)
{
	const float one = 1, zero = 0;

	return bad(cublasLtMatmul(g->lt, p->op, &one, t->w, p->a, t->x, p->b,
	    &zero, t->y, p->d, t->y, p->d, algo, g->work, WORKSPACE,
	    sqc.stream), "product");
}

/* The least time of a few, of a weight that no cache holds; negative: it does
 * not run. */
static float
time_of(struct dec_gemm *g, struct plan *p, const cublasLtMatmulAlgo_t *algo,
    const struct trial *t)
{
	float ms, least = -1;
	int i;

	for (i = 0; i <= TIMES; i++) {
		if (sqc_ok(GPU(MemsetAsync)(g->work, 0, WORKSPACE, sqc.stream),
		    "memory") < 0 || sqc_ok(GPU(EventRecord)(g->start,
		    sqc.stream), "event") < 0 || run(g, p, algo, t) < 0 ||
		    sqc_ok(GPU(EventRecord)(g->end, sqc.stream), "event") < 0 ||
		    sqc_ok(GPU(EventSynchronize)(g->end), "product") < 0 ||
		    sqc_ok(GPU(EventElapsedTime)(&ms, g->start, g->end),
		    "event") < 0)
			return -1;
		if (i > 0 && (least < 0 || ms < least))
			least = ms;
	}
	return least;
}

/* The library's first choice, unless another is faster by more than chance. */
static int
fastest(struct dec_gemm *g, struct plan *p,
    const cublasLtMatmulHeuristicResult_t *r, int n, const struct trial *t)
{
	float ms, best;
	int i, choice = 0;

	best = time_of(g, p, &r[0].algo, t);
	for (i = 1; i < n && best > 0; i++) {
		ms = time_of(g, p, &r[i].algo, t);
		if (ms > 0 && ms < best * 0.97f) {
			best = ms;
			choice = i;
		}
	}
	return choice;
}

static int
choose(struct dec_gemm *g, struct plan *p, const struct trial *t)
{
	cublasLtMatmulHeuristicResult_t r[CHOICES];
	cublasLtMatmulPreference_t pref;
	enum cudaStreamCaptureStatus captured;
	size_t size = WORKSPACE;
	int n = 0, choice;

	if (bad(cublasLtMatmulPreferenceCreate(&pref), "preference") < 0)
		return -1;
	(void)cublasLtMatmulPreferenceSetAttribute(pref,
	    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &size, sizeof(size));
	if (bad(cublasLtMatmulAlgoGetHeuristic(g->lt, p->op, p->a, p->b, p->d,
	    p->d, pref, CHOICES, r, &n), "no kernel for a product") < 0 ||
	    n == 0) {
		(void)cublasLtMatmulPreferenceDestroy(pref);
		if (n == 0 && sqc.err[0] == '\0')
			snprintf(sqc.err, sizeof(sqc.err), "%s: no kernel "
			    "for a product", sqc.name);
		return -1;
	}
	(void)cublasLtMatmulPreferenceDestroy(pref);
	if (sqc_ok(cudaStreamIsCapturing(sqc.stream, &captured),
	    "stream") < 0)
		return -1;
	choice = g->table == NULL ? -1 : dec_table_find(g->table, &p->is);
	if (choice < 0 || choice >= n) {
		choice = 0;
		if (n > 1 && captured == cudaStreamCaptureStatusNone) {
			choice = fastest(g, p, r, n, t);
			if (g->table != NULL)
				dec_table_add(g->table, &p->is, choice);
		}
	}
	p->algo = r[choice].algo;
	return 0;
}

static struct plan *
plan(struct dec_gemm *g, const struct dec_product *like,
    const float *wscale, const float *xscale, const struct trial *t)
{
	struct plan *p;

	for (p = g->plans; p != NULL; p = p->next)
		if (dec_same_product(&p->is, like))
			return scales(p, wscale, xscale) < 0 ? NULL : p;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	p->is = *like;
	if (describe(p) < 0 || scales(p, wscale, xscale) < 0 ||
	    choose(g, p, t) < 0) {
		drop(p);
		return NULL;
	}
	p->next = g->plans;
	return g->plans = p;
}

int
dec_gemm(struct dec_gemm *g, const void *w, const float *wscale, size_t rows,
    size_t cols, struct dec_x x, size_t n, void *y, int f32)
{
	struct dec_product like = { .rows = rows, .cols = cols, .n = n,
	    .fp8 = x.form == DEC_E4M3, .f32 = f32,
	    .scaled = wscale != NULL };
	struct trial t = { w, x.p, y };
	struct plan *p;

	if (like.fp8)
		like.n = (n + 15) / 16 * 16;
	if ((p = plan(g, &like, wscale, x.scale, &t)) == NULL)
		return -1;
	return run(g, p, &p->algo, &t);
}
