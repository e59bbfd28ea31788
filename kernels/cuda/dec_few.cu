/*
 * A few tokens times a weight of any format: the memory's work, so that all
 * else is arranged to keep it at work; see dec.h.
 *
 *	block	one of each multiprocessor.  It goes over tiles of 16 rows,
 *		whose columns its warps share out; their sums are added at a
 *		tile's end, in order.
 *	warp	has a ring in shared memory, filled by bulk copies that run
 *		ahead of it, from one tile into the next, and, since weights
 *		depend on nobody, ahead of the kernel before this one.
 *
 *	w4	a unit is 16 rows x 128 columns and their scales, as
 *		dec_pack_w4() has put them: for the rows g and g + 8 of each
 *		lane (g, t) 16 bytes, the columns 32t ..
 *	e4m3	16 rows x 256 columns, bf16 16 rows x 128 columns, of rows as
 *		they are, 256 bytes each
 *
 * Columns may be summed in any order as long as both operands have it: a lane
 * takes what is contiguous, and what it takes of the tokens follows.
 */
#include "kernels/cuda/dec.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#ifndef FEW_WARPS
#define FEW_WARPS	8
#endif
#ifndef FEW_W4_DEPTH
#define FEW_W4_DEPTH	9
#endif
#ifndef FEW_ROW_DEPTH
#define FEW_ROW_DEPTH	2
#endif

#define TILE		16
#define SLICE		256		/* bytes of a row in a unit */
#define PITCH		(SLICE + 64)	/* so that lanes meet other banks */
#define NEARBY		(64 << 10)	/* of tokens in shared memory, at most */

#if GPU_MMA

enum source { FROM_X, FROM_FAR, FROM_H };

template <int FORMAT>
struct unit {
	static const int W4 = FORMAT == DEC_W4;
	static const int COLS = FORMAT == DEC_FP8 ? SLICE : 128;
	static const int BYTES = W4 ? DEC_W4_UNIT : TILE * PITCH;
	static const int DEPTH = W4 ? FEW_W4_DEPTH : FEW_ROW_DEPTH;
};

static __device__ uint32_t
shared_at(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ void
bar_init(uint32_t bar)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(bar));
}

static __device__ void
bar_expect(uint32_t bar, uint32_t bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
	    :: "r"(bar), "r"(bytes) : "memory");
}

static __device__ void
bar_wait(uint32_t bar, uint32_t parity)
{
	asm volatile("{\n"
	    ".reg .pred done;\n"
	    "again:\n"
	    "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
	    "@!done bra again;\n"
	    "}" :: "r"(bar), "r"(parity) : "memory");
}

static __device__ void
bulk(uint32_t to, const void *from, uint32_t bytes, uint32_t bar)
{
	asm volatile("cp.async.bulk.shared::cluster.global."
	    "mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
	    :: "r"(to), "l"(from), "r"(bytes), "r"(bar) : "memory");
}

static __device__ uint4
near_at(uint32_t at)
{
	uint4 v;

	asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x),
	    "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
	return v;
}

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
	uint32_t asked, end;
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

template <int FORMAT, int END>
static __device__ void
ask(const struct dec_few &f, struct share &s, uint32_t ring, uint32_t bars)
{
	typedef struct unit<FORMAT> U;
	uint32_t slot = s.asked % U::DEPTH, to = ring + slot * U::BYTES;
	uint32_t bar = bars + slot * 8, lane = threadIdx.x % 32;
	uint32_t c = s.first + s.u;
	const uint8_t *w = (const uint8_t *)f.w;
	size_t pitch = (size_t)f.cols * (FORMAT == DEC_FP8 ? 1 : 2);

	if (s.tile >= s.end)
		return;
	if (lane == 0)
		bar_expect(bar, U::W4 ? DEC_W4_UNIT : TILE * SLICE);
	__syncwarp();
	if (U::W4 && lane == 0)
		bulk(to, w + ((size_t)s.tile * (f.cols / 128) + c) *
		    DEC_W4_UNIT, DEC_W4_UNIT, bar);
	if (!U::W4 && lane < TILE)
		bulk(to + lane * PITCH, w + row_in<END>(f, s.tile, lane) *
		    pitch + (size_t)c * SLICE, SLICE, bar);
	s.asked++;
	if (++s.u == s.units) {
		s.u = 0;
		s.tile++;
	}
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

/* One unit at `at': products with NT times 8 tokens. */
template <int FORMAT, int NT, bool FAR>
static __device__ void
unit_times(uint32_t at, const uint16_t *x, size_t step, uint32_t n,
    float sum[NT][4])
{
	int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, j, k, q, r;
	float part[2][NT][4] = {}, scale[2] = { 1, 1 };
	uint32_t a[4], s;
	__nv_bfloat162 less = __float2bfloat162_rn(128 + 8);
	uint4 lo, hi, b[2][NT];

	x += (size_t)g * step;
	if (FORMAT == DEC_W4) {
		lo = near_at(at + lane * 16);
		hi = near_at(at + 512 + lane * 16);
		for (r = 0; r < 2; r++) {
			asm volatile("ld.shared.u16 %0, [%1];" :
			    "=r"(s) : "r"(at + 1024 + (g + 8 * r) * 2));
			scale[r] = __half2float(__ushort_as_half(
			    (uint16_t)s));
		}
	}
#pragma unroll
	for (j = 0; j < 4; j++) {
		const uint16_t *p = x + (FORMAT == DEC_W4 ? t * 32 + j * 8 :
		    FORMAT == DEC_FP8 ? j * 64 + t * 16 : j * 32 + t * 8);

		if (FORMAT != DEC_W4) {
			lo = near_at(at + g * PITCH + j * 64 + t * 16);
			hi = near_at(at + (g + 8) * PITCH + j * 64 + t * 16);
		}
#pragma unroll
		for (q = 0; q < NT; q++) {
			b[0][q] = eight<FAR>(p + 8 * q * step, 8 * q + g < n);
			if (FORMAT == DEC_W4 && FAR)
				b[0][q] = arranged(b[0][q]);
			if (FORMAT == DEC_FP8)
				b[1][q] = eight<FAR>(p + 8 * q * step + 8,
				    8 * q + g < n);
		}
#pragma unroll
		for (k = 0; k < (FORMAT == DEC_FP8 ? 4 : 2); k++) {
			uint32_t l0 = k == 0 ? lo.x : k == 1 ? lo.y : k == 2 ?
			    lo.z : lo.w, h0 = k == 0 ? hi.x : k == 1 ? hi.y :
			    k == 2 ? hi.z : hi.w;
			uint32_t lw = j == 0 ? lo.x : j == 1 ? lo.y : j == 2 ?
			    lo.z : lo.w, hw = j == 0 ? hi.x : j == 1 ? hi.y :
			    j == 2 ? hi.z : hi.w;

			if (FORMAT == DEC_W4) {
				a[0] = pair_of(lw, 2 * k, less);
				a[1] = pair_of(hw, 2 * k, less);
				a[2] = pair_of(lw, 2 * k + 1, less);
				a[3] = pair_of(hw, 2 * k + 1, less);
			} else if (FORMAT == DEC_FP8) {
				a[0] = pair_of_e4m3(l0, 0);
				a[1] = pair_of_e4m3(h0, 0);
				a[2] = pair_of_e4m3(l0, 1);
				a[3] = pair_of_e4m3(h0, 1);
			} else {
				a[0] = k ? lo.z : lo.x;
				a[1] = k ? hi.z : hi.x;
				a[2] = k ? lo.w : lo.y;
				a[3] = k ? hi.w : hi.y;
			}
#pragma unroll
			for (q = 0; q < NT; q++) {
				const uint4 &v = b[k / 2][q];

				mma_bf16(part[k & 1][q], a, k & 1 ? v.z : v.x,
				    k & 1 ? v.w : v.y);
			}
		}
	}
#pragma unroll
	for (q = 0; q < NT; q++)
#pragma unroll
		for (r = 0; r < 4; r++)
			sum[q][r] += (part[0][q][r] + part[1][q][r]) *
			    scale[r / 2];
}

/* The tokens into shared memory, as the format wants them. */
template <int FORMAT, int SOURCE>
static __device__ void
bring(const struct dec_few &f, uint16_t *near, float *part)
{
	uint32_t eighths = f.cols / 8, i, token, step = f.cols + 8;
	const float4 *h, *w = (const float4 *)f.norm;
	float4 a, b, v, u;
	float sum, r;
	uint4 x;

	if (SOURCE == FROM_X)
		for (i = threadIdx.x; i < f.n * eighths; i += blockDim.x) {
			x = __ldcg((const uint4 *)f.x + i);
			*(uint4 *)(near + i / eighths * step + i % eighths *
			    8) = FORMAT == DEC_W4 ? arranged(x) : x;
		}
	for (token = 0; SOURCE == FROM_H && token < f.n; token++) {
		h = (const float4 *)f.h + (size_t)token * (f.cols / 4);
		for (sum = 0, i = threadIdx.x; i < f.cols / 4; i +=
		    blockDim.x) {
			a = __ldcg(h + i);
			sum += a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
		}
		r = rsqrtf(block_sum(sum, part) / (float)f.cols + f.eps);
		for (i = threadIdx.x; i < eighths; i += blockDim.x) {
			a = __ldcg(h + 2 * i);
			b = __ldcg(h + 2 * i + 1);
			v = w[2 * i];
			u = w[2 * i + 1];
			x.x = two_bf16(a.x * r * v.x, a.y * r * v.y);
			x.y = two_bf16(a.z * r * v.z, a.w * r * v.w);
			x.z = two_bf16(b.x * r * u.x, b.y * r * u.y);
			x.w = two_bf16(b.z * r * u.z, b.w * r * u.w);
			*(uint4 *)(near + token * step + i * 8) =
			    FORMAT == DEC_W4 ? arranged(x) : x;
		}
	}
	__syncthreads();
}

template <int NT>
static __device__ float
sum_of(const float *all, uint32_t token, uint32_t row)
{
	float v = 0;
	int k;

#pragma unroll
	for (k = 0; k < FEW_WARPS; k++)
		v += all[(k * NT * 8 + token) * TILE + row];
	return v;
}

/* The warps' sums of a tile, one after the other. */
template <int FORMAT, int NT, int END>
static __device__ void
finish(const struct dec_few &f, uint32_t tile, const float sum[NT][4],
    float *all)
{
	uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, i, token;
	uint32_t rows = END == DEC_SILU ? 8 : TILE, row, r;
	float *mine = all + threadIdx.x / 32 * NT * 8 * TILE, v, u;
	uint16_t *y = (uint16_t *)f.y;
	int q;

#pragma unroll
	for (q = 0; q < NT; q++)
#pragma unroll
		for (i = 0; i < 4; i++)
			mine[(q * 8 + 2 * t + (i & 1)) * TILE + g + 8 *
			    (i >> 1)] = sum[q][i];
	__syncthreads();
	for (i = threadIdx.x; i < f.n * rows; i += blockDim.x) {
		token = i / rows;
		r = i % rows;
		row = row_in<END>(f, tile, r);
		v = sum_of<NT>(all, token, r);
		if (FORMAT == DEC_FP8)
			v *= f.scale[row];
		if (END == DEC_F32)
			((float *)f.y)[(size_t)token * f.rows + row] = v;
		else if (END == DEC_ADD)
			((float *)f.y)[(size_t)token * f.rows + row] += v;
		else if (END == DEC_BF16)
			y[(size_t)token * f.rows + row] = to_bf16(v);
		else {
			u = sum_of<NT>(all, token, r + 8);
			if (FORMAT == DEC_FP8)
				u *= f.scale[row + f.rows / 2];
			y[(size_t)token * (f.rows / 2) + row] =
			    to_bf16(v / (1 + __expf(-v)) * u);
		}
	}
}

template <int FORMAT, int NT, int END, int SOURCE>
static __global__ void __launch_bounds__(FEW_WARPS * 32)
few(struct dec_few f, uint32_t each)
{
	typedef struct unit<FORMAT> U;
	extern __shared__ __align__(128) uint8_t shared[];
	__shared__ uint64_t bar[FEW_WARPS][U::DEPTH];
	__shared__ float part[FEW_WARPS];
	uint32_t w = threadIdx.x / 32, per = f.cols / U::COLS, tile, i, k = 0;
	uint32_t ring = shared_at(shared) + w * U::DEPTH * U::BYTES;
	uint32_t bars = shared_at(bar[w]), slot;
	float *all = (float *)(shared + FEW_WARPS * U::DEPTH * U::BYTES);
	uint16_t *near = (uint16_t *)(all + 2 * FEW_WARPS * NT * 8 * TILE);
	const uint16_t *x = SOURCE == FROM_FAR ? (const uint16_t *)f.x : near;
	size_t step = SOURCE == FROM_FAR ? f.cols : f.cols + 8;
	struct share s;

	s.first = per * w / FEW_WARPS;
	s.units = per * (w + 1) / FEW_WARPS - s.first;
	s.tile = blockIdx.x * each;
	s.end = s.units == 0 ? 0 : min(s.tile + each, f.rows / TILE);
	s.u = s.asked = 0;
	if (threadIdx.x % 32 == 0) {
		for (i = 0; i < U::DEPTH; i++)
			bar_init(bars + i * 8);
		asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
	}
	__syncwarp();
	let_next_start();
	for (i = 0; i < U::DEPTH; i++)
		ask<FORMAT, END>(f, s, ring, bars);
	wait_for_others();
	if (SOURCE != FROM_FAR)
		bring<FORMAT, SOURCE>(f, near, part);
	for (tile = blockIdx.x * each; tile < min((blockIdx.x + 1) * each,
	    f.rows / TILE); tile++) {
		float sum[NT][4] = {};

		for (i = 0; i < s.units; i++, k++) {
			slot = k % U::DEPTH;
			bar_wait(bars + slot * 8, k / U::DEPTH & 1);
			unit_times<FORMAT, NT, SOURCE == FROM_FAR>(ring +
			    slot * U::BYTES, x + (size_t)(s.first + i) *
			    U::COLS, step, f.n, sum);
			__syncwarp();
			ask<FORMAT, END>(f, s, ring, bars);
		}
		finish<FORMAT, NT, END>(f, tile, sum, all + (tile & 1) *
		    FEW_WARPS * NT * 8 * TILE);
	}
}

/* 16 rows of codes and their scales, unit by unit. */
static __global__ void
pack(const uint4 *codes, const uint16_t *scales, uint32_t rows, uint32_t cols,
    uint32_t group, uint32_t first, uint32_t stride, uint8_t *out)
{
	uint32_t c = blockIdx.x, per = cols / 128, lane = threadIdx.x % 32;
	uint32_t r = threadIdx.x / 32 * 8 + lane / 4, row, to, tile;
	uint8_t *unit;

	for (row = blockIdx.y * TILE + r; row < rows; row += gridDim.y * TILE) {
		to = first + row / 8 * stride + row % 8;
		tile = to / TILE;
		unit = out + ((size_t)tile * per + c) * DEC_W4_UNIT;
		((uint4 *)unit)[to % TILE / 8 * 32 + to % 8 * 4 + lane % 4] =
		    codes[(size_t)row * (cols / 32) + c * 4 + lane % 4];
		if (lane % 4 == 0)
			((uint16_t *)(unit + 1024))[to % TILE] = scales[
			    (size_t)row * (cols / group) + c * 128 / group];
	}
}

void
dec_pack_w4(gpu_stream s, const void *codes, const void *scales, size_t rows,
    size_t cols, size_t group, size_t first, int turns, void *out)
{
	size_t tiles = rows / TILE;

	pack<<<dim3((unsigned)(cols / 128), (unsigned)(tiles > 65535 ? 65535 :
	    tiles)), 64, 0, s>>>((const uint4 *)codes, (const uint16_t *)
	    scales, (uint32_t)rows, (uint32_t)cols, (uint32_t)group,
	    (uint32_t)first, turns ? 16 : 8, (uint8_t *)out);
}

template <int FORMAT, int NT, int END, int SOURCE>
static void
start(gpu_stream s, const struct dec_few &f)
{
	typedef struct unit<FORMAT> U;
	size_t bytes = FEW_WARPS * (size_t)U::DEPTH * U::BYTES +
	    2 * FEW_WARPS * NT * 8 * TILE * sizeof(float) +
	    (SOURCE == FROM_FAR ? 0 : (size_t)f.n * (f.cols + 8) * 2);
	uint32_t tiles = f.rows / TILE;
	uint32_t each = (tiles + sqc.units - 1) / sqc.units;

	(void)GPU(FuncSetAttribute)((const void *)few<FORMAT, NT, END, SOURCE>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes);
	launch(few<FORMAT, NT, END, SOURCE>, dim3((tiles + each - 1) / each),
	    FEW_WARPS * 32, bytes, s, f, each);
}

template <int FORMAT, int NT, int END>
static void
from(gpu_stream s, const struct dec_few &f)
{
	if (f.h != NULL)
		start<FORMAT, NT, END, FROM_H>(s, f);
	else if ((size_t)f.n * (f.cols + 8) * 2 <= NEARBY)
		start<FORMAT, NT, END, FROM_X>(s, f);
	else
		start<FORMAT, NT, END, FROM_FAR>(s, f);
}

template <int FORMAT, int NT>
static void
to(gpu_stream s, const struct dec_few &f)
{
	if (f.end == DEC_F32)
		from<FORMAT, NT, DEC_F32>(s, f);
	else if (f.end == DEC_ADD)
		from<FORMAT, NT, DEC_ADD>(s, f);
	else if (f.end == DEC_BF16)
		from<FORMAT, NT, DEC_BF16>(s, f);
	else
		from<FORMAT, NT, DEC_SILU>(s, f);
}

int
dec_few_knows(enum dec_format format, size_t rows, size_t cols, size_t n)
{
	return n <= DEC_FEW && rows % TILE == 0 && cols % (format == DEC_FP8 ?
	    256 : 128) == 0;
}

int
dec_few_norms(size_t cols, size_t n)
{
	return n * (cols + 8) * 2 <= NEARBY / 2 && n <= 4;
}

void
dec_few(gpu_stream s, struct dec_few f)
{
	if (f.format == DEC_W4 && f.n <= 8)
		to<DEC_W4, 1>(s, f);
	else if (f.format == DEC_W4)
		to<DEC_W4, 2>(s, f);
	else if (f.format == DEC_FP8 && f.n <= 8)
		to<DEC_FP8, 1>(s, f);
	else if (f.format == DEC_FP8)
		to<DEC_FP8, 2>(s, f);
	else if (f.n <= 8)
		to<DEC_DENSE, 1>(s, f);
	else
		to<DEC_DENSE, 2>(s, f);
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
    size_t cols, size_t group, size_t first, int turns, void *out)
{
	(void)s, (void)codes, (void)scales, (void)rows, (void)cols,
	    (void)group, (void)first, (void)turns, (void)out;
}

#endif
