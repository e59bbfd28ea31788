/*
 * Attention of a step with a few sequences on Hopper, in one kernel: rotation,
 * the new token's key and value into the cache, its pages, and the sum.  A
 * cluster has a KV head of a sequence, each of its blocks a share of the pages;
 * the last one has the page that the new token goes to.  See dec_page.h.
 */
#include <cooperative_groups.h>

#include "kernels/cuda/dec_put.h"
#include "kernels/cuda/launch.h"

#if GPU_HOPPER

#define CLUSTER		8
#define WARPS		8
#define GROUP		8		/* query heads of a KV head, at most */

/* What the blocks of a cluster, or the warps of one, have of a head. */
template <int DIM>
struct sums {
	float v[DIM], max, sum;
};

template <int DIM>
struct near {
	struct sums<DIM> warp[WARPS][GROUP], block[GROUP];
	__align__(16) uint16_t q[GROUP * DIM];
};

/* The new token of a head: queries to shared memory, and in the last block key
 * and value to their page. */
template <int DIM>
static __device__ void
take_token(const struct dec_step &d, const uint16_t *qkv, uint32_t i,
    uint32_t head, bool last, uint16_t *q)
{
	const uint32_t lanes = DIM / 4;
	uint32_t group = d.heads / d.kv_heads, w = threadIdx.x / 32, r, e;
	uint32_t pos = before(d, i), page = d.table[(size_t)d.slot[i] *
	    d.max_pages + pos / PAGE];
	const uint16_t *row = qkv + (size_t)i * (d.heads + 2 * d.kv_heads) *
	    DIM, *p;
	uint32_t lo, hi;

	for (r = threadIdx.x / lanes; r < group; r += WARPS * 32 / lanes) {
		e = 2 * (threadIdx.x % lanes);
		p = row + (head * group + r) * DIM + e;
		lo = __ldcg((const uint32_t *)p);
		hi = __ldcg((const uint32_t *)(p + DIM / 2));
		float2 a = two_of_bf16(lo), b = two_of_bf16(hi);
		float v[4] = { a.x, a.y, b.x, b.y };

		turn(angles_of(d, pos, e), v);
		p = q + r * DIM + e;
		*(uint32_t *)p = query(d, 0, v[0]) | (uint32_t)query(d, 0,
		    v[1]) << 16;
		*(uint32_t *)(p + DIM / 2) = query(d, 0, v[2]) |
		    (uint32_t)query(d, 0, v[3]) << 16;
	}
	/* a warp for the key, one for the value; where a head has half as many
	 * lanes, both halves do the same */
	if (!last || w < WARPS - 2)
		return;
	e = 2 * (threadIdx.x % lanes);
	p = row + (d.heads + (w == WARPS - 1 ? d.kv_heads : 0) + head) * DIM +
	    e;
	lo = __ldcg((const uint32_t *)p);
	hi = __ldcg((const uint32_t *)(p + DIM / 2));
	float2 a = two_of_bf16(lo), b = two_of_bf16(hi);
	float v[4] = { a.x, a.y, b.x, b.y };

	if (w == WARPS - 1) {
		put_value(d, page, head, pos, e, v);
		return;
	}
	turn(angles_of(d, pos, e), v);
	put_key(d, page, head, pos, e, v);
}

/* Element r of n sums, `step' apart as sums are. */
template <int DIM>
static __device__ void
merge(const struct sums<DIM> *const *from, unsigned n, unsigned r, float *v,
    float *max, float *sum)
{
	unsigned k;
	float f;

	*max = from[0]->max;
	for (k = 1; k < n; k++)
		*max = fmaxf(*max, from[k]->max);
	for (*sum = *v = 0, k = 0; k < n; k++) {
		f = exp2f(from[k]->max - *max);
		*sum += f * from[k]->sum;
		*v += f * from[k]->v[r];
	}
}

/* Tokens behind the sequence's end are read: pages are cleared when they are
 * made, so nothing there is NaN. */
template <int DIM, int KV>
static __global__ void __launch_bounds__(WARPS * 32)
attn(struct dec_step d, const uint16_t *qkv, float scale, uint16_t *out)
{
	extern __shared__ __align__(16) uint8_t shared[];
	struct near<DIM> &s = *(struct near<DIM> *)shared;
	cooperative_groups::cluster_group all =
	    cooperative_groups::this_cluster();
	uint32_t share = blockIdx.x % CLUSTER, w = threadIdx.x / 32, e, r;
	uint32_t i = blockIdx.x / CLUSTER / d.kv_heads, length, pages, from;
	uint32_t head = blockIdx.x / CLUSTER % d.kv_heads, to, k;
	uint32_t group = d.heads / d.kv_heads;
	uint32_t t = threadIdx.x % 4;
	const struct sums<DIM> *part[WARPS > CLUSTER ? WARPS : CLUSTER];
	const uint32_t *table;
	struct state<DIM> st;
	float v, max, sum;
	size_t at;
	int j;

	let_next_start();
	wait_for_others();
	length = before(d, i) + 1;
	table = d.table + (size_t)d.slot[i] * d.max_pages;
	pages = (length + PAGE - 1) / PAGE;
	from = pages * share / CLUSTER;
	to = pages * (share + 1) / CLUSTER;
	take_token<DIM>(d, qkv, i, head, share == CLUSTER - 1, s.q);
	__syncthreads();
	begin<DIM, KV>(st, near_page{ (uint32_t)__cvta_generic_to_shared(
	    s.q) }, group);
	for (e = from + w; e < to; e += WARPS) {
		at = ((size_t)table[e] * d.kv_heads + head) *
		    DEC_PAGE_BYTES(KV, DIM);
		page<DIM, KV>(st, new_page{ (const uint8_t *)d.k + at },
		    new_page{ (const uint8_t *)d.v + at },
		    (int)(length - e * PAGE), scale);
	}
	end<DIM, KV>(st);
#pragma unroll
	for (j = 0; j < 2; j++) {
		struct sums<DIM> &to = s.warp[w][2 * t + j];

		each_sum<DIM>(st, j, [&](int e, float f) { to.v[e] = f; });
		if (threadIdx.x % 32 < 4) {
			to.max = st.max[j];
			to.sum = st.sum[j];
		}
	}
	__syncthreads();
	for (r = threadIdx.x; r < group * DIM; r += WARPS * 32) {
		for (k = 0; k < WARPS; k++)
			part[k] = &s.warp[k][r / DIM];
		merge<DIM>(part, WARPS, r % DIM, &v, &max, &sum);
		s.block[r / DIM].v[r % DIM] = v;
		s.block[r / DIM].max = max;
		s.block[r / DIM].sum = sum;
	}
	all.sync();
	to = group * DIM * (share + 1) / CLUSTER;
	for (r = group * DIM * share / CLUSTER + threadIdx.x; r < to;
	    r += WARPS * 32) {
		for (k = 0; k < CLUSTER; k++)
			part[k] = all.map_shared_rank(&s.block[r / DIM], k);
		merge<DIM>(part, CLUSTER, r % DIM, &v, &max, &sum);
		out[((size_t)i * d.heads + head * group) * DIM + r] =
		    to_bf16(v / sum);
	}
	/* nobody's shared memory goes before all have read it */
	all.sync();
}

template <int DIM, int KV>
static void
start(gpu_stream s, const struct dec_step &d, const void *qkv, void *out)
{
	float scale = 1.4426950408889634f / sqrtf((float)DIM);

	(void)GPU(FuncSetAttribute)((const void *)attn<DIM, KV>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize),
	    (int)sizeof(struct near<DIM>));
	launch_clusters(CLUSTER, attn<DIM, KV>, dim3(d.n * d.kv_heads *
	    CLUSTER), WARPS * 32, sizeof(struct near<DIM>), s, d,
	    (const uint16_t *)qkv, scale, (uint16_t *)out);
}

template <int DIM>
static void
of_kind(gpu_stream s, const struct dec_step &d, const void *qkv, void *out)
{
	if (d.kv == SQ_DEC_KV_INT4)
		start<DIM, SQ_DEC_KV_INT4>(s, d, qkv, out);
	else if (d.kv == SQ_DEC_KV_FP8)
		start<DIM, SQ_DEC_KV_FP8>(s, d, qkv, out);
	else
		start<DIM, SQ_DEC_KV_BF16>(s, d, qkv, out);
}

int
dec_attn_few(gpu_stream s, struct dec_step d, const void *qkv, void *out)
{
	if (d.dim == 128)
		of_kind<128>(s, d, qkv, out);
	else
		of_kind<64>(s, d, qkv, out);
	return 0;
}

#else

int
dec_attn_few(gpu_stream s, struct dec_step d, const void *qkv, void *out)
{
	(void)s, (void)d, (void)qkv, (void)out;
	return -1;
}

#endif
