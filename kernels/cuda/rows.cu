/* Operations on rows of activations, on the device; see cuda.h. */
#include "kernels/cuda/device.h"

#define COLUMN	(blockIdx.x * (size_t)blockDim.x + threadIdx.x)
#define EACH_ROW(i, n)	size_t i = blockIdx.y; i < (n); i += gridDim.y

static __global__ void
add(struct sq_mat y, struct sq_mat x)
{
	size_t j = COLUMN;

	if (j < x.cols)
		for (EACH_ROW(i, x.rows))
			row_of(x, i)[j] += row_of(y, i)[j];
}

void
sqc_add(gpu_stream s, struct sq_mat y, struct sq_mat x)
{
	add<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(y, x);
}

static __global__ void
add_bias(const float *bias, struct sq_mat x)
{
	size_t j = COLUMN;

	if (j < x.cols)
		for (EACH_ROW(i, x.rows))
			row_of(x, i)[j] += bias[j];
}

void
sqc_add_bias(gpu_stream s, const float *bias, struct sq_mat x)
{
	add_bias<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(bias, x);
}

static __global__ void
silu_mul(struct sq_mat g, struct sq_mat u, struct sq_mat y)
{
	size_t j = COLUMN;
	float v;

	if (j < y.cols)
		for (EACH_ROW(i, y.rows)) {
			v = row_of(g, i)[j];
			row_of(y, i)[j] = v / (1 + expf(-v)) * row_of(u, i)[j];
		}
}

void
sqc_silu_mul(gpu_stream s, struct sq_mat g, struct sq_mat u, struct sq_mat y)
{
	silu_mul<<<over_rows(y.rows, y.cols, 1), SQC_THREADS, 0, s>>>(g, u, y);
}

/* A thread turns one pair. */
static __global__ void
rope(const float *angles, const uint32_t *pos, size_t dim, struct sq_mat x)
{
	size_t j = COLUMN, half = dim / 2;
	const float *t;
	float *p, a, b;

	if (j >= x.cols / 2)
		return;
	for (EACH_ROW(i, x.rows)) {
		p = row_of(x, i) + j / half * dim + j % half;
		t = angles + pos[i] * dim + j % half;
		a = p[0];
		b = p[half];
		p[0] = a * t[0] - b * t[half];
		p[half] = b * t[0] + a * t[half];
	}
}

void
sqc_rope(gpu_stream s, const float *angles, const uint32_t *pos, size_t dim,
    struct sq_mat x)
{
	rope<<<over_rows(x.rows, x.cols / 2, 1), SQC_THREADS, 0, s>>>(angles,
	    pos, dim, x);
}

/* A block for a row; y may be x. */
static __global__ void
rmsnorm(struct sq_mat x, const float *w, float eps, struct sq_mat y)
{
	__shared__ double part[SQC_THREADS / 16];
	const float *p;
	float *q;
	double sum, r;
	size_t j;

	for (size_t i = blockIdx.x; i < x.rows; i += gridDim.x) {
		p = row_of(x, i);
		q = row_of(y, i);
		sum = 0;
		for (j = threadIdx.x; j < x.cols; j += blockDim.x)
			sum += (double)p[j] * p[j];
		r = 1 / sqrt(block_sum(sum, part) / (double)x.cols + eps);
		for (j = threadIdx.x; j < x.cols; j += blockDim.x)
			q[j] = (float)(p[j] * r * w[j]);
	}
}

void
sqc_rmsnorm(gpu_stream s, struct sq_mat x, const float *w, float eps,
    struct sq_mat y)
{
	int threads = x.cols > 128 ? SQC_THREADS : 64;

	rmsnorm<<<(unsigned)(x.rows < 1 ? 1 : x.rows > 1 << 20 ? 1 << 20 :
	    x.rows), threads, 0, s>>>(x, w, eps, y);
}

static __global__ void
narrow(struct sq_mat x, uint16_t *out)
{
	size_t j = COLUMN;

	if (j < x.cols)
		for (EACH_ROW(i, x.rows))
			out[i * x.cols + j] = to_bf16(row_of(x, i)[j]);
}

void
sqc_to_bf16(gpu_stream s, struct sq_mat x, void *out)
{
	narrow<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(x,
	    (uint16_t *)out);
}
