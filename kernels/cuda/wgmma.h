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
#define WG_SUMS \
	"{%0, %1, %2, %3, %4, %5, %6, %7, " \
	"%8, %9, %10, %11, %12, %13, %14, %15, " \
	"%16, %17, %18, %19, %20, %21, %22, %23, " \
	"%24, %25, %26, %27, %28, %29, %30, %31, " \
	"%32, %33, %34, %35, %36, %37, %38, %39, " \
	"%40, %41, %42, %43, %44, %45, %46, %47, " \
	"%48, %49, %50, %51, %52, %53, %54, %55, " \
	"%56, %57, %58, %59, %60, %61, %62, %63}, "
#define WG_OPERANDS \
	"+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), \
	"+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
	"+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), \
	"+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
	"+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), \
	"+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
	"+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), \
	"+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
	"+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
	"+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
	"+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), \
	"+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
	"+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), \
	"+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
	"+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), \
	"+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])

/* d (64 x 128) = a b^T, or with `more' d + a b^T: bf16, 16 columns of each. */
static __device__ inline void
wg_times(float (&d)[64], uint64_t a, uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %66, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
	    WG_SUMS
	    "%64, %65, p, 1, 1, 0, 0;\n}"
	    : WG_OPERANDS
	    : "l"(a), "l"(b), "r"(more));
}

/* d += a b, a from registers, as mma_bf16() has it. */
static __device__ inline void
wg_times_cols(float (&d)[64], const uint32_t a[4], uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %69, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
	    WG_SUMS
	    "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
	    : WG_OPERANDS
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more));
}

/* d (+)= a b^T, a from registers, b by rows: of 16, 32 or 64 of them. */
static __device__ inline void
wg_times_rows(float (&d)[8], const uint32_t *a, uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %13, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
	    "{%0, %1, %2, %3, %4, %5, %6, %7}, "
	    "{%8, %9, %10, %11}, %12, p, 1, 1, 0;\n}"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]),
	    "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more));
}

static __device__ inline void
wg_times_rows(float (&d)[16], const uint32_t *a, uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %21, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
	    "{%0, %1, %2, %3, %4, %5, %6, %7, "
	    "%8, %9, %10, %11, %12, %13, %14, %15}, "
	    "{%16, %17, %18, %19}, %20, p, 1, 1, 0;\n}"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]),
	    "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
	    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
	    "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more));
}

static __device__ inline void
wg_times_rows(float (&d)[32], const uint32_t *a, uint64_t b, int more)
{
	asm volatile("{\n.reg .pred p;\n"
	    "setp.ne.b32 p, %37, 0;\n"
	    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
	    "{%0, %1, %2, %3, %4, %5, %6, %7, "
	    "%8, %9, %10, %11, %12, %13, %14, %15, "
	    "%16, %17, %18, %19, %20, %21, %22, %23, "
	    "%24, %25, %26, %27, %28, %29, %30, %31}, "
	    "{%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]),
	    "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
	    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
	    "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
	    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]),
	    "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
	    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
	    "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more));
}

#endif
#endif
