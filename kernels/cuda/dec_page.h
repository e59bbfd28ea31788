/*
 * A page of 64 tokens of one KV head for all query heads of the group, by one
 * warp.  What comes from the page are the rows of both products, sixteen at a
 * time, the heads their columns.  Their order of summation is free, so each
 * lane reads what is contiguous and the other operand follows:
 *
 *	scores	keys x q^T [8 columns, of which `group' count].  Lane (g, t)
 *		reads a quarter, t, of the key 16(g/2) + 2j + g%2 for
 *		j = 0 .. 7; a product has two j.
 *	output	values^T x p^T: the lane reads sixteen neighbours, 16t .., of
 *		the dimension 8d + g; a product has two d.  Of p it needs, for
 *		head g, the keys 16t + 2j and the next: what the scores' lanes
 *		have, turned.
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
 * places.  Units are exchanged for the banks' sake, in bf16 the halves i of
 * them. */
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

/* d += a b; see mma_bf16(). */
template <bool F16>
static __device__ void
mma_page(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
    const uint32_t (&b)[2])
{
	if (F16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
		    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		    : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b[0]),
		    "r"(b[1]));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
		    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		    : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b[0]),
		    "r"(b[1]));
}

/* Eight rows of eight columns of 16 bits, two to a lane, turned. */
static __device__ inline uint32_t
turned(uint32_t w)
{
	uint32_t v;

	asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(v) :
	    "r"(w));
	return v;
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

/*
 * Nibbles as they lie are f16: of a code its 2^24th part, or its 2^20th where
 * it lies four bits higher.  Tensor cores take these, which have no exponent,
 * as they are.  So the other operand is a 16th of itself there, and sums are
 * multiplied by INT4_UNIT.
 */
#define INT4_UNIT	0x1p24f

/* Operand i of what a lane has read: eight codes a word. */
static __device__ inline void
codes(uint32_t w, int i, uint32_t &b0, uint32_t &b1)
{
	w = i % 2 == 0 ? w : w >> 8;
	b0 = w & 0x000f000f;
	b1 = w & 0x00f000f0;
}

/* The operand beside b1. */
static __device__ inline uint32_t
sixteenth(uint32_t w)
{
	__half2 v = __hmul2(*(__half2 *)&w, __float2half2_rn(0.0625f));

	return *(uint32_t *)&v;
}

/* What a lane has of the heads 2t and 2t + 1: sums of the dimensions 16d + g
 * (o[d][0 .. 1]) and 16d + 8 + g. */
template <int DIM>
struct state {
	float max[2], sum[2], o[DIM / 16][4];
	float add[2];			/* to all of o; int4 */
	uint32_t q[DIM / 16][2];	/* of head g, the quarter t */
	float qsum[2];			/* of the heads; int4, in its unit */
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

	__device__ uint32_t
	get1(uint32_t at) const
	{
		return __ldg((const uint32_t *)(p + at));
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

	__device__ uint32_t
	get1(uint32_t at) const
	{
		return __ldcg((const uint32_t *)(p + at));
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

	__device__ uint32_t
	get1(uint32_t at) const
	{
		uint32_t v;

		asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) :
		    "r"(p + at) : "memory");
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
	[[maybe_unused]] float sum = 0;
	uint4 v;

	st.max[0] = st.max[1] = -1e30f;
	st.sum[0] = st.sum[1] = st.add[0] = st.add[1] = 0;
#pragma unroll
	for (j = 0; j < DIM / 4; j++)
		st.o[j / 4][j % 4] = 0;
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

			sum += f.x + f.y;
		}
		sum += gpu_shfl_xor(sum, 1);
		sum += gpu_shfl_xor(sum, 2);
		sum *= 1 / INT4_UNIT;
		st.qsum[0] = __shfl_sync(~0u, sum, 8 * t);
		st.qsum[1] = __shfl_sync(~0u, sum, 8 * t + 4);
#pragma unroll
		for (j = 0; j < DIM / 16; j++)
			st.q[j][1] = sixteenth(st.q[j][1]);
	}
}

/* What lanes have of a head comes together. */
template <int DIM, int KV>
static __device__ void
end(struct state<DIM> &st)
{
	int i, k;
	[[maybe_unused]] int j;

#pragma unroll
	for (i = 0; i < 2; i++) {
#pragma unroll
		for (k = 4; k < 32; k *= 2)
			st.sum[i] += gpu_shfl_xor(st.sum[i], k);
		if constexpr (KV == SQ_DEC_KV_INT4) {
#pragma unroll
			for (k = 4; k < 32; k *= 2)
				st.add[i] += gpu_shfl_xor(st.add[i], k);
#pragma unroll
			for (j = i; j < DIM / 4; j += 2)
				st.o[j / 4][j % 4] = fmaf(st.o[j / 4][j % 4],
				    INT4_UNIT, st.add[i]);
		}
	}
}

/* The sums of head 2t + i, dimension by dimension, to where `put' has them. */
template <int DIM, typename PUT>
static __device__ void
each_sum(const struct state<DIM> &st, int i, PUT put)
{
	int g = threadIdx.x % 32 / 4, d;

#pragma unroll
	for (d = 0; d < DIM / 16; d++) {
		put(16 * d + g, st.o[d][i]);
		put(16 * d + 8 + g, st.o[d][2 + i]);
	}
}

/* The key whose score is s[j / 2][j % 2 * 2 ..] of a lane. */
static __device__ inline int
key_of(int j)
{
	int g = threadIdx.x % 32 / 4;

	return 16 * (g / 2) + 2 * j + g % 2;
}

/* Scores become exponentials; what was summed before fades. */
template <int DIM>
static __device__ void
soften(struct state<DIM> &st, float s[4][4], int n)
{
	float max, fade;
	int i, j, k;

#pragma unroll
	for (i = 0; i < 2; i++) {
		max = -INFINITY;
#pragma unroll
		for (j = 0; j < 8; j++) {
			float &v = s[j / 2][j % 2 * 2 + i];

			if (key_of(j) >= n)
				v = -INFINITY;
			max = fmaxf(max, v);
		}
#pragma unroll
		for (k = 4; k < 32; k *= 2)
			max = fmaxf(max, gpu_shfl_xor(max, k));
		max = fmaxf(max, st.max[i]);
		fade = exp2f(st.max[i] - max);
		st.max[i] = max;
		st.sum[i] *= fade;
		st.add[i] *= fade;
#pragma unroll
		for (j = 0; j < 8; j++) {
			float &v = s[j / 2][j % 2 * 2 + i];

			v = exp2f(v - max);
			st.sum[i] += v;
		}
#pragma unroll
		for (j = i; j < DIM / 4; j += 2)
			st.o[j / 4][j % 4] *= fade;
	}
}

/*
 * Sums that depend on themselves wait for each other: some of them, of other
 * keys or dimensions, are in work in turns.
 */
#define AT_ONCE		4

/* One page of plain values: n of its tokens count. */
template <int DIM, bool FP8, typename WHERE>
static __device__ void
plain_page(struct state<DIM> &st, WHERE k, WHERE v, int n, float scale)
{
	const int size = FP8 ? 1 : 2, kv4 = DIM / 4 * size / 16,
	    vv4 = 16 * size / 16, some = 2 * (FP8 ? AT_ONCE : AT_ONCE / 2);
	const bool early = WHERE::early && FP8;
	const enum sq_dec_kv kv = FP8 ? SQ_DEC_KV_FP8 : SQ_DEC_KV_BF16;
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, i, j, d, m;
	uint4 kk[some][kv4], vv[early ? DIM / 8 : some][vv4];
	uint32_t a0, a1, a2, a3, p[4][2];
	float s[4][4];

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
				kk[m][i] = k.get(page_at(DIM * size,
				    key_of(j + m), t * (DIM / 4) * size +
				    16 * i));
			s[(j + m) / 2][m % 2 * 2] = 0;
			s[(j + m) / 2][m % 2 * 2 + 1] = 0;
		}
#pragma unroll
		for (i = 0; i < DIM / 16; i++)
#pragma unroll
			for (m = 0; m < some; m += 2) {
				operand<FP8>(kk[m], i, a0, a2);
				operand<FP8>(kk[m + 1], i, a1, a3);
				mma_page<FP8>(s[(j + m) / 2], a0, a1, a2, a3,
				    st.q[i]);
			}
	}
#pragma unroll
	for (j = 0; j < 16; j++)
		s[j / 4][j % 4] *= scale;
	soften<DIM>(st, s, n);
#pragma unroll
	for (j = 0; j < 8; j++)
		p[j / 2][j % 2] = turned(pack<FP8>(s[j / 2][j % 2 * 2],
		    s[j / 2][j % 2 * 2 + 1]));
#pragma unroll
	for (d = 0; d < DIM / 8; d += some) {
		uint4 (*w)[vv4] = vv + (early ? d : 0);

#pragma unroll
		for (m = 0; !early && m < some; m++)
#pragma unroll
			for (i = 0; i < vv4; i++)
				w[m][i] = v.get(value_at(kv, DIM, t, 8 * (d +
				    m) + g, i));
#pragma unroll
		for (i = 0; i < 4; i++)
#pragma unroll
			for (m = 0; m < some; m += 2) {
				operand<FP8>(w[m], i, a0, a2);
				operand<FP8>(w[m + 1], i, a1, a3);
				mma_page<FP8>(st.o[(d + m) / 2], a0, a1, a2,
				    a3, p[i]);
			}
	}
}

/* The scale (.x) and the minimum of each of the lane's keys. */
template <typename WHERE>
static __device__ void
scales_of(WHERE at, uint32_t codes, float2 f[8])
{
	uint32_t w;
	int j;

#pragma unroll
	for (j = 0; j < 8; j++) {
		w = at.get1(codes + 4 * key_of(j));
		f[j] = __half22float2(*(__half2 *)&w);
	}
}

/* One page of int4. */
template <int DIM, typename WHERE>
static __device__ void
int4_page(struct state<DIM> &st, WHERE k, WHERE v, int n, float scale)
{
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, i, j, d, m;
	uint32_t w[2 * AT_ONCE][DIM / 32], p[4][2], a0, a1, a2, a3;
	uint2 v2[2 * AT_ONCE];
	float s[4][4];
	float2 f[8];
	uint4 v4;

#pragma unroll
	for (j = 0; j < 8; j++) {
		d = key_of(j) * (DIM / 2) + t * (DIM / 8);
		if (DIM == 128) {
			v4 = k.get(d);
#pragma unroll
			for (i = 0; i < DIM / 32; i++)
				w[j][i] = word_of(v4, i);
		} else {
			v2[0] = k.get2(d);
			w[j][0] = v2[0].x;
			w[j][1] = v2[0].y;
		}
		s[j / 2][j % 2 * 2] = s[j / 2][j % 2 * 2 + 1] = 0;
	}
	scales_of(k, PAGE * DIM / 2, f);
#pragma unroll
	for (i = 0; i < DIM / 16; i++)
#pragma unroll
		for (m = 0; m < 8; m += 2) {
			codes(w[m][i / 2], i, a0, a2);
			codes(w[m + 1][i / 2], i, a1, a3);
			mma_page<true>(s[m / 2], a0, a1, a2, a3, st.q[i]);
		}
#pragma unroll
	for (j = 0; j < 16; j++)
		s[j / 4][j % 4] = (s[j / 4][j % 4] * f[j / 2].x +
		    st.qsum[j % 2] * f[j / 2].y) * (scale * INT4_UNIT);
	scales_of(v, PAGE * DIM / 2, f);
	soften<DIM>(st, s, n);
#pragma unroll
	for (j = 0; j < 8; j++) {
		float *e = &s[j / 2][j % 2 * 2];

		st.add[0] += e[0] * f[j].y;
		st.add[1] += e[1] * f[j].y;
		p[j / 2][j % 2] = turned(pack<true>(e[0] * f[j].x,
		    e[1] * f[j].x));
		if (j % 2 == 1)
			p[j / 2][1] = sixteenth(p[j / 2][1]);
	}
#pragma unroll
	for (d = 0; d < DIM / 8; d += 2 * AT_ONCE) {
#pragma unroll
		for (m = 0; m < 2 * AT_ONCE; m++)
			v2[m] = v.get2(value_at(SQ_DEC_KV_INT4, DIM, t, 8 *
			    (d + m) + g, 0));
#pragma unroll
		for (i = 0; i < 4; i++)
#pragma unroll
			for (m = 0; m < 2 * AT_ONCE; m += 2) {
				codes(i < 2 ? v2[m].x : v2[m].y, i, a0, a2);
				codes(i < 2 ? v2[m + 1].x : v2[m + 1].y, i,
				    a1, a3);
				mma_page<true>(st.o[(d + m) / 2], a0, a1, a2,
				    a3, p[i]);
			}
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
