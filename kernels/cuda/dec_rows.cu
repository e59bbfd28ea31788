/* The decoder's operations on rows, fused with what follows; see dec.h. */
#include <cuda_fp8.h>

#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#define THREADS	256

static __device__ float
block_max(float v, float *part)
{
	int d, w = threadIdx.x / GPU_WARP, n = blockDim.x / GPU_WARP;

	for (d = GPU_WARP / 2; d > 0; d /= 2)
		v = fmaxf(v, gpu_shfl_xor(v, d));
	__syncthreads();
	if (threadIdx.x % GPU_WARP == 0)
		part[w] = v;
	__syncthreads();
	for (v = part[0], w = 1; w < n; w++)
		v = fmaxf(v, part[w]);
	return v;
}

static __device__ uint8_t
to_e4m3(float v)
{
	return __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
}

/* The place of column j in the order of the int4 kernel. */
static __device__ size_t
arranged(size_t j)
{
	return (j & ~(size_t)7) | (j & 3) << 1 | (j >> 2 & 1);
}

/* A row of n values in shared memory, into x's form. */
static __device__ void
put_row(const float *v, size_t n, size_t row, const struct dec_x &x,
    float *part)
{
	uint16_t *h = (uint16_t *)x.p + row * n;
	uint32_t *b = (uint32_t *)((uint8_t *)x.p + row * n);
	float most = 0, f;
	size_t j;

	if (x.form != DEC_E4M3) {
		for (j = threadIdx.x; j < n; j += blockDim.x)
			h[x.form == DEC_PLAIN ? j : arranged(j)] =
			    to_bf16(v[j]);
		return;
	}
	for (j = threadIdx.x; j < n; j += blockDim.x)
		most = fmaxf(most, fabsf(v[j]));
	most = block_max(most, part);
	f = most > 0 ? 448 / most : 0;
	if (threadIdx.x == 0)
		x.scale[row] = most / 448;
	for (j = threadIdx.x; j < n / 4; j += blockDim.x)
		b[j] = to_e4m3(v[4 * j] * f) |
		    (uint32_t)to_e4m3(v[4 * j + 1] * f) << 8 |
		    (uint32_t)to_e4m3(v[4 * j + 2] * f) << 16 |
		    (uint32_t)to_e4m3(v[4 * j + 3] * f) << 24;
}

static __global__ void
embed(const uint16_t *table, size_t dim, const uint32_t *ids,
    const uint32_t *slot, float *h)
{
	size_t i = blockIdx.x, j;
	const uint16_t *from;

	wait_for_others();
	let_next_start();
	from = table + (size_t)ids[slot == NULL ? i : slot[i]] * dim;
	for (j = threadIdx.x; j < dim; j += blockDim.x)
		h[i * dim + j] = from_bf16(from[j]);
}

void
dec_embed(gpu_stream s, const void *table, size_t dim, const uint32_t *ids,
    const uint32_t *slot, size_t n, float *h)
{
	launch(embed, dim3((unsigned)n), THREADS, 0, s,
	    (const uint16_t *)table, dim, ids, slot, h);
}

static __global__ void
norm(float *h, const uint16_t *add, const float *w, float eps, size_t dim,
    struct dec_x x)
{
	extern __shared__ float v[];
	__shared__ float part[THREADS / 16];
	size_t row = blockIdx.x, j;
	float sum = 0, r;

	wait_for_others();
	let_next_start();
	for (j = threadIdx.x; j < dim; j += blockDim.x) {
		v[j] = h[row * dim + j];
		if (add != NULL) {
			v[j] += from_bf16(add[row * dim + j]);
			h[row * dim + j] = v[j];
		}
		sum += v[j] * v[j];
	}
	r = rsqrtf(block_sum(sum, part) / (float)dim + eps);
	for (j = threadIdx.x; j < dim; j += blockDim.x)
		v[j] *= r * w[j];
	__syncthreads();
	put_row(v, dim, row, x, part);
}

void
dec_norm(gpu_stream s, float *h, const void *add, const float *w, float eps,
    size_t n, size_t dim, struct dec_x x)
{
	launch(norm, dim3((unsigned)n), THREADS, dim * sizeof(float), s, h,
	    (const uint16_t *)add, w, eps, dim, x);
}

static __global__ void
gather(const float *h, const uint32_t *row, size_t dim, float *to)
{
	size_t j;

	wait_for_others();
	for (j = threadIdx.x; j < dim; j += blockDim.x)
		to[blockIdx.x * dim + j] = h[(size_t)row[blockIdx.x] * dim + j];
}

void
dec_gather(gpu_stream s, const float *h, const uint32_t *row, size_t n,
    size_t dim, float *to)
{
	launch(gather, dim3((unsigned)n), THREADS, 0, s, h, row, dim, to);
}

static __global__ void
silu(const uint32_t *gu, size_t ffn, struct dec_x x)
{
	extern __shared__ float v[];
	__shared__ float part[THREADS / 16];
	size_t row = blockIdx.x, j;
	const uint32_t *g = gu + row * ffn, *u = g + ffn / 2;
	float a, b;

	wait_for_others();
	let_next_start();
	for (j = threadIdx.x; j < ffn / 2; j += blockDim.x) {
		a = __uint_as_float(g[j] << 16);
		b = __uint_as_float(g[j] & 0xffff0000);
		v[2 * j] = a / (1 + __expf(-a)) * __uint_as_float(u[j] << 16);
		v[2 * j + 1] = b / (1 + __expf(-b)) *
		    __uint_as_float(u[j] & 0xffff0000);
	}
	__syncthreads();
	put_row(v, ffn, row, x, part);
}

/* Dynamic shared memory beyond 48 KB is asked for, once. */
static void
allow(const void *kernel, size_t bytes)
{
	if (bytes > 48 << 10)
		(void)GPU(FuncSetAttribute)(kernel,
		    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes);
}

void
dec_silu(gpu_stream s, const void *gate_up, size_t n, size_t ffn,
    struct dec_x x)
{
	allow((const void *)silu, ffn * sizeof(float));
	launch(silu, dim3((unsigned)n), THREADS, ffn * sizeof(float), s,
	    (const uint32_t *)gate_up, ffn, x);
}

static __global__ void
form(const uint16_t *in, size_t dim, struct dec_x x)
{
	extern __shared__ float v[];
	__shared__ float part[THREADS / 16];
	size_t j;

	wait_for_others();
	let_next_start();
	for (j = threadIdx.x; j < dim; j += blockDim.x)
		v[j] = from_bf16(in[blockIdx.x * dim + j]);
	__syncthreads();
	put_row(v, dim, blockIdx.x, x, part);
}

void
dec_form(gpu_stream s, const void *in, size_t n, size_t dim, struct dec_x x)
{
	launch(form, dim3((unsigned)n), THREADS, dim * sizeof(float), s,
	    (const uint16_t *)in, dim, x);
}

static __device__ void
cache_put(const struct dec_step &d, void *to, size_t at, float v)
{
	if (d.fp8)
		((uint8_t *)to)[at] = to_e4m3(v);
	else
		((uint16_t *)to)[at] = to_bf16(v);
}

/* What the attention of a step takes for q: f16 beside an e4m3 cache. */
static __device__ uint16_t
query(const struct dec_step &d, int prefill, float v)
{
	return d.fp8 && !prefill ? to_f16(v) : to_bf16(v);
}

static __global__ void
rope(struct dec_step d, uint16_t *qkv, int prefill)
{
	size_t half = d.dim / 2, i = blockIdx.x, j, head, e, at;
	size_t width = (size_t)(d.heads + 2 * d.kv_heads) * d.dim;
	uint32_t slot, pos, page;
	uint16_t *p;
	float a, b, c, s;

	wait_for_others();
	let_next_start();
	slot = d.slot[i];
	pos = d.pos != NULL ? d.pos[i] : d.length[slot];
	page = d.table[(size_t)slot * d.max_pages + pos / SQ_DEC_PAGE];
	for (j = threadIdx.x; j < width / 2; j += blockDim.x) {
		head = j / half;
		e = j % half;
		p = qkv + i * width + head * d.dim + e;
		a = from_bf16(p[0]);
		b = from_bf16(p[half]);
		if (head >= d.heads + d.kv_heads) {
			at = (page * (size_t)d.kv_heads + head - d.heads -
			    d.kv_heads) * d.dim;
			cache_put(d, d.v, (at + e) * SQ_DEC_PAGE +
			    pos % SQ_DEC_PAGE, a);
			cache_put(d, d.v, (at + e + half) * SQ_DEC_PAGE +
			    pos % SQ_DEC_PAGE, b);
			continue;
		}
		c = d.angles[(size_t)pos * d.dim + e];
		s = d.angles[(size_t)pos * d.dim + half + e];
		if (head < d.heads) {
			p[0] = query(d, prefill, a * c - b * s);
			p[half] = query(d, prefill, b * c + a * s);
			continue;
		}
		p[0] = to_bf16(a * c - b * s);
		p[half] = to_bf16(b * c + a * s);
		at = ((page * (size_t)d.kv_heads + head - d.heads) *
		    SQ_DEC_PAGE + pos % SQ_DEC_PAGE) * d.dim + e;
		cache_put(d, d.k, at, a * c - b * s);
		cache_put(d, d.k, at + half, b * c + a * s);
	}
}

void
dec_rope(gpu_stream s, struct dec_step d, void *qkv, int prefill)
{
	launch(rope, dim3(d.n), THREADS, 0, s, d, (uint16_t *)qkv, prefill);
}

static __device__ float
value(float f)
{
	return f;
}

static __device__ float
value(uint16_t h)
{
	return from_bf16(h);
}

/* The first of the greatest; NaN is never one. */
template <typename T>
static __global__ void
pick(const T *logits, size_t vocab, const uint32_t *slot, uint32_t *next,
    uint32_t *made, uint32_t *nmade, size_t most, uint32_t *length, int grow)
{
	__shared__ float best[32];
	__shared__ uint32_t at[32];
	const T *x;
	float v = -INFINITY, o;
	uint32_t id = 0, oid, s;
	size_t j;
	int d, w = threadIdx.x / GPU_WARP;

	wait_for_others();
	x = logits + blockIdx.x * vocab;
	s = slot[blockIdx.x];
	for (j = threadIdx.x; j < vocab; j += blockDim.x)
		if ((o = value(x[j])) > v) {
			v = o;
			id = (uint32_t)j;
		}
	for (d = GPU_WARP / 2; d > 0; d /= 2) {
		o = gpu_shfl_xor(v, d);
		oid = gpu_shfl_xor(id, d);
		if (o > v || (o == v && oid < id)) {
			v = o;
			id = oid;
		}
	}
	if (threadIdx.x % GPU_WARP == 0) {
		best[w] = v;
		at[w] = id;
	}
	__syncthreads();
	if (threadIdx.x != 0)
		return;
	for (d = 1; d < (int)(blockDim.x / GPU_WARP); d++)
		if (best[d] > v || (best[d] == v && at[d] < id)) {
			v = best[d];
			id = at[d];
		}
	next[s] = id;
	if (nmade[s] < most)
		made[(size_t)s * most + nmade[s]] = id;
	nmade[s]++;
	if (grow)
		length[s]++;
}

void
dec_pick(gpu_stream s, const void *logits, int bf16, size_t vocab,
    const uint32_t *slot, size_t n, uint32_t *next, uint32_t *made,
    uint32_t *nmade, size_t most, uint32_t *length, int grow)
{
	if (bf16)
		launch(pick<uint16_t>, dim3((unsigned)n), 1024, 0, s,
		    (const uint16_t *)logits, vocab, slot, next, made, nmade,
		    most, length, grow);
	else
		launch(pick<float>, dim3((unsigned)n), 1024, 0, s,
		    (const float *)logits, vocab, slot, next, made, nmade,
		    most, length, grow);
}

/* ---- weights ---- */

static __device__ uint64_t
mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static __global__ void
random_bytes(uint64_t seed, size_t n, uint64_t *out)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

	if (i < n)
		out[i] = mix(seed + i);
}

static __global__ void
fill_f16(uint16_t *p, size_t n, float v)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

	if (i < n)
		p[i] = to_f16(v);
}

static unsigned
blocks(size_t n)
{
	return (unsigned)((n + THREADS - 1) / THREADS);
}

/* Codes even over the grid, one scale: a spread of 4.6 steps. */
void
dec_random_w4(gpu_stream s, uint64_t seed, size_t rows, size_t cols,
    void *codes, void *scales, float spread)
{
	size_t n = rows * cols / 16, g = rows * cols / 128;

	random_bytes<<<blocks(n), THREADS, 0, s>>>(seed, n, (uint64_t *)codes);
	fill_f16<<<blocks(g), THREADS, 0, s>>>((uint16_t *)scales, g,
	    spread / 4.6f);
}

/* Near normal: the sum of four 16-bit numbers. */
static __global__ void
random_bf16(uint64_t seed, size_t n, uint16_t *out, float spread)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
	uint64_t z;

	if (i >= n)
		return;
	z = mix(seed + i);
	out[i] = to_bf16(((float)((z & 0xffff) + (z >> 16 & 0xffff) +
	    (z >> 32 & 0xffff) + (z >> 48)) / 65536 - 2) * 1.732f * spread);
}

void
dec_random_bf16(gpu_stream s, uint64_t seed, size_t n, void *out,
    float spread)
{
	random_bf16<<<blocks(n), THREADS, 0, s>>>(seed, n, (uint16_t *)out,
	    spread);
}

static __global__ void
ones(float *p, size_t n)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

	if (i < n)
		p[i] = 1;
}

void
dec_ones(gpu_stream s, float *p, size_t n)
{
	ones<<<blocks(n), THREADS, 0, s>>>(p, n);
}

void
dec_rows_e4m3(gpu_stream s, const void *bf16, size_t rows, size_t cols,
    void *out, float *scale)
{
	struct dec_x x = { DEC_E4M3, out, scale };

	allow((const void *)form, cols * sizeof(float));
	form<<<(unsigned)rows, THREADS, cols * sizeof(float), s>>>(
	    (const uint16_t *)bf16, cols, x);
}
