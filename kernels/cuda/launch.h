/*
 * Kernels that start while the one before is still at work: each waits for it
 * where it first needs its results, and may read weights before.  Without such
 * a thing in the runtime, they start in order.
 */
#ifndef SQ_KERNELS_CUDA_LAUNCH_H
#define SQ_KERNELS_CUDA_LAUNCH_H

#include "kernels/cuda/compat.h"

static __device__ inline void
wait_for_others(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static __device__ inline void
let_next_start(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;");
#endif
}

#if !defined(__HIP__)

/* Blocks in clusters of so many. */
template <typename... P, typename... A>
static void
launch_clusters(unsigned cluster, void (*kernel)(P...), dim3 grid,
    int threads, size_t shared, gpu_stream s, A... a)
{
	cudaLaunchConfig_t c = {};
	cudaLaunchAttribute at[2];

	c.gridDim = grid;
	c.blockDim = dim3((unsigned)threads);
	c.dynamicSmemBytes = shared;
	c.stream = s;
	at[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
	at[0].val.programmaticStreamSerializationAllowed = 1;
	at[1].id = cudaLaunchAttributeClusterDimension;
	at[1].val.clusterDim.x = cluster;
	at[1].val.clusterDim.y = at[1].val.clusterDim.z = 1;
	c.attrs = at;
	c.numAttrs = cluster > 1 ? 2 : 1;
	(void)cudaLaunchKernelEx(&c, kernel, static_cast<P>(a)...);
}

template <typename... P, typename... A>
static void
launch(void (*kernel)(P...), dim3 grid, int threads, size_t shared,
    gpu_stream s, A... a)
{
	launch_clusters(1, kernel, grid, threads, shared, s, a...);
}

#else

template <typename... P, typename... A>
static void
launch(void (*kernel)(P...), dim3 grid, int threads, size_t shared,
    gpu_stream s, A... a)
{
	kernel<<<grid, threads, shared, s>>>(static_cast<P>(a)...);
}

#endif
#endif
