/*
 * GPTQ of whole weights on the device; see solve.h.  Rows are independent of
 * each other.  A thread takes a row through some columns, what these ask for
 * lying side by side with that of other rows in shared memory; of pairs, whose
 * moves change all of a row, a block takes one.  The arithmetic of a row is
 * that of rounding.h, compiled without contraction: the bits are ref's.
 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/solve.h"
#include "kernels/rounding.h"

#define ROWS	32			/* of a block, a thread each */
#define STEP	(ROWS + 1)		/* from one column to the next: no two
					   banks alike when rows are read */
#define COLS	SQ_ROUND_COLS

/* ---- scales ---- */

static __global__ void
weighted_scales(struct sq_rounding s, const float *cost, int *bad)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x, at, n;
	size_t groups = sq_round_groups(&s);

	if (i >= s.rows * groups)
		return;
	at = i % groups * s.group_cols;
	n = s.cols - at < s.group_cols ? s.cols - at : s.group_cols;
	if (!sq_weighted_scale(s.w + i / groups * s.cols + at, cost + at, n,
	    (float)((1 << s.bits) - 1), s.symmetric, &s.scales[i],
	    &s.zeros[i]))
		*bad = 1;
}

void
sqc_weighted_scales(gpu_stream st, struct sq_rounding s, const float *cost,
    int *bad)
{
	size_t n = s.rows * sq_round_groups(&s);

	weighted_scales<<<(unsigned)((n + 127) / 128), 128, 0, st>>>(s, cost,
	    bad);
}

/* ---- columns ---- */

/* ROWS rows of m from `row' on, to shared memory, and back. */
static __device__ void
take(float *to, const struct sq_mat &m, size_t row)
{
	for (size_t r = 0; r < ROWS && row + r < m.rows; r++)
		for (size_t c = threadIdx.x; c < m.cols; c += ROWS)
			to[c * STEP + r] = row_of(m, row + r)[c];
	__syncthreads();
}

static __device__ void
give(const float *from, const struct sq_mat &m, size_t row)
{
	__syncthreads();
	for (size_t r = 0; r < ROWS && row + r < m.rows; r++)
		for (size_t c = threadIdx.x; c < m.cols; c += ROWS)
			row_of(m, row + r)[c] = from[c * STEP + r];
}

static __global__ void
round_columns(struct sq_rounding s, const uint32_t *col, struct sq_mat t,
    struct sq_mat m, struct sq_mat e)
{
	__shared__ float own[COLS * STEP];
	size_t row = blockIdx.x * (size_t)ROWS, r = row + threadIdx.x;
	struct sq_round_row a;

	take(own, t, row);
	if (r >= s.rows)
		return;
	a = sq_round_row(&s, r);
	sq_round_columns_row(&a, col, m.cols, own + threadIdx.x, STEP,
	    (const float *)m.p, m.stride, row_of(e, r));
}

static unsigned
blocks(size_t rows)
{
	return (unsigned)((rows + ROWS - 1) / ROWS);
}

void
sqc_round_columns(gpu_stream st, struct sq_rounding s, const uint32_t *col,
    struct sq_mat t, struct sq_mat m, struct sq_mat e)
{
	round_columns<<<blocks(s.rows), ROWS, 0, st>>>(s, col, t, m, e);
}

static __global__ void
move_columns(struct sq_rounding s, size_t first, struct sq_mat h,
    struct sq_mat g, int refit, int passes)
{
	extern __shared__ float mine[];
	float *own = mine, *v = own + COLS * STEP, *y = v + COLS * STEP;
	size_t row = blockIdx.x * (size_t)ROWS, r = row + threadIdx.x;
	struct sq_round_row a;

	take(own, g, row);
	if (r < s.rows) {
		a = sq_round_row(&s, r);
		for (int i = 0; i < passes; i++)
			sq_move_columns_row(&a, first, (const float *)h.p,
			    h.stride, h.cols, own + threadIdx.x, v +
			    threadIdx.x, y + threadIdx.x, STEP, refit);
	}
	give(own, g, row);
}

int
sqc_move_columns(gpu_stream st, struct sq_rounding s, size_t first,
    struct sq_mat h, struct sq_mat g, int refit, int passes)
{
	const int bytes = 3 * COLS * STEP * (int)sizeof(float);

	if (sqc_ok(GPU(FuncSetAttribute)((const void *)move_columns,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), bytes),
	    "shared memory") < 0)
		return -1;
	move_columns<<<blocks(s.rows), ROWS, bytes, st>>>(s, first, h, g,
	    refit, passes);
	return 0;
}

/* ---- pairs ---- */

#define MOST_SHARED	((size_t)220 << 10)
#define PAIRS	128			/* threads of a block */

static __global__ void
diagonal_of(struct sq_mat h, float *diagonal)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

	if (i < h.cols)
		diagonal[i] = row_of(h, i)[i];
}

/* A block's row: codes and E H in shared memory, where they fit. */
struct pair_row {
	struct sq_round_row a;
	float *g;
	uint8_t *codes;
	const float *diagonal;
};

static __device__ struct sq_pair_reach
reach(const struct pair_row &p, size_t i)
{
	return sq_pair_reach(p.a.top, p.a.scales[sq_round_group_of(&p.a, i)],
	    p.codes[i], p.g[i], p.diagonal[i]);
}

/* The least cost of all threads, of equal ones the least `best', to all. */
static __device__ void
block_least(float *cost, unsigned *best)
{
	__shared__ float costs[PAIRS];
	__shared__ unsigned bests[PAIRS];
	unsigned i = threadIdx.x, d;

	costs[i] = *cost;
	bests[i] = *best;
	for (d = PAIRS / 2; d > 0; d /= 2) {
		__syncthreads();
		if (i < d && (costs[i + d] < costs[i] ||
		    (costs[i + d] == costs[i] && bests[i + d] < bests[i]))) {
			costs[i] = costs[i + d];
			bests[i] = bests[i + d];
		}
	}
	__syncthreads();
	*cost = costs[0];
	*best = bests[0];
}

/* Codes of columns i and j move, and with them all of g. */
static __device__ void
move_both(struct pair_row &p, const struct sq_mat &h, size_t i, size_t j,
    int down, int other)
{
	uint8_t u = p.codes[i], v = p.codes[j];
	float d = sq_pair_move(sq_round_group(&p.a, i), &u, down);
	float e = sq_pair_move(sq_round_group(&p.a, j), &v, other);
	const float *hi = row_of(h, i), *hj = row_of(h, j);

	__syncthreads();
	if (threadIdx.x == 0) {
		p.codes[i] = u;
		p.codes[j] = v;
		p.a.x[i] -= d;
		p.a.x[j] -= e;
	}
	for (size_t k = threadIdx.x; k < h.cols; k += PAIRS) {
		p.g[k] -= hi[k] * d;
		p.g[k] -= hj[k] * e;
	}
	__syncthreads();
}

/* Two partners of this thread: they come from far, a column ahead. */
struct ahead {
	unsigned with[2];
	float has[2];
};

static __device__ struct ahead
look_ahead(const uint32_t *with, const float *has, size_t n)
{
	struct ahead a;

	for (int j = 0; j < 2; j++) {
		size_t k = threadIdx.x + (size_t)j * PAIRS;

		a.with[j] = k < n ? with[k] : 0;
		a.has[j] = k < n ? has[k] : 0;
	}
	return a;
}

/* What partner k does for the better. */
static __device__ void
try_partner(const struct pair_row &p, const struct sq_pair_reach &a,
    unsigned k, size_t with, float has, float &least, unsigned &best)
{
	struct sq_pair_reach b = reach(p, with);
	float cost;

	SQ_UNROLLED
	for (unsigned down = 0; down < 2; down++) {
		cost = sq_pair_cost(&a, &b, has, (int)down);
		if (cost < least) {
			least = cost;
			best = 2 * k + down;
		}
	}
}

static __device__ void
pair_column(struct pair_row &p, const struct sq_mat &h, size_t i,
    const struct ahead &now, const uint32_t *with, const float *has, size_t n)
{
	struct sq_pair_reach a = reach(p, i);
	unsigned best = ~0u, k;
	float least = 0;
	int down;

	for (int j = 0; j < 2; j++)
		if ((k = threadIdx.x + (unsigned)j * PAIRS) < n)
			try_partner(p, a, k, now.with[j], now.has[j], least,
			    best);
	for (k = threadIdx.x + 2 * PAIRS; k < n; k += PAIRS)
		try_partner(p, a, k, with[k], has[k], least, best);
	if (!__syncthreads_or(least < 0))
		return;
	block_least(&least, &best);
	down = (int)(best % 2);
	move_both(p, h, i, with[best / 2], down, has[best / 2] > 0 ? !down :
	    down);
}

template <bool fits>
static __global__ void
move_pairs(struct sq_rounding s, struct sq_mat h, size_t most,
    const uint32_t *with, const float *has, struct sq_mat g,
    const float *diagonal)
{
	extern __shared__ float space[];
	size_t r = blockIdx.x, n = s.cols, i;
	struct ahead now, next;
	struct pair_row p;

	p.a = sq_round_row(&s, r);
	p.g = fits ? space : row_of(g, r);
	p.codes = fits ? (uint8_t *)(space + n) : p.a.codes;
	p.diagonal = diagonal;
	for (i = threadIdx.x; fits && i < n; i += PAIRS) {
		p.g[i] = row_of(g, r)[i];
		p.codes[i] = p.a.codes[i];
	}
	__syncthreads();
	next = look_ahead(with, has, n - 1 < most ? n - 1 : most);
	for (i = 0; i + 1 < n; i++, with += most, has += most) {
		now = next;
		next = look_ahead(with + most, has + most, i + 2 < n ?
		    (n - 2 - i < most ? n - 2 - i : most) : 0);
		pair_column(p, h, i, now, with, has, n - 1 - i < most ?
		    n - 1 - i : most);
	}
	__syncthreads();
	for (i = threadIdx.x; fits && i < n; i += PAIRS) {
		row_of(g, r)[i] = p.g[i];
		p.a.codes[i] = p.codes[i];
	}
}

int
sqc_move_pairs(gpu_stream st, struct sq_rounding s, struct sq_mat h,
    size_t most, const uint32_t *with, const float *has, struct sq_mat g,
    float *diagonal)
{
	size_t bytes = s.cols * (sizeof(float) + 1);
	unsigned rows = (unsigned)s.rows;

	diagonal_of<<<(unsigned)((s.cols + 255) / 256), 256, 0, st>>>(h,
	    diagonal);
	if (bytes > MOST_SHARED || GPU(FuncSetAttribute)(
	    (const void *)move_pairs<true>,
	    GPU(FuncAttributeMaxDynamicSharedMemorySize), (int)bytes) !=
	    GPU(Success)) {
		(void)GPU(GetLastError)();
		move_pairs<false><<<rows, PAIRS, 0, st>>>(s, h, most, with, has,
		    g, diagonal);
		return 0;
	}
	move_pairs<true><<<rows, PAIRS, bytes, st>>>(s, h, most, with, has, g,
	    diagonal);
	return 0;
}
