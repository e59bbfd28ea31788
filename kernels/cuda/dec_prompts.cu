/*
 * Causal attention within prompts, on tensor cores; see dec.h.  The scheme is
 * that of FlashAttention 2 (Dao 2023): a block takes 128 queries of a head,
 * 16 a warp, and goes over the keys 64 at a time, which wait in shared memory,
 * two tiles deep, while sums and the greatest score stay in registers.
 *
 * Rows of shared memory are 16-byte pieces, piece i of row r at i ^ (r % 8), so
 * that eight rows' pieces lie in different banks.
 */
#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"

#define WARPS	8
#define ROWS	(16 * WARPS)
#define KEYS	64

static __device__ uint32_t
shared_at(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes on their way, or zeros. */
static __device__ void
fetch(uint32_t to, const void *from, bool any)
{
	int n = any ? 16 : 0;

	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::
	    "r"(to), "l"(from), "r"(n));
}

template <int DIM>
static __device__ uint32_t
place(int row, int piece)
{
	return (uint32_t)(row * DIM * 2 + ((piece & ~7) | ((piece ^ row) & 7))
	    * 16);
}

static __device__ void
ldm(uint32_t r[4], uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 "
	    "{%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]),
	    "=r"(r[3]) : "r"(at));
}

static __device__ void
ldm_turned(uint32_t r[4], uint32_t at)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
	    "{%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]),
	    "=r"(r[3]) : "r"(at));
}

static __device__ uint32_t
pack(float a, float b)
{
	__nv_bfloat162 v = __floats2bfloat162_rn(a, b);

	return *(uint32_t *)&v;
}

/* Keys from .. from+63 of k or v into a tile. */
template <int DIM>
static __device__ void
tile(uint32_t to, const uint16_t *p, size_t width, int from, int n)
{
	int i, row, piece;

#pragma unroll
	for (i = threadIdx.x; i < KEYS * DIM / 8; i += WARPS * 32) {
		row = i / (DIM / 8);
		piece = i % (DIM / 8);
		fetch(to + place<DIM>(row, piece), p + (size_t)(from + (from +
		    row < n ? row : 0)) * width + piece * 8, from + row < n);
	}
}

template <int DIM>
static __global__ void __launch_bounds__(WARPS * 32)
prompts(const uint16_t *qkv, const uint32_t *first, unsigned heads,
    unsigned kv_heads, float scale, uint16_t *out)
{
	extern __shared__ __align__(128) uint8_t shared[];
	const int T = KEYS * DIM * 2;
	size_t width = (size_t)(heads + 2 * kv_heads) * DIM;
	unsigned head = blockIdx.y, kvh = head / (heads / kv_heads);
	int n = (int)(first[blockIdx.z + 1] - first[blockIdx.z]);
	int q0 = (int)(gridDim.x - 1 - blockIdx.x) * ROWS;
	int w = threadIdx.x / 32, l = threadIdx.x % 32, g = l / 4, t = l % 4;
	int row = q0 + 16 * w + g, end, from, i, j, d, stage = 0, key;
	const uint16_t *base = qkv + (size_t)first[blockIdx.z] * width;
	const uint16_t *k = base + (size_t)(heads + kvh) * DIM;
	const uint16_t *v = base + (size_t)(heads + kv_heads + kvh) * DIM;
	const uint32_t *pq;
	uint32_t q[DIM / 16][4], b[4], p[4], s0 = shared_at(shared);
	float o[DIM / 8][4] = {}, s[8][4], max[2] = { -1e30f, -1e30f };
	float sum[2] = { 0, 0 }, m, fade[2];

	if (q0 >= n)
		return;
#pragma unroll
	for (i = 0; i < DIM / 16; i++)
#pragma unroll
		for (j = 0; j < 4; j++) {
			d = row + 8 * (j & 1);
			pq = (const uint32_t *)(base + (size_t)(d < n ? d :
			    n - 1) * width + (size_t)head * DIM);
			q[i][j] = pq[8 * i + 4 * (j >> 1) + t];
		}
	end = q0 + ROWS < n ? q0 + ROWS : n;
	tile<DIM>(s0, k, width, 0, n);
	tile<DIM>(s0 + T, v, width, 0, n);
	asm volatile("cp.async.commit_group;");
	for (from = 0; from < end; from += KEYS, stage ^= 1) {
		if (from + KEYS < end) {
			tile<DIM>(s0 + (stage ^ 1) * 2 * T, k, width, from +
			    KEYS, n);
			tile<DIM>(s0 + (stage ^ 1) * 2 * T + T, v, width,
			    from + KEYS, n);
		}
		asm volatile("cp.async.commit_group;");
		asm volatile("cp.async.wait_group 1;");
		__syncthreads();
#pragma unroll
		for (j = 0; j < 8; j++)
			s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
#pragma unroll
		for (i = 0; i < DIM / 16; i++)
#pragma unroll
			for (j = 0; j < 8; j += 2) {
				ldm(b, s0 + stage * 2 * T + place<DIM>(8 * j +
				    (l >> 4) * 8 + (l & 7), 2 * i +
				    (l >> 3 & 1)));
				mma_bf16(s[j], q[i], b[0], b[1]);
				mma_bf16(s[j + 1], q[i], b[2], b[3]);
			}
		if (from + KEYS > q0 + 16 * w)
#pragma unroll
			for (j = 0; j < 8; j++)
#pragma unroll
				for (i = 0; i < 4; i++) {
					key = from + 8 * j + 2 * t + (i & 1);
					if (key > row + 8 * (i >> 1))
						s[j][i] = -INFINITY;
				}
#pragma unroll
		for (i = 0; i < 2; i++) {
			m = max[i];
#pragma unroll
			for (j = 0; j < 8; j++)
				m = fmaxf(m, fmaxf(s[j][2 * i],
				    s[j][2 * i + 1]) * scale);
			m = fmaxf(m, gpu_shfl_xor(m, 1));
			m = fmaxf(m, gpu_shfl_xor(m, 2));
			fade[i] = exp2f(max[i] - m);
			max[i] = m;
			sum[i] *= fade[i];
#pragma unroll
			for (j = 0; j < 8; j++) {
				s[j][2 * i] = exp2f(fmaf(s[j][2 * i], scale,
				    -m));
				s[j][2 * i + 1] = exp2f(fmaf(s[j][2 * i + 1],
				    scale, -m));
				sum[i] += s[j][2 * i] + s[j][2 * i + 1];
			}
		}
#pragma unroll
		for (d = 0; d < DIM / 8; d++) {
			o[d][0] *= fade[0];
			o[d][1] *= fade[0];
			o[d][2] *= fade[1];
			o[d][3] *= fade[1];
		}
#pragma unroll
		for (i = 0; i < 4; i++) {
			p[0] = pack(s[2 * i][0], s[2 * i][1]);
			p[1] = pack(s[2 * i][2], s[2 * i][3]);
			p[2] = pack(s[2 * i + 1][0], s[2 * i + 1][1]);
			p[3] = pack(s[2 * i + 1][2], s[2 * i + 1][3]);
#pragma unroll
			for (d = 0; d < DIM / 8; d += 2) {
				ldm_turned(b, s0 + stage * 2 * T + T +
				    place<DIM>(16 * i + (l & 15), d +
				    (l >> 4)));
				mma_bf16(o[d], p, b[0], b[1]);
				mma_bf16(o[d + 1], p, b[2], b[3]);
			}
		}
		__syncthreads();
	}
#pragma unroll
	for (i = 0; i < 2; i++) {
		sum[i] += gpu_shfl_xor(sum[i], 1);
		sum[i] += gpu_shfl_xor(sum[i], 2);
		if (row + 8 * i >= n)
			continue;
		m = 1 / sum[i];
		pq = (uint32_t *)(out + ((size_t)first[blockIdx.z] + row +
		    8 * i) * heads * DIM + (size_t)head * DIM);
#pragma unroll
		for (d = 0; d < DIM / 8; d++)
			((uint32_t *)pq)[4 * d + t] = pack(o[d][2 * i] * m,
			    o[d][2 * i + 1] * m);
	}
}

template <int DIM>
static void
start(gpu_stream s, const void *qkv, const uint32_t *first, dim3 grid,
    uint32_t heads, uint32_t kv_heads, void *out)
{
	float scale = 1.4426950408889634f / sqrtf((float)DIM);
	int bytes = 4 * KEYS * DIM * 2;

	(void)GPU(FuncSetAttribute)((const void *)prompts<DIM>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), bytes);
	prompts<DIM><<<grid, WARPS * 32, bytes, s>>>((const uint16_t *)qkv,
	    first, heads, kv_heads, scale, (uint16_t *)out);
}

void
dec_prompts(gpu_stream s, const void *qkv, const uint32_t *first, size_t n,
    size_t longest, uint32_t heads, uint32_t kv_heads, uint32_t dim,
    void *out)
{
	dim3 grid((unsigned)((longest + ROWS - 1) / ROWS), heads, (unsigned)n);

	if (dim == 128)
		start<128>(s, qkv, first, grid, heads, kv_heads, out);
	else
		start<64>(s, qkv, first, grid, heads, kv_heads, out);
}
