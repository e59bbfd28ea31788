/* What products left, read by whoever comes next; see dec.h. */
#ifndef SQ_KERNELS_CUDA_DEC_PIECES_H
#define SQ_KERNELS_CUDA_DEC_PIECES_H

#include <cuda_fp8.h>

#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"

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

static __device__ inline float
sum_e4m3(uint32_t w)
{
	float2 a = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(
	    (__nv_fp8x2_storage_t)(w & 0xffff), __NV_E4M3)));
	float2 b = __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(
	    (__nv_fp8x2_storage_t)(w >> 16), __NV_E4M3)));

	return (a.x + a.y) + (b.x + b.y);
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

/* Where the pieces of a column are: the first, how many, how far apart. */
struct pieces {
	const uint16_t *p;
	uint32_t n;
	size_t step;
};

static __device__ inline struct pieces
pieces_of(const struct dec_y &y, size_t row, size_t col)
{
	uint32_t tile = (uint32_t)(col / DEC_PIECE), at = tile * y.chunks;
	uint32_t all = y.tiles * y.chunks, from, to;
	struct pieces k;

	from = ((at + 1) * y.shares - 1) / all;
	to = ((at + y.chunks) * y.shares - 1) / all;
	k.step = (size_t)y.pad * DEC_PIECE;
	k.p = (const uint16_t *)y.p + (tile + from) * k.step + row *
	    DEC_PIECE + col % DEC_PIECE;
	k.n = to - from + 1;
	return k;
}

/* Elements 4j .. of a row of y, of n. */
static __device__ inline float4
four_of(const struct dec_y &y, size_t row, size_t n, size_t j)
{
	struct pieces k;
	float4 v, c;
	uint32_t i;
	float r;

	if (y.shares > 0) {
		k = pieces_of(y, row, 4 * j);
		v = four_bf16(*(const uint2 *)k.p);
#pragma unroll 8
		for (i = 1; i < k.n; i++) {
			c = four_bf16(*(const uint2 *)(k.p + i * k.step));
			v.x += c.x;
			v.y += c.y;
			v.z += c.z;
			v.w += c.w;
		}
		return v;
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
	float2 v, c;
	uint32_t i;
	float r;

	if (y.shares > 0) {
		k = pieces_of(y, row, e);
		v = two_of_bf16(*(const uint32_t *)k.p);
#pragma unroll 8
		for (i = 1; i < k.n; i++) {
			c = two_of_bf16(*(const uint32_t *)(k.p + i *
			    k.step));
			v.x += c.x;
			v.y += c.y;
		}
		return v;
	}
	v = two_of_bf16(((const uint32_t *)y.p)[(row * n + e) / 2]);
	if (y.row == NULL)
		return v;
	r = y.row[row];
	c = *(const float2 *)(y.col + e);
	return make_float2(v.x * r * c.x, v.y * r * c.y);
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
		word[e] = two_bf16(v[32 * e], v[32 * e + 4]);
	*(uint4 *)to = make_uint4(word[0], word[1], word[2], word[3]);
}

/* The same in e4m3: a warp has a block's values, each lane four neighbours. */
static __device__ inline void
put_bytes(const struct dec_x &x, size_t row, size_t block, float4 v)
{
	uint32_t lane = threadIdx.x % 32, odd = lane % 2, w, o, k, word;
	float most = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z),
	    fabsf(v.w))), sum, f;

	for (k = 16; k > 0; k /= 2)
		most = fmaxf(most, gpu_shfl_xor(most, k));
	f = most > 0 ? 448 / most : 0;
	/* even columns in the lower half, and those of the lane beside */
	w = four_e4m3(v.x * f, v.z * f, v.y * f, v.w * f);
	sum = sum_e4m3(w);
	for (k = 16; k > 0; k /= 2)
		sum += gpu_shfl_xor(sum, k);
	o = gpu_shfl_xor(w, 1);
	word = odd ? o >> 16 | (w & 0xffff0000) : (w & 0xffff) | o << 16;
	k = lane % 8 / 2 * 2 + odd;
	((uint32_t *)x.p)[(block * x.pad + row) * 32 + (k ^ (row & 7)) * 4 +
	    lane / 8] = word;
	f = most / 448;
	if (lane == 0)
		((float2 *)x.scale)[block * x.pad + row] = make_float2(f * 512,
		    sum * f * -8);
}

#endif
