/* NVIDIA's tensor cores for bf16, and 4-bit codes as their operands. */
#ifndef SQ_KERNELS_CUDA_MMA_H
#define SQ_KERNELS_CUDA_MMA_H

#include "kernels/cuda/device.h"

/* d += a b: a 16x16, b 16x8.  Lane l holds of a the rows l/4 and l/4 + 8, of b
 * the column l/4, of d those rows and the columns 2(l%4) and the next. */
static __device__ inline void
mma_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
	    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Codes i and i + 4 of the eight in w, less `less' - 128, as two bf16: the
 * code is the mantissa of 128 + u, which is exact. */
static __device__ inline uint32_t
pair_of(uint32_t w, int i, __nv_bfloat162 less)
{
	uint32_t u;
	__nv_bfloat162 v;

	asm("lop3.b32 %0, %1, 0x000f000f, 0x43004300, 0xea;"
	    : "=r"(u) : "r"(w >> 4 * i));
	v = __hsub2(*(__nv_bfloat162 *)&u, less);
	return *(uint32_t *)&v;
}

/* 16 bytes of shared memory. */
static __device__ inline uint4
near_at(uint32_t at)
{
	uint4 v;

	asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x),
	    "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
	return v;
}

static __device__ inline uint32_t
word_of(const uint4 &v, int i)
{
	return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* 16 bytes that are read once. */
static __device__ inline uint4
read_once(const void *p)
{
	uint4 v;

	asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 "
	    "{%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
	    : "l"(p));
	return v;
}

#endif
