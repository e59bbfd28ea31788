/* Copies of whole pieces into shared memory, and the barriers that they are
 * waited for with: their phases alternate in parity, from 0. */
#ifndef SQ_KERNELS_CUDA_BULK_H
#define SQ_KERNELS_CUDA_BULK_H

#include "kernels/cuda/device.h"

#if GPU_HOPPER

static __device__ inline uint32_t
shared_at(const void *p)
{
	return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ inline void
bar_init(uint32_t bar, uint32_t count)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(bar),
	    "r"(count));
}

/* The copy engine sees barriers that were made. */
static __device__ inline void
bars_made(void)
{
	asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
	asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ inline void
bar_arrive(uint32_t bar)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(bar) :
	    "memory");
}

static __device__ inline void
bar_expect(uint32_t bar, uint32_t bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
	    :: "r"(bar), "r"(bytes) : "memory");
}

static __device__ inline void
bar_wait(uint32_t bar, uint32_t parity)
{
	asm volatile("{\n"
	    ".reg .pred done;\n"
	    "again:\n"
	    "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
	    "@!done bra again;\n"
	    "}" :: "r"(bar), "r"(parity) : "memory");
}

/* Of a lane for itself, in groups that it waits for. */
static __device__ inline void
copy16(uint32_t to, const void *from)
{
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(to),
	    "l"(from) : "memory");
}

/* How the second cache takes what is read once: it goes before all else. */
static __device__ inline uint64_t
goes_first(void)
{
	uint64_t p;

	asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
	return p;
}

/* Into the second cache only. */
static __device__ inline void
bulk_ahead(const void *from, uint32_t bytes)
{
	asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::
	    "l"(from), "r"(bytes) : "memory");
}

static __device__ inline void
copy16_once(uint32_t to, const void *from, uint64_t policy)
{
	asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], "
	    "16, %2;" :: "r"(to), "l"(from), "l"(policy) : "memory");
}

static __device__ inline void
bulk_once(uint32_t to, const void *from, uint32_t bytes, uint32_t bar,
    uint64_t policy)
{
	asm volatile("cp.async.bulk.shared::cluster.global."
	    "mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, "
	    "[%3], %4;" :: "r"(to), "l"(from), "r"(bytes), "r"(bar),
	    "l"(policy) : "memory");
}

static __device__ inline void
bulk(uint32_t to, const void *from, uint32_t bytes, uint32_t bar)
{
	asm volatile("cp.async.bulk.shared::cluster.global."
	    "mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
	    :: "r"(to), "l"(from), "r"(bytes), "r"(bar) : "memory");
}

#endif
#endif
