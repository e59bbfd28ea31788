/* Activations of eight bits, on the device; see cuda.h. */
#include <cuda_fp8.h>

#include "kernels/cuda/device.h"

/* A block for a row: its greatest magnitude first, unless a scale is given. */
static __global__ void
quantize_act(struct sq_mat x, int fp8, float scale, struct sq_qmat q)
{
	__shared__ float part[SQC_THREADS];
	size_t i = blockIdx.x, j;
	const float *v = row_of(x, i);
	uint8_t *u = q.codes + i * q.stride;
	float s = scale, most = 0, f;
	unsigned step;

	if (s == 0) {
		for (j = threadIdx.x; j < x.cols; j += blockDim.x)
			most = fmaxf(most, fabsf(v[j]));
		part[threadIdx.x] = most;
		for (step = blockDim.x / 2; step > 0; step /= 2) {
			__syncthreads();
			if (threadIdx.x < step)
				part[threadIdx.x] = fmaxf(part[threadIdx.x],
				    part[threadIdx.x + step]);
		}
		__syncthreads();
		s = __fdiv_rn(part[0], fp8 ? 448 : 127);
	}
	if (threadIdx.x == 0)
		q.scale[i] = s;
	for (j = threadIdx.x; j < x.cols; j += blockDim.x) {
		f = s == 0 ? 0 : __fdiv_rn(v[j], s);
		u[j] = s == 0 ? 0 : fp8 ? __nv_cvt_float_to_fp8(f,
		    __NV_SATFINITE, __NV_E4M3) : (uint8_t)(int8_t)
		    __float2int_rn(fminf(fmaxf(f, -128), 127));
	}
}

void
sqc_quantize_act(gpu_stream s, struct sq_mat x, float scale, struct sq_qmat q)
{
	quantize_act<<<(unsigned)x.rows, SQC_THREADS, 0, s>>>(x,
	    q.kind == SQ_ACT_FP8, scale, q);
}

static __global__ void
dequantize_act(struct sq_qmat q, int fp8, struct sq_mat y)
{
	size_t j = blockIdx.x * (size_t)blockDim.x + threadIdx.x, i;
	uint8_t u;

	if (j >= y.cols)
		return;
	for (i = blockIdx.y; i < y.rows; i += gridDim.y) {
		u = q.codes[i * q.stride + j];
		row_of(y, i)[j] = __fmul_rn(fp8 ? from_e4m3(u) :
		    (float)(int8_t)u, q.scale[i]);
	}
}

void
sqc_dequantize_act(gpu_stream s, struct sq_qmat q, struct sq_mat y)
{
	dequantize_act<<<over_rows(y.rows, y.cols, 1), SQC_THREADS, 0, s>>>(q,
	    q.kind == SQ_ACT_FP8, y);
}
