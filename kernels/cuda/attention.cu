/*
 * Attention over paged keys and values, any shape, in float32; see cuda.h.
 *
 * A block takes up to SQC_TILE queries that share a KV head (some tokens times
 * the heads of a group) and goes over its keys, STEP at a time, keeping the
 * greatest score so far, the sum of exponentials and the sums of values.
 * Where a sequence is cut into parts, each leaves these in `sums', and merge()
 * puts them together in order.
 */
#include "kernels/cuda/attention.h"

#define STEP	32			/* keys at a time */
#define THREADS	128

static __global__ void
append(struct sqc_attn j, struct sq_mat k, struct sq_mat v)
{
	const struct sqc_tile t = j.tile[blockIdx.x];
	size_t n = j.kv.heads * j.kv.dim, i, r, pos, at;

	for (r = 0; r < t.nquery; r++) {
		pos = t.pos + r;
		for (i = threadIdx.x; i < n; i += blockDim.x) {
			at = page_at(j.kv, i / j.kv.dim, pos) + i % j.kv.dim;
			store(j.k[t.pages + pos / j.kv.page], j.kv.type, at,
			    row_of(k, t.row + r)[i]);
			store(j.v[t.pages + pos / j.kv.page], j.kv.type, at,
			    row_of(v, t.row + r)[i]);
		}
	}
}

void
sqc_kv_append(gpu_stream s, struct sqc_attn j, struct sq_mat k,
    struct sq_mat v)
{
	append<<<j.ntiles, SQC_THREADS, 0, s>>>(j, k, v);
}

/* Shared memory: queries and sums [SQC_TILE][dim], keys and values
 * [STEP][dim + 1], scores [SQC_TILE][STEP]. */
static size_t
shared_floats(size_t dim)
{
	return 2 * SQC_TILE * dim + STEP * (dim + 1) + SQC_TILE * STEP;
}

struct tile {
	float *q, *acc, *kv, *s;
	float max[SQC_TILE], sum[SQC_TILE], fade[SQC_TILE];
};

static __device__ void
load_keys(const struct sqc_attn &j, const struct sqc_tile &t,
    void *const *pages, size_t head, size_t from, size_t n, float *to)
{
	size_t dim = j.kv.dim, i, pos;

	for (i = threadIdx.x; i < n * dim; i += blockDim.x) {
		pos = from + i / dim;
		to[i / dim * (dim + 1) + i % dim] = load(pages[t.pages +
		    pos / j.kv.page], j.kv.type, page_at(j.kv, head, pos) +
		    i % dim);
	}
}

/* Scores of n keys, -infinity where a query does not see one. */
static __device__ void
scores(const struct sqc_attn &j, const struct sqc_tile &t, struct tile &m,
    size_t group, size_t from, size_t n)
{
	size_t dim = j.kv.dim, i, q, k, e, pos;
	float s;

	for (i = threadIdx.x; i < SQC_TILE * STEP; i += blockDim.x) {
		q = i / STEP;
		k = i % STEP;
		pos = t.pos + (t.query + q) / group;
		s = -INFINITY;
		if (q < t.nquery && k < n && from + k <= pos &&
		    (j.a.window == 0 || from + k + j.a.window > pos)) {
			s = 0;
			for (e = 0; e < dim; e++)
				s += m.q[q * dim + e] * m.kv[k * (dim + 1) + e];
			s *= j.a.scale;
		}
		m.s[i] = s;
	}
}

/* Scores to exponentials; what was summed before fades as the greatest grows. */
static __device__ void
soften(struct tile &m)
{
	float max, sum, *s;
	int k, q = threadIdx.x;

	if (q >= SQC_TILE)
		return;
	s = m.s + q * STEP;
	max = m.max[q];
	for (k = 0; k < STEP; k++)
		max = fmaxf(max, s[k]);
	m.fade[q] = max == -INFINITY ? 1 : expf(m.max[q] - max);
	sum = m.sum[q] * m.fade[q];
	for (k = 0; k < STEP; k++) {
		s[k] = max == -INFINITY ? 0 : expf(s[k] - max);
		sum += s[k];
	}
	m.max[q] = max;
	m.sum[q] = sum;
}

static __global__ void
attend(struct sqc_attn j, struct sq_mat mq, struct sq_mat my)
{
	extern __shared__ float shared[];
	__shared__ struct tile m;
	const struct sqc_tile t = j.tile[blockIdx.x];
	size_t dim = j.kv.dim, head = blockIdx.y, group = j.a.heads /
	    j.kv.heads, i, q, k, from, n;
	float v;

	m.q = shared;
	m.acc = m.q + SQC_TILE * dim;
	m.kv = m.acc + SQC_TILE * dim;
	m.s = m.kv + STEP * (dim + 1);
	if (threadIdx.x < SQC_TILE) {
		m.max[threadIdx.x] = -INFINITY;
		m.sum[threadIdx.x] = 0;
	}
	for (i = threadIdx.x; i < SQC_TILE * dim; i += blockDim.x) {
		q = t.query + i / dim;
		m.q[i] = i / dim < t.nquery ? row_of(mq, t.row + q / group)
		    [(head * group + q % group) * dim + i % dim] : 0;
		m.acc[i] = 0;
	}
	for (from = t.from; from < t.to; from += STEP) {
		n = t.to - from < STEP ? t.to - from : STEP;
		__syncthreads();
		load_keys(j, t, j.k, head, from, n, m.kv);
		__syncthreads();
		scores(j, t, m, group, from, n);
		__syncthreads();
		soften(m);
		load_keys(j, t, j.v, head, from, n, m.kv);
		__syncthreads();
		for (i = threadIdx.x; i < t.nquery * dim; i += blockDim.x) {
			q = i / dim;
			v = m.acc[i] * m.fade[q];
			for (k = 0; k < n; k++)
				v += m.s[q * STEP + k] *
				    m.kv[k * (dim + 1) + i % dim];
			m.acc[i] = v;
		}
	}
	__syncthreads();
	for (i = threadIdx.x; i < t.nquery * dim; i += blockDim.x) {
		q = i / dim;
		leave(j, t, my, q, i % dim, m.acc[i], m.max[q], m.sum[q]);
	}
}

/* The first part's block of a query's tile puts all parts together. */
static __global__ void
merge(struct sqc_attn j, struct sq_mat my)
{
	const struct sqc_tile t = j.tile[blockIdx.x];
	size_t dim = j.kv.dim, head = blockIdx.y, group = j.a.heads /
	    j.kv.heads, i, q, p, step = j.kv.heads * SQC_TILE * (dim + 2);
	const float *from;
	float max, sum, v, f;

	if (t.parts == 1 || t.part != 0)
		return;
	for (i = threadIdx.x; i < t.nquery * dim; i += blockDim.x) {
		q = i / dim;
		from = j.sums + ((size_t)t.sums * j.kv.heads + head) *
		    SQC_TILE * (dim + 2) + q * (dim + 2);
		max = -INFINITY;
		for (p = 0; p < t.parts; p++)
			max = fmaxf(max, from[p * step + dim]);
		for (sum = v = 0, p = 0; p < t.parts; p++) {
			f = expf(from[p * step + dim] - max);
			sum += f * from[p * step + dim + 1];
			v += f * from[p * step + i % dim];
		}
		row_of(my, t.row + (t.query + q) / group)[(head * group +
		    (t.query + q) % group) * dim + i % dim] = v / sum;
	}
}

void
sqc_attention(gpu_stream s, struct sqc_attn j, struct sq_mat q,
    struct sq_mat y)
{
	static size_t allowed = 48 << 10;
	size_t bytes = shared_floats(j.kv.dim) * sizeof(float);
	dim3 grid(j.ntiles, (unsigned)j.kv.heads);

	if (bytes > allowed && GPU(FuncSetAttribute)((const void *)attend,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes) ==
	    GPU(Success))
		allowed = bytes;
	if (!sqc_attention_mma(s, j, q, y))
		attend<<<grid, THREADS, bytes, s>>>(j, q, y);
	if (j.sums != NULL)
		merge<<<grid, THREADS, 0, s>>>(j, y);
}
