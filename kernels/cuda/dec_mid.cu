/*
 * Tokens by the dozen times a weight of 4 bits, on Hopper: codes become bf16 in
 * the registers of the tensor cores, the tokens wait in shared memory; see
 * dec.h and, for the weight's units, dec_few.cu.
 *
 *	tile	256 rows of the weight: 16 warps of four groups have 16 each,
 *		which is a unit of the weight by 128 columns: a chunk
 *	block	one of each multiprocessor.  The chunks of all tiles, one
 *		after the other, are cut into as many shares as there are
 *		blocks; a further warp keeps copies of the chunks coming, ahead
 *		of the kernel before this one where they are the weight's.
 *	piece	what a block has of a tile, bf16 [token][256]; piece
 *		tile + block is nobody else's.  Who reads them adds them up:
 *		dec_pieces.h.
 *
 * Columns are summed in the order in which codes are cheap to unpack; the
 * tokens have been put into the same order (DEC_PANELS).
 */
#include "kernels/cuda/dec_pieces.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/wgmma.h"

#if GPU_HOPPER

#define ROWS		DEC_PIECE
#define WARPS		(ROWS / 16)
#define CODES		(WARPS * 1024)	/* bytes of a chunk */
#define SCALES		(WARPS * 32)

template <int N>
struct mid {
	static const int TOKENS = N * 256;	/* bytes of a chunk */
	static const int STAGES = N <= 16 ? 9 : N <= 32 ? 8 : 6;
	static const size_t SHARED = (size_t)STAGES * (CODES + TOKENS +
	    SCALES) + 1024;
};

struct bars {
	uint64_t full[9], empty[9];
};

/* What a block has: chunks from .. to - 1 of all. */
struct range {
	uint32_t from, to, chunks;
};

static __device__ void
bring_weight(const struct dec_mid &m, uint32_t to, uint32_t scales,
    uint32_t tile, uint32_t chunk, uint32_t bar)
{
	uint32_t lane = threadIdx.x % 32, l = lane % WARPS;
	const uint8_t *w = (const uint8_t *)m.w;
	size_t unit = (size_t)(tile * WARPS + l) * (m.cols / 128) + chunk;

	if (lane < WARPS)
		bulk(to + l * 1024, w + unit * 1024, 1024, bar);
	else
		bulk(scales + l * 32, w + (size_t)m.rows * (m.cols / 2) +
		    unit * 32, 32, bar);
}

template <int N>
static __device__ void
produce(const struct dec_mid &m, const struct range &r, struct bars *b,
    uint32_t codes, uint32_t tokens, uint32_t scales)
{
	typedef struct mid<N> M;
	uint32_t i, stage, n = r.to - r.from, pre = n < M::STAGES ? n :
	    M::STAGES, at, full;
	int lead = threadIdx.x % 32 == 0;

	for (i = 0; i < n + pre; i++) {
		/* the weight's first chunks depend on nobody */
		at = i < pre ? i : i - pre;
		stage = at % M::STAGES;
		full = shared_at(&b->full[stage]);
		if (i == pre)
			wait_for_others();
		if (i >= 2 * pre)
			bar_wait(shared_at(&b->empty[stage]), at / M::STAGES &
			    1 ^ 1);
		if (i < pre || i >= 2 * pre) {
			if (lead)
				bar_expect(full, CODES + SCALES + M::TOKENS);
			__syncwarp();
			bring_weight(m, codes + stage * CODES, scales + stage *
			    SCALES, (r.from + at) / r.chunks, (r.from + at) %
			    r.chunks, full);
		}
		if (i >= pre && lead)
			bulk(tokens + stage * M::TOKENS, (const uint8_t *)m.x +
			    (size_t)((r.from + at) % r.chunks) * M::TOKENS,
			    M::TOKENS, full);
	}
}

static __device__ uint4
near_at(uint32_t at)
{
	uint4 v;

	asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x),
	    "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
	return v;
}

static __device__ uint32_t
word(const uint4 &v, int i)
{
	return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Eight codes of two rows: the first operand of two products. */
static __device__ void
unpack(uint32_t lo, uint32_t hi, uint32_t (&a)[8])
{
	const __nv_bfloat162 less = __float2bfloat162_rn(128 + 8);
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		a[2 * i] = pair_of(lo, i, less);
		a[2 * i + 1] = pair_of(hi, i, less);
	}
}

template <int N>
static __device__ void
times(float (&part)[N / 2], uint32_t codes, uint32_t tokens)
{
	uint4 lo = near_at(codes), hi = near_at(codes + 512);
	uint32_t a[2][8];
	int j, k;

#pragma unroll
	for (j = 0; j < 4; j++) {
		if (j >= 2)
			wg_wait<1>();
		unpack(word(lo, j), word(hi, j), a[j & 1]);
		wg_begin();
#pragma unroll
		for (k = 0; k < 2; k++)
			wg_times_rows(part, a[j & 1] + 4 * k,
			    operand_by_rows(tokens + j / 2 * N * 128 +
			    (2 * (j % 2) + k) * 32), j + k > 0);
		wg_commit();
	}
	wg_wait<0>();
}

template <int N>
static __device__ void
put_piece(const float (&sum)[N / 2], uint32_t *to)
{
	uint32_t w = threadIdx.x / 32, g = threadIdx.x % 32 / 4;
	uint32_t t = threadIdx.x % 4;
	int b;

	to += w * 8 + g + 2 * t * (ROWS / 2);
#pragma unroll
	for (b = 0; b < N / 8; b++, to += 8 * (ROWS / 2)) {
		__nv_bfloat162 u = __floats2bfloat162_rn(sum[4 * b],
		    sum[4 * b + 2]);
		__nv_bfloat162 v = __floats2bfloat162_rn(sum[4 * b + 1],
		    sum[4 * b + 3]);

		to[0] = *(uint32_t *)&u;
		to[ROWS / 2] = *(uint32_t *)&v;
	}
}

template <int N>
static __device__ void
consume(const struct dec_mid &m, const struct range &r, struct bars *b,
    uint32_t codes, uint32_t tokens, uint32_t scales)
{
	typedef struct mid<N> M;
	uint32_t w = threadIdx.x / 32, lane = threadIdx.x % 32, stage = 0;
	uint32_t parity = 0, at, pair, chunk = r.from % r.chunks;
	uint32_t tile = r.from / r.chunks;
	float sum[N / 2], part[N / 2], lo, hi;
	int i;

#pragma unroll
	for (i = 0; i < N / 2; i++)
		sum[i] = part[i] = 0;
	for (at = r.from; at < r.to; at++) {
		bar_wait(shared_at(&b->full[stage]), parity);
		asm volatile("ld.shared.u32 %0, [%1];" : "=r"(pair) :
		    "r"(scales + stage * SCALES + w * 32 + lane / 4 * 4) :
		    "memory");
		times<N>(part, codes + stage * CODES + w * 1024 + lane * 16,
		    tokens + stage * M::TOKENS);
#pragma unroll
		for (i = 0; i < N / 2; i++)
			asm volatile("" : "+f"(part[i]) :: "memory");
		if (lane == 0)
			bar_arrive(shared_at(&b->empty[stage]));
		lo = __half2float(__ushort_as_half((uint16_t)pair));
		hi = __half2float(__ushort_as_half((uint16_t)(pair >> 16)));
#pragma unroll
		for (i = 0; i < N / 2; i++)
			sum[i] = fmaf(part[i], i & 2 ? hi : lo, sum[i]);
		if (++stage == M::STAGES) {
			stage = 0;
			parity ^= 1;
		}
		if (++chunk < r.chunks && at + 1 < r.to)
			continue;
		put_piece<N>(sum, (uint32_t *)m.y + (size_t)(tile +
		    blockIdx.x) * N * (ROWS / 2));
#pragma unroll
		for (i = 0; i < N / 2; i++)
			sum[i] = 0;
		chunk = 0;
		tile++;
	}
}

template <int N>
static __global__ void __launch_bounds__((WARPS + 1) * 32, 1)
products(struct dec_mid m)
{
	typedef struct mid<N> M;
	extern __shared__ uint8_t shared[];
	__shared__ struct bars b;
	uint32_t all = m.rows / ROWS * (m.cols / 128), i;
	struct range r = { all * blockIdx.x / gridDim.x, all *
	    (blockIdx.x + 1) / gridDim.x, m.cols / 128 };
	uint32_t codes = (shared_at(shared) + 1023) & ~1023u;
	uint32_t tokens = codes + M::STAGES * CODES;
	uint32_t scales = tokens + M::STAGES * M::TOKENS;

	if (threadIdx.x == 0) {
		for (i = 0; i < M::STAGES; i++) {
			bar_init(shared_at(&b.full[i]), 1);
			bar_init(shared_at(&b.empty[i]), WARPS);
		}
		bars_made();
	}
	__syncthreads();
	let_next_start();
	if (threadIdx.x / 32 == WARPS)
		produce<N>(m, r, &b, codes, tokens, scales);
	else
		consume<N>(m, r, &b, codes, tokens, scales);
}

template <int N>
static void
start(gpu_stream s, const struct dec_mid &m)
{
	(void)GPU(FuncSetAttribute)((const void *)products<N>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize),
	    (int)mid<N>::SHARED);
	launch(products<N>, dim3((unsigned)sqc.units), (WARPS + 1) * 32,
	    mid<N>::SHARED, s, m);
}

uint32_t
dec_mid_pad(size_t n)
{
	return n <= 16 ? 16 : n <= 32 ? 32 : n <= 64 ? 64 : 0;
}

int
dec_mid_knows(size_t rows, size_t cols, size_t n)
{
	return dec_mid_pad(n) > 0 && rows % ROWS == 0 && cols % 128 == 0;
}

void
dec_mid(gpu_stream s, struct dec_mid m)
{
	if (m.pad == 16)
		start<16>(s, m);
	else if (m.pad == 32)
		start<32>(s, m);
	else
		start<64>(s, m);
}

#else

uint32_t
dec_mid_pad(size_t n)
{
	(void)n;
	return 0;
}

int
dec_mid_knows(size_t rows, size_t cols, size_t n)
{
	(void)rows, (void)cols, (void)n;
	return 0;
}

void
dec_mid(gpu_stream s, struct dec_mid m)
{
	(void)s, (void)m;
}

#endif
