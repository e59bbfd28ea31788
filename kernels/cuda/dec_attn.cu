/*
 * Attention of one new token of each sequence over its pages, on tensor
 * cores, with nothing in shared memory but the end; see dec.h.
 *
 * A warp takes a page of 64 tokens of one KV head, for all query heads of the
 * group.  Both products have an order of summation that is free, so each lane
 * reads what is contiguous and the other operand follows:
 *
 *	scores	q [16 rows, of which `group' count] x keys^T.  Lane (g, t)
 *		reads a quarter, t, of the key 16(g/2) + 2j + g%2 for
 *		j = 0 .. 7; so its sums are of keys 16t + 2j and the next:
 *		sixteen neighbours.
 *	output	p x values: the page has values as [dim][token], so the lane
 *		reads sixteen neighbours, 16t .., of the dimension 8d + g.
 */
#include <cuda_fp8.h>

#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#define WARPS		4
#define PAGE		SQ_DEC_PAGE
#define GROUP		8		/* query heads of a KV head, at most */

/* d += a b with rows 8 .. 15 of a all zero: half the sums are of no use. */
template <bool FP8>
static __device__ void
mma_half(float &d0, float &d1, uint32_t a0, uint32_t a2, uint32_t b0,
    uint32_t b1)
{
	float x, y;

	if (FP8)
		asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16"
		    ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%9,"
		    "%9};" : "+f"(d0), "+f"(d1), "=f"(x), "=f"(y) : "r"(a0),
		    "r"(0), "r"(a2), "r"(b0), "r"(b1), "f"(0.f));
	else
		asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16"
		    ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%9,"
		    "%9};" : "+f"(d0), "+f"(d1), "=f"(x), "=f"(y) : "r"(a0),
		    "r"(0), "r"(a2), "r"(b0), "r"(b1), "f"(0.f));
}

/* Two e4m3 of the low or high half of w, as f16. */
static __device__ uint32_t
halves(uint32_t w, int high)
{
	__half2_raw h = __nv_cvt_fp8x2_to_halfraw2(
	    (__nv_fp8x2_storage_t)(high ? w >> 16 : w & 0xffff), __NV_E4M3);

	return (uint32_t)h.x | (uint32_t)h.y << 16;
}

static __device__ uint32_t
word(const uint4 &v, int i)
{
	return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Operand i of what a lane has read: four elements of its row, in order. */
template <bool FP8>
static __device__ void
operand(const uint4 *v, int i, uint32_t &b0, uint32_t &b1)
{
	uint32_t w;

	if (FP8) {
		w = word(v[i / 4], i % 4);
		b0 = halves(w, 0);
		b1 = halves(w, 1);
	} else {
		b0 = word(v[i / 2], 2 * (i % 2));
		b1 = word(v[i / 2], 2 * (i % 2) + 1);
	}
}

template <bool FP8>
static __device__ uint32_t
pack(float a, float b)
{
	return FP8 ? (uint32_t)to_f16(a) | (uint32_t)to_f16(b) << 16 :
	    (uint32_t)to_bf16(a) | (uint32_t)to_bf16(b) << 16;
}

static __device__ uint4
get(const void *p)
{
	return __ldg((const uint4 *)p);
}

template <int DIM>
struct state {
	float max, sum, o[DIM / 8][2];
};

/* One page: n of its tokens count. */
template <int DIM, bool FP8>
static __device__ void
page(struct state<DIM> &st, const uint32_t q[DIM / 16][2], const uint8_t *k,
    const uint8_t *v, int n, float scale)
{
	const int size = FP8 ? 1 : 2, kv4 = DIM / 4 * size / 16,
	    vv4 = 16 * size / 16;
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, i, j, d;
	float s[8][2], max = -INFINITY, fade;
	uint4 kk[kv4], vv[DIM / 8][vv4];
	uint32_t b0, b1, p[4][2];

#pragma unroll
	for (d = 0; d < DIM / 8; d++)
#pragma unroll
		for (i = 0; i < vv4; i++)
			if (FP8)
				vv[d][i] = get(v + ((size_t)(8 * d + g) * PAGE
				    + 16 * t) * size + 16 * i);
#pragma unroll
	for (j = 0; j < 8; j++) {
#pragma unroll
		for (i = 0; i < kv4; i++)
			kk[i] = get(k + ((size_t)(16 * (g / 2) + 2 * j + g % 2)
			    * DIM + t * (DIM / 4)) * size + 16 * i);
		s[j][0] = s[j][1] = 0;
#pragma unroll
		for (i = 0; i < DIM / 16; i++) {
			operand<FP8>(kk, i, b0, b1);
			mma_half<FP8>(s[j][0], s[j][1], q[i][0], q[i][1], b0,
			    b1);
		}
#pragma unroll
		for (i = 0; i < 2; i++) {
			s[j][i] = 16 * t + 2 * j + i < n ? s[j][i] * scale :
			    -INFINITY;
			max = fmaxf(max, s[j][i]);
		}
	}
	max = fmaxf(max, gpu_shfl_xor(max, 1));
	max = fmaxf(max, gpu_shfl_xor(max, 2));
	max = fmaxf(max, st.max);
	fade = exp2f(st.max - max);
	st.max = max;
	st.sum *= fade;
#pragma unroll
	for (j = 0; j < 8; j++) {
		s[j][0] = exp2f(s[j][0] - max);
		s[j][1] = exp2f(s[j][1] - max);
		st.sum += s[j][0] + s[j][1];
		p[j / 2][j % 2] = pack<FP8>(s[j][0], s[j][1]);
	}
#pragma unroll
	for (d = 0; d < DIM / 8; d++) {
		if (!FP8)
#pragma unroll
			for (i = 0; i < vv4; i++)
				vv[d][i] = get(v + ((size_t)(8 * d + g) * PAGE
				    + 16 * t) * size + 16 * i);
		st.o[d][0] *= fade;
		st.o[d][1] *= fade;
#pragma unroll
		for (i = 0; i < 4; i++) {
			operand<FP8>(vv[d], i, b0, b1);
			mma_half<FP8>(st.o[d][0], st.o[d][1], p[i][0],
			    p[i][1], b0, b1);
		}
	}
}

/* Tokens behind the sequence's end are read: pages are cleared when they are
 * made, so nothing there is NaN. */
template <int DIM, bool FP8>
static __global__ void __launch_bounds__(WARPS * 32)
attn(struct dec_step d, const uint16_t *qkv, unsigned splits, float scale,
    float *sums)
{
	__shared__ float all[WARPS][GROUP][DIM + 2];
	const int size = FP8 ? 1 : 2;
	unsigned i = blockIdx.x / (d.kv_heads * splits);
	unsigned head = blockIdx.x / splits % d.kv_heads;
	unsigned split = blockIdx.x % splits, group = d.heads / d.kv_heads;
	unsigned length, pages, from, to, w = threadIdx.x / 32, e, r, slot;
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, j;
	size_t bytes = (size_t)PAGE * DIM * size, at;
	struct state<DIM> st = { -1e30f, 0, {} };
	uint32_t q[DIM / 16][2] = {};
	const uint32_t *table, *pq;
	float max, sum, v, f;

	let_next_start();
	wait_for_others();
	slot = d.slot[i];
	length = d.length[slot] + 1;
	table = d.table + (size_t)slot * d.max_pages;
	pages = (length + PAGE - 1) / PAGE;
	from = pages * split / splits;
	to = pages * (split + 1) / splits;
	pq = (const uint32_t *)(qkv + (size_t)i * (d.heads + 2 * d.kv_heads) *
	    DIM + (size_t)(head * group + g) * DIM + t * (DIM / 4));
	if (g < (int)group)
#pragma unroll
		for (j = 0; j < DIM / 16; j++) {
			q[j][0] = pq[2 * j];
			q[j][1] = pq[2 * j + 1];
		}
	for (e = from + w; e < to; e += WARPS) {
		at = ((size_t)table[e] * d.kv_heads + head) * bytes;
		page<DIM, FP8>(st, q, (const uint8_t *)d.k + at,
		    (const uint8_t *)d.v + at, (int)(length - e * PAGE),
		    scale);
	}
	st.sum += gpu_shfl_xor(st.sum, 1);
	st.sum += gpu_shfl_xor(st.sum, 2);
	if (g < (int)group) {
#pragma unroll
		for (j = 0; j < DIM / 8; j++) {
			all[w][g][8 * j + 2 * t] = st.o[j][0];
			all[w][g][8 * j + 2 * t + 1] = st.o[j][1];
		}
		all[w][g][DIM] = st.max;
		all[w][g][DIM + 1] = st.sum;
	}
	__syncthreads();
	sums += ((size_t)i * d.heads + head * group) * splits * (DIM + 2) +
	    (size_t)split * (DIM + 2);
	for (r = threadIdx.x; r < group * DIM; r += blockDim.x) {
		e = r / DIM;
		max = all[0][e][DIM];
		for (j = 1; j < WARPS; j++)
			max = fmaxf(max, all[j][e][DIM]);
		for (sum = v = 0, j = 0; j < WARPS; j++) {
			f = exp2f(all[j][e][DIM] - max);
			sum += f * all[j][e][DIM + 1];
			v += f * all[j][e][r % DIM];
		}
		sums[(size_t)e * splits * (DIM + 2) + r % DIM] = v;
		if (r % DIM == 0) {
			sums[(size_t)e * splits * (DIM + 2) + DIM] = max;
			sums[(size_t)e * splits * (DIM + 2) + DIM + 1] = sum;
		}
	}
}

size_t
dec_attn_floats(const struct dec_step *d, size_t splits)
{
	return (size_t)d->n * d->heads * splits * (d->dim + 2);
}

void
dec_attn(gpu_stream s, struct dec_step d, const void *qkv, size_t splits,
    float *sums)
{
	float scale = 1.4426950408889634f / sqrtf((float)d.dim);
	dim3 grid((unsigned)(d.n * d.kv_heads * splits));
	const uint16_t *q = (const uint16_t *)qkv;

	if (d.dim == 128 && d.fp8)
		launch(attn<128, true>, grid, WARPS * 32, 0, s, d, q,
		    (unsigned)splits, scale, sums);
	else if (d.dim == 128)
		launch(attn<128, false>, grid, WARPS * 32, 0, s, d, q,
		    (unsigned)splits, scale, sums);
	else if (d.fp8)
		launch(attn<64, true>, grid, WARPS * 32, 0, s, d, q,
		    (unsigned)splits, scale, sums);
	else
		launch(attn<64, false>, grid, WARPS * 32, 0, s, d, q,
		    (unsigned)splits, scale, sums);
}

#define AT_ONCE		8

/* Element r of a token's heads, of all splits: AT_ONCE are read at a time. */
static __device__ float
merged(const struct dec_step &d, const float *sums, unsigned splits,
    size_t token, unsigned r)
{
	unsigned step = d.dim + 2, k, i;
	const float *p = sums + (token * d.heads + r / d.dim) * splits * step;
	const float *pr = p + r % d.dim, *pm = p + d.dim;
	float max = -1e30f, sum = 0, v = 0, f, old;
	float m[AT_ONCE], l[AT_ONCE], e[AT_ONCE];

	for (k = 0; k < splits; k += AT_ONCE) {
#pragma unroll
		for (i = 0; i < AT_ONCE; i++) {
			m[i] = k + i < splits ? pm[(k + i) * step] : -1e30f;
			l[i] = k + i < splits ? pm[(k + i) * step + 1] : 0;
			e[i] = k + i < splits ? pr[(k + i) * step] : 0;
		}
		old = max;
#pragma unroll
		for (i = 0; i < AT_ONCE; i++)
			max = fmaxf(max, m[i]);
		f = exp2f(old - max);
		sum *= f;
		v *= f;
#pragma unroll
		for (i = 0; i < AT_ONCE; i++) {
			f = exp2f(m[i] - max);
			sum += f * l[i];
			v += f * e[i];
		}
	}
	return v / sum;
}

/* A block for a head of a token. */
static __global__ void
merge(struct dec_step d, const float *sums, unsigned splits, struct dec_x x)
{
	unsigned n = d.heads * d.dim, r = blockIdx.y * d.dim + threadIdx.x;
	uint16_t *h = (uint16_t *)x.p + (size_t)blockIdx.x * n;

	let_next_start();
	wait_for_others();
	h[r] = to_bf16(merged(d, sums, splits, blockIdx.x, r));
}

/* A block for a token: all of its heads, so that a scale for it is at hand. */
static __global__ void
merge_e4m3(struct dec_step d, const float *sums, unsigned splits,
    struct dec_x x)
{
	extern __shared__ float out[];
	__shared__ float part[1024 / 16];
	unsigned n = d.heads * d.dim, r, k;
	float f, most = 0;
	int l;

	let_next_start();
	wait_for_others();
	for (r = threadIdx.x; r < n; r += blockDim.x) {
		out[r] = merged(d, sums, splits, blockIdx.x, r);
		most = fmaxf(most, fabsf(out[r]));
	}
	for (l = GPU_WARP / 2; l > 0; l /= 2)
		most = fmaxf(most, gpu_shfl_xor(most, l));
	if (threadIdx.x % GPU_WARP == 0)
		part[threadIdx.x / GPU_WARP] = most;
	__syncthreads();
	for (most = part[0], k = 1; k < blockDim.x / GPU_WARP; k++)
		most = fmaxf(most, part[k]);
	f = most > 0 ? 448 / most : 0;
	if (threadIdx.x == 0)
		x.scale[blockIdx.x] = most / 448;
	for (r = threadIdx.x; r < n; r += blockDim.x)
		((uint8_t *)x.p)[(size_t)blockIdx.x * n + r] =
		    __nv_cvt_float_to_fp8(out[r] * f, __NV_SATFINITE,
		    __NV_E4M3);
}

void
dec_merge(gpu_stream s, struct dec_step d, const float *sums, size_t splits,
    struct dec_x x)
{
	if (x.form != DEC_E4M3)
		launch(merge, dim3(d.n, d.heads), (int)d.dim, 0, s, d, sums,
		    (unsigned)splits, x);
	else
		launch(merge_e4m3, dim3(d.n), 1024, (size_t)d.heads * d.dim *
		    sizeof(float), s, d, sums, (unsigned)splits, x);
}
