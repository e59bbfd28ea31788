/* Weights to values, on the device; see cuda.h. */
extern "C" {
#include "base/grid.h"
}
#include "kernels/cuda/device.h"

#define EACH	8	/* columns of a thread: whole bytes, whatever the width */

static __constant__ int8_t iq4_table[16], fp4_table[16];

int
sqc_tables(void)
{
	return sqc_ok(GPU(MemcpyToSymbol)(iq4_table, sq_iq4_table,
	    sizeof(iq4_table)), "tables") < 0 ||
	    sqc_ok(GPU(MemcpyToSymbol)(fp4_table, sq_fp4_table,
	    sizeof(fp4_table)), "tables") < 0 ? -1 : 0;
}

/* As the host multiplies: a NaN stays, infinity times 0 is the negative one. */
static __device__ float
scaled(float v, float s)
{
	float p = __fmul_rn(v, s);

	if (!isnan(p))
		return p;
	return __uint_as_float(isnan(v) || isnan(s) ? 0x7fc00000 : 0xffc00000);
}

struct row {
	const struct sq_weight *w;
	size_t groups;			/* number of the row's first group */
	const uint8_t *codes;
	int bits;
};

/* The scale of group g. */
static __device__ float
scale_of(const struct sq_weight *w, size_t g)
{
	const int8_t *i8 = (const int8_t *)w->scales;
	const uint8_t *u8 = (const uint8_t *)w->scales;

	switch (w->grid) {
	case SQ_Q4_K:
	case SQ_Q5_K:
		return __fmul_rn(from_f16(w->super[g / 8]), u8[g]);
	case SQ_IQ4_XS:
		return __fmul_rn(from_f16(w->super[g / 8]), i8[g]);
	case SQ_Q6_K:
		return __fmul_rn(from_f16(w->super[g / 16]), i8[g]);
	default:
		break;
	}
	if (w->scale_type == SQ_F8_E8M0)
		return __uint_as_float(u8[g] == 255 ? 0x7fc00000 :
		    u8[g] == 0 ? 0x400000 : (uint32_t)u8[g] << 23);
	return load(w->scales, w->scale_type, g);
}

/* The number that code u of group g stands for, before its scale. */
static __device__ float
number(const struct row &r, size_t g, uint32_t u)
{
	const struct sq_weight *w = r.w;

	switch (w->grid) {
	case SQ_FP8_E4M3:
		return from_e4m3((uint8_t)u);
	case SQ_FP8_E5M2:
		return from_e5m2((uint8_t)u);
	case SQ_FP4:
	case SQ_MXFP4:
		return 0.5f * fp4_table[u];
	case SQ_IQ4_NL:
	case SQ_IQ4_XS:
		return iq4_table[u];
	case SQ_UINT4M:
	case SQ_UINT5M:
	case SQ_Q4_K:
	case SQ_Q5_K:
		return (float)u;
	case SQ_Q6_K:
		return (float)u - 32;
	default:
		return (float)((int)u - (w->zeros == NULL ?
		    1 << (r.bits - 1) : (int)w->zeros[g]));
	}
}

static __device__ float
value(const struct row &r, uint32_t u, size_t c)
{
	const struct sq_weight *w = r.w;
	size_t g = r.groups + c / w->group_cols;
	float v = scaled(number(r, g, u), scale_of(w, g));

	if (w->grid == SQ_Q4_K || w->grid == SQ_Q5_K)
		return __fsub_rn(v, __fmul_rn(from_f16(w->supermins[g / 8]),
		    w->submins[g]));
	if (w->grid == SQ_UINT4M || w->grid == SQ_UINT5M)
		return __fadd_rn(v, from_f16(w->mins[g]));
	return v;
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

void
sqc_dequantize(gpu_stream s, struct sq_weight w, const uint32_t *ids,
    size_t first, struct sq_mat out)
{
	size_t across = w.grid == SQ_DENSE ? 0 :
	    (w.cols + w.group_cols - 1) / w.group_cols;

	dequantize<<<over_rows(out.rows, w.cols, EACH), SQC_THREADS, 0, s>>>(w,
	    sq_grid_bits(w.grid), across, ids, first, out);
}
