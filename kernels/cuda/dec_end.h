/*
 * What the blocks of a product of dec_mid() do at its end, instead of kernels
 * of their own: those that have pieces of a tile wait for each other and share
 * out its tokens.  All blocks run at the same time, one on each multiprocessor,
 * so none waits for one that has no place.
 *
 *	add	to the residual stream, whose rows times the next norm's
 *		weights are what the next product takes, as halves: saturated
 *		beyond 65504, where the norm before a prompt's product is not.
 *		What the norm divides by, who reads that product multiplies
 *		with: root_of().
 *	silu	of gate and up, for the next product
 *
 * done[tile] counts the blocks that have put their piece.  Products take turns
 * with such counts, and clear those of one that has ended.  While blocks wait,
 * what the next product reads first is brought into the second cache.
 */
#ifndef SQ_KERNELS_CUDA_DEC_END_H
#define SQ_KERNELS_CUDA_DEC_END_H

#include "kernels/cuda/bulk.h"
#include "kernels/cuda/dec_pieces.h"

#define END_THREADS	512
#define AHEAD		3		/* chunks of the next weight */

/* Of a token's row that the product took: 1 / its norm.  By a whole warp. */
static __device__ float
root_of(const struct dec_mid &m, uint32_t token)
{
	uint32_t parts = m.cols / DEC_SQUARES, i;
	float sum = 0;

	if (m.squares == NULL)
		return 1;
	for (i = threadIdx.x % 32; i < parts; i += 32)
		sum += __ldcg(m.squares + (size_t)token * parts + i);
	for (i = 16; i > 0; i /= 2)
		sum += gpu_shfl_xor(sum, i);
	return rsqrtf(sum / (float)m.cols + m.eps);
}

/* The same of all tokens, for those who read what the product leaves. */
static __device__ void
put_roots(const struct dec_mid &m)
{
	uint32_t i;
	float r;

	if (m.roots == NULL || threadIdx.x >= 32)
		return;
	for (i = blockIdx.x; i < m.n; i += gridDim.x) {
		r = root_of(m, i);
		if (threadIdx.x == 0)
			m.roots[i] = r;
	}
}

/* And for the block itself. */
static __device__ void
near_roots(const struct dec_mid &m, float *roots)
{
	const uint32_t warps = END_THREADS / 32;
	uint32_t i, w = threadIdx.x / 32;
	float r[DEC_MID / warps];

#pragma unroll
	for (i = 0; i < DEC_MID / warps; i++)
		r[i] = root_of(m, min(w + i * warps, m.n - 1));
#pragma unroll
	for (i = 0; i < DEC_MID / warps; i++)
		if (threadIdx.x % 32 == 0)
			roots[w + i * warps] = r[i];
}

/* Columns col and col + 4 of a row, into panels; see put_panel(). */
static __device__ void
put_pair(const struct dec_mid &m, size_t row, size_t col, float a, float b)
{
	size_t half = col / 128 * 2 + col % 32 / 16;
	uint32_t q = col % 16 / 8 * 4 + col % 4;

	*(uint32_t *)((uint8_t *)m.out + (half * m.pad + row) * 128 + (q ^
	    (row & 7)) * 16 + col % 128 / 32 * 4) = two_f16(a, b);
}

/* Of a token and a tile, 64 threads have columns c = 0 .. 63 times four: v.
 * h, w: of the residual stream and the norm. */
static __device__ void
end_add(const struct dec_mid &m, uint32_t tile, uint32_t token, uint32_t c,
    float4 v, float4 h, float4 w)
{
	size_t col = (size_t)tile * DEC_PIECE + 4 * c;
	uint32_t odd = c % 2, i;
	float sum, p, q;

	v = make_float4(v.x + h.x, v.y + h.y, v.z + h.z, v.w + h.w);
	*(float4 *)(m.h + (size_t)token * m.rows + col) = v;
	if (m.norm == NULL)
		return;
	sum = v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
	for (i = 16; i > 0; i /= 2)
		sum += gpu_shfl_xor(sum, i);
	if (c % 32 == 0)
		m.sums[(size_t)token * (m.rows / DEC_SQUARES) + col /
		    DEC_SQUARES] = sum;
	v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
	/* the lane beside has the columns 4 further, or before */
	p = gpu_shfl_xor(odd ? v.x : v.z, 1);
	q = gpu_shfl_xor(odd ? v.y : v.w, 1);
	if (!odd) {
		put_pair(m, token, col, v.x, p);
		put_pair(m, token, col + 1, v.y, q);
	} else {
		put_pair(m, token, col - 2, p, v.z);
		put_pair(m, token, col - 1, q, v.w);
	}
}

/* Gate and up in turns: a lane makes two neighbours. */
static __device__ void
end_silu(const struct dec_mid &m, uint32_t tile, uint32_t token, uint32_t c,
    float4 v, float r)
{
	size_t col = (size_t)tile * (DEC_PIECE / 2) + 2 * c;
	float a = silu_of(v.x * r, v.y * r), b = silu_of(v.z * r, v.w * r), o;
	uint32_t high = c / 2 % 2;

	o = gpu_shfl_xor(high ? a : b, 2);
	put_pair(m, token, high ? col - 3 : col, high ? o : a, high ? b : o);
}

/* The block's tokens of a tile, U of them at a time with I pieces each, so that
 * all loads are under way at once. */
template <int END, int I, int U>
static __device__ void
finish_tile(const struct dec_mid &m, const struct dec_y &y, uint32_t tile,
    const float *roots)
{
	const uint32_t groups = END_THREADS / 64;
	struct makers k = makers_of(y, tile);
	uint32_t to = m.n * (blockIdx.x - k.first + 1) / k.n, c, t, i, j;
	uint32_t step = m.pad * DEC_PIECE, at;
	const uint16_t *p = (const uint16_t *)m.y + (size_t)(tile + k.first) *
	    step;
	float4 v[U], h[U], w, b;
	uint2 u[I][U];

	c = threadIdx.x % 64;
	at = 4 * c;
	if (END == DEC_MID_ADD && m.norm != NULL)
		w = *(const float4 *)(m.norm + tile * DEC_PIECE + 4 * c);
	for (t = m.n * (blockIdx.x - k.first) / k.n + threadIdx.x / 64; t < to;
	    t += U * groups) {
#pragma unroll
		for (j = 0; j < U; j++) {
			v[j] = make_float4(0, 0, 0, 0);
			if (END == DEC_MID_ADD && t + j * groups < to)
				h[j] = __ldcg((const float4 *)(m.h + (size_t)(
				    t + j * groups) * m.rows + tile *
				    DEC_PIECE + 4 * c));
		}
		for (i = 0; i < k.n; i += I) {
#pragma unroll
			for (uint32_t l = 0; l < I; l++)
#pragma unroll
				for (j = 0; j < U; j++) {
					const uint16_t *q = p + (i + l) *
					    (size_t)step + (t + j * groups) *
					    DEC_PIECE + at;

					u[l][j] = make_uint2(0, 0);
					if (i + l < k.n && t + j * groups < to)
						u[l][j] = __ldcg((const
						    uint2 *)q);
				}
#pragma unroll
			for (uint32_t l = 0; l < I; l++)
#pragma unroll
				for (j = 0; j < U; j++) {
					b = four_bf16(u[l][j]);
					v[j].x += b.x;
					v[j].y += b.y;
					v[j].z += b.z;
					v[j].w += b.w;
				}
		}
#pragma unroll
		for (j = 0; j < U; j++) {
			i = t + j * groups;
			if (i >= to)
				break;
			if (END == DEC_MID_ADD)
				end_add(m, tile, i, c, v[j], h[j], w);
			else
				end_silu(m, tile, i, c, v[j], roots[i]);
		}
	}
}

/* What the block will read first of the next weight: a warp's part of it. */
static __device__ void
bring_next(const struct dec_mid &m)
{
	uint32_t chunks = m.next_cols / 128, all, from, n, w, tile;
	const uint8_t *p = (const uint8_t *)m.next;
	size_t first;

	if (p == NULL || threadIdx.x % 32 != 0)
		return;
	all = m.next_rows / DEC_PIECE * chunks;
	from = all * blockIdx.x / gridDim.x;
	n = min(all * (blockIdx.x + 1) / gridDim.x - from, (uint32_t)AHEAD);
	tile = from / chunks;
	n = min(n, chunks - from % chunks);
	w = threadIdx.x / 32;
	first = (size_t)(tile * (DEC_PIECE / 16) + w) * chunks + from % chunks;
	bulk_ahead(p + first * 1024, n * 1024);
	bulk_ahead(p + (size_t)m.next_rows * (m.next_cols / 2) + first * 32,
	    n * 32);
}

/* A block's tiles, of which it has put its pieces. */
template <int END>
static __device__ void
finish(const struct dec_mid &m, uint32_t first, uint32_t end,
    const float *roots)
{
	struct dec_y y = { .p = m.y, .shares = gridDim.x,
	    .tiles = m.rows / DEC_PIECE, .chunks = m.cols / 128,
	    .pad = m.pad };
	uint32_t tile, n, got;

	__syncthreads();
	if (threadIdx.x == 0) {
		__threadfence();
		for (tile = first; tile < end; tile++)
			atomicAdd(m.done + tile, 1);
	}
	bring_next(m);
	if (threadIdx.x == 0)
		for (tile = first; tile < end; tile++) {
			n = makers_of(y, tile).n;
			do
				asm volatile("ld.acquire.gpu.global.u32 %0, "
				    "[%1];" : "=r"(got) : "l"(m.done + tile) :
				    "memory");
			while (got < n);
		}
	__syncthreads();
	for (tile = first; tile < end; tile++)
		if (END == DEC_MID_ADD)
			finish_tile<END, 12, 1>(m, y, tile, roots);
		else
			finish_tile<END, 3, 4>(m, y, tile, roots);
}

#endif
