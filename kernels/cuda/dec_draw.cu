/*
 * Drawing a token: temperature, top-k, top-p and min-p as model/sampler.h has
 * them, with its random numbers; see dec.h.
 *
 * What stays is a beginning of the tokens in order of their logits, so nothing
 * is sorted: the least of three sums of weights, those of the first k, of what
 * reaches p, and of what is likely enough, says where it ends, and the drawn
 * number, below that sum, where the token is.  A place is found by the digits
 * of a token's distance from the best, from the highest on: a pass over the
 * logits for each.  Tokens that agree in all its 32 binary digits are taken in
 * the order of their numbers.
 *
 * Weights are whole multiples of 2^-40 of the best one, so that sums have no
 * order and a draw is the same each time; it is another than the host's only
 * where the number falls within rounding of the border of two tokens.
 */
#include "kernels/cuda/dec.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#define THREADS	1024
#define BINS	2048
#define REACH	28.0f			/* 2^-40 is e^-27.7 */

typedef unsigned long long sum_t;

template <typename T>
struct row {
	const T *x;
	const float *col;		/* scales, or NULL */
	uint32_t n;
	float best, by, cold;		/* distance to digits, to an exponent */

	__device__ float
	logit(uint32_t i) const
	{
		return load(x, sizeof(T) == 2 ? SQ_BF16 : SQ_F32, i) *
		    (col == NULL ? 1 : col[i]);
	}

	/* False: so far from the best that it weighs nothing. */
	__device__ bool
	digits(float v, uint32_t *q) const
	{
		float f = (best - v) * by;

		*q = f < 4294967040.0f ? (uint32_t)f : 0;
		return f < 4294967040.0f;
	}

	__device__ sum_t
	weight(float v) const
	{
		return (sum_t)(exp2f((v - best) * cold) * 0x1p40f);
	}
};

struct shared {
	sum_t weight[BINS], part[2][THREADS / 16], sum;
	uint32_t count[BINS];
	float most[THREADS / 16];
	/* what cross() finds */
	sum_t target, before;
	uint32_t bin, place;
};

/* The sum of what the threads up to this one have. */
static __device__ sum_t
scan(sum_t v, sum_t *part)
{
	int lane = threadIdx.x % GPU_WARP, w = threadIdx.x / GPU_WARP, d;
	sum_t o;

	for (d = 1; d < GPU_WARP; d *= 2) {
		o = gpu_shfl_up(v, d);
		v += lane >= d ? o : 0;
	}
	__syncthreads();
	if (lane == GPU_WARP - 1)
		part[w] = v;
	__syncthreads();
	for (d = 0; d < w; d++)
		v += part[d];
	return v;
}

static __device__ float
greatest(float v, float *most)
{
	int d;

	__syncthreads();
	for (d = GPU_WARP / 2; d > 0; d /= 2)
		v = fmaxf(v, gpu_shfl_xor(v, d));
	if (threadIdx.x % GPU_WARP == 0)
		most[threadIdx.x / GPU_WARP] = v;
	__syncthreads();
	for (v = most[0], d = 1; d < THREADS / GPU_WARP; d++)
		v = fmaxf(v, most[d]);
	return v;
}

/* Of the digits that begin with `prefix', or of all (shift 32). */
template <typename T>
static __device__ void
fill(const struct row<T> &r, struct shared &s, uint32_t prefix, uint32_t shift,
    uint32_t next)
{
	uint32_t i, q, bins = 1u << (shift - next);
	float v;

	__syncthreads();
	for (i = threadIdx.x; i < BINS; i += THREADS)
		s.weight[i] = s.count[i] = 0;
	__syncthreads();
	for (i = threadIdx.x; i < r.n; i += THREADS) {
		v = r.logit(i);
		if (!r.digits(v, &q) || (shift < 32 && q >> shift != prefix))
			continue;
		q = q >> next & (bins - 1);
		atomicAdd(&s.weight[q], r.weight(v));
		atomicAdd(&s.count[q], 1);
	}
	__syncthreads();
}

/*
 * Where the sum, of weights or with `counts' of tokens, from the best token on
 * first exceeds the target: the weights up to and with that token; in s its
 * digits and which of the tokens with these it is.  All weights, if none.
 */
template <typename T>
static __device__ sum_t
cross(const struct row<T> &r, struct shared &s, sum_t target, bool counts)
{
	const uint32_t ends[] = { 32, 21, 10, 0 };
	uint32_t prefix = 0, level, b = 2 * threadIdx.x, i;
	sum_t before = 0, m, w, mine, heavy, n;

	for (level = 0; level < 3; level++) {
		fill(r, s, prefix, ends[level], ends[level + 1]);
		if (threadIdx.x == 0)
			s.bin = BINS;
		heavy = s.weight[b] + s.weight[b + 1];
		mine = counts ? (sum_t)s.count[b] + s.count[b + 1] : heavy;
		m = scan(mine, s.part[0]);
		w = scan(heavy, s.part[1]);
		if (threadIdx.x == THREADS - 1)
			s.sum = w;
		if (m > target && m - mine <= target) {
			m -= mine;
			w -= heavy;
			n = counts ? s.count[b] : s.weight[b];
			i = m + n > target ? 0 : 1;
			s.bin = b + i;
			s.target = target - m - (i ? n : 0);
			s.before = before + w + (i ? s.weight[b] : 0);
		}
		__syncthreads();
		if (s.bin == BINS)
			return before + s.sum;
		target = s.target;
		before = s.before;
		prefix = prefix << (ends[level] - ends[level + 1]) | s.bin;
	}
	/* what has the same digits is alike */
	w = s.weight[s.bin] / s.count[s.bin];
	i = (uint32_t)(counts ? target : w > 0 ? target / w : 0);
	i = min(i, s.count[s.bin] - 1);
	__syncthreads();
	s.bin = prefix;
	s.place = i;
	__syncthreads();
	return before + (i + 1) * w;
}

/* The tokens of a thread, where their order counts. */
template <typename T>
static __device__ uint32_t
first_of(const struct row<T> &r, uint32_t thread)
{
	return (uint32_t)((uint64_t)r.n * thread / THREADS);
}

/* The token with the digits s.bin that s.place others come before. */
template <typename T>
static __device__ void
with_digits(const struct row<T> &r, struct shared &s, uint32_t *id)
{
	uint32_t i, q, to = first_of(r, threadIdx.x + 1), n = 0;
	sum_t at;

	for (i = first_of(r, threadIdx.x); i < to; i++)
		n += r.digits(r.logit(i), &q) && q == s.bin;
	at = scan(n, s.part[0]) - n;
	if (at > s.place || at + n <= s.place)
		return;
	for (i = first_of(r, threadIdx.x); ; i++)
		if (r.digits(r.logit(i), &q) && q == s.bin && at++ == s.place)
			break;
	*id = i;
}

/* Of all tokens, in the order of their numbers. */
template <typename T>
static __device__ void
any(const struct row<T> &r, struct shared &s, double u, uint32_t *id)
{
	uint32_t i, to = first_of(r, threadIdx.x + 1);
	sum_t mine = 0, up, target;

	for (i = first_of(r, threadIdx.x); i < to; i++)
		mine += r.weight(r.logit(i));
	up = scan(mine, s.part[0]);
	if (threadIdx.x == THREADS - 1)
		s.sum = up;
	__syncthreads();
	target = min((sum_t)(u * (double)s.sum), s.sum - 1);
	if (up <= target || up - mine > target)
		return;
	up -= mine;
	for (i = first_of(r, threadIdx.x); ; i++)
		if ((up += r.weight(r.logit(i))) > target)
			break;
	*id = i;
}

/* The weights of what is at least as likely as min_p of the best. */
template <typename T>
static __device__ sum_t
likely(const struct row<T> &r, struct shared &s, double min_p)
{
	sum_t least = (sum_t)(min_p * 0x1p40), sum = 0, w;
	uint32_t i;

	for (i = threadIdx.x; i < r.n; i += THREADS) {
		w = r.weight(r.logit(i));
		sum += w >= least ? w : 0;
	}
	return block_sum(sum, s.part[0]);
}

/* Where the slot draws, the token is said to have an infinite logit: pick() in
 * dec_rows.cu takes it. */
template <typename T>
static __global__ void __launch_bounds__(THREADS)
draw(const T *logits, const float *col, uint32_t vocab, const uint32_t *slot,
    struct dec_how *how, uint32_t parts, uint2 *best)
{
	__shared__ struct shared s;
	struct dec_how h;
	struct row<T> r = { logits + (size_t)blockIdx.x * vocab, col, vocab,
	    -INFINITY, 0, 0 };
	uint32_t i, *id = &best[(size_t)blockIdx.x * parts].y;
	float least = INFINITY, span;
	sum_t total;
	double u;

	let_next_start();
	wait_for_others();
	h = how[slot[blockIdx.x]];
	if (h.temperature <= 0)
		return;
	for (i = threadIdx.x; i < vocab; i += THREADS) {
		r.best = fmaxf(r.best, r.logit(i));
		least = fminf(least, r.logit(i));
	}
	r.best = greatest(r.best, s.most);
	span = fminf(REACH * (float)h.temperature, 1.001f * (r.best +
	    greatest(-least, s.most)));
	r.by = 4294967296.0f / fmaxf(span, 1e-20f);
	r.cold = 1.4426950408889634f / (float)h.temperature;
	h.rng += 0x9e3779b97f4a7c15;
	u = (double)(sqc_mix(h.rng) >> 11) * 0x1p-53;
	if (threadIdx.x == 0) {
		how[slot[blockIdx.x]].rng = h.rng;
		best[(size_t)blockIdx.x * parts] = make_uint2(
		    __float_as_uint(INFINITY), 0);
	}
	__syncthreads();
	if ((h.top_k == 0 || h.top_k >= vocab) && h.top_p >= 1 &&
	    h.min_p <= 0) {
		any(r, s, u, id);
		return;
	}
	total = cross(r, s, h.top_k == 0 ? ~0ull : h.top_k - 1, true);
	if (h.top_p < 1)
		total = min(total, cross(r, s, (sum_t)fmax(ceil(h.top_p *
		    (double)total) - 1, 0.0), false));
	if (h.min_p > 0)
		total = min(total, likely(r, s, h.min_p));
	total = max(total, (sum_t)1);
	(void)cross(r, s, min((sum_t)(u * (double)total), total - 1), false);
	with_digits(r, s, id);
}

void
dec_draw(gpu_stream s, const void *logits, int bf16, const float *col,
    size_t vocab, const uint32_t *slot, size_t n, struct dec_how *how,
    void *best)
{
	if (bf16)
		launch(draw<uint16_t>, dim3((unsigned)n), THREADS, 0, s,
		    (const uint16_t *)logits, col, (uint32_t)vocab, slot, how,
		    (uint32_t)DEC_PARTS, (uint2 *)best);
	else
		launch(draw<float>, dim3((unsigned)n), THREADS, 0, s,
		    (const float *)logits, col, (uint32_t)vocab, slot, how,
		    (uint32_t)DEC_PARTS, (uint2 *)best);
}
