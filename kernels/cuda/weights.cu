/* Weights to values, on the device; see cuda.h. */
#include "base/grid.h"
#include "kernels/cuda/device.h"

#define EACH	8	/* columns of a thread: whole bytes, whatever the width */

/* As the host multiplies: a NaN stays, infinity times 0 is the negative one. */
static __device__ float
scaled(float v, float s)
{
	float p = __fmul_rn(v, s);

	if (!isnan(p))
		return p;
	return __uint_as_float(isnan(v) ? 0x7fc00000 : 0xffc00000);
}

struct row {
	const struct sq_weight *w;
	size_t groups;			/* number of the row's first group */
	const uint8_t *codes;
	int bits;
};

static __device__ float
value(const struct row &r, uint32_t u, size_t c)
{
	const struct sq_weight *w = r.w;
	size_t g = r.groups + c / w->group_cols;
	float s = load(w->scales, w->scale_type, g);

	if (w->grid == SQ_FP8_E4M3)
		return scaled(from_e4m3((uint8_t)u), s);
	if (w->grid == SQ_FP8_E5M2)
		return scaled(from_e5m2((uint8_t)u), s);
	return (float)((int)u - (w->zeros == NULL ? 1 << (r.bits - 1) :
	    (int)w->zeros[g])) * s;
}

static __global__ void
dequantize(struct sq_weight w, int bits, size_t across, const uint32_t *ids,
    size_t first, struct sq_mat out)
{
	size_t j = (blockIdx.x * (size_t)blockDim.x + threadIdx.x) * EACH, k, n;
	size_t bytes = (w.cols * bits + 7) / 8, i, src, b;
	unsigned long long code = 0;
	struct row r = { &w, 0, NULL, bits };

	if (j >= w.cols)
		return;
	n = w.cols - j < EACH ? w.cols - j : EACH;
	for (i = blockIdx.y; i < out.rows; i += gridDim.y) {
		src = ids != NULL ? ids[i] : first + i;
		if (w.grid == SQ_DENSE) {
			for (k = 0; k < n; k++)
				store(out.p, out.type, i * out.stride + j + k,
				    load(w.data, w.type, src * w.cols + j +
				    k));
			continue;
		}
		r.groups = src / w.group_rows * across;
		r.codes = (const uint8_t *)w.data + src * bytes + j / 8 * bits;
		code = 0;
		for (b = 0; b < (n * bits + 7) / 8; b++)
			code |= (unsigned long long)r.codes[b] << 8 * b;
		for (k = 0; k < n; k++, code >>= bits)
			store(out.p, out.type, i * out.stride + j + k,
			    value(r, (uint32_t)code & ((1u << bits) - 1),
			    j + k));
	}
}

/* A width that the host's table knows; no function of the host's is linked. */
static int
bits_of(enum sq_grid g)
{
	static const int bits[] = { 0, 2, 3, 4, 5, 6, 8 };

	return g <= SQ_INT8 ? bits[g] : 8;
}

void
sqc_dequantize(gpu_stream s, struct sq_weight w, const uint32_t *ids,
    size_t first, struct sq_mat out)
{
	size_t across = w.grid == SQ_DENSE ? 0 :
	    (w.cols + w.group_cols - 1) / w.group_cols;

	dequantize<<<over_rows(out.rows, w.cols, EACH), SQC_THREADS, 0, s>>>(w,
	    bits_of(w.grid), across, ids, first, out);
}
