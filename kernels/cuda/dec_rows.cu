/* The decoder's operations on rows, fused with what follows; see dec.h. */
#include "kernels/cuda/dec_pieces.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#define THREADS	256
#define MANY	128			/* rows: enough blocks for small ones */
#define WIDE	4			/* loads of 16 bytes of a thread */
#define WIDE_THREADS 512

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

/*
 * A row of n quarters is spread over a block, R of them a thread, so that all
 * of a thread's loads are under way at once: one where rows are few, and more
 * where many blocks share a multiprocessor.
 */
struct spread {
	int each, threads;
};

#define MOST_THREADS(each)	((each) == 8 ? 512 : 1024)

static struct spread
spread_of(size_t rows, size_t quarters)
{
	struct spread s;

	s.each = rows > MANY ? (quarters <= 1024 ? 4 : 8) : quarters <= 1024 ?
	    1 : 4;
	if (quarters > MOST_THREADS(s.each) * (size_t)s.each)
		s.each = 16;
	s.threads = (int)((quarters + s.each - 1) / s.each + 31) / 32 * 32;
	return s;
}

#define SPREAD(kernel, s, rows, shared, stream, ...) do {		\
	if ((s).each == 1)						\
		launch(kernel<1>, dim3((unsigned)(rows)), (s).threads,	\
		    shared, stream, __VA_ARGS__);			\
	else if ((s).each == 4)						\
		launch(kernel<4>, dim3((unsigned)(rows)), (s).threads,	\
		    shared, stream, __VA_ARGS__);			\
	else if ((s).each == 8)						\
		launch(kernel<8>, dim3((unsigned)(rows)), (s).threads,	\
		    shared, stream, __VA_ARGS__);			\
	else								\
		launch(kernel<16>, dim3((unsigned)(rows)), (s).threads,	\
		    shared, stream, __VA_ARGS__);			\
} while (0)

/* The row in x's form; of panels, over shared memory. */
template <int R>
static __device__ void
put_row(const float4 (&v)[R], uint32_t n, size_t row, const struct dec_x &x,
    float4 *shared, float *part)
{
	uint32_t j, i;
	float most = 0, f;

	if (x.form == DEC_PLAIN)
#pragma unroll
		for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
			if (j < n)
				((uint2 *)x.p)[row * n + j] = make_uint2(
				    two_bf16(v[i].x, v[i].y), two_bf16(v[i].z,
				    v[i].w));
	if (x.form == DEC_PANELS) {
#pragma unroll
		for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
			if (j < n)
				shared[j] = v[i];
		__syncthreads();
		for (j = threadIdx.x; j < n / 2; j += blockDim.x)
			put_panel(x, row, j / 16, j % 16,
			    (const float *)shared + j / 16 * 128);
	}
	if (x.form != DEC_E4M3)
		return;
#pragma unroll
	for (i = 0; i < R; i++)
		most = fmaxf(most, fmaxf(fmaxf(fabsf(v[i].x), fabsf(v[i].y)),
		    fmaxf(fabsf(v[i].z), fabsf(v[i].w))));
	most = block_max(most, part);
	f = most > 0 ? 448 / most : 0;
	if (threadIdx.x == 0)
		x.scale[row] = most / 448;
#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
		if (j < n)
			((uint32_t *)x.p)[row * n + j] = four_e4m3(v[i].x * f,
			    v[i].y * f, v[i].z * f, v[i].w * f);
}

/* Bytes of shared memory that put_row() takes. */
static size_t
row_bytes(const struct dec_x &x, size_t n)
{
	return x.form == DEC_PANELS ? n * sizeof(float) : 0;
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

template <int R>
static __global__ void __launch_bounds__(MOST_THREADS(R))
norm(float4 *h, struct dec_y add, const float4 *w, float eps, uint32_t n,
    struct dec_x x)
{
	extern __shared__ float4 shared[];
	__shared__ float part[1024 / 16];
	size_t first = (size_t)blockIdx.x * n;
	float4 v[R], mine[R], b;
	float sum = 0, r;
	uint32_t i, j;

#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
		mine[i] = w[min(j, n - 1)];
	let_next_start();
	wait_for_others();
#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
		v[i] = j < n ? h[first + j] : make_float4(0, 0, 0, 0);
#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x) {
		if (add.p != NULL && j < n) {
			b = four_of(add, blockIdx.x, 4 * (size_t)n, j);
			v[i].x += b.x;
			v[i].y += b.y;
			v[i].z += b.z;
			v[i].w += b.w;
			h[first + j] = v[i];
		}
		sum += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z +
		    v[i].w * v[i].w;
	}
	r = rsqrtf(block_sum(sum, part) / (float)(4 * n) + eps);
#pragma unroll
	for (i = 0; i < R; i++)
		v[i] = make_float4(v[i].x * r * mine[i].x, v[i].y * r *
		    mine[i].y, v[i].z * r * mine[i].z, v[i].w * r *
		    mine[i].w);
	put_row<R>(v, n, blockIdx.x, x, shared, part);
}

void
dec_norm(gpu_stream s, float *h, struct dec_y add, const float *w, float eps,
    size_t n, size_t dim, struct dec_x x)
{
	struct spread k = spread_of(n, dim / 4);

	SPREAD(norm, k, n, row_bytes(x, dim), s, (float4 *)h, add,
	    (const float4 *)w, eps, (uint32_t)(dim / 4), x);
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

template <int R>
static __global__ void __launch_bounds__(MOST_THREADS(R))
silu(struct dec_y gu, uint32_t n, struct dec_x x)
{
	extern __shared__ float4 shared[];
	__shared__ float part[1024 / 16];
	float4 v[R], a, b;
	uint32_t i, j;

	let_next_start();
	wait_for_others();
#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x) {
		v[i] = make_float4(0, 0, 0, 0);
		if (j >= n)
			continue;
		a = four_of(gu, blockIdx.x, 8 * (size_t)n, j);
		b = four_of(gu, blockIdx.x, 8 * (size_t)n, j + n);
		v[i] = make_float4(silu_of(a.x, b.x), silu_of(a.y, b.y),
		    silu_of(a.z, b.z), silu_of(a.w, b.w));
	}
	put_row<R>(v, n, blockIdx.x, x, shared, part);
}

/* Eight columns of 16 bytes, as f(gate, up); of bare sums, with scales. */
static __device__ void
silu_eight(uint4 g, uint4 u, float row, const float2 *gate, const float2 *up,
    float *v)
{
	float2 x, y, c, d;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		x = two_of_bf16(word_of(g, i));
		y = two_of_bf16(word_of(u, i));
		if (gate != NULL) {
			c = gate[i];
			d = up[i];
			x = make_float2(x.x * row * c.x, x.y * row * c.y);
			y = make_float2(y.x * row * d.x, y.y * row * d.y);
		}
		v[2 * i] = silu_of(x.x, y.x);
		v[2 * i + 1] = silu_of(x.y, y.y);
	}
}

/* Of many tokens, whose rows are whole: a block takes n times eight columns of
 * a row, WIDE a thread, in loads of 16 bytes. */
template <bool BARE>
static __global__ void __launch_bounds__(WIDE_THREADS, 2)
silu_wide(struct dec_y gu, uint32_t n, struct dec_x x)
{
	__shared__ float part[WIDE_THREADS / 16];
	const uint4 *gate = (const uint4 *)gu.p + (size_t)blockIdx.x * 2 * n;
	const uint4 *up = gate + n;
	const float2 *scale = (const float2 *)gu.col;
	uint4 a[WIDE], b[WIDE];
	float v[WIDE][8], most = 0, f, row;
	uint32_t i, j, k;

	let_next_start();
	wait_for_others();
#pragma unroll
	for (i = 0, j = threadIdx.x; i < WIDE; i++, j += blockDim.x) {
		a[i] = gate[min(j, n - 1)];
		b[i] = up[min(j, n - 1)];
	}
	row = BARE ? gu.row[blockIdx.x] : 1;
#pragma unroll
	for (i = 0, j = threadIdx.x; i < WIDE; i++, j += blockDim.x) {
		k = 4 * min(j, n - 1);
		silu_eight(a[i], b[i], row, BARE ? scale + k : NULL, BARE ?
		    scale + 4 * n + k : NULL, v[i]);
#pragma unroll
		for (k = 0; k < 8; k++)
			most = fmaxf(most, fabsf(v[i][k]));
	}
	most = block_max(most, part);
	f = most > 0 ? 448 / most : 0;
	if (threadIdx.x == 0)
		x.scale[blockIdx.x] = most / 448;
#pragma unroll
	for (i = 0, j = threadIdx.x; i < WIDE; i++, j += blockDim.x)
		if (j < n)
			((uint2 *)x.p)[(size_t)blockIdx.x * n + j] = make_uint2(
			    four_e4m3(v[i][0] * f, v[i][1] * f, v[i][2] * f,
			    v[i][3] * f), four_e4m3(v[i][4] * f, v[i][5] * f,
			    v[i][6] * f, v[i][7] * f));
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
	}
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
	struct spread k = spread_of(n, ffn / 4);
	size_t units = ffn / 8;

	if (x.form == DEC_PANELS) {
		launch(silu_panels, dim3((unsigned)n, (unsigned)((ffn + 511) /
		    512)), 128, 0, s, gate_up, ffn, x);
		return;
	}
	if (x.form == DEC_E4M3 && n > MANY && gate_up.shares == 0 &&
	    ffn % 8 == 0 && units <= WIDE * WIDE_THREADS) {
		launch(gate_up.row != NULL ? silu_wide<true> : silu_wide<false>,
		    dim3((unsigned)n), (int)((units + WIDE - 1) / WIDE + 31) /
		    32 * 32, 0, s, gate_up, (uint32_t)units, x);
		return;
	}
	SPREAD(silu, k, n, 0, s, gate_up, (uint32_t)(ffn / 4), x);
}

template <int R>
static __global__ void __launch_bounds__(MOST_THREADS(R))
form(const uint2 *in, uint32_t n, struct dec_x x)
{
	extern __shared__ float4 shared[];
	__shared__ float part[1024 / 16];
	float4 v[R];
	uint32_t i, j;

	let_next_start();
	wait_for_others();
#pragma unroll
	for (i = 0, j = threadIdx.x; i < R; i++, j += blockDim.x)
		v[i] = j < n ? four_bf16(in[(size_t)blockIdx.x * n + j]) :
		    make_float4(0, 0, 0, 0);
	put_row<R>(v, n, blockIdx.x, x, shared, part);
}

void
dec_form(gpu_stream s, const void *in, size_t n, size_t dim, struct dec_x x)
{
	struct spread k = spread_of(n, dim / 4);

	SPREAD(form, k, n, row_bytes(x, dim), s, (const uint2 *)in,
	    (uint32_t)(dim / 4), x);
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
