/* The decoder's operations on rows, fused with what follows; see dec.h. */
#include "kernels/cuda/dec_pieces.h"
#include "kernels/cuda/launch.h"

#define THREADS	256
#define MANY	256			/* rows: enough blocks for small ones */

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

/* A row of n values in shared memory, a multiple of 8, into x's form. */
static __device__ void
put_row(const float4 *v, size_t n, size_t row, const struct dec_x &x,
    float *part)
{
	uint16_t *h = (uint16_t *)x.p + row * n;
	uint32_t *b = (uint32_t *)((uint8_t *)x.p + row * n);
	float most = 0, f;
	float4 a;
	size_t j;

	if (x.form == DEC_PLAIN)
		for (j = threadIdx.x; j < n / 4; j += blockDim.x) {
			a = v[j];
			((uint2 *)h)[j] = make_uint2(two_bf16(a.x, a.y),
			    two_bf16(a.z, a.w));
		}
	for (j = threadIdx.x; x.form == DEC_PANELS && j < n / 8; j +=
	    blockDim.x)
		put_panel(x, row, j / 16, j % 16, (const float *)v + j / 16 *
		    128);
	for (j = threadIdx.x; x.form == DEC_BYTES && j < n / 4; j +=
	    blockDim.x)
		put_bytes(x, row, j / 32, v[j]);
	if (x.form != DEC_E4M3)
		return;
	for (j = threadIdx.x; j < n / 4; j += blockDim.x) {
		a = v[j];
		most = fmaxf(most, fmaxf(fmaxf(fabsf(a.x), fabsf(a.y)),
		    fmaxf(fabsf(a.z), fabsf(a.w))));
	}
	most = block_max(most, part);
	f = most > 0 ? 448 / most : 0;
	if (threadIdx.x == 0)
		x.scale[row] = most / 448;
	for (j = threadIdx.x; j < n / 4; j += blockDim.x) {
		a = v[j];
		b[j] = four_e4m3(a.x * f, a.y * f, a.z * f, a.w * f);
	}
}

/* Threads for a row of n: four values each, up to 1024 of them. */
static int
threads_for(size_t n)
{
	size_t t = (n / 4 + 31) / 32 * 32;

	return (int)(t > 1024 ? 1024 : t);
}

/* Dynamic shared memory beyond 48 KB is asked for. */
static void
allow(const void *kernel, size_t bytes)
{
	if (bytes > 48 << 10)
		(void)GPU(FuncSetAttribute)(kernel,
		    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes);
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

static __global__ void __launch_bounds__(1024)
norm(float4 *h, struct dec_y add, const float4 *w, float eps, size_t dim,
    struct dec_x x)
{
	extern __shared__ float4 v[];
	__shared__ float part[1024 / 16];
	size_t first = blockIdx.x * (dim / 4), j, n = dim / 4;
	float4 a, b, mine = w[min((size_t)threadIdx.x, n - 1)];
	float sum = 0, r;

	let_next_start();
	wait_for_others();
	for (j = threadIdx.x; j < n; j += blockDim.x) {
		a = h[first + j];
		if (add.p != NULL) {
			b = four_of(add, blockIdx.x, dim, j);
			a.x += b.x;
			a.y += b.y;
			a.z += b.z;
			a.w += b.w;
			h[first + j] = a;
		}
		v[j] = a;
		sum += a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
	}
	r = rsqrtf(block_sum(sum, part) / (float)dim + eps);
	for (j = threadIdx.x; j < n; j += blockDim.x) {
		a = v[j];
		b = j == threadIdx.x ? mine : w[j];
		v[j] = make_float4(a.x * r * b.x, a.y * r * b.y, a.z * r *
		    b.z, a.w * r * b.w);
	}
	__syncthreads();
	put_row(v, dim, blockIdx.x, x, part);
}

void
dec_norm(gpu_stream s, float *h, struct dec_y add, const float *w, float eps,
    size_t n, size_t dim, struct dec_x x)
{
	launch(norm, dim3((unsigned)n), threads_for(dim), dim * sizeof(float),
	    s, (float4 *)h, add, (const float4 *)w, eps, dim, x);
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

static __device__ float
silu_of(float g, float u)
{
	return g / (1 + __expf(-g)) * u;
}

static __global__ void __launch_bounds__(1024)
silu(struct dec_y gu, size_t ffn, struct dec_x x)
{
	extern __shared__ float4 v[];
	__shared__ float part[1024 / 16];
	float4 a, b;
	size_t j;

	let_next_start();
	wait_for_others();
#pragma unroll 4
	for (j = threadIdx.x; j < ffn / 4; j += blockDim.x) {
		a = four_of(gu, blockIdx.x, 2 * ffn, j);
		b = four_of(gu, blockIdx.x, 2 * ffn, j + ffn / 4);
		v[j] = make_float4(silu_of(a.x, b.x), silu_of(a.y, b.y),
		    silu_of(a.z, b.z), silu_of(a.w, b.w));
	}
	__syncthreads();
	put_row(v, ffn, blockIdx.x, x, part);
}

/* A block for 512 columns of a row, or what is left of them, into panels. */
static __global__ void
silu_panels(struct dec_y gu, size_t ffn, struct dec_x x)
{
	__shared__ float4 v[128];
	size_t j = blockIdx.y * 128 + threadIdx.x, block;
	float4 a, b, c;

	let_next_start();
	wait_for_others();
	if (j < ffn / 4) {
		a = four_of(gu, blockIdx.x, 2 * ffn, 2 * j);
		b = four_of(gu, blockIdx.x, 2 * ffn, 2 * j + 1);
		c = make_float4(silu_of(a.x, a.y), silu_of(a.z, a.w),
		    silu_of(b.x, b.y), silu_of(b.z, b.w));
		v[threadIdx.x] = c;
		if (x.form == DEC_BYTES)
			put_bytes(x, blockIdx.x, j / 32, c);
	}
	if (x.form == DEC_BYTES)
		return;
	__syncthreads();
	block = blockIdx.y * 4 + threadIdx.x / 16;
	if (threadIdx.x < 64 && block < ffn / 128)
		put_panel(x, blockIdx.x, block, threadIdx.x % 16,
		    (const float *)v + threadIdx.x / 16 * 128);
}

void
dec_silu(gpu_stream s, struct dec_y gate_up, size_t n, size_t ffn,
    struct dec_x x)
{
	if (x.form == DEC_PANELS || x.form == DEC_BYTES) {
		launch(silu_panels, dim3((unsigned)n, (unsigned)((ffn + 511) /
		    512)), 128, 0, s, gate_up, ffn, x);
		return;
	}
	allow((const void *)silu, ffn * sizeof(float));
	launch(silu, dim3((unsigned)n), n > MANY ? 512 : threads_for(ffn),
	    ffn * sizeof(float), s, gate_up, ffn, x);
}

static __global__ void __launch_bounds__(1024)
form(const uint2 *in, size_t dim, struct dec_x x)
{
	extern __shared__ float4 v[];
	__shared__ float part[1024 / 16];
	size_t j;

	let_next_start();
	wait_for_others();
	for (j = threadIdx.x; j < dim / 4; j += blockDim.x)
		v[j] = four_bf16(in[blockIdx.x * (dim / 4) + j]);
	__syncthreads();
	put_row(v, dim, blockIdx.x, x, part);
}

void
dec_form(gpu_stream s, const void *in, size_t n, size_t dim, struct dec_x x)
{
	allow((const void *)form, dim * sizeof(float));
	launch(form, dim3((unsigned)n), threads_for(dim), dim * sizeof(float),
	    s, (const uint2 *)in, dim, x);
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

/* The greater logit of two, the first of equals. */
static __device__ void
prefer(float &v, uint32_t &id, float o, uint32_t oid)
{
	if (o > v || (o == v && oid < id)) {
		v = o;
		id = oid;
	}
}

static __device__ void
warp_best(float &v, uint32_t &id)
{
	int d;

	for (d = GPU_WARP / 2; d > 0; d /= 2)
		prefer(v, id, gpu_shfl_xor(v, d), gpu_shfl_xor(id, d));
}

/* The first of the greatest of a part of a row; NaN is never one. */
template <typename T>
static __global__ void
pick_part(const T *logits, const float *col, uint32_t vocab, uint2 *best)
{
	__shared__ float bv[32];
	__shared__ uint32_t bi[32];
	uint32_t j, to, id = vocab;
	float v = -INFINITY;
	const T *x = logits + (size_t)blockIdx.x * vocab;
	int w;

	let_next_start();
	wait_for_others();
	j = (uint32_t)((uint64_t)vocab * blockIdx.y / gridDim.y);
	to = (uint32_t)((uint64_t)vocab * (blockIdx.y + 1) / gridDim.y);
	for (j += threadIdx.x; j < to; j += blockDim.x)
		prefer(v, id, value(x[j]) * (col == NULL ? 1 : col[j]), j);
	warp_best(v, id);
	if (threadIdx.x % GPU_WARP == 0) {
		bv[threadIdx.x / GPU_WARP] = v;
		bi[threadIdx.x / GPU_WARP] = id;
	}
	__syncthreads();
	if (threadIdx.x != 0)
		return;
	for (w = 1; w < (int)(blockDim.x / GPU_WARP); w++)
		prefer(v, id, bv[w], bi[w]);
	best[blockIdx.x * gridDim.y + blockIdx.y] =
	    make_uint2(__float_as_uint(v), id);
}

static __global__ void
pick(const uint2 *best, uint32_t parts, uint32_t vocab, const uint32_t *slot,
    uint32_t *next, uint32_t *made, uint32_t *nmade, size_t most,
    uint32_t *length, int grow)
{
	uint32_t i, id = vocab, s;
	float v = -INFINITY;
	uint2 b;

	wait_for_others();
	for (i = threadIdx.x; i < parts; i += GPU_WARP) {
		b = best[blockIdx.x * parts + i];
		prefer(v, id, __uint_as_float(b.x), b.y);
	}
	warp_best(v, id);
	if (threadIdx.x != 0)
		return;
	id = id < vocab ? id : 0;
	s = slot[blockIdx.x];
	next[s] = id;
	if (nmade[s] < most)
		made[(size_t)s * most + nmade[s]] = id;
	nmade[s]++;
	if (grow)
		length[s]++;
}

void
dec_pick(gpu_stream s, const void *logits, int bf16, const float *col,
    size_t vocab, const uint32_t *slot, size_t n, void *best, uint32_t *next,
    uint32_t *made, uint32_t *nmade, size_t most, uint32_t *length, int grow,
    struct dec_how *how)
{
	dim3 grid((unsigned)n, DEC_PARTS);

	if (bf16)
		launch(pick_part<uint16_t>, grid, THREADS, 0, s,
		    (const uint16_t *)logits, col, (uint32_t)vocab, (uint2 *)
		    best);
	else
		launch(pick_part<float>, grid, THREADS, 0, s,
		    (const float *)logits, col, (uint32_t)vocab, (uint2 *)
		    best);
	if (how != NULL)
		dec_draw(s, logits, bf16, col, vocab, slot, n, how, best);
	launch(pick, dim3((unsigned)n), 64, 0, s, (const uint2 *)best,
	    (uint32_t)DEC_PARTS, (uint32_t)vocab, slot, next, made, nmade,
	    most, length, grow);
}

/* ---- weights ---- */

static __device__ uint64_t
mix(uint64_t z)
{
	return sqc_mix(z + 0x9e3779b97f4a7c15);
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
	struct dec_x x = { DEC_E4M3, out, scale, 0 };

	dec_form(s, bf16, rows, cols, x);
}
