/* What GPTQ needs of H, on the device; see solve.h. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/solve.h"
#include "kernels/rounding.h"

#define COLUMN	(blockIdx.x * (size_t)blockDim.x + threadIdx.x)
#define EACH_ROW(i, n)	size_t i = blockIdx.y; i < (n); i += gridDim.y

/* From its diagonal on, a column is the same as the row. */
static __global__ void
reflect(struct sq_mat x, size_t col, struct sq_mat y)
{
	size_t k = COLUMN;

	if (k < x.cols)
		for (EACH_ROW(i, x.rows))
			if (i <= col + k)
				row_of(y, i)[col + k] = row_of(y, col + k)[i] =
				    row_of(x, i)[k];
}

void
sqc_reflect(gpu_stream s, struct sq_mat x, size_t col, struct sq_mat y)
{
	reflect<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(x, col,
	    y);
}

static __global__ void
gather(struct sq_mat h, const uint32_t *col, const float *more,
    struct sq_mat to)
{
	size_t k = COLUMN, n = h.cols, a, b;

	if (k >= n)
		return;
	b = col[n - 1 - k];
	for (EACH_ROW(i, n)) {
		a = col[n - 1 - i];
		row_of(to, i)[k] = row_of(h, a)[b] + (i == k ? more[a] : 0);
	}
}

void
sqc_gather(gpu_stream s, struct sq_mat h, const uint32_t *col,
    const float *more, struct sq_mat to)
{
	gather<<<over_rows(h.rows, h.cols, 1), SQC_THREADS, 0, s>>>(h, col,
	    more, to);
}

static __global__ void
pivots(struct sq_mat r, float *diagonal, float *pivot)
{
	size_t k = COLUMN, n = r.cols;
	float d;

	if (k >= n)
		return;
	d = row_of(r, n - 1 - k)[n - 1 - k];
	diagonal[k] = d;
	pivot[k] = d * d;
}

/* Each value below the diagonal has its place above it, and leaves a zero. */
static __global__ void
turn_about(struct sq_mat r, const float *diagonal)
{
	size_t k = COLUMN, n = r.cols;
	float *from;

	if (k >= n)
		return;
	for (EACH_ROW(i, n)) {
		if (i == k)
			row_of(r, i)[k] = 1;
		if (i >= k)
			continue;
		from = row_of(r, n - 1 - i) + n - 1 - k;
		row_of(r, i)[k] = *from / diagonal[k];
		*from = 0;
	}
}

void
sqc_turn_about(gpu_stream s, struct sq_mat r, float *diagonal, float *pivot)
{
	dim3 all = over_rows(r.rows, r.cols, 1);

	pivots<<<all.x, SQC_THREADS, 0, s>>>(r, diagonal, pivot);
	turn_about<<<all, SQC_THREADS, 0, s>>>(r, diagonal);
}

/* How many threads before this one say yes, and of all, in *all. */
static __device__ unsigned
rank(int yes, unsigned *all)
{
	__shared__ unsigned sum[SQC_THREADS];
	unsigned i = threadIdx.x, d, v;

	__syncthreads();
	sum[i] = yes != 0;
	for (d = 1; d < SQC_THREADS; d *= 2) {
		__syncthreads();
		v = i >= d ? sum[i - d] : 0;
		__syncthreads();
		sum[i] += v;
	}
	__syncthreads();
	*all = sum[SQC_THREADS - 1];
	return sum[i] - (yes != 0);
}

/* The least bin whose columns are all wanted, or some of them. */
static __device__ int
cut_of(const unsigned *count, size_t most)
{
	size_t above = 0;
	int cut;

	for (cut = SQ_PARTNER_BINS - 1; cut > 0 && above + count[cut] < most;
	    cut--)
		above += count[cut];
	return cut;
}

/* Column i: a block. */
static __global__ void
partners(struct sq_mat h, size_t most, uint32_t *with, float *has)
{
	__shared__ unsigned count[SQ_PARTNER_BINS];
	__shared__ int cut;
	size_t i = blockIdx.x, n = h.cols, j, at, have = 0;
	const float *row = row_of(h, i);
	unsigned all;
	int bin, pass;

	for (j = threadIdx.x; j < SQ_PARTNER_BINS; j += SQC_THREADS)
		count[j] = 0;
	__syncthreads();
	for (j = i + 1 + threadIdx.x; j < n; j += SQC_THREADS)
		atomicAdd(&count[sq_partner_bin(row[j], row[i],
		    row_of(h, j)[j])], 1u);
	__syncthreads();
	if (threadIdx.x == 0)
		cut = cut_of(count, most);
	__syncthreads();
	for (pass = 0; pass < 2; pass++)
		for (at = i + 1; at < n && have < most; at += SQC_THREADS) {
			j = at + threadIdx.x;
			bin = j < n ? sq_partner_bin(row[j], row[i],
			    row_of(h, j)[j]) : -1;
			bin = pass == 0 ? bin > cut : bin == cut;
			size_t to = have + rank(bin, &all);

			if (bin && to < most) {
				with[i * most + to] = (uint32_t)j;
				has[i * most + to] = row[j];
			}
			have += all;
		}
}

void
sqc_partners(gpu_stream s, struct sq_mat h, size_t most, uint32_t *with,
    float *has)
{
	partners<<<(unsigned)h.cols, SQC_THREADS, 0, s>>>(h, most, with, has);
}

static __global__ void
row_forms(struct sq_mat x, struct sq_mat g, const float *less, double *to)
{
	__shared__ double part[SQC_THREADS / 16];
	size_t r = blockIdx.x, j;
	const float *a = row_of(x, r), *b = row_of(g, r);
	double sum = 0;

	for (j = threadIdx.x; j < x.cols; j += blockDim.x)
		sum += a[j] * (b[j] - (double)less[j] * a[j]);
	sum = block_sum(sum, part);
	if (threadIdx.x == 0)
		to[r] = sum;
}

void
sqc_row_forms(gpu_stream s, struct sq_mat x, struct sq_mat g,
    const float *less, double *sum)
{
	row_forms<<<(unsigned)x.rows, SQC_THREADS, 0, s>>>(x, g, less, sum);
}
