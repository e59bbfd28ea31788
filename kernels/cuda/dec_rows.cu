/* The decoder's operations on rows, fused with what follows; see dec.h. */
#include <cuda_fp8.h>

#include "kernels/cuda/dec_page.h"
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
	if (x.form == DEC_BYTES)
		put_all_bytes(x, row, (const float *)v, n);
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
	float4 a, b;

	let_next_start();
	wait_for_others();
	if (j < ffn / 4) {
		a = four_of(gu, blockIdx.x, 2 * ffn, 2 * j);
		b = four_of(gu, blockIdx.x, 2 * ffn, 2 * j + 1);
		v[threadIdx.x] = make_float4(silu_of(a.x, a.y), silu_of(a.z,
		    a.w), silu_of(b.x, b.y), silu_of(b.z, b.w));
	}
	__syncthreads();
	if (x.form == DEC_BYTES) {
		block = blockIdx.y * 4 + threadIdx.x / 8;
		if (threadIdx.x < 32)
			put_bytes(x, blockIdx.x, block, threadIdx.x % 8,
			    (const float *)v + threadIdx.x / 8 * 128, block <
			    ffn / 128);
		return;
	}
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

static __device__ void
cache_put(const struct dec_step &d, void *to, size_t at, float v)
{
	if (d.kv == SQ_DEC_KV_FP8)
		((uint8_t *)to)[at] = to_e4m3(v);
	else
		((uint16_t *)to)[at] = to_bf16(v);
}

/* Element e of row r of a page whose rows have n of them. */
static __device__ size_t
in_page(const struct dec_step &d, uint32_t n, uint32_t r, uint32_t e)
{
	return d.kv == SQ_DEC_KV_FP8 ? page_at(n, r, e) : page_at(2 * n, r,
	    2 * e) / 2;
}

/* What the attention of a step takes for q: f16 beside fp8 and int4. */
static __device__ uint16_t
query(const struct dec_step &d, int prefill, float v)
{
	return d.kv != SQ_DEC_KV_BF16 && !prefill ? to_f16(v) : to_bf16(v);
}

static __device__ void
cache_put2(const struct dec_step &d, void *to, size_t at, float a, float b)
{
	if (d.kv == SQ_DEC_KV_FP8)
		((uint16_t *)to)[at / 2] = (uint16_t)(to_e4m3(a) |
		    to_e4m3(b) << 8);
	else
		((uint32_t *)to)[at / 2] = two_bf16(a, b);
}

/* ---- int4: words of eight codes, as dec_page.h has them ---- */

struct grid4 {
	float scale, min, by;		/* by: 1 / scale, or 0 */
	uint32_t stored;		/* scale and minimum, f16 */
};

static __device__ struct grid4
grid_of(float least, float most)
{
	struct grid4 g;
	uint16_t m = to_f16(least), s;

	g.min = from_f16(m);
	s = to_f16(fmaxf((most - g.min) / 15, 0));
	g.scale = from_f16(s);
	g.by = g.scale > 0 ? 1 / g.scale : 0;
	g.stored = (uint32_t)s | (uint32_t)m << 16;
	return g;
}

static __device__ uint32_t
code_of(const struct grid4 &g, float v)
{
	return (uint32_t)fminf(fmaxf(rintf((v - g.min) * g.by), 0), 15);
}

static __device__ uint32_t
nibble_at(uint32_t e)
{
	return 4 * (e % 8 / 2 + 4 * (e % 2));
}

/* Where a page of a head begins. */
static __device__ uint8_t *
head_page(const struct dec_step &d, void *to, uint32_t page, uint32_t head)
{
	return (uint8_t *)to + ((size_t)page * d.kv_heads + head) *
	    DEC_PAGE_BYTES(SQ_DEC_KV_INT4, d.dim);
}

/* A head of a token, by the dim / 4 lanes that have v[0 .. 1] = elements e ..
 * and v[2 .. 3] half a head further: a key, or with `turned' a value. */
static __device__ void
put4(const struct dec_step &d, uint8_t *to, uint32_t token, uint32_t e,
    const float v[4], int turned)
{
	uint32_t lanes = d.dim / 4, i, k, at, w[2], *word;
	float least = fminf(fminf(v[0], v[1]), fminf(v[2], v[3]));
	float most = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
	struct grid4 g;
	uint8_t *b;

	for (i = lanes / 2; i > 0; i /= 2) {
		least = fminf(least, gpu_shfl_xor(least, i));
		most = fmaxf(most, gpu_shfl_xor(most, i));
	}
	g = grid_of(least, most);
	if (e == 0)
		((uint32_t *)(to + PAGE * d.dim / 2))[token] = g.stored;
	if (turned) {
		at = nibble_at(token);
		for (i = 0; i < 4; i++) {
			b = to + (e + i % 2 + i / 2 * (d.dim / 2)) * (PAGE /
			    2) + token / 8 * 4;
			if (d.pos != NULL) {
				/* its neighbours come at the same time */
				atomicAnd((uint32_t *)b, ~(15u << at));
				atomicOr((uint32_t *)b, code_of(g, v[i]) <<
				    at);
				continue;
			}
			b += at / 8;
			*b = (uint8_t)((*b & 0xf0 >> at % 8) |
			    code_of(g, v[i]) << at % 8);
		}
		return;
	}
	for (i = 0; i < 2; i++) {
		w[i] = code_of(g, v[2 * i]) << nibble_at(e) |
		    code_of(g, v[2 * i + 1]) << nibble_at(e + 1);
		for (k = 1; k < 4; k *= 2)
			w[i] |= gpu_shfl_xor(w[i], k);
	}
	word = (uint32_t *)(to + token * (d.dim / 2));
	if (e % 8 == 0) {
		word[e / 8] = w[0];
		word[(e + d.dim / 2) / 8] = w[1];
	}
}

/* A thread for two pairs of a head; a block has some heads of a token.  Of a
 * prompt, values() puts what belongs to v once it has its scale. */
static __global__ void
rope(struct dec_step d, uint32_t *qkv, unsigned some, int prefill)
{
	uint32_t half = d.dim / 2, i = blockIdx.x, lanes = half / 2;
	uint32_t head = blockIdx.y * some + threadIdx.x / lanes;
	uint32_t e = 2 * (threadIdx.x % lanes), slot, pos, page;
	uint32_t width = (d.heads + 2 * d.kv_heads) * d.dim;
	uint32_t *p = qkv + ((size_t)i * width + head * d.dim + e) / 2;
	float2 c, s;
	float a0, a1, b0, b1, r0, r1, t0, t1;
	size_t at;

	let_next_start();
	wait_for_others();
	if (head >= d.heads + 2 * d.kv_heads)
		return;
	slot = d.slot[i];
	pos = before(d, i);
	c = two_of(d.y, i, width, head * d.dim + e);
	s = two_of(d.y, i, width, head * d.dim + e + half);
	a0 = c.x;
	a1 = c.y;
	b0 = s.x;
	b1 = s.y;
	if (prefill && head >= d.heads + d.kv_heads) {
		p[0] = two_bf16(a0, a1);
		p[half / 2] = two_bf16(b0, b1);
		return;
	}
	page = head < d.heads ? 0 :
	    d.table[(size_t)slot * d.max_pages + pos / SQ_DEC_PAGE];
	if (head >= d.heads + d.kv_heads && d.kv == SQ_DEC_KV_INT4) {
		const float v[4] = { a0, a1, b0, b1 };

		put4(d, head_page(d, d.v, page, head - d.heads - d.kv_heads),
		    pos % PAGE, e, v, 1);
		return;
	}
	if (head >= d.heads + d.kv_heads) {
		at = (page * (size_t)d.kv_heads + head - d.heads -
		    d.kv_heads) * d.dim * PAGE;
		cache_put(d, d.v, at + in_page(d, PAGE, e, pos % PAGE), a0);
		cache_put(d, d.v, at + in_page(d, PAGE, e + 1, pos % PAGE), a1);
		cache_put(d, d.v, at + in_page(d, PAGE, e + half, pos % PAGE),
		    b0);
		cache_put(d, d.v, at + in_page(d, PAGE, e + half + 1,
		    pos % PAGE), b1);
		return;
	}
	c = *(const float2 *)(d.angles + (size_t)pos * d.dim + e);
	s = *(const float2 *)(d.angles + (size_t)pos * d.dim + half + e);
	r0 = a0 * c.x - b0 * s.x;
	r1 = a1 * c.y - b1 * s.y;
	t0 = b0 * c.x + a0 * s.x;
	t1 = b1 * c.y + a1 * s.y;
	if (head < d.heads) {
		p[0] = query(d, prefill, r0) |
		    (uint32_t)query(d, prefill, r1) << 16;
		p[half / 2] = query(d, prefill, t0) |
		    (uint32_t)query(d, prefill, t1) << 16;
		return;
	}
	p[0] = two_bf16(r0, r1);
	p[half / 2] = two_bf16(t0, t1);
	if (d.kv == SQ_DEC_KV_INT4) {
		const float v[4] = { r0, r1, t0, t1 };

		put4(d, head_page(d, d.k, page, head - d.heads), pos % PAGE, e,
		    v, 0);
		return;
	}
	at = (page * (size_t)d.kv_heads + head - d.heads) * PAGE * d.dim;
	cache_put2(d, d.k, at + in_page(d, d.dim, pos % PAGE, e), r0, r1);
	cache_put2(d, d.k, at + in_page(d, d.dim, pos % PAGE, e + half), t0,
	    t1);
}

/* A page of values, turned, that are rows of dim + 2 bf16. */
static __device__ void
values4(const struct dec_step &d, const uint16_t *tile, uint8_t *to)
{
	__shared__ struct grid4 grid[PAGE];
	uint32_t step = d.dim + 2, i, k, e, w;
	float least, most, v;

	for (k = threadIdx.x / 32; k < PAGE; k += blockDim.x / 32) {
		least = INFINITY;
		most = -INFINITY;
		for (e = threadIdx.x % 32; e < d.dim; e += 32) {
			v = from_bf16(tile[k * step + e]);
			least = fminf(least, v);
			most = fmaxf(most, v);
		}
		for (i = 16; i > 0; i /= 2) {
			least = fminf(least, gpu_shfl_xor(least, i));
			most = fmaxf(most, gpu_shfl_xor(most, i));
		}
		if (threadIdx.x % 32 == 0) {
			grid[k] = grid_of(least, most);
			((uint32_t *)(to + PAGE * d.dim / 2))[k] =
			    grid[k].stored;
		}
	}
	__syncthreads();
	for (i = threadIdx.x; i < PAGE / 8 * d.dim; i += blockDim.x) {
		for (w = 0, k = 0; k < 8; k++)
			w |= code_of(grid[i % 8 * 8 + k], from_bf16(tile[(i %
			    8 * 8 + k) * step + i / 8])) << nibble_at(k);
		((uint32_t *)to)[i] = w;
	}
}

/* A page of a prompt's values, turned: [token][dim] to [dim][token]. */
static __global__ void
values(struct dec_step d, const uint16_t *qkv, const uint32_t *first)
{
	extern __shared__ uint16_t tile[];	/* [64][dim + 2] */
	uint32_t n = first[blockIdx.z + 1] - first[blockIdx.z], i, k;
	uint32_t from = blockIdx.x * SQ_DEC_PAGE, step = d.dim + 2, page;
	uint32_t slot = d.slot[first[blockIdx.z]], head = blockIdx.y;
	size_t width = (size_t)(d.heads + 2 * d.kv_heads) * d.dim, at;
	const uint16_t *p = qkv + (first[blockIdx.z] + from) * width +
	    (size_t)(d.heads + d.kv_heads + head) * d.dim;

	if (from >= n)
		return;
	for (i = threadIdx.x; i < SQ_DEC_PAGE * d.dim; i += blockDim.x) {
		k = i / d.dim;
		tile[k * step + i % d.dim] = from + k < n ? p[k * width +
		    i % d.dim] : 0;
	}
	__syncthreads();
	page = d.table[(size_t)slot * d.max_pages + blockIdx.x];
	if (d.kv == SQ_DEC_KV_INT4) {
		values4(d, tile, head_page(d, d.v, page, head));
		return;
	}
	at = (page * (size_t)d.kv_heads + head) * d.dim * SQ_DEC_PAGE;
	for (i = threadIdx.x; i < SQ_DEC_PAGE / 2 * d.dim; i += blockDim.x) {
		k = 2 * (i % (SQ_DEC_PAGE / 2));
		cache_put2(d, d.v, at + in_page(d, PAGE, i / (PAGE / 2), k),
		    from_bf16(tile[k * step + i / (PAGE / 2)]),
		    from_bf16(tile[(k + 1) * step + i / (PAGE / 2)]));
	}
}

void
dec_rope(gpu_stream s, struct dec_step d, void *qkv, const uint32_t *first,
    size_t prompts, size_t longest)
{
	unsigned some = THREADS / (d.dim / 4), heads = d.heads + d.kv_heads *
	    (prompts > 0 && d.y.p == NULL ? 1 : 2);
	dim3 pages((unsigned)((longest + SQ_DEC_PAGE - 1) / SQ_DEC_PAGE),
	    d.kv_heads, (unsigned)prompts);

	if (d.y.p == NULL)
		d.y.p = qkv;
	launch(rope, dim3(d.n, (heads + some - 1) / some), THREADS, 0, s, d,
	    (uint32_t *)qkv, some, prompts > 0);
	if (prompts > 0)
		values<<<pages, THREADS, SQ_DEC_PAGE * (d.dim + 2) * 2, s>>>(
		    d, (const uint16_t *)qkv, first);
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
