/* What the .cu files share on the device: reductions, and short types, whose
 * roundings are those of base/half.h, NaN included. */
#ifndef SQ_KERNELS_CUDA_DEVICE_H
#define SQ_KERNELS_CUDA_DEVICE_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/cuda.h"

#define SQC_THREADS	256

static __device__ inline float *
row_of(const struct sq_mat &m, size_t i)
{
	return (float *)m.p + i * m.stride;
}

/* Sum over the block, to all of its threads; part has a place for each warp.
 * The order is fixed. */
template <typename T>
static __device__ inline T
block_sum(T v, T *part)
{
	int d, w = threadIdx.x / GPU_WARP, n = blockDim.x / GPU_WARP;

	for (d = GPU_WARP / 2; d > 0; d /= 2)
		v += gpu_shfl_xor(v, d);
	__syncthreads();
	if (threadIdx.x % GPU_WARP == 0)
		part[w] = v;
	__syncthreads();
	for (v = part[0], w = 1; w < n; w++)
		v += part[w];
	return v;
}

/* What base/rng.h makes of its state. */
static __device__ inline uint64_t
sqc_mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static __device__ inline uint16_t
to_bf16(float f)
{
	uint32_t u = __float_as_uint(f);

	if ((u & 0x7fffffff) > 0x7f800000)
		return (uint16_t)(u >> 16 | 0x40);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static __device__ inline uint32_t
two_bf16(float a, float b)
{
	return (uint32_t)to_bf16(a) | (uint32_t)to_bf16(b) << 16;
}

static __device__ inline float
from_bf16(uint16_t h)
{
	return __uint_as_float((uint32_t)h << 16);
}

static __device__ inline uint16_t
to_f16(float f)
{
	if (isnan(f))
		return (uint16_t)(__float_as_uint(f) >> 16 & 0x8000) | 0x7e00;
	return __half_as_ushort(__float2half_rn(f));
}

static __device__ inline float
from_f16(uint16_t h)
{
	if ((h & 0x7fff) > 0x7c00)
		return __uint_as_float(0x7fc00000);
	return __half2float(__ushort_as_half(h));
}

/* e4m3 has no infinity, e5m2 is the upper half of a float16. */
static __device__ inline float
from_e4m3(uint8_t b)
{
	uint32_t e = b >> 3 & 15, m = b & 7, sign = (uint32_t)(b & 0x80) << 24;
	float f;

	if ((b & 0x7f) == 0x7f)
		return __uint_as_float(0x7fc00000);
	if (e != 0)
		return __uint_as_float(sign | (e + 120) << 23 | m << 20);
	f = (float)m * 0x1p-9f;
	return sign ? -f : f;
}

static __device__ inline float
from_e5m2(uint8_t b)
{
	return from_f16((uint16_t)(b << 8));
}

static __device__ inline float
load(const void *p, enum sq_dtype type, size_t i)
{
	if (type == SQ_F32)
		return ((const float *)p)[i];
	if (type == SQ_F16)
		return from_f16(((const uint16_t *)p)[i]);
	return from_bf16(((const uint16_t *)p)[i]);
}

static __device__ inline void
store(void *p, enum sq_dtype type, size_t i, float v)
{
	if (type == SQ_F32)
		((float *)p)[i] = v;
	else if (type == SQ_F16)
		((uint16_t *)p)[i] = to_f16(v);
	else
		((uint16_t *)p)[i] = to_bf16(v);
}

/* Blocks over rows: y of the grid goes to 65535, rows go on. */
static inline dim3
over_rows(size_t rows, size_t cols, int each)
{
	size_t x = (cols + (size_t)SQC_THREADS * each - 1) /
	    ((size_t)SQC_THREADS * each);

	return dim3((unsigned)(x < 1 ? 1 : x),
	    (unsigned)(rows > 65535 ? 65535 : rows < 1 ? 1 : rows));
}

#endif
