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
template <int DIM, int KV>
static __global__ void __launch_bounds__(WARPS * 32)
attn(struct dec_step d, const uint16_t *qkv, unsigned splits, float scale,
    float *sums)
{
	__shared__ float all[WARPS][GROUP][DIM + 2];
	unsigned i = blockIdx.x / (d.kv_heads * splits);
	unsigned head = blockIdx.x / splits % d.kv_heads;
	unsigned split = blockIdx.x % splits, group = d.heads / d.kv_heads;
	unsigned length, pages, from, to, w = threadIdx.x / 32, e, r, slot;
	int t = threadIdx.x % 4, j;
	size_t at;
	struct state<DIM> st;
	const uint32_t *table;
	float max, sum, v, f;

	let_next_start();
	wait_for_others();
	slot = d.slot[i];
	length = before(d, i) + 1;
	table = d.table + (size_t)slot * d.max_pages;
	pages = (length + PAGE - 1) / PAGE;
	from = pages * split / splits;
	to = pages * (split + 1) / splits;
	begin<DIM, KV>(st, new_page{ (const uint8_t *)(qkv + (size_t)i *
	    (d.heads + 2 * d.kv_heads) * DIM + (size_t)head * group * DIM) },
	    group);
	for (e = from + w; e < to; e += WARPS) {
		at = ((size_t)table[e] * d.kv_heads + head) *
		    DEC_PAGE_BYTES(KV, DIM);
		page<DIM, KV>(st, far_page{ (const uint8_t *)d.k + at },
		    far_page{ (const uint8_t *)d.v + at },
		    (int)(length - e * PAGE), scale);
	}
	end<DIM, KV>(st);
#pragma unroll
	for (j = 0; j < 2; j++) {
		float *to = all[w][2 * t + j];

		each_sum<DIM>(st, j, [&](int d, float f) { to[d] = f; });
		if (threadIdx.x % 32 < 4) {
			to[DIM] = st.max[j];
			to[DIM + 1] = st.sum[j];
		}
	}
	__syncthreads();
	sums += (((size_t)i * d.heads + head * group) * splits + split) *
	    DEC_SUMS(DIM);
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
		sums[(size_t)e * splits * DEC_SUMS(DIM) + r % DIM] = v;
		if (r % DIM == 0) {
			sums[(size_t)e * splits * DEC_SUMS(DIM) + DIM] = max;
			sums[(size_t)e * splits * DEC_SUMS(DIM) + DIM + 1] = sum;
		}
	}
}

template <int DIM>
static void
of_kind(gpu_stream s, const struct dec_step &d, const uint16_t *q,
    unsigned splits, float *sums)
{
	float scale = 1.4426950408889634f / sqrtf((float)DIM);
	dim3 grid((unsigned)(d.n * d.kv_heads * splits));

	if (d.kv == SQ_DEC_KV_INT4)
		launch(attn<DIM, SQ_DEC_KV_INT4>, grid, WARPS * 32, 0, s, d, q,
		    splits, scale, sums);
	else if (d.kv == SQ_DEC_KV_FP8)
		launch(attn<DIM, SQ_DEC_KV_FP8>, grid, WARPS * 32, 0, s, d, q,
		    splits, scale, sums);
	else
		launch(attn<DIM, SQ_DEC_KV_BF16>, grid, WARPS * 32, 0, s, d, q,
		    splits, scale, sums);
}

void
dec_attn(gpu_stream s, struct dec_step d, const void *qkv, size_t splits,
    float *sums)
{
	if (d.dim == 128)
		of_kind<128>(s, d, (const uint16_t *)qkv, (unsigned)splits,
		    sums);
	else
		of_kind<64>(s, d, (const uint16_t *)qkv, (unsigned)splits,
		    sums);
}

/* What there is of a head of a token: n sums, `step' apart. */
struct parts {
	const float *p;
	unsigned n, step;
};

static __device__ struct parts
parts_of(const struct dec_step &d, const struct dec_plan &plan,
    const float *sums, unsigned splits, size_t token, unsigned head)
{
	unsigned size = DEC_SUMS(d.dim), group = d.heads / d.kv_heads, run;
	struct dec_run r;

	if (splits > 0)
		return (struct parts){ sums + (token * d.heads + head) *
		    splits * size, splits, size };
	run = (unsigned)token * d.kv_heads + head / group;
	r = plan.run[run];
	return (struct parts){ sums + ((size_t)(run + r.first) * group +
	    head % group) * size, r.n, group * size };
}

#define PARTS_AT_ONCE		8
#define MERGE_THREADS	512

/* Elements r .. r + 3 of a head: PARTS_AT_ONCE parts are read at a time. */
static __device__ float4
merged(const struct dec_step &d, const struct parts &parts, unsigned r)
{
	unsigned step = parts.step, k, i;
	float max = -1e30f, sum = 0, f, old;
	float4 v = make_float4(0, 0, 0, 0), e[PARTS_AT_ONCE];
	float2 m[PARTS_AT_ONCE];

	for (k = 0; k < parts.n; k += PARTS_AT_ONCE) {
#pragma unroll
		for (i = 0; i < PARTS_AT_ONCE; i++) {
			const float *p = parts.p + (size_t)(k + i) * step;
			bool any = k + i < parts.n;

			m[i] = any ? *(const float2 *)(p + d.dim) :
			    make_float2(-1e30f, 0);
			e[i] = any ? *(const float4 *)(p + r) :
			    make_float4(0, 0, 0, 0);
		}
		old = max;
#pragma unroll
		for (i = 0; i < PARTS_AT_ONCE; i++)
			max = fmaxf(max, m[i].x);
		f = exp2f(old - max);
		sum *= f;
		v = make_float4(v.x * f, v.y * f, v.z * f, v.w * f);
#pragma unroll
		for (i = 0; i < PARTS_AT_ONCE; i++) {
			f = exp2f(m[i].x - max);
			sum += f * m[i].y;
			v.x += f * e[i].x;
			v.y += f * e[i].y;
			v.z += f * e[i].z;
			v.w += f * e[i].w;
		}
	}
	f = 1 / sum;
	return make_float4(v.x * f, v.y * f, v.z * f, v.w * f);
}

/* A block for 512 columns of a token, or what is left of them. */
static __global__ void
merge(struct dec_step d, const float *sums, unsigned splits,
    struct dec_plan plan, struct dec_x x)
{
	__shared__ float4 v[128];
	unsigned n = d.heads * d.dim, t = threadIdx.x, r;
	float4 f;

	let_next_start();
	wait_for_others();
	r = blockIdx.y * 512 + 4 * t;
	if (r < n) {
		f = merged(d, parts_of(d, plan, sums, splits, blockIdx.x, r /
		    d.dim), r % d.dim);
		v[t] = f;
		if (x.form == DEC_PLAIN)
			*(uint2 *)((uint16_t *)x.p + (size_t)blockIdx.x * n +
			    r) = make_uint2(two_bf16(f.x, f.y), two_bf16(f.z,
			    f.w));
	}
	if (x.form != DEC_PANELS)
		return;
	__syncthreads();
	if (t < 64 && blockIdx.y * 4 + t / 16 < n / 128)
		put_panel(x, blockIdx.x, blockIdx.y * 4 + t / 16, t % 16,
		    (const float *)v + t / 16 * 128);
}

/* A block for a token: all of its heads, so that a scale for it is at hand. */
static __global__ void __launch_bounds__(MERGE_THREADS)
merge_e4m3(struct dec_step d, const float *sums, unsigned splits,
    struct dec_plan plan, struct dec_x x)
{
	extern __shared__ float4 out[];
	__shared__ float part[1024 / 16];
	unsigned n = d.heads * d.dim, r, k;
	float f, most = 0;
	float4 v;
	int l;

	let_next_start();
	wait_for_others();
	for (r = threadIdx.x; r < n / 4; r += blockDim.x) {
		v = merged(d, parts_of(d, plan, sums, splits, blockIdx.x, 4 *
		    r / d.dim), 4 * r % d.dim);
		out[r] = v;
		most = fmaxf(most, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)),
		    fmaxf(fabsf(v.z), fabsf(v.w))));
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
	for (r = threadIdx.x; r < n / 4; r += blockDim.x) {
		v = out[r];
		((uint32_t *)x.p)[(size_t)blockIdx.x * (n / 4) + r] =
		    four_e4m3(v.x * f, v.y * f, v.z * f, v.w * f);
	}
}

void
dec_merge(gpu_stream s, struct dec_step d, const float *sums, size_t splits,
    struct dec_plan plan, struct dec_x x)
{
	size_t n = (size_t)d.heads * d.dim;

	if (x.form != DEC_E4M3)
		launch(merge, dim3(d.n, (unsigned)(n + 511) / 512), 128, 0, s,
		    d, sums, (unsigned)splits, plan, x);
	else
		launch(merge_e4m3, dim3(d.n), (int)(n / 4 >= MERGE_THREADS ?
		    MERGE_THREADS : (n / 4 + 31) / 32 * 32), n * sizeof(float),
		    s, d, sums, (unsigned)splits, plan, x);
}
