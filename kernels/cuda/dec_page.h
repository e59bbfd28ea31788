/*
 * A page of 64 tokens of one KV head for all query heads of the group, by one
 * warp.  Both products have an order of summation that is free, so each lane
 * reads what is contiguous and the other operand follows:
 *
 *	scores	q [16 rows, of which `group' count] x keys^T.  Lane (g, t)
 *		reads a quarter, t, of the key 16(g/2) + 2j + g%2 for
 *		j = 0 .. 7; so its sums are of keys 16t + 2j and the next:
 *		sixteen neighbours.
 *	output	p x values: the lane reads sixteen neighbours, 16t .., of the
 *		dimension 8d + g.
 *
 * Of int4, eight elements are a word: the even ones in its lower half.  A key's
 * scale and minimum enter its score, a value's the probability that it is
 * multiplied by.
 *
 * Pieces of 16 bytes of a key are exchanged, by page_piece(), so that lanes
 * meet other banks where the page lies in shared memory.
 */
#ifndef SQ_KERNELS_CUDA_DEC_PAGE_H
#define SQ_KERNELS_CUDA_DEC_PAGE_H

#include <cuda_fp8.h>

#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/mma.h"

#define PAGE		SQ_DEC_PAGE

/* Where piece c of row r is, in rows of `bytes'. */
static __device__ inline uint32_t
page_piece(uint32_t bytes, uint32_t r, uint32_t c)
{
	return bytes == 64 ? c : bytes == 128 ? c ^ (r & 1) :
	    c ^ (c >> 3 & 1) ^ (r & 1) << 1;
}

/* The place of a byte of a row, from the page's begin. */
static __device__ inline uint32_t
page_at(uint32_t bytes, uint32_t r, uint32_t byte)
{
	return r * bytes + page_piece(bytes, r, byte / 16) * 16 + byte % 16;
}

/* Values lie in units, what a dimension e has of sixteen tokens, 16t ..: those
 * of all dimensions, then of the next tokens, so that a new one touches few
 * places.  Units are exchanged for the banks' sake, in bf16 the halves i of them. */
static __device__ inline uint32_t
value_at(enum sq_dec_kv kv, uint32_t dim, uint32_t t, uint32_t e, uint32_t i)
{
	return kv == SQ_DEC_KV_INT4 ? (t * dim + (e ^ t << 2)) * 8 :
	    kv == SQ_DEC_KV_FP8 ? (t * dim + (e ^ t << 1)) * 16 :
	    (2 * t * dim + ((2 * e + i) ^ (t & 2) << 1 ^ (t & 1))) * 16;
}

/* How many tokens come before token i of a step. */
static __device__ inline uint32_t
before(const struct dec_step &d, uint32_t i)
{
	return d.pos != NULL ? d.pos[i] : d.length[d.slot[i]];
}

#if GPU_MMA

/* d += a b with rows 8 .. 15 of a all zero: half the sums are of no use. */
template <bool F16>
static __device__ void
mma_half(float &d0, float &d1, uint32_t a0, uint32_t a2, uint32_t b0,
    uint32_t b1)
{
	float x, y;

	if (F16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16"
		    ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%9,"
		    "%9};" : "+f"(d0), "+f"(d1), "=f"(x), "=f"(y) : "r"(a0),
		    "r"(0), "r"(a2), "r"(b0), "r"(b1), "f"(0.f));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16"
		    ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%9,"
		    "%9};" : "+f"(d0), "+f"(d1), "=f"(x), "=f"(y) : "r"(a0),
		    "r"(0), "r"(a2), "r"(b0), "r"(b1), "f"(0.f));
}

/* Two e4m3 of the low or high half of w, as f16. */
static __device__ inline uint32_t
halves(uint32_t w, int high)
{
	__half2_raw h = __nv_cvt_fp8x2_to_halfraw2(
	    (__nv_fp8x2_storage_t)(high ? w >> 16 : w & 0xffff), __NV_E4M3);

	return (uint32_t)h.x | (uint32_t)h.y << 16;
}

/* Operand i of what a lane has read: four elements of its row, in order. */
template <bool FP8>
static __device__ void
operand(const uint4 *v, int i, uint32_t &b0, uint32_t &b1)
{
	uint32_t w;

	if (FP8) {
		w = word_of(v[i / 4], i % 4);
		b0 = halves(w, 0);
		b1 = halves(w, 1);
	} else {
		b0 = word_of(v[i / 2], 2 * (i % 2));
		b1 = word_of(v[i / 2], 2 * (i % 2) + 1);
	}
}

template <bool F16>
static __device__ uint32_t
pack(float a, float b)
{
	__nv_bfloat162 v;
	__half2 h;

	if (F16) {
		h = __floats2half2_rn(a, b);
		return *(uint32_t *)&h;
	}
	v = __floats2bfloat162_rn(a, b);
	return *(uint32_t *)&v;
}

/* Nibbles i and i + 4 of a word, as f16: 1024 + code is exact. */
static __device__ inline uint32_t
pair_f16(uint32_t w, int i)
{
	uint32_t u;
	__half2 v;

	asm("lop3.b32 %0, %1, 0x000f000f, 0x64006400, 0xea;" : "=r"(u) :
	    "r"(w >> 4 * i));
	v = __hsub2(*(__half2 *)&u, __float2half2_rn(1024));
	return *(uint32_t *)&v;
}

template <int DIM>
struct state {
	float max, sum, o[DIM / 8][2];
	float add;			/* to all of o; int4 */
	uint32_t q[DIM / 16][2];	/* the queries */
	float qsum;			/* of the lane's row; int4 */
};

/* Where pages are: far in memory, whose values are asked for before the scores
 * need their keys, or near. */
struct far_page {
	static const bool early = true;
	const uint8_t *p;

	__device__ uint4
	get(uint32_t at) const
	{
		return __ldg((const uint4 *)(p + at));
	}

	__device__ uint2
	get2(uint32_t at) const
	{
		return __ldg((const uint2 *)(p + at));
	}
};

/* The same of what another kernel, or this one, has just made. */
struct new_page {
	static const bool early = true;
	const uint8_t *p;

	__device__ uint4
	get(uint32_t at) const
	{
		return __ldcg((const uint4 *)(p + at));
	}

	__device__ uint2
	get2(uint32_t at) const
	{
		return __ldcg((const uint2 *)(p + at));
	}
};

struct near_page {
	static const bool early = false;
	uint32_t p;

	__device__ uint4
	get(uint32_t at) const
	{
		return near_at(p + at);
	}

	__device__ uint2
	get2(uint32_t at) const
	{
		uint2 v;

		asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v.x),
		    "=r"(v.y) : "r"(p + at) : "memory");
		return v;
	}
};

/* Begins with the query heads of a group: rows of DIM of f16, or bf16 where the
 * cache is, zeros beyond the group. */
template <int DIM, int KV, typename WHERE>
static __device__ void
begin(struct state<DIM> &st, WHERE from, unsigned group)
{
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, j;
	uint4 v;

	st.max = -1e30f;
	st.sum = st.add = st.qsum = 0;
#pragma unroll
	for (j = 0; j < DIM / 8; j++)
		st.o[j][0] = st.o[j][1] = 0;
#pragma unroll
	for (j = 0; j < DIM / 32; j++) {
		v = g < (int)group ? from.get(2 * (g * DIM + t * (DIM / 4) +
		    8 * j)) : make_uint4(0, 0, 0, 0);
		st.q[2 * j][0] = v.x;
		st.q[2 * j][1] = v.y;
		st.q[2 * j + 1][0] = v.z;
		st.q[2 * j + 1][1] = v.w;
	}
	if constexpr (KV == SQ_DEC_KV_INT4) {
#pragma unroll
		for (j = 0; j < DIM / 8; j++) {
			float2 f = __half22float2(*(__half2 *)
			    &st.q[j / 2][j % 2]);

			st.qsum += f.x + f.y;
		}
		st.qsum += gpu_shfl_xor(st.qsum, 1);
		st.qsum += gpu_shfl_xor(st.qsum, 2);
	}
}

/* What lanes have of a row of queries comes together. */
template <int DIM, int KV>
static __device__ void
end(struct state<DIM> &st)
{
	[[maybe_unused]] int j;

	st.sum += gpu_shfl_xor(st.sum, 1);
	st.sum += gpu_shfl_xor(st.sum, 2);
	if constexpr (KV == SQ_DEC_KV_INT4) {
		st.add += gpu_shfl_xor(st.add, 1);
		st.add += gpu_shfl_xor(st.add, 2);
#pragma unroll
		for (j = 0; j < DIM / 8; j++) {
			st.o[j][0] += st.add;
			st.o[j][1] += st.add;
		}
	}
}

/* Scores become exponentials; what was summed before fades by what it
 * returns. */
template <int DIM>
static __device__ float
soften(struct state<DIM> &st, float s[8][2], int n)
{
	int t = threadIdx.x % 4, i, j;
	float max = -INFINITY, fade;

#pragma unroll
	for (j = 0; j < 8; j++)
#pragma unroll
		for (i = 0; i < 2; i++) {
			if (16 * t + 2 * j + i >= n)
				s[j][i] = -INFINITY;
			max = fmaxf(max, s[j][i]);
		}
	max = fmaxf(max, gpu_shfl_xor(max, 1));
	max = fmaxf(max, gpu_shfl_xor(max, 2));
	max = fmaxf(max, st.max);
	fade = exp2f(st.max - max);
	st.max = max;
	st.sum *= fade;
#pragma unroll
	for (j = 0; j < 8; j++)
#pragma unroll
		for (i = 0; i < 2; i++) {
			s[j][i] = exp2f(s[j][i] - max);
			st.sum += s[j][i];
		}
	return fade;
}

/*
 * Sums that depend on themselves wait for each other: AT_ONCE of them, of other
 * keys or dimensions, are in work in turns.
 */
#define AT_ONCE		4

/* One page of plain values: n of its tokens count. */
template <int DIM, bool FP8, typename WHERE>
static __device__ void
plain_page(struct state<DIM> &st, WHERE k, WHERE v, int n, float scale)
{
	const int size = FP8 ? 1 : 2, kv4 = DIM / 4 * size / 16,
	    vv4 = 16 * size / 16, some = FP8 ? AT_ONCE : 2;
	const bool early = WHERE::early && FP8;
	const enum sq_dec_kv kv = FP8 ? SQ_DEC_KV_FP8 : SQ_DEC_KV_BF16;
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, i, j, d, m;
	uint4 kk[some][kv4], vv[early ? DIM / 8 : some][vv4];
	uint32_t b0, b1, p[4][2];
	float s[8][2], fade;

#pragma unroll
	for (d = 0; early && d < DIM / 8; d++)
#pragma unroll
		for (i = 0; i < vv4; i++)
			vv[d][i] = v.get(value_at(kv, DIM, t, 8 * d + g,
			    i));
#pragma unroll
	for (j = 0; j < 8; j += some) {
#pragma unroll
		for (m = 0; m < some; m++) {
#pragma unroll
			for (i = 0; i < kv4; i++)
				kk[m][i] = k.get(page_at(DIM * size, 16 *
				    (g / 2) + 2 * (j + m) + g % 2, t * (DIM /
				    4) * size + 16 * i));
			s[j + m][0] = s[j + m][1] = 0;
		}
#pragma unroll
		for (i = 0; i < DIM / 16; i++)
#pragma unroll
			for (m = 0; m < some; m++) {
				operand<FP8>(kk[m], i, b0, b1);
				mma_half<FP8>(s[j + m][0], s[j + m][1],
				    st.q[i][0], st.q[i][1], b0, b1);
			}
#pragma unroll
		for (m = 0; m < some; m++) {
			s[j + m][0] *= scale;
			s[j + m][1] *= scale;
		}
	}
	fade = soften<DIM>(st, s, n);
#pragma unroll
	for (j = 0; j < 8; j++)
		p[j / 2][j % 2] = pack<FP8>(s[j][0], s[j][1]);
#pragma unroll
	for (d = 0; d < DIM / 8; d += some) {
		uint4 (*w)[vv4] = vv + (early ? d : 0);

#pragma unroll
		for (m = 0; m < some; m++) {
#pragma unroll
			for (i = 0; !early && i < vv4; i++)
				w[m][i] = v.get(value_at(kv, DIM, t, 8 * (d +
				    m) + g, i));
			st.o[d + m][0] *= fade;
			st.o[d + m][1] *= fade;
		}
#pragma unroll
		for (i = 0; i < 4; i++)
#pragma unroll
			for (m = 0; m < some; m++) {
				operand<FP8>(w[m], i, b0, b1);
				mma_half<FP8>(st.o[d + m][0], st.o[d + m][1],
				    p[i][0], p[i][1], b0, b1);
			}
	}
}

/* The scales (.x) and minima of the lane's sixteen tokens: pair j is of tokens
 * 2j and 2j + 1. */
template <typename WHERE>
static __device__ void
scales_of(WHERE at, uint32_t codes, float2 f[16])
{
	int t = threadIdx.x % 4, i, j;
	uint4 v;

#pragma unroll
	for (i = 0; i < 4; i++) {
		v = at.get(codes + 64 * t + 16 * i);
#pragma unroll
		for (j = 0; j < 4; j++) {
			uint32_t w = word_of(v, j);

			f[4 * i + j] = __half22float2(*(__half2 *)&w);
		}
	}
}

/* One page of int4. */
template <int DIM, typename WHERE>
static __device__ void
int4_page(struct state<DIM> &st, WHERE k, WHERE v, int n, float scale)
{
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, i, j, d, m;
	uint32_t w[AT_ONCE][DIM / 32], p[4][2];
	uint2 v2[AT_ONCE];
	float s[8][2], fade;
	float2 f[16];
	uint4 v4;

#pragma unroll
	for (j = 0; j < 8; j += AT_ONCE) {
#pragma unroll
		for (m = 0; m < AT_ONCE; m++) {
			d = (16 * (g / 2) + 2 * (j + m) + g % 2) * (DIM / 2) +
			    t * (DIM / 8);
			if (DIM == 128) {
				v4 = k.get(d);
#pragma unroll
				for (i = 0; i < DIM / 32; i++)
					w[m][i] = word_of(v4, i);
			} else {
				v2[0] = k.get2(d);
				w[m][0] = v2[0].x;
				w[m][1] = v2[0].y;
			}
			s[j + m][0] = s[j + m][1] = 0;
		}
#pragma unroll
		for (i = 0; i < DIM / 16; i++)
#pragma unroll
			for (m = 0; m < AT_ONCE; m++)
				mma_half<true>(s[j + m][0], s[j + m][1],
				    st.q[i][0], st.q[i][1], pair_f16(w[m][i /
				    2], i % 2 * 2), pair_f16(w[m][i / 2], i %
				    2 * 2 + 1));
	}
	scales_of(k, PAGE * DIM / 2, f);
#pragma unroll
	for (j = 0; j < 8; j++)
#pragma unroll
		for (i = 0; i < 2; i++)
			s[j][i] = (s[j][i] * f[2 * j + i].x + st.qsum *
			    f[2 * j + i].y) * scale;
	fade = soften<DIM>(st, s, n);
	scales_of(v, PAGE * DIM / 2, f);
	st.add *= fade;
#pragma unroll
	for (j = 0; j < 8; j++) {
		st.add += s[j][0] * f[2 * j].y + s[j][1] * f[2 * j + 1].y;
		p[j / 2][j % 2] = pack<true>(s[j][0] * f[2 * j].x, s[j][1] *
		    f[2 * j + 1].x);
	}
#pragma unroll
	for (d = 0; d < DIM / 8; d += AT_ONCE) {
#pragma unroll
		for (m = 0; m < AT_ONCE; m++) {
			v2[m] = v.get2(value_at(SQ_DEC_KV_INT4, DIM, t, 8 *
			    (d + m) + g, 0));
			st.o[d + m][0] *= fade;
			st.o[d + m][1] *= fade;
		}
#pragma unroll
		for (i = 0; i < 4; i++)
#pragma unroll
			for (m = 0; m < AT_ONCE; m++)
				mma_half<true>(st.o[d + m][0], st.o[d + m][1],
				    p[i][0], p[i][1], pair_f16(i < 2 ?
				    v2[m].x : v2[m].y, i % 2 * 2),
				    pair_f16(i < 2 ? v2[m].x : v2[m].y,
				    i % 2 * 2 + 1));
	}
}

template <int DIM, int KV, typename WHERE>
static __device__ void
page(struct state<DIM> &st, WHERE k, WHERE v, int n, float scale)
{
	if (KV == SQ_DEC_KV_INT4)
		int4_page<DIM>(st, k, v, n, scale);
	else
		plain_page<DIM, KV == SQ_DEC_KV_FP8>(st, k, v, n, scale);
}

#endif
#endif
