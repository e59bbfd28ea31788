/* How fast the kernels are; see bench_kernels.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/half.h"
#include "base/pool.h"
#include "base/rng.h"
#include "eval/bench_kernels.h"
#include "kernels/bins.h"
#include "kernels/limits.h"
#include "kernels/sparse.h"

#define MAX_TIMES	2000
#define COLD		((size_t)512 << 20)	/* bytes: more than caches hold */
#define IN		2048
#define OUT		5632
#define VOCAB		32000
#define DIM		64
#define HEADS		32
#define KV_HEADS	4
#define PAGE		64
#define IN_FLIGHT	20	/* calls that a device is given at a time */
#define FAR		32768	/* tokens of the longest attention, */
#define CHUNK		512	/* and of a chunk of it */

/* What one row measures. */
struct bench_case {
	enum sq_op op;
	const char *shape;
	enum sq_grid grid;
	size_t group, m;		/* matmul: rows of x; else its own */
	enum sq_prec prec;
	/* of integers: CODED, by the level; NONE: in the caches */
	enum { FLOPS, CODED, BYTES, NONE } limit;
	size_t run_n, run_m;		/* sparse: n:m, or n rows by m columns
					   of which every second is kept */
};

#define WHOLE	0, 0

static const struct bench_case cases[] = {
	{ SQ_OP_matmul, "int4 g128 5632x2048, 512 rows, bf16", SQ_INT4, 128,
	    512, SQ_PREC_BF16, CODED, WHOLE },
	{ SQ_OP_matmul, "int8 5632x2048, 512 rows, bf16", SQ_INT8, IN, 512,
	    SQ_PREC_BF16, CODED, WHOLE },
	{ SQ_OP_matmul, "bf16 5632x2048, 512 rows, bf16", SQ_DENSE, 0, 512,
	    SQ_PREC_BF16, FLOPS, WHOLE },
	{ SQ_OP_matmul, "bf16 5632x2048, 512 rows, f32", SQ_DENSE, 0, 512,
	    SQ_PREC_F32, FLOPS, WHOLE },
	{ SQ_OP_matmul, "int4 g128 5632x2048, 8 rows, bf16", SQ_INT4, 128, 8,
	    SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_matmul, "int4 g128 5632x2048, 1 row, bf16", SQ_INT4, 128, 1,
	    SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_matmul, "int4 g32 5632x2048, 1 row, bf16", SQ_INT4, 32, 1,
	    SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_matmul, "int8 5632x2048, 1 row, bf16", SQ_INT8, IN, 1,
	    SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_matmul, "bf16 5632x2048, 1 row, bf16", SQ_DENSE, 0, 1,
	    SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_sparse_matmul, "int8 64x64 half 5632x2048, 512 rows",
	    SQ_INT8, IN, 512, SQ_PREC_BF16, FLOPS, 64, 64 },
	{ SQ_OP_sparse_matmul, "int4 g128 64x64 half, 512 rows", SQ_INT4, 128,
	    512, SQ_PREC_BF16, FLOPS, 64, 64 },
	{ SQ_OP_sparse_matmul, "int8 32x32 half, 512 rows", SQ_INT8, IN, 512,
	    SQ_PREC_BF16, FLOPS, 32, 32 },
	{ SQ_OP_sparse_matmul, "int8 1x32 half, 512 rows", SQ_INT8, IN, 512,
	    SQ_PREC_BF16, FLOPS, 1, 32 },
	{ SQ_OP_sparse_matmul, "int8 2:4, 512 rows", SQ_INT8, IN, 512,
	    SQ_PREC_BF16, FLOPS, 2, 4 },
	{ SQ_OP_sparse_matmul, "int8 64x64 half, 1 row", SQ_INT8, IN, 1,
	    SQ_PREC_BF16, BYTES, 64, 64 },
	{ SQ_OP_sparse_matmul, "int4 g128 64x64 half, 1 row", SQ_INT4, 128, 1,
	    SQ_PREC_BF16, BYTES, 64, 64 },
	{ SQ_OP_sparse_matmul, "int8 1x32 half, 1 row", SQ_INT8, IN, 1,
	    SQ_PREC_BF16, BYTES, 1, 32 },
	{ SQ_OP_sparse_matmul, "int8 2:4, 1 row", SQ_INT8, IN, 1,
	    SQ_PREC_BF16, BYTES, 2, 4 },
	{ SQ_OP_sparse_matmul, "int4 g128 2:4, 1 row", SQ_INT4, 128, 1,
	    SQ_PREC_BF16, BYTES, 2, 4 },
	{ SQ_OP_sparse_matmul, "bf16 2:4, 1 row", SQ_DENSE, 0, 1,
	    SQ_PREC_BF16, BYTES, 2, 4 },
	{ SQ_OP_sparse_matmul, "int8 4:8, 1 row", SQ_INT8, IN, 1,
	    SQ_PREC_BF16, BYTES, 4, 8 },
	{ SQ_OP_sparse_attention, "512 of 32768 tokens, a quarter", SQ_DENSE,
	    0, CHUNK, SQ_PREC_BF16, FLOPS, 1, 4 },
	{ SQ_OP_matmul_int8, "int4 g128 5632x2048, 512 rows", SQ_INT4, 128,
	    512, SQ_PREC_F32, CODED, WHOLE },
	{ SQ_OP_matmul_int8, "int4 g32 5632x2048, 512 rows", SQ_INT4, 32, 512,
	    SQ_PREC_F32, CODED, WHOLE },
	{ SQ_OP_matmul_int8, "int8 5632x2048, 512 rows", SQ_INT8, IN, 512,
	    SQ_PREC_F32, CODED, WHOLE },
	{ SQ_OP_matmul_int8, "int4 g128 5632x2048, 8 rows", SQ_INT4, 128, 8,
	    SQ_PREC_F32, BYTES, WHOLE },
	{ SQ_OP_matmul_int8, "int4 g128 5632x2048, 1 row", SQ_INT4, 128, 1,
	    SQ_PREC_F32, BYTES, WHOLE },
	{ SQ_OP_matmul_int8, "int8 5632x2048, 8 rows", SQ_INT8, IN, 8,
	    SQ_PREC_F32, BYTES, WHOLE },
	{ SQ_OP_matmul_int8, "int8 5632x2048, 1 row", SQ_INT8, IN, 1,
	    SQ_PREC_F32, BYTES, WHOLE },
	{ SQ_OP_attention, "2048 tokens, 32/4 heads of 64, bf16", SQ_DENSE, 0,
	    2048, SQ_PREC_BF16, FLOPS, WHOLE },
	{ SQ_OP_attention, "1 after 8192, 32/4 heads of 64, bf16", SQ_DENSE,
	    0, 1, SQ_PREC_BF16, BYTES, WHOLE },
	{ SQ_OP_quantize, "int4 g128 absmax, 5632x2048 bf16", SQ_INT4, 128, 0,
	    SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_quantize, "int4 g128 mse, 5632x2048 bf16", SQ_INT4, 128, 1,
	    SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_dequantize, "int4 g128 5632x2048 to f32", SQ_INT4, 128, 0,
	    SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_rmsnorm, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE,
	    WHOLE },
	{ SQ_OP_silu_mul, "512x5632", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE,
	    WHOLE },
	{ SQ_OP_rope, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_add, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_nll, "64x32000", SQ_DENSE, 0, 64, SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_kl, "64x32000", SQ_DENSE, 0, 64, SQ_PREC_F32, NONE, WHOLE },
	{ SQ_OP_moments, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE,
	    WHOLE },
	{ SQ_OP_attention_backward, "2048 tokens, 32/4 heads of 64, bf16",
	    SQ_DENSE, 0, 2048, SQ_PREC_BF16, FLOPS, WHOLE },
	{ SQ_OP_product, "gradient of 5632x2048, 512 rows, bf16", SQ_DENSE, 0,
	    512, SQ_PREC_BF16, FLOPS, WHOLE },
	{ SQ_OP_product, "gradient of 5632x2048, 512 rows, f32", SQ_DENSE, 0,
	    512, SQ_PREC_F32, FLOPS, WHOLE },
	{ SQ_OP_panels, "bf16 5632x2048", SQ_DENSE, 0, 0, SQ_PREC_BF16, NONE,
	    WHOLE },
	{ SQ_OP_rmsnorm_backward, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32,
	    NONE, WHOLE },
	{ SQ_OP_silu_mul_backward, "512x5632", SQ_DENSE, 0, 512, SQ_PREC_F32,
	    NONE, WHOLE },
	{ SQ_OP_kl_backward, "64x32000", SQ_DENSE, 0, 64, SQ_PREC_F32, NONE,
	    WHOLE },
	{ SQ_OP_softmax_add, "64x32000", SQ_DENSE, 0, 64, SQ_PREC_F32, NONE,
	    WHOLE },
	{ SQ_OP_sum_rows, "512x2048", SQ_DENSE, 0, 512, SQ_PREC_F32, NONE,
	    WHOLE },
};

#define NCASES	(sizeof(cases) / sizeof(cases[0]))

/* Everything that a case may need, filled with random numbers once; of a device,
 * in its memory, but for codes. */
struct state {
	struct sq_ctx ctx;
	const struct sq_mem *mem;
	unsigned char *weights;		/* COLD bytes */
	uint16_t *scales;
	float *x, *y, *z;		/* [2048][5632] */
	unsigned char *codes;
	void **kpage, **vpage;
	uint32_t *ids;
	uint64_t *hist;
	double *sums;
	float *nll;			/* [512] */
	uint32_t *index;		/* of blocks */
	uint64_t *keep;			/* masks of attention */
	size_t turn;			/* the copy of the weights in use */
};

#define X_COUNT		((size_t)2048 * OUT)

/* bf16 weights of about .02: their bytes serve as codes as well. */
static void
fill(struct state *s)
{
	struct sq_rng r = { 1 };
	uint16_t *w = (uint16_t *)s->weights;
	size_t i;

	for (i = 0; i < 1 << 20; i++)
		w[i] = sq_f32_to_bf16((float)(.04 * sq_rng_uniform(&r) - .02));
	for (i = (size_t)2 << 20; i < COLD; i *= 2)
		memcpy(s->weights + i, s->weights,
		    2 * i <= COLD ? i : COLD - i);
	for (i = 0; i < X_COUNT; i++)
		s->x[i] = s->z[i] = (float)(2 * sq_rng_uniform(&r) - 1);
	for (i = 0; i < (size_t)OUT * IN / 32; i++)
		s->scales[i] = sq_f32_to_f16(.003f);
	for (i = 0; i < (size_t)OUT * IN; i++)
		s->codes[i] = (unsigned char)(sq_rng_next(&r) % 255 - 127);
	for (i = 0; i < 512; i++)
		s->nll[i] = .01f;
	for (i = 0; i < 2048; i++)
		s->ids[i] = (uint32_t)i;
}

/* Takes what was filled to the memory of a device. */
static int
take(const struct sq_mem *mem, void *pp, size_t n, char *err)
{
	void **p = pp, *to;

	if (!mem->device)
		return 0;
	if ((to = mem->alloc(n)) == NULL || mem->put(to, *p, n) < 0)
		return sq_fail(err, "%s", mem->error());
	free(*p);
	*p = to;
	return 0;
}

static int
take_all(struct state *s, char *err)
{
	const struct sq_mem *mem = s->mem;
	size_t x = X_COUNT * sizeof(float);

	return take(mem, &s->weights, COLD, err) < 0 ||
	    take(mem, &s->scales, (size_t)OUT * IN / 32 * 2, err) < 0 ||
	    take(mem, &s->x, x, err) < 0 || take(mem, &s->y, x, err) < 0 ||
	    take(mem, &s->z, x, err) < 0 ||
	    take(mem, &s->hist, SQ_BINS * sizeof(*s->hist), err) < 0 ||
	    take(mem, &s->sums, 2 * OUT * sizeof(*s->sums), err) < 0 ||
	    take(mem, &s->nll, 512 * sizeof(*s->nll), err) < 0 ? -1 : 0;
}

static void
state_release(struct state *s)
{
	const struct sq_mem *mem = s->mem;

	sq_ctx_release(&s->ctx);
	mem->free(s->weights);
	mem->free(s->scales);
	mem->free(s->x);
	mem->free(s->y);
	mem->free(s->z);
	mem->free(s->hist);
	mem->free(s->sums);
	mem->free(s->nll);
	free(s->codes);
	free(s->index);
	free(s->keep);
	free(s->kpage);
	free(s->vpage);
	free(s->ids);
}

/* On -1 what was taken cannot be told from what was not: it is left. */
static int
state_init(struct state *s, const struct sq_bench_kernels *b,
    const struct sq_mem *mem, char *err)
{
	size_t page = (size_t)KV_HEADS * PAGE * DIM * 2, pages = FAR / PAGE;
	size_t i;

	memset(s, 0, sizeof(*s));
	s->mem = mem;
	s->weights = aligned_alloc((size_t)2 << 20, COLD);
	s->scales = malloc((size_t)OUT * IN / 32 * 2);
	s->x = aligned_alloc(64, X_COUNT * sizeof(float));
	s->y = aligned_alloc(64, X_COUNT * sizeof(float));
	s->z = aligned_alloc(64, X_COUNT * sizeof(float));
	s->codes = malloc((size_t)OUT * IN);
	s->index = malloc((size_t)(OUT + 1) * 4 + (size_t)OUT * IN / 32 * 2);
	s->keep = calloc(CHUNK / PAGE * KV_HEADS * (FAR / PAGE / 64),
	    sizeof(*s->keep));
	s->kpage = calloc(pages, sizeof(void *));
	s->vpage = calloc(pages, sizeof(void *));
	s->ids = malloc(2048 * sizeof(*s->ids));
	s->hist = calloc(SQ_BINS, sizeof(*s->hist));
	s->sums = calloc(2 * OUT, sizeof(double));
	s->nll = calloc(512, sizeof(*s->nll));
	if (s->weights == NULL || s->scales == NULL || s->x == NULL ||
	    s->y == NULL || s->z == NULL || s->codes == NULL ||
	    s->index == NULL || s->keep == NULL ||
	    s->kpage == NULL || s->vpage == NULL || s->ids == NULL ||
	    s->hist == NULL || s->sums == NULL || s->nll == NULL ||
	    sq_ctx_init(&s->ctx, sq_kern_find("ref", err), b->pool) < 0)
		return sq_fail(err, "out of memory");
	/* in large pages, as an artifact is mapped */
	(void)madvise(s->weights, COLD, MADV_HUGEPAGE);
	fill(s);
	if (take_all(s, err) < 0)
		return -1;
	for (i = 0; i < pages; i++) {
		s->kpage[i] = s->weights + 2 * i * page;
		s->vpage[i] = s->weights + (2 * i + 1) * page;
	}
	return 0;
}

static struct sq_mat
mat(float *p, size_t rows, size_t cols)
{
	return (struct sq_mat){ p, SQ_F32, rows, cols, cols };
}

static size_t
weight_bytes(const struct bench_case *c)
{
	return c->grid == SQ_DENSE ? (size_t)OUT * IN * 2 :
	    OUT * sq_row_bytes(IN, sq_grid_bits(c->grid));
}

/* The weight of a case, but for where it is. */
static struct sq_weight
shape(const struct state *s, const struct bench_case *c)
{
	struct sq_weight w = { .grid = c->grid, .layout = SQ_ROWS,
	    .rows = OUT, .cols = IN, .type = SQ_BF16, .group_rows = 1,
	    .group_cols = c->group, .scale_type = SQ_F16,
	    .scales = s->scales, .n = c->run_n, .m = c->run_m };

	if (c->op == SQ_OP_sparse_matmul)
		w.layout = w.m <= 8 ? SQ_NM : SQ_BLOCKS;
	return w;
}

static size_t
half_blocks(const struct bench_case *c)
{
	return c->op != SQ_OP_sparse_matmul || c->run_m <= 8 ? 0 :
	    (size_t)OUT / c->run_n * (IN / c->run_m / 2);
}

/* Every second block of a row of them, from the first or the second on. */
static void
index_blocks(struct state *s, const struct sq_weight *w)
{
	size_t down = sq_blocks_down(w), half = sq_blocks_across(w) / 2, i, j;
	uint16_t *column = (uint16_t *)(s->index + down + 1);

	for (i = 0; i <= down; i++)
		s->index[i] = (uint32_t)(i * half);
	for (i = 0; i < down; i++)
		for (j = 0; j < half; j++)
			*column++ = (uint16_t)(2 * j + i % 2);
}

/* The next copy of the weight: it has left the caches when it comes again.  Of
 * runs, any bytes are an index. */
static struct sq_weight
weight(struct state *s, const struct bench_case *c)
{
	struct sq_weight w = shape(s, c);
	size_t index = 0, bytes = weight_bytes(c), copies;

	if (w.layout != SQ_ROWS) {
		bytes = sq_sparse_values(&w, half_blocks(c));
		index = w.layout == SQ_NM ? sq_sparse_index(&w, 0) : 0;
	}
	copies = COLD / (bytes + index);
	s->turn = (s->turn + 1) % copies;
	w.data = s->weights + s->turn * (bytes + index);
	w.index = w.layout == SQ_NM ? (const void *)((const char *)w.data +
	    bytes) : s->index;
	return w;
}

static int
run_attention(struct state *s, const struct bench_case *c)
{
	struct sq_attn a = { HEADS, 0, .125f, c->prec };
	struct sq_kv kv = { .type = SQ_BF16, .heads = KV_HEADS, .dim = DIM,
	    .page = PAGE };
	struct sq_seq seq = { .n = c->m, .pos = c->m == 1 ? 8191 : 0,
	    .k = s->kpage, .v = s->vpage };
	struct sq_mat q = mat(s->x, c->m, HEADS * DIM);
	struct sq_mat y = mat(s->y, c->m, HEADS * DIM);

	return sq_attention(&s->ctx, &a, &kv, &seq, 1, &q, &y);
}

/* A chunk at the end of a long prompt: of the keys of its blocks of queries,
 * one block in run_m, or all. */
static int
run_far(struct state *s, const struct bench_case *c, int sparse)
{
	struct sq_attn a = { HEADS, 0, .125f, c->prec };
	struct sq_kv kv = { .type = SQ_BF16, .heads = KV_HEADS, .dim = DIM,
	    .page = PAGE };
	struct sq_attn_keep keep = { s->keep, FAR / PAGE / 64 };
	struct sq_seq seq[CHUNK / PAGE];
	struct sq_mat q = mat(s->x, CHUNK, HEADS * DIM);
	struct sq_mat y = mat(s->y, CHUNK, HEADS * DIM);
	size_t i, b, n = CHUNK / PAGE;

	for (i = 0; i < n; i++) {
		seq[i] = (struct sq_seq){ .row = i * PAGE, .n = PAGE,
		    .pos = FAR - CHUNK + i * PAGE, .k = s->kpage,
		    .v = s->vpage };
		for (b = 0; sparse && b < KV_HEADS * keep.words; b++)
			s->keep[i * KV_HEADS * keep.words + b] =
			    0x1111111111111111 << (b + i) % 4 |
			    (b % keep.words == keep.words - 1 ?
			    0xff00000000000000 : 0);
	}
	if (sparse)
		return sq_sparse_attention(&s->ctx, &a, &keep, &kv, seq, n,
		    &q, &y);
	seq[0].n = CHUNK;
	return sq_attention(&s->ctx, &a, &kv, seq, 1, &q, &y);
}

static int
run_attention_backward(struct state *s, const struct bench_case *c)
{
	struct sq_attn a = { HEADS, 0, .125f, c->prec };
	const size_t q = HEADS * DIM, kv = KV_HEADS * DIM;
	struct sq_attn_grad g = {
	    .q = mat(s->x, c->m, q), .k = mat(s->x + c->m * q, c->m, kv),
	    .v = mat(s->z + c->m * q, c->m, kv), .dy = mat(s->z, c->m, q),
	    .dq = mat(s->y, c->m, q), .dk = mat(s->y + c->m * q, c->m, kv),
	    .dv = mat(s->y + c->m * (q + kv), c->m, kv) };

	return sq_attention_backward(&s->ctx, &a, KV_HEADS, c->m, &g);
}

/* Of a weight. */
static int
run_gradient(struct state *s, const struct bench_case *c)
{
	const struct sq_operand dy = { mat(s->x, c->m, OUT), SQ_TURNED };
	const struct sq_operand x = { mat(s->z, c->m, IN), SQ_AS_IS };
	struct sq_mat g = mat(s->y, OUT, IN);

	return sq_product(&s->ctx, &dy, &x, c->prec, 1, &g);
}

static int
run_panels(struct state *s)
{
	const struct sq_operand w = { { s->weights, SQ_BF16, OUT, IN, IN },
	    SQ_TURNED };
	struct sq_mat to = { s->y, SQ_BF16, IN, OUT, 0 };

	return sq_panels(&s->ctx, &w, &to);
}

static int
run_quantize(struct state *s, const struct bench_case *c)
{
	struct sq_mat w = { s->weights, SQ_BF16, OUT, IN, IN };
	struct sq_qrule rule = { c->grid, c->m ? SQ_MSE : SQ_ABSMAX, 1, 1,
	    c->group };
	struct sq_qdst dst = { s->codes, s->scales, NULL, NULL };

	return sq_quantize(&s->ctx, &w, &rule, &dst);
}

static int
run_case(struct state *s, const struct bench_case *c)
{
	struct sq_weight w = weight(s, c);
	struct sq_moments mo = { s->nll, s->nll, s->sums, s->sums + OUT,
	    s->hist };
	struct sq_mat x = mat(s->x, c->m, IN), y = mat(s->y, c->m, OUT);
	struct sq_qmat q = { SQ_ACT_INT8, s->codes, s->nll, c->m, IN, IN };
	struct sq_mat wide = mat(s->x, c->m, OUT), z = mat(s->z, c->m, OUT);
	struct sq_mat out = mat(s->y, OUT, IN), two = mat(s->y, c->m, IN);
	struct sq_mat lx = mat(s->x, c->m, VOCAB), lz = mat(s->z, c->m, VOCAB);

	switch (c->op) {
	case SQ_OP_matmul:
		return sq_matmul(&s->ctx, &w, &x, c->prec, &y);
	case SQ_OP_sparse_matmul:
		return sq_sparse_matmul(&s->ctx, &w, &x, c->prec, &y);
	case SQ_OP_sparse_attention:
		return run_far(s, c, c->run_n > 0);
	case SQ_OP_matmul_int8:
		return sq_matmul_int8(&s->ctx, &w, &q, &y);
	case SQ_OP_attention:
		return run_attention(s, c);
	case SQ_OP_quantize:
		return run_quantize(s, c);
	case SQ_OP_dequantize:
		return sq_dequantize(&s->ctx, &w, 0, &out);
	case SQ_OP_rmsnorm:
		return sq_rmsnorm(&s->ctx, &x, s->z, 1e-5f, &two);
	case SQ_OP_silu_mul:
		return sq_silu_mul(&s->ctx, &wide, &z, &y);
	case SQ_OP_rope:
		return sq_rope(&s->ctx, s->z, s->ids, DIM, &two);
	case SQ_OP_add:
		return sq_add(&s->ctx, &x, &two);
	case SQ_OP_nll:
		return sq_nll(&s->ctx, &lx, s->ids, s->nll, NULL);
	case SQ_OP_kl:
		return sq_kl(&s->ctx, &lz, &lx, s->nll);
	case SQ_OP_moments:
		mo.min = s->y;
		mo.max = s->y + OUT;
		return sq_moments(&s->ctx, &x, &mo);
	case SQ_OP_attention_backward:
		return run_attention_backward(s, c);
	case SQ_OP_product:
		return run_gradient(s, c);
	case SQ_OP_panels:
		return run_panels(s);
	case SQ_OP_rmsnorm_backward:
		return sq_rmsnorm_backward(&s->ctx, &x, s->z, 1e-5f, &x, &two,
		    NULL);
	case SQ_OP_silu_mul_backward:
		return sq_silu_mul_backward(&s->ctx, &wide, &z, &z, &y, &y);
	case SQ_OP_kl_backward:
		return sq_kl_backward(&s->ctx, &lx, &lz, 1, &lz);
	case SQ_OP_softmax_add:
		return sq_softmax_add(&s->ctx, &lx, s->nll, 0, &lz);
	case SQ_OP_sum_rows:
		return sq_sum_rows(&s->ctx, &x, s->y);
	default:
		return SQ_UNSUP;
	}
}

/* The same of what is stored. */
static double
sparse_work(const struct bench_case *c)
{
	static const struct state none;
	struct sq_weight w = shape(&none, c);
	size_t kept = half_blocks(c);
	double share = w.layout == SQ_NM ? (double)w.n / (double)w.m : .5;
	double groups = c->grid == SQ_DENSE ? 0 : (double)OUT * IN /
	    (double)c->group * 2;

	if (c->limit == FLOPS)
		return share * 2 * (double)c->m * OUT * IN;
	return (double)sq_sparse_values(&w, kept) +
	    (double)sq_sparse_index(&w, kept) +
	    (w.layout == SQ_NM ? 1 : share) * groups;
}

/* What the case does, in FLOP or in bytes that must move. */
static double
work(const struct bench_case *c)
{
	double m = (double)c->m, scales;

	switch (c->op) {
	case SQ_OP_sparse_matmul:
		return sparse_work(c);
	case SQ_OP_sparse_attention:
		return 4 * m * (FAR - CHUNK / 2) * DIM * HEADS /
		    (double)c->run_m;
	case SQ_OP_matmul:
	case SQ_OP_matmul_int8:
		if (c->limit != BYTES)
			return 2 * m * OUT * IN;
		scales = c->grid == SQ_DENSE ? 0 : (double)OUT * IN /
		    (double)c->group * 2;
		return (double)weight_bytes(c) + scales;
	case SQ_OP_attention:
		if (c->limit == FLOPS)
			return 2 * m * m * DIM * HEADS;
		return 2. * 8192 * KV_HEADS * DIM * 2;
	case SQ_OP_quantize:
		return (double)OUT * IN * 2.5;
	case SQ_OP_dequantize:
		return (double)OUT * IN * 4.5;
	case SQ_OP_silu_mul:
		return 12 * m * OUT;
	case SQ_OP_add:
		return 12 * m * IN;
	case SQ_OP_nll:
		return 4 * m * VOCAB;
	case SQ_OP_kl:
		return 8 * m * VOCAB;
	case SQ_OP_moments:
	case SQ_OP_sum_rows:
		return 4 * m * IN;
	case SQ_OP_product:
		return 2 * m * OUT * IN;
	case SQ_OP_panels:
		return 4. * OUT * IN;
	case SQ_OP_attention_backward:
		return 5 * m * m * DIM * HEADS;
	case SQ_OP_rmsnorm_backward:
		return 12 * m * IN;
	case SQ_OP_silu_mul_backward:
		return 20 * m * OUT;
	case SQ_OP_kl_backward:
	case SQ_OP_softmax_add:
		return 12 * m * VOCAB;
	default:
		return 8 * m * IN;
	}
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* One call, or what a device is given at once. */
static double
time_case(struct state *s, const struct bench_case *c)
{
	int i, calls = s->mem->device ? IN_FLIGHT : 1;
	double begin = sq_now();

	for (i = 0; i < calls; i++)
		(void)run_case(s, c);
	(void)s->mem->sync();
	return (sq_now() - begin) / calls;
}

static double
median(double *t, int n)
{
	qsort(t, (size_t)n, sizeof(t[0]), ascending);
	return t[n / 2];
}

/* What operands that are loaded allow just now; NAN: it is no limit here. */
static double
loaded_limit(const struct state *s, const struct bench_case *c)
{
	enum sq_limit kind = c->op == SQ_OP_matmul_int8 ? SQ_LIMIT_INT8 :
	    SQ_LIMIT_BF16;
	double rate;

	if (c->limit > CODED || s->mem->device || (kind == SQ_LIMIT_BF16 &&
	    c->prec == SQ_PREC_F32) || sq_limit_loaded(s->ctx.pool,
	    s->ctx.kern->name, kind, &rate) < 0)
		return NAN;
	return rate;
}

/* The median time of a call; negative when the level does not support it.
 * Timed in turn with it, so that all have the same machine: loaded_limit(),
 * and the median part of it that the case comes to; whole, and the median of
 * how many times longer that takes. */
static double
measure(struct state *s, const struct bench_case *c,
    const struct bench_case *whole, double seconds, double *loaded,
    double *longer)
{
	static double t[MAX_TIMES], u[MAX_TIMES], part[MAX_TIMES];
	double start, limit = loaded_limit(s, c), last = limit;
	int n = 0;

	*longer = *loaded = NAN;
	if (run_case(s, c) != 0 || s->mem->sync() < 0)
		return -1;
	if (whole != NULL && run_case(s, whole) != 0)
		whole = NULL;
	for (start = sq_now(); n < MAX_TIMES && (n < 3 ||
	    sq_now() - start < seconds); n++) {
		t[n] = time_case(s, c);
		limit = isnan(last) ? NAN : loaded_limit(s, c);
		part[n] = work(c) / t[n] / ((last + limit) / 2);
		last = limit;
		if (whole != NULL)
			u[n] = time_case(s, whole) / t[n];
	}
	if (whole != NULL)
		*longer = median(u, n);
	if (!isnan(last))
		*loaded = median(part, n);
	return median(t, n);
}

/* The levels below are not to step in: the figures would not be this one's. */
static int
brings(const struct sq_kern *k, enum sq_op op)
{
	return strcmp(k->from[op], k->name) == 0;
}

/* What a sparse case is timed beside; NULL: it is not sparse. */
static const struct bench_case *
whole_of(const struct bench_case *c, struct bench_case *whole)
{
	*whole = *c;
	if (c->op == SQ_OP_sparse_matmul)
		whole->op = SQ_OP_matmul;
	else if (c->op != SQ_OP_sparse_attention)
		return NULL;
	whole->run_n = whole->run_m = 0;
	return whole;
}

static double
one_limit(const struct sq_bench_kernels *b, const struct sq_kern *kern,
    enum sq_limit kind)
{
	double rate;

	return sq_limit_ops(b->pool, kern->name, kind, &rate) == 0 ? rate : NAN;
}

static void
measure_limits(const struct sq_bench_kernels *b, const struct sq_kern *kern,
    struct sq_bench_limits *l)
{
	l->f32 = one_limit(b, kern, SQ_LIMIT_F32);
	l->bf16 = one_limit(b, kern, SQ_LIMIT_BF16);
	l->int16 = one_limit(b, kern, SQ_LIMIT_INT16);
	l->int8 = one_limit(b, kern, SQ_LIMIT_INT8);
	if (kern->mem->device || sq_limit_read(b->pool, &l->read) != 0)
		l->read = NAN;
}

static double
limit_of(const struct bench_case *c, const struct sq_bench_limits *l)
{
	if (c->limit == NONE)
		return NAN;
	if (c->limit == BYTES)
		return l->read;
	if (c->limit == CODED)
		return c->op == SQ_OP_matmul_int8 ? l->int8 : l->int16;
	return c->prec == SQ_PREC_F32 ? l->f32 : l->bf16;
}

static int
bench_level(struct state *s, const struct sq_bench_kernels *b,
    const struct sq_kern *kern)
{
	struct sq_bench_limits limits;
	double limit, t, loaded, speedup;
	struct bench_case whole;
	struct sq_bench_row r;
	struct sq_weight w;
	size_t i;

	measure_limits(b, kern, &limits);
	if (!kern->mem->device)
		b->limit(b->arg, kern->name, &limits);
	s->ctx.kern = kern;
	for (i = 0; i < NCASES; i++) {
		if ((b->op != NULL && strcmp(b->op,
		    sq_op_name(cases[i].op)) != 0) ||
		    !brings(kern, cases[i].op))
			continue;
		if (half_blocks(&cases[i]) > 0) {
			w = shape(s, &cases[i]);
			index_blocks(s, &w);
		}
		if ((t = measure(s, &cases[i], whole_of(&cases[i], &whole),
		    b->seconds, &loaded, &speedup)) < 0)
			continue;
		limit = limit_of(&cases[i], &limits);
		r = (struct sq_bench_row){ sq_op_name(cases[i].op),
		    kern->name, cases[i].shape, t, work(&cases[i]) / t,
		    cases[i].limit <= CODED, work(&cases[i]) / t / limit,
		    loaded, speedup };
		b->row(b->arg, &r);
	}
	return 0;
}

/* A level, in memory of its kind. */
static int
bench_one(const struct sq_bench_kernels *b, const char *level, char *err)
{
	const struct sq_kern *kern = sq_kern_find(level, err);
	struct state s;

	if (kern == NULL)
		return 0;
	if (state_init(&s, b, kern->mem, err) < 0)
		return -1;
	bench_level(&s, b, kern);
	state_release(&s);
	return 0;
}

int
sq_bench_kernels(const struct sq_bench_kernels *b, char *err)
{
	const char *const *l;

	if (b->level != NULL)
		return bench_one(b, b->level, err);
	for (l = sq_kern_levels(); *l != NULL; l++)
		if (strcmp(*l, "ref") != 0 && bench_one(b, *l, err) < 0)
			return -1;
	return 0;
}
