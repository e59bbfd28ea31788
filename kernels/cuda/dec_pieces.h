/* What products left, read by whoever comes next; see dec.h. */
#ifndef SQ_KERNELS_CUDA_DEC_PIECES_H
#define SQ_KERNELS_CUDA_DEC_PIECES_H

#include <cuda_fp8.h>

#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"

static __device__ inline float
silu_of(float g, float u)
{
	return g / (1 + __expf(-g)) * u;
}

static __device__ inline uint8_t
to_e4m3(float v)
{
	return __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
}

static __device__ inline uint32_t
four_e4m3(float a, float b, float c, float d)
{
	return (uint32_t)__nv_cvt_float2_to_fp8x2(make_float2(a, b),
	    __NV_SATFINITE, __NV_E4M3) | (uint32_t)__nv_cvt_float2_to_fp8x2(
	    make_float2(c, d), __NV_SATFINITE, __NV_E4M3) << 16;
}

static __device__ inline float4
four_bf16(uint2 u)
{
	return make_float4(__uint_as_float(u.x << 16),
	    __uint_as_float(u.x & 0xffff0000), __uint_as_float(u.y << 16),
	    __uint_as_float(u.y & 0xffff0000));
}

static __device__ inline float2
two_of_bf16(uint32_t u)
{
	return make_float2(__uint_as_float(u << 16),
	    __uint_as_float(u & 0xffff0000));
}

/* The blocks that have pieces of a tile. */
struct makers {
	uint32_t first, n;
};

static __device__ inline struct makers
makers_of(const struct dec_y &y, uint32_t tile)
{
	uint32_t at = tile * y.chunks, all = y.tiles * y.chunks, from, to;

	from = ((at + 1) * y.shares - 1) / all;
	to = ((at + y.chunks) * y.shares - 1) / all;
	return { from, to - from + 1 };
}

/* Where the pieces of a column are: the first, how many, how far apart. */
struct pieces {
	const uint16_t *p;
	uint32_t n;
	size_t step;
};

static __device__ inline struct pieces
pieces_of(const struct dec_y &y, size_t row, size_t col)
{
	uint32_t tile = (uint32_t)(col / DEC_PIECE);
	struct makers m = makers_of(y, tile);
	struct pieces k;

	k.step = (size_t)y.pad * DEC_PIECE;
	k.p = (const uint16_t *)y.p + (tile + m.first) * k.step + row *
	    DEC_PIECE + col % DEC_PIECE;
	k.n = m.n;
	return k;
}

/* Loads that are under way at once: each would wait for the one before. */
#define PIECES_AT_ONCE	12

/* Elements 4j .. of a row of y, of n. */
static __device__ inline float4
four_of(const struct dec_y &y, size_t row, size_t n, size_t j)
{
	struct pieces k;
	uint2 u[PIECES_AT_ONCE];
	float4 v, c;
	uint32_t i, e;
	float r;

	if (y.shares > 0) {
		k = pieces_of(y, row, 4 * j);
		v = make_float4(0, 0, 0, 0);
		for (i = 0; i < k.n; i += PIECES_AT_ONCE) {
#pragma unroll
			for (e = 0; e < PIECES_AT_ONCE; e++)
				u[e] = i + e < k.n ? __ldcg((const uint2 *)(
				    k.p + (i + e) * k.step)) : make_uint2(0,
				    0);
#pragma unroll
			for (e = 0; e < PIECES_AT_ONCE; e++) {
				c = four_bf16(u[e]);
				v.x += c.x;
				v.y += c.y;
				v.z += c.z;
				v.w += c.w;
			}
		}
		r = y.row == NULL ? 1 : y.row[row];
		return make_float4(v.x * r, v.y * r, v.z * r, v.w * r);
	}
	v = four_bf16(((const uint2 *)y.p)[row * (n / 4) + j]);
	if (y.row == NULL)
		return v;
	r = y.row[row];
	c = ((const float4 *)y.col)[j];
	return make_float4(v.x * r * c.x, v.y * r * c.y, v.z * r * c.z,
	    v.w * r * c.w);
}

/* Elements e, which is even, and the next. */
static __device__ inline float2
two_of(const struct dec_y &y, size_t row, size_t n, size_t e)
{
	struct pieces k;
	uint32_t u[PIECES_AT_ONCE], i, l;
	float2 v, c;
	float r;

	if (y.shares > 0) {
		k = pieces_of(y, row, e);
		v = make_float2(0, 0);
		for (i = 0; i < k.n; i += PIECES_AT_ONCE) {
#pragma unroll
			for (l = 0; l < PIECES_AT_ONCE; l++)
				u[l] = i + l < k.n ? __ldcg((const uint32_t *)(
				    k.p + (i + l) * k.step)) : 0;
#pragma unroll
			for (l = 0; l < PIECES_AT_ONCE; l++) {
				c = two_of_bf16(u[l]);
				v.x += c.x;
				v.y += c.y;
			}
		}
		r = y.row == NULL ? 1 : y.row[row];
		return make_float2(v.x * r, v.y * r);
	}
	v = two_of_bf16(((const uint32_t *)y.p)[(row * n + e) / 2]);
	if (y.row == NULL)
		return v;
	r = y.row[row];
	c = *(const float2 *)(y.col + e);
	return make_float2(v.x * r * c.x, v.y * r * c.y);
}

/* Two values as f16; what is beyond its range is its greatest. */
static __device__ inline uint32_t
two_f16(float a, float b)
{
	const float most = 65504;
	__half2 v = __floats2half2_rn(fminf(fmaxf(a, -most), most),
	    fminf(fmaxf(b, -most), most));

	return *(uint32_t *)&v;
}

/* Piece i of 16 bytes of 128 values of a row that are v, into panels (x.pad
 * rows): the order of dec_mid.cu. */
static __device__ inline void
put_panel(const struct dec_x &x, size_t row, size_t block, uint32_t i,
    const float *v)
{
	uint32_t half = i / 8, q = i % 8, word[4], e;
	uint8_t *to = (uint8_t *)x.p + ((2 * block + half) * x.pad + row) *
	    128 + (q ^ (row & 7)) * 16;

	v += 16 * half + 8 * (q / 4) + q % 4;
#pragma unroll
	for (e = 0; e < 4; e++)
		word[e] = two_f16(v[32 * e], v[32 * e + 4]);
	*(uint4 *)to = make_uint4(word[0], word[1], word[2], word[3]);
}

#endif
