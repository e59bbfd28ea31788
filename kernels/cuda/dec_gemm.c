/* Products through cuBLASLt; see dec_gemm.h. */
#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dec_gemm.h"

#define WORKSPACE	((size_t)64 << 20)

/* What one shape needs, and the kernel that was picked for it. */
struct plan {
	struct plan *next;
	size_t rows, cols, n;
	int fp8, f32;
	cublasLtMatmulDesc_t op;
	cublasLtMatrixLayout_t a, b, d;
	cublasLtMatmulAlgo_t algo;
};

struct dec_gemm {
	cublasLtHandle_t lt;
	void *work;
	struct plan *plans;
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

struct dec_gemm *
dec_gemm_open(char *err)
{
	struct dec_gemm *g = calloc(1, sizeof(*g));

	if (g != NULL && bad(cublasLtCreate(&g->lt), "cublasLt") == 0 &&
	    sqc_ok(GPU(Malloc)(&g->work, WORKSPACE), "workspace") == 0)
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
	(void)GPU(Free)(g->work);
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
	cudaDataType in = p->fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
	cudaDataType out = p->f32 ? CUDA_R_32F : CUDA_R_16BF;
	int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
	int8_t fast = 1;

	if (bad(cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F,
	    CUDA_R_32F), "product") < 0 ||
	    set(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof(t)) < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->a, in, p->cols, p->rows,
	    (int64_t)p->cols), "layout") < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->b, in, p->cols, p->n,
	    (int64_t)p->cols), "layout") < 0 ||
	    bad(cublasLtMatrixLayoutCreate(&p->d, out, p->rows, p->n,
	    (int64_t)p->rows), "layout") < 0)
		return -1;
	if (!p->fp8)
		return 0;
	return set(p->op, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode,
	    sizeof(mode)) < 0 || set(p->op,
	    CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof(mode)) < 0 ||
	    set(p->op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast,
	    sizeof(fast)) < 0 ? -1 : 0;
}

static int
scales(struct plan *p, const float *a, const float *b)
{
	if (!p->fp8)
		return 0;
	return set(p->op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &a,
	    sizeof(a)) < 0 || set(p->op,
	    CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &b, sizeof(b)) < 0 ? -1 : 0;
}

static int
choose(struct dec_gemm *g, struct plan *p)
{
	cublasLtMatmulPreference_t pref;
	cublasLtMatmulHeuristicResult_t r;
	size_t size = WORKSPACE;
	int n = 0;

	if (bad(cublasLtMatmulPreferenceCreate(&pref), "preference") < 0)
		return -1;
	(void)cublasLtMatmulPreferenceSetAttribute(pref,
	    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &size, sizeof(size));
	if (bad(cublasLtMatmulAlgoGetHeuristic(g->lt, p->op, p->a, p->b, p->d,
	    p->d, pref, 1, &r, &n), "no kernel for a product") < 0 || n == 0) {
		(void)cublasLtMatmulPreferenceDestroy(pref);
		if (n == 0 && sqc.err[0] == '\0')
			snprintf(sqc.err, sizeof(sqc.err), "%s: no kernel "
			    "for a product", sqc.name);
		return -1;
	}
	(void)cublasLtMatmulPreferenceDestroy(pref);
	p->algo = r.algo;
	return 0;
}

static struct plan *
plan(struct dec_gemm *g, size_t rows, size_t cols, size_t n, const float *a,
    const float *b, int f32)
{
	struct plan *p;

	for (p = g->plans; p != NULL; p = p->next)
		if (p->rows == rows && p->cols == cols && p->n == n &&
		    p->fp8 == (a != NULL) && p->f32 == f32)
			return scales(p, a, b) < 0 ? NULL : p;
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return NULL;
	p->rows = rows;
	p->cols = cols;
	p->n = n;
	p->fp8 = a != NULL;
	p->f32 = f32;
	if (describe(p) < 0 || scales(p, a, b) < 0 || choose(g, p) < 0) {
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
	const float one = 1, zero = 0;
	struct plan *p;

	if (wscale != NULL)
		n = (n + 15) / 16 * 16;
	if ((p = plan(g, rows, cols, n, wscale, x.scale, f32)) == NULL)
		return -1;
	return bad(cublasLtMatmul(g->lt, p->op, &one, w, p->a, x.p, p->b,
	    &zero, y, p->d, y, p->d, &p->algo, g->work, WORKSPACE,
	    sqc.stream), "product");
}
