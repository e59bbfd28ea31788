/*
 * Causal attention within prompts on Hopper, heads of 128; see dec.h.
 *
 * A block has 128 queries of a head, in two groups of four warps, and a third
 * group whose first thread keeps keys and values coming, 128 at a time, from
 * the diagonal back to the first.  A group's tensor cores work on the scores of
 * the next keys and on the values of the last while it takes exponentials:
 *
 *	scores(j + 1) issued | values(j) issued | exponentials(j + 1) | fade
 */
#include "kernels/cuda/dec.h"
#include "kernels/cuda/wgmma.h"

#if GPU_HOPPER

#include <cuda.h>
#include <cudaTypedefs.h>

#define DIM	128
#define ROWS	128			/* queries of a block, keys of a step */
#define PANEL	(ROWS * 128)		/* bytes: 64 columns */
#define STEP	(2 * PANEL)
#define STAGES	2
#define GROUPS	2
#define SHARED	((1 + 2 * STAGES) * STEP + 1024)

struct bars {
	uint64_t q, k[STAGES], v[STAGES], k_free[STAGES], v_free[STAGES];
};

/* 128 rows from `row' on, 128 columns from `col' on. */
static __device__ void
bring(uint32_t to, const CUtensorMap *map, int col, int row, uint32_t bar)
{
	int i;

	bar_expect(bar, STEP);
	for (i = 0; i < 2; i++)
		asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global."
		    "mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
		    :: "r"(to + i * PANEL), "l"(map), "r"(col + 64 * i),
		    "r"(row), "r"(bar) : "memory");
}

static __device__ uint32_t
two(float a, float b)
{
	__nv_bfloat162 v = __floats2bfloat162_rn(a, b);

	return *(uint32_t *)&v;
}

/* Scores of 64 queries at q with 128 keys at k. */
static __device__ void
scores(float (&s)[64], uint32_t q, uint32_t k)
{
	int i;

	wg_begin();
#pragma unroll
	for (i = 0; i < DIM / 16; i++)
		wg_times(s, operand_by_rows(q + i / 4 * PANEL + i % 4 * 32),
		    operand_by_rows(k + i / 4 * PANEL + i % 4 * 32), i > 0);
	wg_commit();
}

static __device__ void
values(float (&o)[64], const uint32_t (&p)[32], uint32_t v)
{
	int i;

	wg_begin();
#pragma unroll
	for (i = 0; i < ROWS / 16; i++)
		wg_times_cols(o, p + 4 * i, operand_by_cols(v + i * 2048,
		    PANEL), 1);
	wg_commit();
}

/* Two rows' scores to exponentials. */
static __device__ void
soften(float (&s)[64], float scale, float max[2], float sum[2], float fade[2])
{
	float m;
	int i, j;

#pragma unroll
	for (i = 0; i < 2; i++) {
		m = s[2 * i];
#pragma unroll
		for (j = 0; j < 16; j++)
			m = fmaxf(m, fmaxf(s[4 * j + 2 * i],
			    s[4 * j + 2 * i + 1]));
		m = fmaxf(m, gpu_shfl_xor(m, 1));
		m = fmaxf(m, gpu_shfl_xor(m, 2));
		m = fmaxf(max[i], m * scale);
		fade[i] = exp2f(max[i] - m);
		max[i] = m;
		sum[i] *= fade[i];
#pragma unroll
		for (j = 0; j < 16; j++) {
			s[4 * j + 2 * i] = exp2f(fmaf(s[4 * j + 2 * i],
			    scale, -m));
			s[4 * j + 2 * i + 1] = exp2f(fmaf(s[4 * j + 2 * i +
			    1], scale, -m));
			sum[i] += s[4 * j + 2 * i] + s[4 * j + 2 * i + 1];
		}
	}
}

static __device__ void
pack(const float (&s)[64], uint32_t (&p)[32])
{
	int i;

#pragma unroll
	for (i = 0; i < 32; i++)
		p[i] = two(s[2 * i], s[2 * i + 1]);
}

/* Free for the next: every warp says so. */
static __device__ void
give(uint64_t *bar)
{
	if (threadIdx.x % 32 == 0)
		bar_arrive(shared_at(bar));
}

static __device__ void
produce(const CUtensorMap *map, struct bars *b, uint32_t at, int first, int q0,
    unsigned head, unsigned kvh, unsigned heads, unsigned kv_heads)
{
	int j, it = 0, stage, n = q0 / ROWS + 1;
	uint32_t k, v, free;

	bring(at, map, (int)head * DIM, first + q0, shared_at(&b->q));
	for (j = n - 1; j >= 0; j--, it++) {
		stage = it % STAGES;
		free = it / STAGES & 1 ^ 1;
		k = at + (1 + stage) * STEP;
		v = at + (1 + STAGES + stage) * STEP;
		bar_wait(shared_at(&b->k_free[stage]), free);
		bring(k, map, (int)(heads + kvh) * DIM, first + j * ROWS,
		    shared_at(&b->k[stage]));
		bar_wait(shared_at(&b->v_free[stage]), free);
		bring(v, map, (int)(heads + kv_heads + kvh) * DIM, first + j *
		    ROWS, shared_at(&b->v[stage]));
	}
}

/* A group's rows: 64 from q0 + 64 * group on. */
static __device__ void
consume(struct bars *b, uint32_t at, int q0, int n, float scale, uint16_t *out,
    size_t width)
{
	int group = threadIdx.x / 128 - 1, w = threadIdx.x % 128 / 32;
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
	int row = q0 + 64 * group + 16 * w + g, i, j, it, stage, last = 0;
	uint32_t q = at + group * 64 * 128, p[32], *to;
	float s[64], o[64], max[2] = { -1e30f, -1e30f }, sum[2] = { 0, 0 };
	float fade[2], f;

#pragma unroll
	for (i = 0; i < 64; i++)
		o[i] = 0;
	bar_wait(shared_at(&b->q), 0);
	bar_wait(shared_at(&b->k[0]), 0);
	scores(s, q, at + STEP);
	wg_wait<0>();
	wg_settled(s);
	give(&b->k_free[0]);
#pragma unroll
	for (i = 0; i < 64; i++) {
		j = q0 + i / 4 * 8 + 2 * t + (i & 1);
		if (j > row + 8 * (i >> 1 & 1))
			s[i] = -INFINITY;
	}
	soften(s, scale, max, sum, fade);
	pack(s, p);
	for (it = 1; it <= q0 / ROWS; it++) {
		stage = it % STAGES;
		bar_wait(shared_at(&b->k[stage]), it / STAGES & 1);
		scores(s, q, at + (1 + stage) * STEP);
		bar_wait(shared_at(&b->v[last]), (it - 1) / STAGES & 1);
		values(o, p, at + (1 + STAGES + last) * STEP);
		wg_wait<1>();
		wg_settled(s);
		give(&b->k_free[stage]);
		soften(s, scale, max, sum, fade);
		wg_wait<0>();
		wg_settled(o);
		give(&b->v_free[last]);
#pragma unroll
		for (i = 0; i < 64; i++)
			o[i] *= fade[i >> 1 & 1];
		pack(s, p);
		last = stage;
	}
	bar_wait(shared_at(&b->v[last]), (it - 1) / STAGES & 1);
	values(o, p, at + (1 + STAGES + last) * STEP);
	wg_wait<0>();
	wg_settled(o);
#pragma unroll
	for (i = 0; i < 2; i++) {
		sum[i] += gpu_shfl_xor(sum[i], 1);
		sum[i] += gpu_shfl_xor(sum[i], 2);
		if (row + 8 * i >= n)
			continue;
		f = 1 / sum[i];
		to = (uint32_t *)(out + (size_t)(row + 8 * i) * width);
#pragma unroll
		for (j = 0; j < 16; j++)
			to[4 * j + t] = two(o[4 * j + 2 * i] * f,
			    o[4 * j + 2 * i + 1] * f);
	}
}

static __global__ void __launch_bounds__(128 * (1 + GROUPS), 1)
prompts(const __grid_constant__ CUtensorMap map, const uint32_t *first,
    unsigned heads, unsigned kv_heads, float scale, uint16_t *out)
{
	extern __shared__ uint8_t shared[];
	__shared__ struct bars b;
	unsigned head = blockIdx.y, kvh = head / (heads / kv_heads);
	int f = (int)first[blockIdx.z], n = (int)first[blockIdx.z + 1] - f;
	int q0 = (int)(gridDim.x - 1 - blockIdx.x) * ROWS, i;
	uint32_t at = (shared_at(shared) + 1023) & ~1023u;

	if (q0 >= n)
		return;
	if (threadIdx.x == 0) {
		bar_init(shared_at(&b.q), 1);
		for (i = 0; i < STAGES; i++) {
			bar_init(shared_at(&b.k[i]), 1);
			bar_init(shared_at(&b.v[i]), 1);
			bar_init(shared_at(&b.k_free[i]), 4 * GROUPS);
			bar_init(shared_at(&b.v_free[i]), 4 * GROUPS);
		}
		bars_made();
	}
	__syncthreads();
	if (threadIdx.x < 128) {
		asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
		if (threadIdx.x == 0)
			produce(&map, &b, at, f, q0, head, kvh, heads,
			    kv_heads);
	} else {
		asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
		consume(&b, at, q0, n, scale, out + ((size_t)f * heads +
		    head) * DIM, (size_t)heads * DIM);
	}
}

/* How the copy engine finds rows of qkv: 128 of them, 64 columns. */
static int
describe(CUtensorMap *map, const void *qkv, size_t width, size_t rows)
{
	static PFN_cuTensorMapEncodeTiled_v12000 encode;
	cudaDriverEntryPointQueryResult found;
	cuuint64_t size[2] = { width, rows }, pitch[1] = { width * 2 };
	cuuint32_t box[2] = { 64, ROWS }, step[2] = { 1, 1 };

	if (encode == NULL && (cudaGetDriverEntryPointByVersion(
	    "cuTensorMapEncodeTiled", (void **)&encode, 12000,
	    cudaEnableDefault, &found) != cudaSuccess ||
	    found != cudaDriverEntryPointSuccess))
		encode = NULL;
	return encode == NULL || encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
	    2, (void *)(uintptr_t)qkv, size, pitch, box, step,
	    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
	    CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
	    CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS ? -1 : 0;
}

int
dec_prompts_wg(gpu_stream s, const void *qkv, const uint32_t *first, size_t n,
    size_t rows, size_t longest, uint32_t heads, uint32_t kv_heads, void *out)
{
	float scale = 1.4426950408889634f / sqrtf((float)DIM);
	dim3 grid((unsigned)((longest + ROWS - 1) / ROWS), heads, (unsigned)n);
	CUtensorMap map;

	if (describe(&map, qkv, (size_t)(heads + 2 * kv_heads) * DIM, rows) <
	    0 || GPU(FuncSetAttribute)((const void *)prompts,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), SHARED) !=
	    GPU(Success))
		return -1;
	prompts<<<grid, 128 * (1 + GROUPS), SHARED, s>>>(map, first, heads,
	    kv_heads, scale, (uint16_t *)out);
	return 0;
}

#else

int
dec_prompts_wg(gpu_stream s, const void *qkv, const uint32_t *first, size_t n,
    size_t rows, size_t longest, uint32_t heads, uint32_t kv_heads, void *out)
{
	(void)s, (void)qkv, (void)first, (void)n, (void)rows, (void)longest,
	    (void)heads, (void)kv_heads, (void)out;
	return -1;
}

#endif
