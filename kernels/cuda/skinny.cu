/*
 * A few rows of activations times a weight of 4 bits: what a step of
 * generation does.  The weight is read once, as it is stored, 16 bytes a lane;
 * tensor cores multiply, whether there is one row or 32.
 *
 *	      chunk of 128 columns = 64 bytes of a row
 *	     +--------+--------+--------+--------+
 *	row  | lane 0 | lane 1 | lane 2 | lane 3 |   and so on for 16 rows: a
 *	     +--------+--------+--------+--------+   warp's tile
 *
 * The order of columns within a product is free as long as both sides agree:
 * a lane's 32 codes go to its places of 8 products in the order in which
 * they are cheap to unpack, and arrange() puts the activations into the same
 * order.  A block's warps take turns at the chunks of 16 rows, and their sums
 * are added at the end, in order.
 */
#include "base/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#define CHUNK		128
#define TILE		16		/* rows of a block */
#define BLOCK_WARPS	8
#define AHEAD		4		/* chunks whose bytes are asked for */
#define MOST		32		/* rows of activations */
#define NEARBY		(64 << 10)	/* bytes of activations in a block */

#if GPU_MMA

/* Columns of eight in the order of pair_of(). */
static __global__ void
arrange(struct sq_mat x, uint16_t *out)
{
	size_t j = blockIdx.x * (size_t)blockDim.x + threadIdx.x, i;
	size_t to = (j & ~(size_t)7) | (j & 3) << 1 | (j >> 2 & 1);

	if (j < x.cols)
		for (i = blockIdx.y; i < x.rows; i += gridDim.y)
			out[i * x.cols + to] = to_bf16(row_of(x, i)[j]);
}

/* What a lane knows of its two rows. */
struct lane {
	const uint8_t *code[2];
	uint32_t group[2];		/* the rows' first */
	uint32_t per;			/* chunks of a group */
	int g, t;
};

/* What a lane reads of one chunk, before it is needed. */
struct piece {
	uint4 code[2];
	uint32_t scale[2];		/* as it is stored */
	uint32_t zero[2];
};

template <bool SCALE_IN>
static __device__ void
fetch(const struct sq_weight &w, const struct lane &l, uint32_t c,
    struct piece &p)
{
	uint32_t at = SCALE_IN ? (c * CHUNK + l.t * 32) /
	    (uint32_t)w.group_cols : l.per == 1 ? c : c / l.per;
	int r;

#pragma unroll
	for (r = 0; r < 2; r++) {
		p.code[r] = read_once(l.code[r] + (size_t)c * (CHUNK / 2));
		p.scale[r] = w.scale_type == SQ_F32 ?
		    ((const uint32_t *)w.scales)[l.group[r] + at] :
		    ((const uint16_t *)w.scales)[l.group[r] + at];
		p.zero[r] = w.zeros == NULL ? 8 : w.zeros[l.group[r] + at];
	}
}

static __device__ float
scale_of(const struct sq_weight &w, uint32_t s)
{
	return w.scale_type == SQ_F32 ? __uint_as_float(s) :
	    w.scale_type == SQ_F16 ? from_f16((uint16_t)s) :
	    from_bf16((uint16_t)s);
}

static __device__ __nv_bfloat162
twice(float v)
{
	return __float2bfloat162_rn(v);
}

/* One chunk: 8 products with each tile of 8 tokens.  x has `step' elements from
 * token to token. */
template <int NT, bool SCALE_IN>
static __device__ void
chunk(const struct sq_weight &w, const struct lane &l, const struct piece &p,
    uint32_t c, const uint16_t *x, size_t step, size_t rows, float sum[NT][4])
{
	float part[NT][4] = {}, scale[2];
	__nv_bfloat162 less[2], by[2];
	uint32_t a[4], lo[4], hi[4];
	const uint16_t *px = x + l.g * step + c * CHUNK + l.t * 32;
	uint4 b[NT];
	int r, q, n, h;

#pragma unroll
	for (r = 0; r < 2; r++) {
		scale[r] = scale_of(w, p.scale[r]);
		less[r] = twice(128 + (float)p.zero[r]);
		by[r] = twice(scale[r]);
	}
	lo[0] = p.code[0].x, lo[1] = p.code[0].y, lo[2] = p.code[0].z,
	    lo[3] = p.code[0].w;
	hi[0] = p.code[1].x, hi[1] = p.code[1].y, hi[2] = p.code[1].z,
	    hi[3] = p.code[1].w;
#pragma unroll
	for (q = 0; q < 4; q++) {
#pragma unroll
		for (n = 0; n < NT; n++)
			b[n] = 8 * n + l.g < rows ? *(const uint4 *)(px +
			    8 * n * step + 8 * q) : make_uint4(0, 0, 0, 0);
#pragma unroll
		for (h = 0; h < 2; h++) {
			a[0] = pair_of(lo[q], 2 * h, less[0]);
			a[1] = pair_of(hi[q], 2 * h, less[1]);
			a[2] = pair_of(lo[q], 2 * h + 1, less[0]);
			a[3] = pair_of(hi[q], 2 * h + 1, less[1]);
			if (SCALE_IN)
				for (r = 0; r < 4; r++) {
					__nv_bfloat162 v = __hmul2(
					    *(__nv_bfloat162 *)&a[r],
					    by[r & 1]);
					a[r] = *(uint32_t *)&v;
				}
#pragma unroll
			for (n = 0; n < NT; n++)
				mma_bf16(part[n], a, h ? b[n].z : b[n].x,
				    h ? b[n].w : b[n].y);
		}
	}
#pragma unroll
	for (n = 0; n < NT; n++)
#pragma unroll
		for (r = 0; r < 4; r++)
			sum[n][r] += part[n][r] * (SCALE_IN ? 1 :
			    scale[r / 2]);
}

/* The sums of all warps, one after the other. */
template <int NT>
static __device__ void
finish(float sum[NT][4], const struct lane &l, size_t row0,
    const struct sq_mat &y)
{
	__shared__ float all[BLOCK_WARPS][NT][8][TILE];
	int w = threadIdx.x / 32, n, r, i, k;
	size_t token;
	float v;

#pragma unroll
	for (n = 0; n < NT; n++)
#pragma unroll
		for (r = 0; r < 4; r++)
			all[w][n][2 * l.t + (r & 1)][l.g + 8 * (r >> 1)] =
			    sum[n][r];
	__syncthreads();
	for (i = threadIdx.x; i < NT * 8 * TILE; i += blockDim.x) {
		token = i / TILE;
		r = i % TILE;
		if (token >= y.rows || row0 + r >= y.cols)
			continue;
		for (v = 0, k = 0; k < BLOCK_WARPS; k++)
			v += all[k][token / 8][token % 8][r];
		row_of(y, token)[row0 + r] = v;
	}
}

/* Activations wait in shared memory where all fit (NEAR): step is then 8 more
 * than the columns, so that tokens lie in different banks. */
template <int NT, bool SCALE_IN, bool NEAR>
static __global__ void __launch_bounds__(BLOCK_WARPS * 32)
skinny(struct sq_weight w, const uint16_t *x, struct sq_mat y)
{
	extern __shared__ __align__(16) uint16_t near[];
	int lane = threadIdx.x % 32, u, r;
	struct lane l = { { NULL, NULL }, { 0, 0 },
	    (uint32_t)w.group_cols / CHUNK, lane / 4, lane % 4 };
	uint32_t row0 = blockIdx.x * TILE, row, c = threadIdx.x / 32, i;
	uint32_t n = (uint32_t)w.cols / CHUNK, eighths = (uint32_t)w.cols / 8;
	uint32_t across = (uint32_t)(w.cols / w.group_cols);
	size_t step = NEAR ? w.cols + 8 : w.cols;
	float sum[NT][4] = {};
	struct piece p[AHEAD];

	for (r = 0; r < 2; r++) {
		row = row0 + l.g + 8 * r;
		row = row < w.rows ? row : (uint32_t)w.rows - 1;
		l.code[r] = (const uint8_t *)w.data + row * (w.cols / 2) +
		    l.t * 16;
		l.group[r] = row * across;
	}
	let_next_start();
#pragma unroll
	for (u = 0; u < AHEAD; u++)
		if (c + u * BLOCK_WARPS < n)
			fetch<SCALE_IN>(w, l, c + u * BLOCK_WARPS, p[u]);
	wait_for_others();
	if (NEAR) {
		for (i = threadIdx.x; i < y.rows * eighths; i += blockDim.x)
			*(uint4 *)(near + i / eighths * step + i % eighths *
			    8) = *(const uint4 *)(x + (size_t)i * 8);
		__syncthreads();
		x = near;
	}
	for (; c < n; c += AHEAD * BLOCK_WARPS)
#pragma unroll
		for (u = 0; u < AHEAD; u++) {
			i = c + u * BLOCK_WARPS;
			if (i >= n)
				continue;
			chunk<NT, SCALE_IN>(w, l, p[u], i, x, step, y.rows,
			    sum);
			if (i + AHEAD * BLOCK_WARPS < n)
				fetch<SCALE_IN>(w, l, i + AHEAD *
				    BLOCK_WARPS, p[u]);
		}
	finish<NT>(sum, l, row0, y);
}

int
sqc_skinny_knows(const struct sq_weight *w, size_t rows, size_t *temp)
{
	*temp = rows * w->cols * 2;
	return w->grid == SQ_INT4 && rows <= MOST && w->cols % CHUNK == 0 &&
	    w->group_rows == 1 && w->cols % w->group_cols == 0 &&
	    (w->group_cols % CHUNK == 0 || w->group_cols == 64 ||
	    w->group_cols == 32) && (uintptr_t)w->data % 16 == 0;
}

template <int NT, bool SCALE_IN>
static void
start(gpu_stream s, const struct sq_weight &w, const uint16_t *x,
    const struct sq_mat &y)
{
	size_t bytes = y.rows * (w.cols + 8) * 2;
	dim3 grid((unsigned)((w.rows + TILE - 1) / TILE));
	static size_t allowed = 32 << 10;

	if (bytes > NEARBY) {
		launch(skinny<NT, SCALE_IN, false>, grid, BLOCK_WARPS *
		    32, 0, s, w, x, y);
		return;
	}
	if (bytes > allowed && GPU(FuncSetAttribute)((const void *)
	    skinny<NT, SCALE_IN, true>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), NEARBY) ==
	    GPU(Success))
		allowed = NEARBY;
	launch(skinny<NT, SCALE_IN, true>, grid, BLOCK_WARPS * 32, bytes,
	    s, w, x, y);
}

template <int NT>
static void
start_f32(gpu_stream s, const struct sq_weight &w, const uint16_t *x,
    const struct sq_mat &y)
{
	if (w.group_cols % CHUNK == 0)
		start<NT, false>(s, w, x, y);
	else
		start<NT, true>(s, w, x, y);
}

void
sqc_skinny(gpu_stream s, struct sq_weight w, struct sq_mat x, struct sq_mat y,
    void *temp)
{
	uint16_t *t = (uint16_t *)temp;

	arrange<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(x, t);
	if (x.rows <= 8)
		start_f32<1>(s, w, t, y);
	else if (x.rows <= 16)
		start_f32<2>(s, w, t, y);
	else
		start_f32<4>(s, w, t, y);
}

#else

int
sqc_skinny_knows(const struct sq_weight *w, size_t rows, size_t *temp)
{
	(void)w, (void)rows, (void)temp;
	return 0;
}

void
sqc_skinny(gpu_stream s, struct sq_weight w, struct sq_mat x, struct sq_mat y,
    void *temp)
{
	(void)s, (void)w, (void)x, (void)y, (void)temp;
}

#endif
