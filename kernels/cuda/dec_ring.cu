/*
 * Attention of a step with many sequences on Hopper; see dec_page.h for what a
 * warp does with a page.
 *
 *	run	the pages of one KV head of one sequence
 *	unit	a warp.  The pages of all runs, one after the other, are cut
 *		into as many shares as there are units, so that all end at
 *		about the same time, however long the sequences are.
 *	ring	of each unit, in shared memory: its next pages, brought by
 *		bulk copies.  Warps wait for nobody but their own copies.
 *
 * What a unit has of a run is a piece; piece run + unit is nobody else's.  The
 * shares of a step are planned once, for all layers.
 */
#include "kernels/cuda/bulk.h"
#include "kernels/cuda/dec_page.h"
#include "kernels/cuda/launch.h"

#if GPU_HOPPER

#ifndef RING_BYTES
#define RING_BYTES	(224 << 10)
#endif
#ifndef RING_STAGES
#define RING_STAGES	2
#endif

/* How many units a block has. */
template <int DIM, bool FP8>
struct ring {
	static const int PART = PAGE * DIM * (FP8 ? 1 : 2);
	static const int WARPS = RING_BYTES / (RING_STAGES * 2 * PART) > 8 ? 8 :
	    RING_BYTES / (RING_STAGES * 2 * PART);
	static const size_t SHARED = (size_t)WARPS * RING_STAGES * 2 * PART +
	    128;
};

static __host__ __device__ inline uint64_t
share(uint64_t pages, uint32_t unit, uint32_t units)
{
	return pages * unit / units;
}

#define PLAN_THREADS	1024

/* Which sequence, head and page each unit begins with.  One block. */
static __global__ void
plan(struct dec_step d, struct dec_plan p)
{
	__shared__ uint32_t sum[2][PLAN_THREADS + 1];
	uint32_t i = threadIdx.x, step, n = 0, lo, hi, mid, pages, r;
	int from = 0;
	uint64_t at, all;
	uint4 s;

	wait_for_others();
	if (i < d.n)
		n = (d.length[d.slot[i]] + PAGE) / PAGE;
	sum[0][i] = n;
	__syncthreads();
	for (step = 1; step < PLAN_THREADS; step *= 2) {
		sum[!from][i] = sum[from][i] + (i >= step ? sum[from]
		    [i - step] : 0);
		from = !from;
		__syncthreads();
	}
	if (i == 0)
		p.before[0] = 0;
	if (i < d.n)
		p.before[i + 1] = sum[from][i];
	all = (uint64_t)sum[from][d.n - 1] * d.kv_heads;
	for (; i < p.units; i += blockDim.x) {
		at = share(all, i, p.units);
		/* the first sequence that ends behind it */
		for (lo = 0, hi = d.n - 1; lo < hi;) {
			mid = (lo + hi) / 2;
			if ((uint64_t)sum[from][mid] * d.kv_heads > at)
				hi = mid;
			else
				lo = mid + 1;
		}
		r = lo == 0 ? 0 : sum[from][lo - 1];
		pages = sum[from][lo] - r;
		at -= (uint64_t)r * d.kv_heads;
		s.x = lo * d.kv_heads + (uint32_t)at / pages;
		s.y = (uint32_t)at % pages;
		s.z = pages;
		s.w = d.slot[lo];
		p.start[i] = s;
	}
}

/* Where a unit is: the next page to be brought, or to be used. */
struct cursor {
	uint32_t run, head, page, pages, slot;
};

static __device__ void
next_run(const struct dec_step &d, struct cursor &c)
{
	uint32_t i;

	c.page = 0;
	c.run++;
	if (++c.head < d.kv_heads)
		return;
	c.head = 0;
	i = c.run / d.kv_heads;
	if (i >= d.n)
		return;
	c.slot = d.slot[i];
	c.pages = (d.length[c.slot] + PAGE) / PAGE;
}

template <int DIM, bool FP8>
static __device__ void
bring(const struct dec_step &d, uint32_t head, uint32_t id, uint32_t to,
    uint32_t bar)
{
	const uint32_t part = ring<DIM, FP8>::PART;
	size_t at = ((size_t)id * d.kv_heads + head) * part;

	bar_expect(bar, 2 * part);
	bulk(to, (const uint8_t *)d.k + at, part, bar);
	bulk(to + part, (const uint8_t *)d.v + at, part, bar);
}

template <int DIM>
static __device__ void
put_piece(const struct state<DIM> &st, uint32_t piece, unsigned group,
    float *sums)
{
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, j;
	float sum = st.sum, *to = sums + ((size_t)piece * group + g) *
	    (DIM + 2);

	sum += gpu_shfl_xor(sum, 1);
	sum += gpu_shfl_xor(sum, 2);
	if (g >= (int)group)
		return;
#pragma unroll
	for (j = 0; j < DIM / 8; j++)
		*(float2 *)(to + 8 * j + 2 * t) = make_float2(st.o[j][0],
		    st.o[j][1]);
	if (t == 0)
		*(float2 *)(to + DIM) = make_float2(st.max, sum);
}

/* Tokens behind a sequence's end are read: pages are cleared when they are
 * made, so nothing there is NaN. */
template <int DIM, bool FP8>
static __global__ void __launch_bounds__(ring<DIM, FP8>::WARPS * 32, 1)
attn(struct dec_step d, struct dec_plan p, const uint16_t *qkv, float scale,
    float *sums)
{
	typedef struct ring<DIM, FP8> R;
	extern __shared__ __align__(128) uint8_t shared[];
	__shared__ uint64_t bar[R::WARPS][RING_STAGES];
	uint32_t w = threadIdx.x / 32, unit = w * gridDim.x + blockIdx.x;
	uint32_t at = (shared_at(shared) + 127 & ~127u) + w * RING_STAGES * 2 *
	    R::PART, bars = shared_at(bar[w]), stage = 0, parity = 0, left;
	uint32_t asked = 0, group = d.heads / d.kv_heads, id = 0, width, i;
	int lead = threadIdx.x % 32 == 0, fresh = 1, j;
	uint32_t q[DIM / 16][2];
	struct state<DIM> st;
	struct cursor use, ask;
	uint64_t all;
	uint4 s;

	if (lead) {
		for (i = 0; i < RING_STAGES; i++)
			bar_init(bars + i * 8, 1);
		bars_made();
	}
	__syncwarp();
	let_next_start();
	wait_for_others();
	s = p.start[unit];
	all = (uint64_t)p.before[d.n] * d.kv_heads;
	left = (uint32_t)(share(all, unit + 1, p.units) - share(all, unit,
	    p.units));
	if (left == 0)
		return;
	width = (d.heads + 2 * d.kv_heads) * DIM;
	use.run = s.x;
	use.head = s.x % d.kv_heads;
	use.page = s.y;
	use.pages = s.z;
	use.slot = s.w;
	ask = use;
	id = d.table[(size_t)ask.slot * d.max_pages + ask.page];
	for (asked = 0; asked < RING_STAGES && asked < left; asked++) {
		if (lead)
			bring<DIM, FP8>(d, ask.head, id, at + asked * 2 *
			    R::PART, bars + asked * 8);
		if (++ask.page == ask.pages)
			next_run(d, ask);
		if (asked + 1 < left)
			id = d.table[(size_t)ask.slot * d.max_pages +
			    ask.page];
	}
	for (i = 0; i < left; i++) {
		uint32_t length;

		if (fresh) {
			fresh = 0;
			st.max = -1e30f;
			st.sum = 0;
#pragma unroll
			for (j = 0; j < DIM / 8; j++)
				st.o[j][0] = st.o[j][1] = 0;
			take_queries<DIM>(q, qkv + (size_t)(use.run /
			    d.kv_heads) * width + (size_t)use.head * group *
			    DIM, group);
		}
		length = use.page + 1 < use.pages ? PAGE : d.length[use.slot] +
		    1 - use.page * PAGE;
		bar_wait(bars + stage * 8, parity);
		page<DIM, FP8>(st, q, near_page{ at + stage * 2 * R::PART },
		    near_page{ at + stage * 2 * R::PART + R::PART },
		    (int)length, scale);
		__syncwarp();
		if (asked < left) {
			if (lead)
				bring<DIM, FP8>(d, ask.head, id, at + stage *
				    2 * R::PART, bars + stage * 8);
			if (++ask.page == ask.pages)
				next_run(d, ask);
			if (++asked < left)
				id = d.table[(size_t)ask.slot * d.max_pages +
				    ask.page];
		}
		if (++stage == RING_STAGES) {
			stage = 0;
			parity ^= 1;
		}
		if (use.page + 1 == use.pages || i + 1 == left) {
			put_piece<DIM>(st, use.run + unit, group, sums);
			fresh = 1;
		}
		if (++use.page == use.pages)
			next_run(d, use);
	}
}

template <int DIM, bool FP8>
static void
start(gpu_stream s, const struct dec_step &d, const struct dec_plan &p,
    const uint16_t *qkv, float *sums)
{
	typedef struct ring<DIM, FP8> R;
	float scale = 1.4426950408889634f / sqrtf((float)DIM);

	(void)GPU(FuncSetAttribute)((const void *)attn<DIM, FP8>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)R::SHARED);
	launch(attn<DIM, FP8>, dim3(p.units / R::WARPS), R::WARPS * 32,
	    R::SHARED, s, d, p, qkv, scale, sums);
}

uint32_t
dec_ring_units(uint32_t dim, int fp8)
{
	return (uint32_t)sqc.units * (dim == 128 ? fp8 ?
	    ring<128, true>::WARPS : ring<128, false>::WARPS : fp8 ?
	    ring<64, true>::WARPS : ring<64, false>::WARPS);
}

void
dec_ring_plan(gpu_stream s, struct dec_step d, struct dec_plan p)
{
	launch(plan, dim3(1), PLAN_THREADS, 0, s, d, p);
}

void
dec_ring(gpu_stream s, struct dec_step d, struct dec_plan p, const void *qkv,
    float *sums)
{
	const uint16_t *q = (const uint16_t *)qkv;

	if (d.dim == 128 && d.fp8)
		start<128, true>(s, d, p, q, sums);
	else if (d.dim == 128)
		start<128, false>(s, d, p, q, sums);
	else if (d.fp8)
		start<64, true>(s, d, p, q, sums);
	else
		start<64, false>(s, d, p, q, sums);
}

#else

uint32_t
dec_ring_units(uint32_t dim, int fp8)
{
	(void)dim, (void)fp8;
	return 0;
}

void
dec_ring_plan(gpu_stream s, struct dec_step d, struct dec_plan p)
{
	(void)s, (void)d, (void)p;
}

void
dec_ring(gpu_stream s, struct dec_step d, struct dec_plan p, const void *qkv,
    float *sums)
{
	(void)s, (void)d, (void)p, (void)qkv, (void)sums;
}

#endif
