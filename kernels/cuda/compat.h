/*
 * One source for CUDA and HIP: what the runtime, the libraries and the device
 * code are called.  Device code includes it and knows no other names.
 */
#ifndef SQ_KERNELS_CUDA_COMPAT_H
#define SQ_KERNELS_CUDA_COMPAT_H

/* What a macro stands for, as text. */
#define GPU_TEXT_OF(x)		#x
#define GPU_TEXT(x)		GPU_TEXT_OF(x)

#if defined(__HIP__) || defined(__HIP_PLATFORM_AMD__)
#include <hip/hip_runtime.h>
#include <hip/hip_bf16.h>
#include <hip/hip_fp16.h>
#include <hipblas/hipblas.h>
#include <hipsolver/hipsolver.h>
#define GPU(name)		hip##name
#define GPU_BLAS(name)		hipblas##name
#define GPU_BLAS_OK		HIPBLAS_STATUS_SUCCESS
#define GPU_BLAS_N		HIPBLAS_OP_N
#define GPU_BLAS_T		HIPBLAS_OP_T
#define GPU_BLAS_F32		HIPBLAS_COMPUTE_32F
#define GPU_BLAS_ALGO		HIPBLAS_GEMM_DEFAULT
#define GPU_R_32F		HIP_R_32F
#define GPU_R_16BF		HIP_R_16BF
#define GPU_SOLVER(name)	hipsolverDn##name
#define GPU_SOLVER_LIB		"libhipsolver.so"
#define GPU_SOLVER_OK		HIPSOLVER_STATUS_SUCCESS
#define GPU_SOLVER_UPPER	HIPSOLVER_FILL_MODE_UPPER
typedef hipblasHandle_t gpu_blas;
typedef hipsolverDnHandle_t gpu_solver;
#else
#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <cusolverDn.h>
#define GPU(name)		cuda##name
#define GPU_BLAS(name)		cublas##name
#define GPU_BLAS_OK		CUBLAS_STATUS_SUCCESS
#define GPU_BLAS_N		CUBLAS_OP_N
#define GPU_BLAS_T		CUBLAS_OP_T
#define GPU_BLAS_F32		CUBLAS_COMPUTE_32F
#define GPU_BLAS_ALGO		CUBLAS_GEMM_DEFAULT
#define GPU_R_32F		CUDA_R_32F
#define GPU_R_16BF		CUDA_R_16BF
#define GPU_SOLVER(name)	cusolverDn##name
#define GPU_SOLVER_LIB		"libcusolver.so." GPU_TEXT(CUSOLVER_VER_MAJOR)
#define GPU_SOLVER_OK		CUSOLVER_STATUS_SUCCESS
#define GPU_SOLVER_UPPER	CUBLAS_FILL_MODE_UPPER
typedef cublasHandle_t gpu_blas;
typedef cusolverDnHandle_t gpu_solver;
#endif

typedef GPU(Stream_t) gpu_stream;
typedef GPU(Error_t) gpu_error;

#if defined(__CUDACC__) || defined(__HIPCC__)

/* Lanes that run in step: 32, or 64 on most of AMD's. */
#if defined(__HIP_DEVICE_COMPILE__)
#define GPU_WARP	__AMDGCN_WAVEFRONT_SIZE
#define gpu_shfl_xor(v, d)	__shfl_xor(v, d)
#define gpu_shfl_up(v, d)	__shfl_up(v, d)
#else
#define GPU_WARP	32
#define gpu_shfl_xor(v, d)	__shfl_xor_sync(0xffffffffu, v, d)
#define gpu_shfl_up(v, d)	__shfl_up_sync(0xffffffffu, v, d)
#endif

/* Only where tensor cores are programmed as NVIDIA's are. */
#if defined(__CUDACC__) && !defined(__HIP__)
#define GPU_MMA		1
#else
#define GPU_MMA		0
#endif

/* Only where copies, clusters and tensor cores are Hopper's. */
#if GPU_MMA && defined(__CUDA_ARCH_LIST__)
#define GPU_HOPPER	(__CUDA_ARCH_LIST__ == 900)
#else
#define GPU_HOPPER	0
#endif

#endif
#endif
