/*
 * A few tokens times a weight of any format: the memory's work, so that all
 * else is arranged to keep it at work; see dec.h.
 *
 *	block	one of each multiprocessor.  It goes over tiles of 16 rows,
 *		whose columns its warps share out; their sums are added at a
 *		tile's end, in order.
 *	warp	has a ring in shared memory, filled by copies that run ahead
 *		of it, from one tile into the next, and, since weights depend
 *		on nobody, ahead of the kernel before this one.
 *
 *	w4	a unit is 16 rows x 128 columns, as dec_pack_w4() has put
 *		them: for the rows 2g and 2g + 1 (of gate and up in turns: g
 *		and g + 8) of each lane (g, t) 16 bytes, the columns 32t ..;
 *		and the scales of the two.  A lane brings
 *		what it takes, so that it waits for nobody.
 *	e4m3	16 rows x 256 columns, bf16 16 rows x 128 columns, of rows as
 *		they are: bulk copies of 256 bytes
 *
 * Columns may be summed in any order as long as both operands have it: a lane
 * takes what is contiguous, and what it takes of the tokens follows.
 */
#include "kernels/cuda/bulk.h"
#include "kernels/cuda/dec.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#ifndef FEW_WARPS
#define FEW_WARPS	16
#endif
#ifndef FEW_W4_DEPTH
#define FEW_W4_DEPTH	9
#endif
#ifndef FEW_ROW_DEPTH
#define FEW_ROW_DEPTH	2
#endif

#define TILE		16
#define TOKENS		8		/* of a product, whether there or not */
#define SLICE		256		/* bytes of a row in a unit */
#define PITCH		(SLICE + 64)	/* so that lanes meet other banks */
#define NEARBY		(40 << 10)	/* of tokens in shared memory, at most */
#define W4_SLOT		(1024 + 4 * 32)
#define PIECES		2		/* of eight columns, of a thread */

#if GPU_HOPPER

enum source { FROM_X, FROM_FAR, FROM_H };

template <int FORMAT>
struct unit {
	static const int W4 = FORMAT == DEC_W4;
	static const int COLS = FORMAT == DEC_FP8 ? SLICE : 128;
	static const int BYTES = W4 ? W4_SLOT : TILE * PITCH;
	static const int DEPTH = W4 ? FEW_W4_DEPTH : FEW_ROW_DEPTH;
};

/* Eight values in the order of pair_of(). */
static __device__ uint4
arranged(uint4 v)
{
	return make_uint4(__byte_perm(v.x, v.z, 0x5410),
	    __byte_perm(v.x, v.z, 0x7632), __byte_perm(v.y, v.w, 0x5410),
	    __byte_perm(v.y, v.w, 0x7632));
}

/* Two e4m3, the low or the high ones of w, as bf16: their exponent and
 * mantissa are a bf16's of 2^-120 of the value. */
static __device__ uint32_t
pair_of_e4m3(uint32_t w, int high)
{
	uint32_t v = __byte_perm(w, 0, high ? 0x3424 : 0x1404);
	uint32_t u = (v >> 4 & 0x07f007f0) | (v & 0x80008000), by = 0x7b807b80;
	__nv_bfloat162 r = __hmul2(*(__nv_bfloat162 *)&u,
	    *(__nv_bfloat162 *)&by);

	return *(uint32_t *)&r;
}

/* One warp's share of the block's tiles, in the order of its ring. */
struct share {
	uint32_t first, units;		/* of the columns of each tile */
	uint32_t tile, u;		/* what is asked for next */
	uint32_t end;
};

/* The weight's row that is row r of a tile. */
template <int END>
static __device__ uint32_t
row_in(const struct dec_few &f, uint32_t tile, uint32_t r)
{
	uint32_t row = END != DEC_SILU ? tile * TILE + r : (r < 8 ? 0 :
	    f.rows / 2) + tile * (TILE / 2) + r % 8;

	return row;
}

/* A unit of 4-bit codes: each lane's part of it. */
static __device__ void
ask_w4(const struct dec_few &f, uint32_t to, uint32_t tile, uint32_t c)
{
	uint32_t lane = threadIdx.x % 32;
	size_t unit = (size_t)tile * (f.cols / 128) + c;
	const uint8_t *w = (const uint8_t *)f.w + unit * 1024 + lane * 16;
	const uint8_t *scale = (const uint8_t *)f.w + (size_t)f.rows *
	    (f.cols / 2) + unit * 32 + lane / 4 * 4;

	copy16_once(to + lane * 16, w, goes_first());
	copy16_once(to + 512 + lane * 16, w + 512, goes_first());
	asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to +
	    1024 + lane * 4), "l"(scale) : "memory");
}

template <int FORMAT, int END>
static __device__ void
ask_rows(const struct dec_few &f, uint32_t to, uint32_t tile, uint32_t c,
    uint32_t bar)
{
	uint32_t lane = threadIdx.x % 32;
	const uint8_t *w = (const uint8_t *)f.w;
	size_t pitch = (size_t)f.cols * (FORMAT == DEC_FP8 ? 1 : 2);

	if (lane == 0)
		bar_expect(bar, TILE * SLICE);
	__syncwarp();
	if (lane < TILE)
		bulk(to + lane * PITCH, w + row_in<END>(f, tile, lane) *
		    pitch + (size_t)c * SLICE, SLICE, bar);
}

/* What is next of the weight, if anything, into the slot. */
template <int FORMAT, int END>
static __device__ void
ask(const struct dec_few &f, struct share &s, uint32_t ring, uint32_t bars,
    uint32_t slot)
{
	typedef struct unit<FORMAT> U;
	uint32_t to = ring + slot * U::BYTES;

	if (s.tile < s.end) {
		if (U::W4)
			ask_w4(f, to, s.tile, s.first + s.u);
		else
			ask_rows<FORMAT, END>(f, to, s.tile, s.first + s.u,
			    bars + slot * 8);
		if (++s.u == s.units) {
			s.u = 0;
			s.tile++;
		}
	}
	if (U::W4)
		asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for unit k, which lies in the slot. */
template <int FORMAT>
static __device__ void
await(uint32_t bars, uint32_t slot, uint32_t parity)
{
	if (FORMAT == DEC_W4)
		asm volatile("cp.async.wait_group %0;" ::
		    "n"(unit<FORMAT>::DEPTH - 1) : "memory");
	else
		bar_wait(bars + slot * 8, parity);
}

/* Eight values of a token, zeros beyond the last; p: of the lane's token. */
template <bool FAR>
static __device__ uint4
eight(const uint16_t *p, bool there)
{
	if (!there)
		return make_uint4(0, 0, 0, 0);
	return FAR ? __ldcg((const uint4 *)p) : *(const uint4 *)p;
}

/* Half k of eight codes of two rows, as a product takes them. */
static __device__ void
codes(uint32_t lo, uint32_t hi, int k, __nv_bfloat162 less, uint32_t a[4])
{
	a[0] = pair_of(lo, 2 * k, less);
	a[1] = pair_of(hi, 2 * k, less);
	a[2] = pair_of(lo, 2 * k + 1, less);
	a[3] = pair_of(hi, 2 * k + 1, less);
}

/* Four e4m3 of two rows likewise. */
static __device__ void
bytes(uint32_t lo, uint32_t hi, uint32_t a[4])
{
	a[0] = pair_of_e4m3(lo, 0);
	a[1] = pair_of_e4m3(hi, 0);
	a[2] = pair_of_e4m3(lo, 1);
	a[3] = pair_of_e4m3(hi, 1);
}

/* One unit at `at': products with the tokens. */
template <int FORMAT, bool FAR>
static __device__ void
unit_times(uint32_t at, const uint16_t *x, size_t step, uint32_t n,
    float sum[4])
{
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, j, k, r;
	float part[2][4] = {}, scale[2] = { 1, 1 };
	uint32_t a[4], s;
	__nv_bfloat162 less = __float2bfloat162_rn(128 + 8);
	uint4 lo, hi, b[2];

	x += (size_t)g * step;
	if (FORMAT == DEC_W4) {
		lo = near_at(at + lane * 16);
		hi = near_at(at + 512 + lane * 16);
		asm volatile("ld.shared.u32 %0, [%1];" : "=r"(s) :
		    "r"(at + 1024 + lane * 4) : "memory");
		for (r = 0; r < 2; r++)
			scale[r] = __half2float(__ushort_as_half(
			    (uint16_t)(s >> 16 * r)));
	}
#pragma unroll
	for (j = 0; j < 4; j++) {
		const uint16_t *p = x + (FORMAT == DEC_W4 ? t * 32 + j * 8 :
		    FORMAT == DEC_FP8 ? j * 64 + t * 16 : j * 32 + t * 8);

		if (FORMAT != DEC_W4) {
			lo = near_at(at + g * PITCH + j * 64 + t * 16);
			hi = near_at(at + (g + 8) * PITCH + j * 64 + t * 16);
		}
		b[0] = eight<FAR>(p, g < n);
		if (FORMAT == DEC_W4 && FAR)
			b[0] = arranged(b[0]);
		if (FORMAT == DEC_FP8)
			b[1] = eight<FAR>(p + 8, g < n);
#pragma unroll
		for (k = 0; k < (FORMAT == DEC_FP8 ? 4 : 2); k++) {
			if (FORMAT == DEC_W4)
				codes(word_of(lo, j), word_of(hi, j), k, less, a);
			else if (FORMAT == DEC_FP8)
				bytes(word_of(lo, k), word_of(hi, k), a);
			else {
				a[0] = k ? lo.z : lo.x;
				a[1] = k ? hi.z : hi.x;
				a[2] = k ? lo.w : lo.y;
				a[3] = k ? hi.w : hi.y;
			}
			mma_bf16(part[k & 1], a, k & 1 ? b[k / 2].z :
			    b[k / 2].x, k & 1 ? b[k / 2].w : b[k / 2].y);
		}
	}
#pragma unroll
	for (r = 0; r < 4; r++)
		sum[r] += (part[0][r] + part[1][r]) * scale[r / 2];
}

/* bf16 tokens into shared memory, as the format wants them. */
template <int FORMAT>
static __device__ void
bring_x(const struct dec_few &f, uint16_t *near)
{
	uint32_t eighths = f.cols / 8, i, step = f.cols + 8;
	uint4 x;

	wait_for_others();
#pragma unroll 4
	for (i = threadIdx.x; i < f.n * eighths; i += blockDim.x) {
		x = __ldcg((const uint4 *)f.x + i);
		*(uint4 *)(near + i / eighths * step + i % eighths * 8) =
		    FORMAT == DEC_W4 ? arranged(x) : x;
	}
	__syncthreads();
}

static __device__ float
square(const float4 &v)
{
	return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}

static __device__ float4
zero4(void)
{
	return make_float4(0, 0, 0, 0);
}

/* rmsnorm(h) likewise. */
template <int FORMAT>
static __device__ void
bring_h(const struct dec_few &f, uint16_t *near, float *part)
{
	uint32_t eighths = f.cols / 8, token, i, at;
	float4 w[PIECES][2], h[PIECES][2];
	const float4 *from;
	float sum, r;
	uint4 x;

#pragma unroll
	for (i = 0; i < 2 * PIECES; i++) {
		at = threadIdx.x + i / 2 * blockDim.x;
		w[i / 2][i % 2] = at < eighths ? ((const float4 *)f.norm)
		    [2 * at + i % 2] : zero4();
	}
	wait_for_others();
	for (token = 0; token < f.n; token++) {
		from = (const float4 *)f.h + (size_t)token * (f.cols / 4);
#pragma unroll
		for (i = 0; i < 2 * PIECES; i++) {
			at = threadIdx.x + i / 2 * blockDim.x;
			h[i / 2][i % 2] = at < eighths ? __ldcg(from + 2 * at +
			    i % 2) : zero4();
		}
		for (sum = 0, i = 0; i < 2 * PIECES; i++)
			sum += square(h[i / 2][i % 2]);
		r = rsqrtf(block_sum(sum, part) / (float)f.cols + f.eps);
#pragma unroll
		for (i = 0; i < PIECES; i++) {
			const float4 &a = h[i][0], &b = h[i][1];
			const float4 &v = w[i][0], &u = w[i][1];

			at = threadIdx.x + i * blockDim.x;
			if (at >= eighths)
				continue;
			x.x = two_bf16(a.x * r * v.x, a.y * r * v.y);
			x.y = two_bf16(a.z * r * v.z, a.w * r * v.w);
			x.z = two_bf16(b.x * r * u.x, b.y * r * u.y);
			x.w = two_bf16(b.z * r * u.z, b.w * r * u.w);
			*(uint4 *)(near + token * (f.cols + 8) + at * 8) =
			    FORMAT == DEC_W4 ? arranged(x) : x;
		}
	}
	__syncthreads();
}

static __device__ float
sum_of(const float *all, uint32_t token, uint32_t row)
{
	float v = 0;
	int k;

#pragma unroll
	for (k = 0; k < FEW_WARPS; k++)
		v += all[(k * TOKENS + token) * TILE + row];
	return v;
}

/* The place in the result that a thread finishes. */
struct place {
	bool any;
	uint32_t token, r, row;
	size_t at;
	float old;			/* what is there before, to be added to */
};

template <int END>
static __device__ struct place
place_of(const struct dec_few &f, uint32_t tile)
{
	uint32_t rows = END == DEC_SILU ? 8 : TILE;
	struct place p;

	p.token = threadIdx.x / rows;
	p.r = threadIdx.x % rows;
	p.row = row_in<END>(f, tile, p.r);
	p.at = (size_t)p.token * (END == DEC_SILU ? f.rows / 2 : f.rows) +
	    p.row;
	p.any = p.token < f.n;
	p.old = END == DEC_ADD && p.any ? __ldcg((const float *)f.y + p.at) : 0;
	return p;
}

/* The warps' sums of a tile, one after the other. */
template <int FORMAT, int END>
static __device__ void
finish(const struct dec_few &f, const struct place &p,
    const float sum[4], float *all)
{
	uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, i;
	float *mine = all + threadIdx.x / 32 * TOKENS * TILE, v, u;

#pragma unroll
	for (i = 0; i < 4; i++)
		mine[(2 * t + (i & 1)) * TILE + (FORMAT == DEC_W4 && END !=
		    DEC_SILU ? 2 * g + (i >> 1) : g + 8 * (i >> 1))] = sum[i];
	__syncthreads();
	if (!p.any)
		return;
	v = sum_of(all, p.token, p.r);
	if (FORMAT == DEC_FP8)
		v *= f.scale[p.row];
	if (END == DEC_F32 || END == DEC_ADD)
		((float *)f.y)[p.at] = p.old + v;
	else if (END == DEC_BF16)
		((uint16_t *)f.y)[p.at] = to_bf16(v);
	else {
		u = sum_of(all, p.token, p.r + 8);
		if (FORMAT == DEC_FP8)
			u *= f.scale[p.row + f.rows / 2];
		((uint16_t *)f.y)[p.at] = to_bf16(v / (1 + __expf(-v)) * u);
	}
}

template <int FORMAT, int END, int SOURCE>
static __global__ void __launch_bounds__(FEW_WARPS * 32)
few(struct dec_few f, uint32_t each)
{
	typedef struct unit<FORMAT> U;
	extern __shared__ __align__(128) uint8_t shared[];
	__shared__ uint64_t bar[FEW_WARPS][U::DEPTH];
	__shared__ float part[FEW_WARPS];
	uint32_t w = threadIdx.x / 32, per = f.cols / U::COLS, tile, i;
	uint32_t ring = shared_at(shared) + w * U::DEPTH * U::BYTES;
	uint32_t bars = shared_at(bar[w]), slot = 0, parity = 0;
	float *all = (float *)(shared + FEW_WARPS * U::DEPTH * U::BYTES);
	uint16_t *near = (uint16_t *)(all + 2 * FEW_WARPS * TOKENS * TILE);
	const uint16_t *x = SOURCE == FROM_FAR ? (const uint16_t *)f.x : near;
	size_t step = SOURCE == FROM_FAR ? f.cols : f.cols + 8;
	struct share s;

	s.first = per * w / FEW_WARPS;
	s.units = per * (w + 1) / FEW_WARPS - s.first;
	s.tile = blockIdx.x * each;
	s.end = s.units == 0 ? 0 : min(s.tile + each, f.rows / TILE);
	s.u = 0;
	if (!U::W4) {
		if (threadIdx.x % 32 < U::DEPTH)
			bar_init(bars + threadIdx.x % 32 * 8, 1);
		bars_made();
		__syncwarp();
	}
	let_next_start();
	for (i = 0; i < U::DEPTH; i++)
		ask<FORMAT, END>(f, s, ring, bars, i);
	if (SOURCE == FROM_FAR)
		wait_for_others();
	else if (SOURCE == FROM_X)
		bring_x<FORMAT>(f, near);
	else
		bring_h<FORMAT>(f, near, part);
	for (tile = blockIdx.x * each; tile < min((blockIdx.x + 1) * each,
	    f.rows / TILE); tile++) {
		struct place p = place_of<END>(f, tile);
		float sum[4] = {};

		for (i = 0; i < s.units; i++) {
			await<FORMAT>(bars, slot, parity);
			unit_times<FORMAT, SOURCE == FROM_FAR>(ring +
			    slot * U::BYTES, x + (size_t)(s.first + i) *
			    U::COLS, step, f.n, sum);
			if (!U::W4)
				__syncwarp();
			ask<FORMAT, END>(f, s, ring, bars, slot);
			if (++slot == U::DEPTH) {
				slot = 0;
				parity ^= 1;
			}
		}
		finish<FORMAT, END>(f, p, sum, all + (tile & 1) *
		    FEW_WARPS * TOKENS * TILE);
	}
}

/* 16 rows of codes and their scales, unit by unit. */
static __global__ void
pack(const uint4 *codes, const uint16_t *scales, uint32_t rows, uint32_t cols,
    uint32_t group, uint32_t first, uint32_t stride, uint32_t all,
    uint8_t *out)
{
	uint32_t c = blockIdx.x, per = cols / 128, lane = threadIdx.x % 32;
	uint32_t r = threadIdx.x / 32 * 8 + lane / 4, row, to, tile, at;
	uint16_t *pair;
	size_t unit;

	for (row = blockIdx.y * TILE + r; row < rows; row += gridDim.y * TILE) {
		to = first + row / 8 * stride + row % 8;
		tile = to / TILE;
		unit = (size_t)tile * per + c;
		at = stride > 8 ? to % TILE : to % 2 * 8 + to % TILE / 2;
		((uint4 *)out)[unit * 64 + at / 8 * 32 + at % 8 * 4 +
		    lane % 4] = codes[(size_t)row * (cols / 32) + c * 4 +
		    lane % 4];
		pair = (uint16_t *)(out + all * (size_t)(cols / 2)) + unit * 16;
		if (lane % 4 == 0)
			pair[at % 8 * 2 + at / 8] = scales[(size_t)row *
			    (cols / group) + c * 128 / group];
	}
}

void
dec_pack_w4(gpu_stream s, const void *codes, const void *scales, size_t rows,
    size_t cols, size_t group, size_t first, int turns, size_t all, void *out)
{
	size_t tiles = rows / TILE;

	pack<<<dim3((unsigned)(cols / 128), (unsigned)(tiles > 65535 ? 65535 :
	    tiles)), 64, 0, s>>>((const uint4 *)codes, (const uint16_t *)
	    scales, (uint32_t)rows, (uint32_t)cols, (uint32_t)group,
	    (uint32_t)first, turns ? 16 : 8,
	    (uint32_t)all, (uint8_t *)out);
}

template <int FORMAT, int END, int SOURCE>
static void
start(gpu_stream s, const struct dec_few &f)
{
	typedef struct unit<FORMAT> U;
	size_t bytes = FEW_WARPS * (size_t)U::DEPTH * U::BYTES +
	    2 * FEW_WARPS * TOKENS * TILE * sizeof(float) +
	    (SOURCE == FROM_FAR ? 0 : (size_t)f.n * (f.cols + 8) * 2);
	uint32_t tiles = f.rows / TILE;
	uint32_t each = (tiles + sqc.units - 1) / sqc.units;

	(void)GPU(FuncSetAttribute)((const void *)few<FORMAT, END, SOURCE>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes);
	launch(few<FORMAT, END, SOURCE>, dim3((tiles + each - 1) / each),
	    FEW_WARPS * 32, bytes, s, f, each);
}

template <int FORMAT, int END>
static void
from(gpu_stream s, const struct dec_few &f)
{
	if (f.h != NULL)
		start<FORMAT, END, FROM_H>(s, f);
	else if ((size_t)f.n * (f.cols + 8) * 2 <= NEARBY)
		start<FORMAT, END, FROM_X>(s, f);
	else
		start<FORMAT, END, FROM_FAR>(s, f);
}

template <int FORMAT>
static void
to(gpu_stream s, const struct dec_few &f)
{
	if (f.end == DEC_F32)
		from<FORMAT, DEC_F32>(s, f);
	else if (f.end == DEC_ADD)
		from<FORMAT, DEC_ADD>(s, f);
	else if (f.end == DEC_BF16)
		from<FORMAT, DEC_BF16>(s, f);
	else
		from<FORMAT, DEC_SILU>(s, f);
}

/* Beyond these the vendor's products, which read fp8, are faster. */
int
dec_few_knows(enum dec_format format, size_t rows, size_t cols, size_t n)
{
	return n <= (format == DEC_W4 ? DEC_FEW : 2) && rows % TILE == 0 &&
	    cols % (format == DEC_FP8 ? 256 : 128) == 0;
}

int
dec_few_norms(size_t cols, size_t n)
{
	return n * (cols + 8) * 2 <= NEARBY && n <= 2 &&
	    cols / 8 <= PIECES * FEW_WARPS * 32;
}

void
dec_few(gpu_stream s, struct dec_few f)
{
	if (f.format == DEC_W4)
		to<DEC_W4>(s, f);
	else if (f.format == DEC_FP8)
		to<DEC_FP8>(s, f);
	else
		to<DEC_DENSE>(s, f);
}

#else

int
dec_few_knows(enum dec_format format, size_t rows, size_t cols, size_t n)
{
	(void)format, (void)rows, (void)cols, (void)n;
	return 0;
}

int
dec_few_norms(size_t cols, size_t n)
{
	(void)cols, (void)n;
	return 0;
}

void
dec_few(gpu_stream s, struct dec_few f)
{
	(void)s, (void)f;
}

void
dec_pack_w4(gpu_stream s, const void *codes, const void *scales, size_t rows,
    size_t cols, size_t group, size_t first, int turns, size_t all, void *out)
{
	(void)s, (void)codes, (void)scales, (void)rows, (void)cols,
	    (void)group, (void)first, (void)turns, (void)all,
	    (void)out;
}

#endif
