/*
 * Hopper's tensor cores for a group of four warps, and the copies that feed
 * them.  Operands in shared memory have rows of 128 bytes whose pieces of 16
 * are exchanged as the copy engine does it (by the row's last three bits).
 */
#ifndef SQ_KERNELS_CUDA_WGMMA_H
#define SQ_KERNELS_CUDA_WGMMA_H

#include "kernels/cuda/bulk.h"

#if GPU_HOPPER

/* A matrix of rows of 64 bf16 that are summed over: eight rows are 1024 bytes
 * from the next eight. */
static __device__ inline uint64_t
operand_by_rows(uint32_t at)
{
	return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)1 << 16 |
	    (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* A matrix whose rows are what is summed over, in panels of 64 columns that
 * are `panel' bytes apart. */
static __device__ inline uint64_t
operand_by_cols(uint32_t at, uint32_t panel)
{
	return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(panel >> 4) << 16 |
	    (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

static __device__ inline void
wg_begin(void)
{
	asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ inline void
wg_commit(void)
{
	asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All but the last N groups are done. */
template <int N>
static __device__ inline void
wg_wait(void)
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) :
	    "memory");
}

/* What was in work is there: nothing that reads it comes before this. */
static __device__ inline void
wg_settled(float (&d)[64])
{
	int i;

#pragma unroll
	for (i = 0; i < 64; i++)
		asm volatile("" : "+f"(d[i]) :: "memory");
}

/* The sums of a product, in its text and among its operands. */
#define WG_TEXT8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WG_TEXT16 WG_TEXT8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define WG_TEXT32 WG_TEXT16 ", %16, %17, %18, %19, %20, %21, %22, %23, " \
	"%24, %25, %26, %27, %28, %29, %30, %31"
#define WG_TEXT64 WG_TEXT32 ", %32, %33, %34, %35, %36, %37, %38, %39, " \
	"%40, %41, %42, %43, %44, %45, %46, %47, " \
	"%48, %49, %50, %51, %52, %53, %54, %55, " \
	"%56, %57, %58, %59, %60, %61, %62, %63"
#define WG_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WG_SUMS8 WG_FOUR(0), WG_FOUR(4)
#define WG_SUMS16 WG_SUMS8, WG_FOUR(8), WG_FOUR(12)
#define WG_SUMS32 WG_SUMS16, WG_FOUR(16), WG_FOUR(20), WG_FOUR(24), \
	WG_FOUR(28)
#define WG_SUMS64 WG_SUMS32, WG_FOUR(32), WG_FOUR(36), WG_FOUR(40), \
	WG_FOUR(44), WG_FOUR(48), WG_FOUR(52), WG_FOUR(56), WG_FOUR(60)

/* d (64 x 128) = a b^T, or with `more' d + a b^T: bf16, 16 columns of each. */
static __device__ inline void
wg_times(float (&d)[64], uint64_t a, uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %66, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
	    "{" WG_TEXT64 "}, %64, %65, p, 1, 1, 0, 0;\n}"
	    : WG_SUMS64
	    : "l"(a), "l"(b), "r"(more));
}

/* d = a b, or with `more' d + a b, a from registers: four places of the text
 * after n sums, then b's and that of `more'. */
#define WG_FROM_REGISTERS(name, n, shape, a0, a1, a2, a3, at, p, tail)	\
static __device__ inline void						\
name(float (&d)[n], const uint32_t *a, uint64_t b, int more)		\
{									\
	asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p ", 0;\n"	\
	    "wgmma.mma_async.sync.aligned." shape " {" WG_TEXT##n "}, "	\
	    "{" a0 ", " a1 ", " a2 ", " a3 "}, " at ", p, 1, 1" tail	\
	    ";\n}" : WG_SUMS##n : "r"(a[0]), "r"(a[1]), "r"(a[2]),	\
	    "r"(a[3]), "l"(b), "r"(more));				\
}

/* b by columns: a is as mma_bf16() has it. */
WG_FROM_REGISTERS(wg_times_cols, 64, "m64n128k16.f32.bf16.bf16",
    "%64", "%65", "%66", "%67", "%68", "%69", ", 1")

/* b by rows, of 16, 32 or 64 of them, f16. */
WG_FROM_REGISTERS(wg_times_rows, 8, "m64n16k16.f32.f16.f16",
    "%8", "%9", "%10", "%11", "%12", "%13", ", 0")
WG_FROM_REGISTERS(wg_times_rows, 16, "m64n32k16.f32.f16.f16",
    "%16", "%17", "%18", "%19", "%20", "%21", ", 0")
WG_FROM_REGISTERS(wg_times_rows, 32, "m64n64k16.f32.f16.f16",
    "%32", "%33", "%34", "%35", "%36", "%37", ", 0")

#endif
#endif
