/*
 * Attention of one new token of a few sequences over their pages, on tensor
 * cores, with nothing in shared memory but the end; see dec_page.h.
 */
#include "kernels/cuda/dec_page.h"
#include "kernels/cuda/dec_pieces.h"
#include "kernels/cuda/launch.h"

#define WARPS		4
#define GROUP		8		/* query heads of a KV head, at most */

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
	uint32_t q[DIM / 16][2];
	const uint32_t *table;
	float max, sum, v, f;

	let_next_start();
	wait_for_others();
	slot = d.slot[i];
	length = d.length[slot] + 1;
	table = d.table + (size_t)slot * d.max_pages;
	pages = (length + PAGE - 1) / PAGE;
	from = pages * split / splits;
	to = pages * (split + 1) / splits;
	take_queries<DIM>(q, qkv + (size_t)i * (d.heads + 2 * d.kv_heads) *
	    DIM + (size_t)head * group * DIM, group);
	for (e = from + w; e < to; e += WARPS) {
		at = ((size_t)table[e] * d.kv_heads + head) * bytes;
		page<DIM, FP8>(st, q, far_page{ (const uint8_t *)d.k + at },
		    far_page{ (const uint8_t *)d.v + at },
		    (int)(length - e * PAGE), scale);
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

/* What there is of a head of a token: `n' sums, `step' apart. */
struct parts {
	const float *p;
	unsigned n, step;
};

static __device__ struct parts
parts_of(const struct dec_step &d, const struct dec_plan &plan,
    const float *sums, unsigned splits, size_t token, unsigned head)
{
	unsigned size = d.dim + 2, group = d.heads / d.kv_heads, from, n;
	uint32_t run = (uint32_t)token * d.kv_heads + head / group, to;
	uint64_t all, at;

	if (splits > 0)
		return (struct parts){ sums + (token * d.heads + head) *
		    splits * size, splits, size };
	all = (uint64_t)plan.before[d.n] * d.kv_heads;
	from = plan.before[token];
	n = plan.before[token + 1] - from;
	at = (uint64_t)from * d.kv_heads + (uint64_t)(head / group) * n;
	from = share_of(at, all, plan.units);
	to = share_of(at + n - 1, all, plan.units);
	return (struct parts){ sums + ((size_t)(run + from) * group + head %
	    group) * size, to - from + 1, group * size };
}

/* Element r of a head: AT_ONCE are read at a time. */
static __device__ float
merged(const struct dec_step &d, const struct parts &parts, unsigned r)
{
	unsigned step = parts.step, splits = parts.n, k, i;
	const float *pr = parts.p + r, *pm = parts.p + d.dim;
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

/* A block for 128 columns of a token. */
static __global__ void
merge(struct dec_step d, const float *sums, unsigned splits,
    struct dec_plan plan, struct dec_x x)
{
	__shared__ float v[128];
	unsigned n = d.heads * d.dim, r = blockIdx.y * 128 + threadIdx.x;
	uint16_t *h = (uint16_t *)x.p + (size_t)blockIdx.x * n;
	float f;

	let_next_start();
	wait_for_others();
	f = merged(d, parts_of(d, plan, sums, splits, blockIdx.x, r / d.dim),
	    r % d.dim);
	if (x.form == DEC_PLAIN) {
		h[r] = to_bf16(f);
		return;
	}
	v[threadIdx.x] = f;
	__syncthreads();
	if (threadIdx.x < 16)
		put_panel(x, blockIdx.x, blockIdx.y, threadIdx.x, v);
}

/* A block for a token: all of its heads, so that a scale for it is at hand. */
static __global__ void
merge_e4m3(struct dec_step d, const float *sums, unsigned splits,
    struct dec_plan plan, struct dec_x x)
{
	extern __shared__ float out[];
	__shared__ float part[1024 / 16];
	unsigned n = d.heads * d.dim, r, k;
	float f, most = 0;
	int l;

	let_next_start();
	wait_for_others();
	for (r = threadIdx.x; r < n; r += blockDim.x) {
		out[r] = merged(d, parts_of(d, plan, sums, splits, blockIdx.x,
		    r / d.dim), r % d.dim);
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
    struct dec_plan plan, struct dec_x x)
{
	if (x.form != DEC_E4M3)
		launch(merge, dim3(d.n, d.heads * d.dim / 128), 128, 0, s, d, sums,
		    (unsigned)splits, plan, x);
	else
		launch(merge_e4m3, dim3(d.n), 1024, (size_t)d.heads * d.dim *
		    sizeof(float), s, d, sums, (unsigned)splits, plan, x);
}
