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
template <int DIM, int KV>
struct ring {
	static const int PART = DEC_PAGE_BYTES(KV, DIM);
	static const int FIT = RING_BYTES / (RING_STAGES * 2 * PART);
	static const int MOST = KV == SQ_DEC_KV_INT4 ? 12 : 8;
	static const int WARPS = FIT > MOST ? MOST : FIT;
	static const size_t SHARED = (size_t)WARPS * RING_STAGES * 2 * PART +
	    128;
};

#define PLAN_THREADS	1024

/* Where share i of `all' begins, and which share has item `at': there are no
 * empty ones. */
static __device__ uint32_t
share(uint32_t all, uint32_t i, uint32_t shares)
{
	return (uint32_t)((uint64_t)all * i / shares);
}

static __device__ uint32_t
share_of(uint32_t at, uint32_t all, uint32_t shares)
{
	return (uint32_t)((((uint64_t)at + 1) * shares - 1) / all);
}

/* One block.  What follows may read the plan without waiting for it: this
 * kernel lets nobody start before it has ended. */
static __global__ void
plan(struct dec_step d, struct dec_plan p)
{
	__shared__ uint32_t sum[2][PLAN_THREADS];
	uint32_t i = threadIdx.x, step, n = 0, lo, hi, mid, at, all, h, r;
	uint32_t units, from = 0;
	struct dec_unit u = {};

	wait_for_others();
	if (i < d.n)
		n = (before(d, i) + PAGE) / PAGE;
	sum[0][i] = n;
	__syncthreads();
	for (step = 1; step < PLAN_THREADS; step *= 2) {
		sum[!from][i] = sum[from][i] + (i >= step ? sum[from]
		    [i - step] : 0);
		from = !from;
		__syncthreads();
	}
	all = sum[from][d.n - 1] * d.kv_heads;
	units = min(p.units, all);
	for (h = 0; i < d.n && h < d.kv_heads; h++) {
		at = (sum[from][i] - n) * d.kv_heads + h * n;
		r = share_of(at, all, units);
		p.run[i * d.kv_heads + h] = { r, share_of(at + n - 1, all,
		    units) - r + 1 };
	}
	for (; i < p.units; i += blockDim.x) {
		u.left = 0;
		if (i < units) {
			at = share(all, i, units);
			u.left = share(all, i + 1, units) - at;
			/* the first sequence that ends behind it */
			for (lo = 0, hi = d.n - 1; lo < hi;) {
				mid = (lo + hi) / 2;
				if (sum[from][mid] * d.kv_heads > at)
					hi = mid;
				else
					lo = mid + 1;
			}
			r = lo == 0 ? 0 : sum[from][lo - 1];
			u.pages = sum[from][lo] - r;
			at -= r * d.kv_heads;
			u.run = lo * d.kv_heads + at / u.pages;
			u.page = at % u.pages;
			u.slot = d.slot[lo];
		}
		p.unit[i] = u;
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
	c.pages = (before(d, i) + PAGE) / PAGE;
}

template <int DIM, int KV>
static __device__ void
bring(const struct dec_step &d, uint32_t head, uint32_t id, uint32_t to,
    uint32_t bar)
{
	const uint32_t part = ring<DIM, KV>::PART;
	size_t at = ((size_t)id * d.kv_heads + head) * part;

	bar_expect(bar, 2 * part);
	bulk_once(to, (const uint8_t *)d.k + at, part, bar, goes_first());
	bulk_once(to + part, (const uint8_t *)d.v + at, part, bar,
	    goes_first());
}

template <int DIM, int KV>
static __device__ void
put_piece(struct state<DIM> &st, uint32_t piece, unsigned group, float *sums)
{
	int t = threadIdx.x % 4, i;

	end<DIM, KV>(st);
#pragma unroll
	for (i = 0; i < 2; i++) {
		float *to = sums + ((size_t)piece * group + 2 * t + i) *
		    DEC_SUMS(DIM);

		if (2 * t + i >= (int)group)
			break;
		each_sum<DIM>(st, i, [&](int d, float v) { to[d] = v; });
		if (threadIdx.x % 32 < 4)
			*(float2 *)(to + DIM) = make_float2(st.max[i],
			    st.sum[i]);
	}
}

/* Tokens behind a sequence's end are read: pages are cleared when they are
 * made, so nothing there is NaN. */
template <int DIM, int KV>
static __global__ void __launch_bounds__(ring<DIM, KV>::WARPS * 32, 1)
attn(struct dec_step d, struct dec_plan p, const uint16_t *qkv, float scale,
    float *sums)
{
	typedef struct ring<DIM, KV> R;
	extern __shared__ __align__(128) uint8_t shared[];
	__shared__ uint64_t bar[R::WARPS][RING_STAGES];
	uint32_t w = threadIdx.x / 32, unit = w * gridDim.x + blockIdx.x;
	uint32_t at = (shared_at(shared) + 127 & ~127u) + w * RING_STAGES * 2 *
	    R::PART, bars = shared_at(bar[w]), stage = 0, parity = 0, left;
	uint32_t asked, group = d.heads / d.kv_heads, id = 0, width, i;
	int lead = threadIdx.x % 32 == 0, fresh = 1;
	struct state<DIM> st;
	struct cursor use, ask;
	struct dec_unit u;

	if (lead) {
		for (i = 0; i < RING_STAGES; i++)
			bar_init(bars + i * 8, 1);
		bars_made();
	}
	__syncwarp();
	let_next_start();
	*(uint4 *)&u = __ldcg((const uint4 *)(p.unit + unit));
	left = __ldcg(&p.unit[unit].left);
	width = (d.heads + 2 * d.kv_heads) * DIM;
	use.run = u.run;
	use.head = u.run % d.kv_heads;
	use.page = u.page;
	use.pages = u.pages;
	use.slot = u.slot;
	ask = use;
	/* all pages but a sequence's last are as the last step left them,
	 * unless this one has more of its tokens */
	for (asked = 0; d.pos == NULL && asked < RING_STAGES && asked < left &&
	    ask.page + 1 < ask.pages; asked++, ask.page++) {
		id = d.table[(size_t)ask.slot * d.max_pages + ask.page];
		if (lead)
			bring<DIM, KV>(d, ask.head, id, at + asked * 2 *
			    R::PART, bars + asked * 8);
	}
	wait_for_others();
	if (left == 0)
		return;
	for (; asked < RING_STAGES && asked < left; asked++) {
		id = d.table[(size_t)ask.slot * d.max_pages + ask.page];
		if (lead)
			bring<DIM, KV>(d, ask.head, id, at + asked * 2 *
			    R::PART, bars + asked * 8);
		if (++ask.page == ask.pages)
			next_run(d, ask);
	}
	if (asked < left)
		id = d.table[(size_t)ask.slot * d.max_pages + ask.page];
	for (i = 0; i < left; i++) {
		uint32_t length;

		if (fresh) {
			fresh = 0;
			begin<DIM, KV>(st, new_page{ (const uint8_t *)(qkv +
			    (size_t)(use.run / d.kv_heads) * width +
			    (size_t)use.head * group * DIM) }, group);
		}
		length = use.page + 1 < use.pages ? PAGE : before(d, use.run /
		    d.kv_heads) + 1 - use.page * PAGE;
		bar_wait(bars + stage * 8, parity);
		page<DIM, KV>(st, near_page{ at + stage * 2 * R::PART },
		    near_page{ at + stage * 2 * R::PART + R::PART },
		    (int)length, scale);
		__syncwarp();
		if (asked < left) {
			if (lead)
				bring<DIM, KV>(d, ask.head, id, at + stage *
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
			put_piece<DIM, KV>(st, use.run + unit, group, sums);
			fresh = 1;
		}
		if (++use.page == use.pages)
			next_run(d, use);
	}
}

template <int DIM, int KV>
static void
start(gpu_stream s, const struct dec_step &d, const struct dec_plan &p,
    const uint16_t *qkv, float *sums)
{
	typedef struct ring<DIM, KV> R;
	float scale = 1.4426950408889634f / sqrtf((float)DIM);

	(void)GPU(FuncSetAttribute)((const void *)attn<DIM, KV>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)R::SHARED);
	launch(attn<DIM, KV>, dim3(p.units / R::WARPS), R::WARPS * 32,
	    R::SHARED, s, d, p, qkv, scale, sums);
}

template <int DIM>
static int
warps(enum sq_dec_kv kv)
{
	return kv == SQ_DEC_KV_INT4 ? ring<DIM, SQ_DEC_KV_INT4>::WARPS :
	    kv == SQ_DEC_KV_FP8 ? ring<DIM, SQ_DEC_KV_FP8>::WARPS :
	    ring<DIM, SQ_DEC_KV_BF16>::WARPS;
}

uint32_t
dec_ring_units(uint32_t dim, enum sq_dec_kv kv)
{
	return (uint32_t)(sqc.units * (dim == 128 ? warps<128>(kv) :
	    warps<64>(kv)));
}

void
dec_ring_plan(gpu_stream s, struct dec_step d, struct dec_plan p)
{
	launch(plan, dim3(1), PLAN_THREADS, 0, s, d, p);
}

template <int DIM>
static void
of_kind(gpu_stream s, const struct dec_step &d, const struct dec_plan &p,
    const uint16_t *q, float *sums)
{
	if (d.kv == SQ_DEC_KV_INT4)
		start<DIM, SQ_DEC_KV_INT4>(s, d, p, q, sums);
	else if (d.kv == SQ_DEC_KV_FP8)
		start<DIM, SQ_DEC_KV_FP8>(s, d, p, q, sums);
	else
		start<DIM, SQ_DEC_KV_BF16>(s, d, p, q, sums);
}

void
dec_ring(gpu_stream s, struct dec_step d, struct dec_plan p, const void *qkv,
    float *sums)
{
	if (d.dim == 128)
		of_kind<128>(s, d, p, (const uint16_t *)qkv, sums);
	else
		of_kind<64>(s, d, p, (const uint16_t *)qkv, sums);
}

#else

uint32_t
dec_ring_units(uint32_t dim, enum sq_dec_kv kv)
{
	(void)dim, (void)kv;
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
