/*
 * Attention over paged keys and values in float32 on tensor cores; see
 * attention.cu, whose tiles and sums these are.  A factor is the sum of two
 * tf32, and a product three of theirs, which leaves float32's error; sums go
 * on in float32 after few products, since tensor cores cut where they add.
 *
 * A block has a tile's 16 queries.  Its warps take 32 keys in turn, straight
 * from the pages, and are put together at the end.  The order of what a product
 * sums is free, and so is that of its columns: lanes take elements that lie
 * side by side.
 */
#include "kernels/cuda/attention.h"

#if GPU_MMA

#define WARPS	4
#define STEP	32			/* keys of a warp at a time */
#define ALL	0xffffffffu

/* d += a b in tf32: a 16x8, b 8x8.  Lane l holds of a the rows l/4 and l/4 + 8
 * of columns l%4, then those of l%4 + 4; of b the column l/4, rows l%4 and
 * l%4 + 4; of d the rows l/4 and l/4 + 8, columns 2(l%4) and the next. */
static __device__ inline void
mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
	    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
	    "r"(b[1]));
}

/* n floats as sums of two tf32; of a tf32 the hardware reads the upper 19
 * bits. */
template <int N>
struct halves {
	uint32_t hi[N], lo[N];

	__device__ inline void
	put(int i, float x)
	{
		hi[i] = (__float_as_uint(x) + 0x1000) & 0xffffe000;
		lo[i] = __float_as_uint(x - __uint_as_float(hi[i])) + 0x1000;
	}
};

static __device__ inline void
product(float d[4], const halves<4> &a, float b0, float b1)
{
	halves<2> b;

	b.put(0, b0);
	b.put(1, b1);
	mma_tf32(d, a.lo, b.hi);
	mma_tf32(d, a.hi, b.lo);
	mma_tf32(d, a.hi, b.hi);
}

/* Four values in a row. */
template <enum sq_dtype TYPE>
static __device__ inline void
four(const void *p, int i, float v[4])
{
	if (TYPE == SQ_F32) {
		float4 u = *(const float4 *)((const float *)p + i);

		v[0] = u.x, v[1] = u.y, v[2] = u.z, v[3] = u.w;
	} else {
		uint2 u = *(const uint2 *)((const uint16_t *)p + i);
		uint32_t w[2] = { u.x, u.y };

		for (int e = 0; e < 4; e++) {
			uint16_t h = (uint16_t)(w[e / 2] >> 16 * (e % 2));

			v[e] = TYPE == SQ_F16 ? from_f16(h) : from_bf16(h);
		}
	}
}

/* Where lane l's key lies, for all lanes to ask for. */
static __device__ inline const void *
of_lane(unsigned long long mine, int l)
{
	return (const void *)__shfl_sync(ALL, mine, l);
}

/* The queries as lanes hold them: of 16 elements two products' share. */
template <int DIM>
static __device__ void
load_queries(const struct sqc_attn &j, const struct sqc_tile &t,
    const struct sq_mat &mq, float4 *to)
{
	size_t head = blockIdx.y, group = j.a.heads / j.kv.heads;
	int i, r;

	for (i = threadIdx.x; i < DIM / 16 * 64; i += WARPS * 32) {
		float v[4] = { 0, 0, 0, 0 };

		for (r = 0; r < 2; r++) {
			size_t q = t.query + (i % 32 / 4 + 8 * r);
			const float *from = row_of(mq, t.row + q / group) +
			    (head * group + q % group) * DIM + i / 64 * 16 +
			    i % 4 * 4 + i / 32 % 2 * 2;

			if (q < t.query + t.nquery) {
				v[r] = from[0];
				v[2 + r] = from[1];
			}
		}
		to[i] = make_float4(v[0], v[1], v[2], v[3]);
	}
}

struct warp {
	float max[2], sum[2];		/* of the lane's two queries */
	int first[2], last[2];		/* the keys that they see */
};

template <int DIM, enum sq_dtype TYPE>
static __device__ inline void
scores(const float4 *q, unsigned long long keys, float s[STEP / 8][4])
{
	int l = threadIdx.x % 32, c, j, h, e;
	halves<4> a[2];

#pragma unroll
	for (c = 0; c < DIM / 16; c++) {
#pragma unroll
		for (h = 0; h < 2; h++) {
			float4 v = q[c * 64 + h * 32 + l];

			a[h].put(0, v.x);
			a[h].put(1, v.y);
			a[h].put(2, v.z);
			a[h].put(3, v.w);
		}
#pragma unroll
		for (j = 0; j < STEP / 8; j++) {
			float k[4], d[4] = { 0, 0, 0, 0 };

			four<TYPE>(of_lane(keys, 8 * j + l / 4), 16 * c +
			    l % 4 * 4, k);
			product(d, a[0], k[0], k[1]);
			product(d, a[1], k[2], k[3]);
#pragma unroll
			for (e = 0; e < 4; e++)
				s[j][e] += d[e];
		}
	}
}

/* Scores to exponentials; fade: of what was summed before. */
static __device__ inline void
soften(struct warp &w, float scale, int from, float s[STEP / 8][4],
    float fade[2])
{
	int t = threadIdx.x % 4, r, j, e, key;
	float m;

#pragma unroll
	for (r = 0; r < 2; r++) {
		m = w.max[r];
#pragma unroll
		for (j = 0; j < STEP / 8; j++)
#pragma unroll
			for (e = 2 * r; e < 2 * r + 2; e++) {
				key = from + 8 * j + 2 * t + e % 2;
				s[j][e] = key >= w.first[r] &&
				    key <= w.last[r] ? s[j][e] * scale :
				    -INFINITY;
				m = fmaxf(m, s[j][e]);
			}
		m = fmaxf(m, gpu_shfl_xor(m, 1));
		m = fmaxf(m, gpu_shfl_xor(m, 2));
		fade[r] = m == -INFINITY ? 1 : expf(w.max[r] - m);
		w.max[r] = m;
		w.sum[r] *= fade[r];
#pragma unroll
		for (j = 0; j < STEP / 8; j++)
#pragma unroll
			for (e = 2 * r; e < 2 * r + 2; e++) {
				s[j][e] = m == -INFINITY ? 0 :
				    expf(s[j][e] - m);
				w.sum[r] += s[j][e];
			}
	}
}

/* Key 2i of eight is the product's i-th, and key 2i + 1 its i + 4th: so the
 * scores lie as the product wants them.  Column i of the e-th of four products
 * is element 4i + e of 32. */
template <int DIM, enum sq_dtype TYPE>
static __device__ inline void
add_values(float s[STEP / 8][4], unsigned long long values,
    const float fade[2], float o[DIM / 8][4])
{
	int l = threadIdx.x % 32, c, j, e, i;
	halves<4> p[STEP / 8];

#pragma unroll
	for (j = 0; j < STEP / 8; j++) {
		p[j].put(0, s[j][0]);
		p[j].put(1, s[j][2]);
		p[j].put(2, s[j][1]);
		p[j].put(3, s[j][3]);
	}
#pragma unroll
	for (c = 0; c < DIM / 32; c++) {
		float d[4][4] = {}, v[4], u[4];

#pragma unroll
		for (j = 0; j < STEP / 8; j++) {
			four<TYPE>(of_lane(values, 8 * j + l % 4 * 2), 32 *
			    c + l / 4 * 4, v);
			four<TYPE>(of_lane(values, 8 * j + l % 4 * 2 + 1),
			    32 * c + l / 4 * 4, u);
#pragma unroll
			for (e = 0; e < 4; e++)
				product(d[e], p[j], v[e], u[e]);
		}
#pragma unroll
		for (e = 0; e < 4; e++)
#pragma unroll
			for (i = 0; i < 4; i++)
				o[4 * c + e][i] = fmaf(o[4 * c + e][i],
				    fade[i / 2], d[e][i]);
	}
}

/* A warp's sums to where the block puts them together. */
template <int DIM>
static __device__ inline void
leave_warp(const struct warp &w, float o[DIM / 8][4], float *acc, float *max,
    float *sum)
{
	int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, r, c, e, q;
	float v;

#pragma unroll
	for (r = 0; r < 2; r++) {
		v = w.sum[r];
		v += gpu_shfl_xor(v, 1);
		v += gpu_shfl_xor(v, 2);
		q = g + 8 * r;
		if (t == 0) {
			max[q] = w.max[r];
			sum[q] = v;
		}
#pragma unroll
		for (c = 0; c < DIM / 8; c++)
#pragma unroll
			for (e = 0; e < 2; e++)
				acc[q * DIM + c / 4 * 32 + (2 * t + e) * 4 +
				    c % 4] = o[c][2 * r + e];
	}
}

template <int DIM, enum sq_dtype TYPE>
static __global__ void __launch_bounds__(WARPS * 32, 3)
attend_mma(struct sqc_attn j, struct sq_mat mq, struct sq_mat my)
{
	__shared__ float4 q[DIM / 16 * 64];
	__shared__ float acc[WARPS][SQC_TILE * DIM];
	__shared__ float max[WARPS][SQC_TILE], sum[WARPS][SQC_TILE];
	const struct sqc_tile t = j.tile[blockIdx.x];
	int n = threadIdx.x / 32, l = threadIdx.x % 32, from, r, i, k, pos;
	int group = (int)(j.a.heads / j.kv.heads), page = (int)j.kv.page;
	float o[DIM / 8][4] = {}, fade[2], m, v, all, f;
	struct warp w;

	load_queries<DIM>(j, t, mq, q);
	for (r = 0; r < 2; r++) {
		i = l / 4 + 8 * r;
		pos = (int)t.pos + ((int)t.query + i) / group;
		w.max[r] = -INFINITY;
		w.sum[r] = 0;
		w.first[r] = j.a.window == 0 || (size_t)pos < j.a.window ? 0 :
		    pos + 1 - (int)j.a.window;
		w.last[r] = i < (int)t.nquery ? pos : -1;
		if (w.last[r] >= (int)t.to)
			w.last[r] = (int)t.to - 1;
	}
	__syncthreads();
	for (from = (int)t.from + STEP * n; from < (int)t.to;
	    from += STEP * WARPS) {
		float s[STEP / 8][4] = {};
		size_t at;

		k = from + l < (int)t.to ? from + l : (int)t.to - 1;
		pos = k / page;
		at = (blockIdx.y * j.kv.page + (k - pos * page)) * DIM *
		    (TYPE == SQ_F32 ? 4 : 2);
		scores<DIM, TYPE>(q, (unsigned long long)j.k[t.pages + pos] +
		    at, s);
		soften(w, j.a.scale, from, s, fade);
		add_values<DIM, TYPE>(s, (unsigned long long)j.v[t.pages +
		    pos] + at, fade, o);
	}
	leave_warp<DIM>(w, o, acc[n], max[n], sum[n]);
	__syncthreads();
	for (i = threadIdx.x; i < (int)t.nquery * DIM; i += WARPS * 32) {
		k = i / DIM;
		m = max[0][k];
		for (n = 1; n < WARPS; n++)
			m = fmaxf(m, max[n][k]);
		for (v = all = 0, n = 0; n < WARPS; n++) {
			f = m == -INFINITY ? 0 : expf(max[n][k] - m);
			v += f * acc[n][i];
			all += f * sum[n][k];
		}
		leave(j, t, my, k, i % DIM, v, m, all);
	}
}

template <int DIM>
static void
start(gpu_stream s, const struct sqc_attn &j, struct sq_mat q,
    struct sq_mat y)
{
	dim3 grid(j.ntiles, (unsigned)j.kv.heads);

	if (j.kv.type == SQ_F32)
		attend_mma<DIM, SQ_F32><<<grid, WARPS * 32, 0, s>>>(j, q, y);
	else if (j.kv.type == SQ_F16)
		attend_mma<DIM, SQ_F16><<<grid, WARPS * 32, 0, s>>>(j, q, y);
	else
		attend_mma<DIM, SQ_BF16><<<grid, WARPS * 32, 0, s>>>(j, q, y);
}

int
sqc_attention_mma(gpu_stream s, struct sqc_attn j, struct sq_mat q,
    struct sq_mat y)
{
	if (j.kv.dim == 128)
		start<128>(s, j, q, y);
	else if (j.kv.dim == 64)
		start<64>(s, j, q, y);
	else
		return 0;
	return 1;
}

#else

int
sqc_attention_mma(gpu_stream s, struct sqc_attn j, struct sq_mat q,
    struct sq_mat y)
{
	(void)s, (void)j, (void)q, (void)y;
	return 0;
}

#endif
