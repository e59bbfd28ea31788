/* Operations on logits and statistics, on the device; see cuda.h. */
#include "kernels/bins.h"
#include "kernels/cuda/device.h"

#define WARPS	(SQC_THREADS / 16)	/* room, whatever a warp is */

/* The first of the greatest: to all threads. */
static __device__ size_t
greatest(const float *x, size_t n, float *best, uint32_t *at)
{
	size_t i, b = n;
	float v = 0;
	int t, step;

	for (i = threadIdx.x; i < n; i += blockDim.x)
		if (b == n || x[i] > v) {
			v = x[i];
			b = i;
		}
	best[threadIdx.x] = v;
	at[threadIdx.x] = (uint32_t)b;
	for (step = blockDim.x / 2; step > 0; step /= 2) {
		__syncthreads();
		t = threadIdx.x + step;
		if ((int)threadIdx.x >= step || at[t] == n)
			continue;
		if (at[threadIdx.x] == n || best[t] > best[threadIdx.x] ||
		    (best[t] == best[threadIdx.x] &&
		    at[t] < at[threadIdx.x])) {
			best[threadIdx.x] = best[t];
			at[threadIdx.x] = at[t];
		}
	}
	__syncthreads();
	b = at[0];
	__syncthreads();
	return b;
}

static __device__ double
log_sum_exp(const float *x, size_t n, float max, double *part)
{
	double sum = 0;
	size_t i;

	for (i = threadIdx.x; i < n; i += blockDim.x)
		sum += exp((double)x[i] - max);
	return max + log(block_sum(sum, part));
}

static __global__ void
nll_rows(struct sq_mat m, const uint32_t *target, float *nll, uint32_t *top)
{
	__shared__ float best[SQC_THREADS];
	__shared__ uint32_t at[SQC_THREADS];
	__shared__ double part[WARPS];
	const float *x = row_of(m, blockIdx.x);
	size_t g = greatest(x, m.cols, best, at);
	double lse = nll == NULL ? 0 : log_sum_exp(x, m.cols, x[g], part);

	if (threadIdx.x != 0)
		return;
	if (nll != NULL)
		nll[blockIdx.x] = (float)(lse - (target == NULL ? 0 :
		    (double)x[target[blockIdx.x]]));
	if (top != NULL)
		top[blockIdx.x] = (uint32_t)g;
}

void
sqc_nll(gpu_stream s, struct sq_mat x, const uint32_t *target, float *nll,
    uint32_t *top)
{
	if (x.rows > 0)
		nll_rows<<<(unsigned)x.rows, SQC_THREADS, 0, s>>>(x, target,
		    nll, top);
}

static __global__ void
kl_rows(struct sq_mat ma, struct sq_mat mb, float *kl)
{
	__shared__ float best[SQC_THREADS];
	__shared__ uint32_t at[SQC_THREADS];
	__shared__ double part[WARPS];
	const float *a = row_of(ma, blockIdx.x), *b = row_of(mb, blockIdx.x);
	size_t n = ma.cols, i;
	double la, lb, p, sum = 0;

	la = log_sum_exp(a, n, a[greatest(a, n, best, at)], part);
	lb = log_sum_exp(b, n, b[greatest(b, n, best, at)], part);
	for (i = threadIdx.x; i < n; i += blockDim.x) {
		p = exp((double)a[i] - la);
		if ((float)p > 0)
			sum += p * (((double)a[i] - la) - ((double)b[i] - lb));
	}
	sum = block_sum(sum, part);
	if (threadIdx.x == 0)
		kl[blockIdx.x] = sum < 0 ? 0 : (float)sum;
}

void
sqc_kl(gpu_stream s, struct sq_mat a, struct sq_mat b, float *kl)
{
	if (a.rows > 0)
		kl_rows<<<(unsigned)a.rows, SQC_THREADS, 0, s>>>(a, b, kl);
}

static __device__ unsigned
bin(float x)
{
	uint32_t u = __float_as_uint(x), m = u & 0x7fffff;
	int e = (int)(u >> 23 & 0xff) - 127 + 32;

	if (e < 0)
		return 0;
	e = 4 * e + 1 + (m >= SQ_QUARTER1) + (m >= SQ_QUARTER2) +
	    (m >= SQ_QUARTER3);
	return e > SQ_BINS - 1 ? SQ_BINS - 1 : (unsigned)e;
}

/* A thread goes down a column, row after row: the sums are those of ref. */
static __global__ void
moments(struct sq_mat x, struct sq_moments m)
{
	__shared__ unsigned hist[SQ_BINS];
	size_t j = blockIdx.x * (size_t)blockDim.x + threadIdx.x, i;
	float v, least, most;
	double sum, abssum;

	for (i = threadIdx.x; i < SQ_BINS; i += blockDim.x)
		hist[i] = 0;
	__syncthreads();
	if (j < x.cols) {
		least = m.min[j];
		most = m.max[j];
		sum = m.sum[j];
		abssum = m.abssum[j];
		for (i = 0; i < x.rows; i++) {
			v = row_of(x, i)[j];
			least = v < least ? v : least;
			most = v > most ? v : most;
			sum += v;
			abssum += fabsf(v);
			atomicAdd(&hist[bin(v)], 1u);
		}
		m.min[j] = least;
		m.max[j] = most;
		m.sum[j] = sum;
		m.abssum[j] = abssum;
	}
	__syncthreads();
	for (i = threadIdx.x; i < SQ_BINS; i += blockDim.x)
		if (hist[i] > 0)
			atomicAdd((unsigned long long *)&m.hist[i],
			    (unsigned long long)hist[i]);
}

void
sqc_moments(gpu_stream s, struct sq_mat x, struct sq_moments m)
{
	if (x.cols > 0)
		moments<<<(unsigned)((x.cols + 63) / 64), 64, 0, s>>>(x, m);
}
