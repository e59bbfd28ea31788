/*
 * Tokens by the dozen times a weight of 4 bits, on Hopper: codes become bf16 or
 * e4m3 in the registers of the tensor cores, the tokens wait in shared memory;
 * see dec.h and, for the weight's units, dec_few.cu.
 *
 *	tile	256 rows of the weight: 16 warps of four groups have 16 each,
 *		which is a unit of the weight by 128 columns: a chunk
 *	block	one of each multiprocessor.  The chunks of all tiles, one
 *		after the other, are cut into as many shares as there are
 *		blocks.  A warp brings its own codes, ahead of the kernel before
 *		this one, since weights depend on nobody; the first thread
 *		brings the tokens for all.
 *	piece	what a block has of a tile, bf16 [token][256]; piece
 *		tile + block is nobody else's.  Who reads them adds them up:
 *		dec_pieces.h.
 *
 * Columns are summed in the order in which codes are cheap to unpack; the
 * tokens have been put into the same order (DEC_PANELS, DEC_BYTES).
 *
 * A code from 0 to 15 is itself the e4m3 of its 512th.  What it is too large
 * by, 8, a chunk's sum is too large by 8 times the sum of the tokens' values,
 * which whoever made these has put beside their scale.
 */
#include "kernels/cuda/dec_pieces.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/wgmma.h"

#if GPU_HOPPER

#define ROWS		DEC_PIECE
#define WARPS		(ROWS / 16)
#define UNIT		(1024 + 4 * 32)	/* codes, each lane's scales */

template <int N, bool BYTES>
struct mid {
	static const int TOKENS = N * (BYTES ? 128 : 256); /* of a chunk */
	static const int SCALES = BYTES ? N * 8 : 0;
	static const int STAGES = N <= 16 ? 9 : N <= 32 ? 8 + BYTES : 6 +
	    2 * BYTES;
	static const size_t SHARED = (size_t)STAGES * (WARPS * UNIT + TOKENS +
	    SCALES) + 1024;
};

struct bars {
	uint64_t full[9], empty[9];
};

/* What a lane asks for next: its part of a chunk, `left' chunks more. */
struct asking {
	const uint8_t *codes, *scales;
	uint32_t chunk, chunks, left;
};

static __device__ void
ask(struct asking &a, uint32_t to)
{
	uint32_t lane = threadIdx.x % 32;

	if (a.left > 0) {
		a.left--;
		copy16(to + lane * 16, a.codes);
		copy16(to + 512 + lane * 16, a.codes + 512);
		asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::
		    "r"(to + 1024 + lane * 4), "l"(a.scales) : "memory");
		a.codes += 1024;
		a.scales += 32;
		if (++a.chunk == a.chunks) {
			a.chunk = 0;
			a.codes += (size_t)(WARPS - 1) * a.chunks * 1024;
			a.scales += (size_t)(WARPS - 1) * a.chunks * 32;
		}
	}
	asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N, bool BYTES>
static __device__ void
ask_tokens(const struct dec_mid &m, uint32_t chunk, uint32_t to,
    uint32_t scales, uint32_t bar)
{
	typedef struct mid<N, BYTES> M;

	bar_expect(bar, M::TOKENS + M::SCALES);
	bulk(to, (const uint8_t *)m.x + (size_t)chunk * M::TOKENS, M::TOKENS,
	    bar);
	if (BYTES)
		bulk(scales, (const uint8_t *)m.scale + (size_t)chunk *
		    M::SCALES, M::SCALES, bar);
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
times(float (&part)[N / 2], const uint4 &lo, const uint4 &hi, uint32_t tokens)
{
	uint64_t b = operand_by_rows(tokens);
	uint32_t a[2][8];
	int j, k;

#pragma unroll
	for (j = 0; j < 4; j++) {
		if (j >= 2)
			wg_wait<1>();
		unpack(word_of(lo, j), word_of(hi, j), a[j & 1]);
		wg_begin();
#pragma unroll
		for (k = 0; k < 2; k++)
			wg_times_rows(part, a[j & 1] + 4 * k, b + (j / 2 *
			    N * 128 + (2 * (j % 2) + k) * 32) / 16, j + k > 0);
		wg_commit();
	}
	wg_wait<0>();
}

/* The same of e4m3: even codes, then odd ones. */
template <int N>
static __device__ void
times_bytes(float (&part)[N / 2], const uint4 &lo, const uint4 &hi,
    uint32_t tokens)
{
	uint64_t b = operand_by_rows(tokens);
	uint32_t a[4][4];
	int j;

#pragma unroll
	for (j = 0; j < 4; j++) {
		a[j][0] = word_of(lo, j) & 0x0f0f0f0f;
		a[j][1] = word_of(hi, j) & 0x0f0f0f0f;
		a[j][2] = word_of(lo, j) >> 4 & 0x0f0f0f0f;
		a[j][3] = word_of(hi, j) >> 4 & 0x0f0f0f0f;
	}
	wg_begin();
#pragma unroll
	for (j = 0; j < 4; j++)
		wg_times_bytes(part, a[j], b + j * 32 / 16, j > 0);
	wg_commit();
	wg_wait<0>();
}

static __device__ float4
floats_at(uint32_t at)
{
	float4 v;

	asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x),
	    "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(at) : "memory");
	return v;
}

/* A chunk's sums, with the scales of two rows of the weight and, of e4m3, of
 * each token. */
template <int N, bool BYTES>
static __device__ void
add_part(float (&sum)[N / 2], float (&part)[N / 2], float lo, float hi,
    uint32_t scales)
{
	uint32_t t = threadIdx.x % 4;
	float4 v;
	int i;

#pragma unroll
	for (i = 0; i < N / 2; i += 4) {
		if (BYTES) {
			v = floats_at(scales + (2 * i + 2 * t) * 8);
			part[i] = fmaf(part[i], v.x, v.y);
			part[i + 1] = fmaf(part[i + 1], v.z, v.w);
			part[i + 2] = fmaf(part[i + 2], v.x, v.y);
			part[i + 3] = fmaf(part[i + 3], v.z, v.w);
		}
		sum[i] = fmaf(part[i], lo, sum[i]);
		sum[i + 1] = fmaf(part[i + 1], lo, sum[i + 1]);
		sum[i + 2] = fmaf(part[i + 2], hi, sum[i + 2]);
		sum[i + 3] = fmaf(part[i + 3], hi, sum[i + 3]);
	}
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

template <int N, bool BYTES>
static __global__ void __launch_bounds__(WARPS * 32, 1)
products(struct dec_mid m)
{
	typedef struct mid<N, BYTES> M;
	extern __shared__ uint8_t shared[];
	__shared__ struct bars b;
	uint32_t chunks = m.cols / 128, all = m.rows / ROWS * chunks, i, k;
	uint32_t from = all * blockIdx.x / gridDim.x;
	uint32_t n = all * (blockIdx.x + 1) / gridDim.x - from;
	uint32_t tile = from / chunks, chunk = from % chunks, next = chunk;
	uint32_t tokens = (shared_at(shared) + 1023) & ~1023u, asked;
	uint32_t w = threadIdx.x / 32, lane = threadIdx.x % 32;
	uint32_t scales = tokens + M::STAGES * M::TOKENS;
	uint32_t units = scales + M::STAGES * (M::SCALES + w * UNIT);
	uint32_t stage = 0, parity = 0, pair, unit;
	size_t first = (size_t)(tile * WARPS + w) * chunks + chunk;
	struct asking a = { (const uint8_t *)m.w + first * 1024 + lane * 16,
	    (const uint8_t *)m.w + (size_t)m.rows * (m.cols / 2) + first *
	    32 + lane / 4 * 4, chunk, chunks, n };
	float sum[N / 2], part[N / 2], lo, hi;

	if (threadIdx.x == 0) {
		for (i = 0; i < M::STAGES; i++) {
			bar_init(shared_at(&b.full[i]), 1);
			bar_init(shared_at(&b.empty[i]), WARPS);
		}
		bars_made();
	}
	__syncthreads();
	let_next_start();
	for (i = 0; i < M::STAGES; i++)
		ask(a, units + i * UNIT);
	wait_for_others();
	for (asked = 0; threadIdx.x == 0 && asked < M::STAGES && asked < n;
	    asked++) {
		ask_tokens<N, BYTES>(m, next, tokens + asked * M::TOKENS,
		    scales + asked * M::SCALES, shared_at(&b.full[asked]));
		next = next + 1 == chunks ? 0 : next + 1;
	}
#pragma unroll
	for (i = 0; i < N / 2; i++)
		sum[i] = part[i] = 0;
	for (k = 0; k < n; k++) {
		/* tokens for the place of the chunk before the last */
		if (threadIdx.x == 0 && k >= 2 && asked < n) {
			i = stage < 2 ? stage + M::STAGES - 2 : stage - 2;
			bar_wait(shared_at(&b.empty[i]), stage < 2 ? parity ^
			    1 : parity);
			ask_tokens<N, BYTES>(m, next, tokens + i * M::TOKENS,
			    scales + i * M::SCALES, shared_at(&b.full[i]));
			next = next + 1 == chunks ? 0 : next + 1;
			asked++;
		}
		unit = units + stage * UNIT;
		asm volatile("cp.async.wait_group %0;" :: "n"(M::STAGES - 1) :
		    "memory");
		asm volatile("ld.shared.u32 %0, [%1];" : "=r"(pair) :
		    "r"(unit + 1024 + lane * 4) : "memory");
		uint4 cl = near_at(unit + lane * 16);
		uint4 ch = near_at(unit + 512 + lane * 16);

		ask(a, unit);
		bar_wait(shared_at(&b.full[stage]), parity);
		if (BYTES)
			times_bytes<N>(part, cl, ch, tokens + stage *
			    M::TOKENS);
		else
			times<N>(part, cl, ch, tokens + stage * M::TOKENS);
#pragma unroll
		for (i = 0; i < N / 2; i++)
			asm volatile("" : "+f"(part[i]) :: "memory");
		lo = __half2float(__ushort_as_half((uint16_t)pair));
		hi = __half2float(__ushort_as_half((uint16_t)(pair >> 16)));
		add_part<N, BYTES>(sum, part, lo, hi, scales + stage *
		    M::SCALES);
		__syncwarp();
		if (lane == 0)
			bar_arrive(shared_at(&b.empty[stage]));
		if (++stage == M::STAGES) {
			stage = 0;
			parity ^= 1;
		}
		if (++chunk < chunks && k + 1 < n)
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

template <int N, bool BYTES>
static void
start(gpu_stream s, const struct dec_mid &m)
{
	(void)GPU(FuncSetAttribute)((const void *)products<N, BYTES>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize),
	    (int)mid<N, BYTES>::SHARED);
	launch(products<N, BYTES>, dim3(dec_mid_shares(m.rows, m.cols)),
	    WARPS * 32, mid<N, BYTES>::SHARED, s, m);
}

template <bool BYTES>
static void
start_of(gpu_stream s, const struct dec_mid &m)
{
	if (m.pad == 16)
		start<16, BYTES>(s, m);
	else if (m.pad == 32)
		start<32, BYTES>(s, m);
	else
		start<64, BYTES>(s, m);
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

uint32_t
dec_mid_shares(size_t rows, size_t cols)
{
	size_t all = rows / ROWS * (cols / 128);

	return (uint32_t)(all < (size_t)sqc.units ? all : sqc.units);
}

void
dec_mid(gpu_stream s, struct dec_mid m)
{
	if (m.scale != NULL)
		start_of<true>(s, m);
	else
		start_of<false>(s, m);
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

uint32_t
dec_mid_shares(size_t rows, size_t cols)
{
	(void)rows, (void)cols;
	return 0;
}

void
dec_mid(gpu_stream s, struct dec_mid m)
{
	(void)s, (void)m;
}

#endif
