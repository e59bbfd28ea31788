/* What the kernels of attention over pages share; see attention.cu. */
#ifndef SQ_KERNELS_CUDA_ATTENTION_H
#define SQ_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/device.h"

/* On tensor cores, a block for each tile and KV head; 0 if it does not know
 * the case. */
int	 sqc_attention_mma(gpu_stream, struct sqc_attn, struct sq_mat q,
	    struct sq_mat y);

static __device__ inline size_t
page_at(const struct sq_kv &kv, size_t head, size_t pos)
{
	return (head * kv.page + pos % kv.page) * kv.dim;
}

/* Element e of query q of a tile: the sum of values, with the greatest score
 * and the sum of exponentials, goes to y, or to its part's sums. */
static __device__ inline void
leave(const struct sqc_attn &j, const struct sqc_tile &t, struct sq_mat y,
    size_t q, size_t e, float v, float max, float sum)
{
	size_t dim = j.kv.dim, head = blockIdx.y, group = j.a.heads /
	    j.kv.heads;
	float *to;

	if (t.parts == 1) {
		row_of(y, t.row + (t.query + q) / group)[(head * group +
		    (t.query + q) % group) * dim + e] = v / sum;
		return;
	}
	to = j.sums + (((size_t)(t.sums + t.part) * j.kv.heads + head) *
	    SQC_TILE + q) * (dim + 2);
	to[e] = v;
	if (e == 0) {
		to[dim] = max;
		to[dim + 1] = sum;
	}
}

#endif
