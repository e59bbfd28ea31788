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
#include "kernels/cuda/dec.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"

#define CHUNK		128
#define TILE		16		/* rows of a block */
#define BLOCK_WARPS	8
#define AHEAD		4		/* chunks whose bytes are asked for */
#define MOST		32		/* rows of activations */

#if GPU_MMA

/* Where sums go: float32; bf16; or, rows being gate and up in turns of eight,
 * silu(gate) * up as bf16 in the order that arrange() makes. */
enum end { END_F32, END_BF16, END_SILU };

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
	size_t group[2];		/* the rows' first */
	int g, t;
};

static __device__ __nv_bfloat162
twice(float v)
{
	return __float2bfloat162_rn(v);
}

/* One chunk: 8 products with each tile of 8 tokens. */
template <int NT, bool SCALE_IN>
static __device__ void
chunk(const struct sq_weight &w, const struct lane &l, const uint4 code[2],
    size_t c, const uint16_t *x, size_t rows, float sum[NT][4])
{
	float part[NT][4] = {}, scale[2];
	__nv_bfloat162 less[2], by[2];
	uint32_t a[4], lo[4], hi[4];
	size_t group, col = c * CHUNK + l.t * 32;
	const uint16_t *px;
	uint4 b[NT];
	int r, q, n, h;

	for (r = 0; r < 2; r++) {
		group = l.group[r] + (SCALE_IN ? col : c * CHUNK) /
		    w.group_cols;
		scale[r] = load(w.scales, w.scale_type, group);
		less[r] = twice(128 + (w.zeros == NULL ? 8 : w.zeros[group]));
		by[r] = twice(scale[r]);
	}
	lo[0] = code[0].x, lo[1] = code[0].y, lo[2] = code[0].z,
	    lo[3] = code[0].w;
	hi[0] = code[1].x, hi[1] = code[1].y, hi[2] = code[1].z,
	    hi[3] = code[1].w;
#pragma unroll
	for (q = 0; q < 4; q++) {
#pragma unroll
		for (n = 0; n < NT; n++) {
			px = x + (size_t)(8 * n + l.g) * w.cols + col + 8 * q;
			b[n] = 8 * n + l.g < rows ? *(const uint4 *)px :
			    make_uint4(0, 0, 0, 0);
		}
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

template <int NT>
static __device__ float
sum_of(float (*all)[NT][8][TILE], int token, int row)
{
	float v = 0;
	int k;

	for (k = 0; k < BLOCK_WARPS; k++)
		v += all[k][token / 8][token % 8][row];
	return v;
}

/* The sums of all warps, one after the other. */
template <int NT, enum end END>
static __device__ void
finish(float sum[NT][4], const struct lane &l, size_t row0,
    const struct sq_mat &y)
{
	__shared__ float all[BLOCK_WARPS][NT][8][TILE];
	int w = threadIdx.x / 32, n, r, i, rows = END == END_SILU ? 8 : TILE;
	uint16_t *h = (uint16_t *)y.p;
	size_t token;
	float v;

#pragma unroll
	for (n = 0; n < NT; n++)
#pragma unroll
		for (r = 0; r < 4; r++)
			all[w][n][2 * l.t + (r & 1)][l.g + 8 * (r >> 1)] =
			    sum[n][r];
	__syncthreads();
	for (i = threadIdx.x; i < NT * 8 * rows; i += blockDim.x) {
		token = i / rows;
		r = i % rows;
		if (token >= y.rows || (END == END_F32 &&
		    row0 + r >= y.cols))
			continue;
		v = sum_of<NT>(all, (int)token, r);
		if (END == END_F32)
			row_of(y, token)[row0 + r] = v;
		else if (END == END_BF16)
			h[token * y.stride + row0 + r] = to_bf16(v);
		else
			h[token * y.stride + row0 / 2 + ((r & 3) << 1 |
			    r >> 2)] = to_bf16(v / (1 + __expf(-v)) *
			    sum_of<NT>(all, (int)token, r + 8));
	}
}

template <int NT, bool SCALE_IN, enum end END>
static __global__ void __launch_bounds__(BLOCK_WARPS * 32)
skinny(struct sq_weight w, const uint16_t *x, struct sq_mat y)
{
	int lane = threadIdx.x % 32, u, r;
	struct lane l = { { NULL, NULL }, { 0, 0 }, lane / 4, lane % 4 };
	size_t row0 = blockIdx.x * (size_t)TILE, row, c, n = w.cols / CHUNK;
	size_t across = w.cols / w.group_cols;
	float sum[NT][4] = {};
	uint4 code[AHEAD][2];

	for (r = 0; r < 2; r++) {
		row = row0 + l.g + 8 * r;
		row = row < w.rows ? row : w.rows - 1;
		l.code[r] = (const uint8_t *)w.data + row * (w.cols / 2) +
		    l.t * 16;
		l.group[r] = row * across;
	}
	let_next_start();
	for (c = threadIdx.x / 32; c < n; c += AHEAD * BLOCK_WARPS) {
#pragma unroll
		for (u = 0; u < AHEAD; u++)
			if (c + u * BLOCK_WARPS < n)
				for (r = 0; r < 2; r++)
					code[u][r] = read_once(l.code[r] +
					    (c + u * BLOCK_WARPS) * CHUNK / 2);
		if (c == threadIdx.x / 32)
			wait_for_others();
#pragma unroll
		for (u = 0; u < AHEAD; u++)
			if (c + u * BLOCK_WARPS < n)
				chunk<NT, SCALE_IN>(w, l, code[u],
				    c + u * BLOCK_WARPS, x, y.rows, sum);
	}
	if (threadIdx.x / 32 >= n)
		wait_for_others();
	finish<NT, END>(sum, l, row0, y);
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

template <int NT>
static void
start(gpu_stream s, const struct sq_weight &w, const uint16_t *x,
    const struct sq_mat &y)
{
	unsigned blocks = (unsigned)((w.rows + TILE - 1) / TILE);

	if (w.group_cols % CHUNK == 0)
		skinny<NT, false, END_F32><<<blocks, BLOCK_WARPS * 32, 0,
		    s>>>(w, x, y);
	else
		skinny<NT, true, END_F32><<<blocks, BLOCK_WARPS * 32, 0,
		    s>>>(w, x, y);
}

void
sqc_skinny(gpu_stream s, struct sq_weight w, struct sq_mat x, struct sq_mat y,
    void *temp)
{
	uint16_t *t = (uint16_t *)temp;

	arrange<<<over_rows(x.rows, x.cols, 1), SQC_THREADS, 0, s>>>(x, t);
	if (x.rows <= 8)
		start<1>(s, w, t, y);
	else if (x.rows <= 16)
		start<2>(s, w, t, y);
	else
		start<4>(s, w, t, y);
}

template <int NT, enum end END>
static void
few(gpu_stream s, const struct sq_weight &w, const void *x,
    const struct sq_mat &y)
{
	launch(skinny<NT, false, END>, dim3((unsigned)(w.rows / TILE)),
	    BLOCK_WARPS * 32, 0, s, w, (const uint16_t *)x, y);
}

void
dec_few(gpu_stream s, struct sq_weight w, const void *x, size_t n, void *y,
    int silu)
{
	size_t out = silu ? w.rows / 2 : w.rows;
	struct sq_mat m = { y, SQ_BF16, n, out, out };

	if (silu && n <= 8)
		few<1, END_SILU>(s, w, x, m);
	else if (silu)
		few<2, END_SILU>(s, w, x, m);
	else if (n <= 8)
		few<1, END_BF16>(s, w, x, m);
	else
		few<2, END_BF16>(s, w, x, m);
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

void
dec_few(gpu_stream s, struct sq_weight w, const void *x, size_t n, void *y,
    int silu)
{
	(void)s, (void)w, (void)x, (void)n, (void)y, (void)silu;
}

#endif
