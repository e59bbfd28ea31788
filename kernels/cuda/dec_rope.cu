/* Queries and keys are rotated, keys and values go to the cache; see dec.h. */
#include "kernels/cuda/dec_put.h"
#include "kernels/cuda/launch.h"

#define THREADS	256

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
	struct angles angles = {};
	float2 a, b;

	let_next_start();
	if (head >= d.heads + 2 * d.kv_heads)
		return;
	/* the last kernel has not made these */
	slot = d.slot[i];
	pos = before(d, i);
	page = head < d.heads ? 0 :
	    d.table[(size_t)slot * d.max_pages + pos / SQ_DEC_PAGE];
	if (head < d.heads + d.kv_heads)
		angles = angles_of(d, pos, e);
	else if (!prefill)
		expect_value(d, page, head - d.heads - d.kv_heads, pos, e);
	wait_for_others();
	a = two_of(d.y, i, width, head * d.dim + e);
	b = two_of(d.y, i, width, head * d.dim + e + half);
	float v[4] = { a.x, a.y, b.x, b.y };

	take_head(d, p, head, pos, page, e, angles, v, prefill);
}

/* A page of values, turned, that are rows of dim + 2 bf16. */
static __device__ void
values4(const struct dec_step &d, const uint16_t *tile, uint8_t *to)
{
	__shared__ struct grid4 grid[PAGE];
	uint32_t step = d.dim + 2, i, k, e, w, from;
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
		/* half `i % 2' of a unit */
		e = i / 2 % d.dim;
		from = i / 2 / d.dim * 16 + i % 2 * 8;
		for (w = 0, k = 0; k < 8; k++)
			w |= code_of(grid[from + k], from_bf16(tile[(from + k) *
			    step + e])) << nibble_at(k);
		((uint32_t *)(to + value_at(d.kv, d.dim, from / 16, e, 0)))
		    [i % 2] = w;
	}
}

/* A page of a prompt's values, turned: [token][dim] into units. */
static __global__ void
values(struct dec_step d, const uint16_t *qkv, const uint32_t *first)
{
	extern __shared__ uint16_t tile[];	/* [64][dim + 2] */
	uint32_t n = first[blockIdx.z + 1] - first[blockIdx.z], i, k, e;
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
		/* two tokens of a unit */
		e = i / 8 % d.dim;
		k = i / 8 / d.dim * 16 + i % 8 * 2;
		cache_put2(d, d.v, at + in_values(d, k, e), from_bf16(tile[k *
		    step + e]), from_bf16(tile[(k + 1) * step + e]));
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
