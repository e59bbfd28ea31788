/*
 * Tokens by the dozen times a weight of 4 bits, on Hopper: codes become f16 in
 * the registers of the tensor cores, the tokens wait in shared memory; see
 * dec.h and, for the weight's units, dec_few.cu.
 *
 *	tile	256 rows of the weight: 16 warps of four groups have 16 each,
 *		which is a unit of the weight by 128 columns: a chunk
 *	block	one of each multiprocessor.  The chunks of all tiles, one
 *		after the other, are cut into as many shares as there are
 *		blocks.  A warp brings its own codes, ahead of the kernel before
 *		this one, since weights depend on nobody; the first thread
 *		brings the tokens for all.
 *	half	of a chunk: what the tensor cores have at work while the other
 *		half is unpacked.  Codes have their scales by then, so that
 *		nothing waits for sums before the end of a tile.
 *	piece	what a block has of a tile, bf16 [token][256]; piece
 *		tile + block is nobody else's.  Who reads them adds them up:
 *		dec_pieces.h.
 *
 * Columns are summed in the order in which codes are cheap to unpack; the
 * tokens have been put into the same order (DEC_PANELS).
 *
 * A code as it lies is an f16 without exponent, 2^-24 of itself or, four bits
 * higher, 2^-20.  One fused operation makes that (code - 8) * scale, of which
 * UNIT_OF is taken out, so that scales up to DEC_MID_SCALE are in range.
 */
#include "kernels/cuda/dec_end.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/wgmma.h"

#if GPU_HOPPER

#define ROWS		DEC_PIECE
#define WARPS		(ROWS / 16)
#define UNIT		(1024 + 4 * 32)	/* codes, each lane's scales */

#define UNIT_OF		0x1p-6f
#define LAG		3		/* chunks behind: all warps are done */

template <int N>
struct mid {
	static const int TOKENS = N * 256;	/* bytes of a chunk */
	static const int STAGES = N <= 16 ? 9 : N <= 32 ? 8 : 6;
	static const size_t SHARED = (size_t)STAGES * (WARPS * UNIT + TOKENS) +
	    1024;
};

static_assert(WARPS * 32 == END_THREADS, "a block of dec_end.h");

struct bars {
	uint64_t full[9], empty[9];
};

/* What a lane asks for next: its part of a chunk, `left' chunks more. */
struct asking {
	const uint8_t *codes, *scales;
	uint32_t chunk, chunks, left;
	uint64_t policy;
};

static __device__ void
ask(struct asking &a, uint32_t to)
{
	uint32_t lane = threadIdx.x % 32;

	if (a.left > 0) {
		a.left--;
		copy16_once(to + lane * 16, a.codes, a.policy);
		copy16_once(to + 512 + lane * 16, a.codes + 512, a.policy);
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

template <int N>
static __device__ void
ask_tokens(const struct dec_mid &m, uint32_t chunk, uint32_t to, uint32_t bar)
{
	typedef struct mid<N> M;

	bar_expect(bar, M::TOKENS);
	bulk(to, (const uint8_t *)m.x + (size_t)chunk * M::TOKENS, M::TOKENS,
	    bar);
}

/* What makes a row's codes weights: by24 and by20 times them, less eight. */
struct row_scale {
	__half2 by24, by20, less;
};

static __device__ struct row_scale
row_scale_of(uint32_t f16)
{
	uint32_t twice = __byte_perm(f16, f16, 0x1010);
	__half2 s = *(__half2 *)&twice;
	struct row_scale r;

	r.by20 = __hmul2(s, __float2half2_rn(0x1p20f * UNIT_OF));
	r.by24 = __hmul2(r.by20, __float2half2_rn(16));
	r.less = __hmul2(s, __float2half2_rn(-8 * UNIT_OF));
	return r;
}

static __device__ uint32_t
weights(uint32_t codes, __half2 by, __half2 less)
{
	__half2 v = __hfma2(*(__half2 *)&codes, by, less);

	return *(uint32_t *)&v;
}

/* Eight codes of a row, every other word of the first operand of two
 * products. */
static __device__ void
unpack(uint32_t w, const struct row_scale &r, uint32_t *a)
{
	a[0] = weights(w & 0x000f000f, r.by24, r.less);
	a[2] = weights(w & 0x00f000f0, r.by20, r.less);
	w >>= 8;
	a[4] = weights(w & 0x000f000f, r.by24, r.less);
	a[6] = weights(w & 0x00f000f0, r.by20, r.less);
}

/* Half h of a chunk, over registers that the half before the last had. */
template <int N>
static __device__ void
half_times(float (&sum)[N / 2], uint32_t (&a)[16], const uint4 &lo,
    const uint4 &hi, const struct row_scale (&r)[2], int h, uint64_t b)
{
	int j;

#pragma unroll
	for (j = 0; j < 2; j++) {
		unpack(word_of(lo, 2 * h + j), r[0], a + 8 * j);
		unpack(word_of(hi, 2 * h + j), r[1], a + 8 * j + 1);
	}
	wg_begin();
#pragma unroll
	for (j = 0; j < 4; j++)
		wg_times_rows(sum, a + 4 * j, b + (h * N * 128 + j * 32) / 16,
		    1);
	wg_commit();
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
		const float by = 1 / UNIT_OF;
		__nv_bfloat162 u = __floats2bfloat162_rn(sum[4 * b] * by,
		    sum[4 * b + 2] * by);
		__nv_bfloat162 v = __floats2bfloat162_rn(sum[4 * b + 1] * by,
		    sum[4 * b + 3] * by);

		to[0] = *(uint32_t *)&u;
		to[ROWS / 2] = *(uint32_t *)&v;
	}
}

/* The warp has no more use for the tokens of a stage. */
static __device__ void
done_with(uint64_t *empty)
{
	__syncwarp();
	if (threadIdx.x % 32 == 0)
		bar_arrive(shared_at(empty));
}

template <int N, int END>
static __global__ void __launch_bounds__(WARPS * 32, 1)
products(const __grid_constant__ struct dec_mid m)
{
	typedef struct mid<N> M;
	extern __shared__ uint8_t shared[];
	__shared__ struct bars b;
	__shared__ float roots[END == DEC_MID_SILU ? DEC_MID : 1];
	uint32_t chunks = m.cols / 128, all = m.rows / ROWS * chunks, i, k = 0;
	uint32_t from = all * blockIdx.x / gridDim.x;
	uint32_t n = all * (blockIdx.x + 1) / gridDim.x - from;
	uint32_t tile = from / chunks, chunk = from % chunks, next = chunk;
	uint32_t tokens = (shared_at(shared) + 1023) & ~1023u, asked;
	uint32_t w = threadIdx.x / 32, lane = threadIdx.x % 32;
	uint32_t units = tokens + M::STAGES * M::TOKENS + w * UNIT *
	    M::STAGES;
	uint32_t stage = 0, parity = 0, last = 0, scales, unit;
	size_t first = (size_t)(tile * WARPS + w) * chunks + chunk;
	struct asking ahead = { (const uint8_t *)m.w + first * 1024 + lane *
	    16, (const uint8_t *)m.w + (size_t)m.rows * (m.cols / 2) + first *
	    32 + lane / 4 * 4, chunk, chunks, n, goes_first() };
	uint32_t a[2][16];
	float sum[N / 2];
	uint64_t x;
	bool more;			/* than the tile's first chunk */

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
		ask(ahead, units + i * UNIT);
	wait_for_others();
	for (i = blockIdx.x; END != DEC_MID_PIECES && i < m.ntiles; i +=
	    gridDim.x)
		if (threadIdx.x == 0)
			m.clear[i] = 0;
	for (asked = 0; threadIdx.x == 0 && asked < M::STAGES && asked < n;
	    asked++) {
		ask_tokens<N>(m, next, tokens + asked * M::TOKENS,
		    shared_at(&b.full[asked]));
		next = next + 1 == chunks ? 0 : next + 1;
	}
	if (END == DEC_MID_PIECES)
		put_roots(m);
	if (END == DEC_MID_SILU)
		near_roots(m, roots);
	__syncwarp();
	while (k < n) {
#pragma unroll
		for (i = 0; i < N / 2; i++)
			sum[i] = 0;
		more = false;
		for (; chunk < chunks && k < n; chunk++, k++) {
			if (threadIdx.x == 0 && k >= LAG && asked < n) {
				i = stage < LAG ? stage + M::STAGES - LAG :
				    stage - LAG;
				bar_wait(shared_at(&b.empty[i]), stage < LAG ?
				    parity ^ 1 : parity);
				ask_tokens<N>(m, next, tokens + i * M::TOKENS,
				    shared_at(&b.full[i]));
				next = next + 1 == chunks ? 0 : next + 1;
				asked++;
			}
			unit = units + stage * UNIT;
			asm volatile("cp.async.wait_group %0;" ::
			    "n"(M::STAGES - 1) : "memory");
			asm volatile("ld.shared.u32 %0, [%1];" :
			    "=r"(scales) : "r"(unit + 1024 + lane * 4) :
			    "memory");
			uint4 lo = near_at(unit + lane * 16);
			uint4 hi = near_at(unit + 512 + lane * 16);
			struct row_scale r[2] = { row_scale_of(scales),
			    row_scale_of(scales >> 16) };

			ask(ahead, unit);
			x = operand_by_rows(tokens + stage * M::TOKENS);
			wg_wait<1>();
			bar_wait(shared_at(&b.full[stage]), parity);
			half_times<N>(sum, a[0], lo, hi, r, 0, x);
			wg_wait<1>();
			if (more)
				done_with(&b.empty[last]);
			half_times<N>(sum, a[1], lo, hi, r, 1, x);
			more = true;
			last = stage;
			if (++stage == M::STAGES) {
				stage = 0;
				parity ^= 1;
			}
		}
		wg_wait<0>();
#pragma unroll
		for (i = 0; i < N / 2; i++)
			asm volatile("" : "+f"(sum[i]) :: "memory");
		done_with(&b.empty[last]);
		put_piece<N>(sum, (uint32_t *)m.y + (size_t)(tile +
		    blockIdx.x) * N * (ROWS / 2));
		chunk = 0;
		tile++;
	}
	if (END != DEC_MID_PIECES)
		finish<END>(m, from / chunks, tile, roots);
}

template <int N, int END>
static void
start(gpu_stream s, const struct dec_mid &m)
{
	(void)GPU(FuncSetAttribute)((const void *)products<N, END>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize),
	    (int)mid<N>::SHARED);
	launch(products<N, END>, dim3(dec_mid_shares(m.rows, m.cols)),
	    WARPS * 32, mid<N>::SHARED, s, m);
}

template <int N>
static void
start_of(gpu_stream s, const struct dec_mid &m)
{
	if (m.end == DEC_MID_ADD)
		start<N, DEC_MID_ADD>(s, m);
	else if (m.end == DEC_MID_SILU)
		start<N, DEC_MID_SILU>(s, m);
	else
		start<N, DEC_MID_PIECES>(s, m);
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
	if (m.pad == 16)
		start_of<16>(s, m);
	else if (m.pad == 32)
		start_of<32>(s, m);
	else
		start_of<64>(s, m);
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
