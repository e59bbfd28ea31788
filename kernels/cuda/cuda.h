/*
 * The CUDA plug-in, inside.  cuda.c has the verbs and the operations' host
 * side, stage.c brings operands over, the .cu files have the device's side:
 * functions that start kernels on a stream and return at once.
 *
 * The table has one stream, one temporary memory and one lock: contexts take
 * turns.
 */
#ifndef SQ_KERNELS_CUDA_CUDA_H
#define SQ_KERNELS_CUDA_CUDA_H

#include "kernels/cuda/compat.h"
#include "kernels/kern.h"

#define SQC_PART	1024		/* keys of an attention part */
#define SQC_TILE	16		/* queries of a block */

#ifdef __cplusplus
extern "C" {
#endif

struct sqc {
	gpu_stream stream;
	gpu_blas blas;
	int units;			/* multiprocessors */
	char name[256];
	char err[SQ_ERR];
};

extern struct sqc sqc;

/* 0, or -1 with the reason in sqc.err. */
int	 sqc_ok(gpu_error e, const char *what);

/* ---- stage.c: operands of one call ---- */

#define SQC_OPERANDS	12

struct sqc_operand {
	void *host, *dev;
	size_t rows, row_bytes, pitch;	/* of the host's; the device's is tight */
	int back;
};

struct sqc_call {
	int failed;
	struct sqc_operand o[SQC_OPERANDS];
	int n;
};

enum { SQC_IN = 1, SQC_OUT = 2, SQC_INOUT = 3 };

/* Takes the lock; sqc_call_end() gives it back, after copying results that
 * belong in the host's memory.  It returns r, or -1 when anything failed. */
void	 sqc_call_begin(struct sqc_call *);
int	 sqc_call_end(struct sqc_call *, int r);

/* The matrix where the device reaches it. */
struct sq_mat sqc_mat(struct sqc_call *, const struct sq_mat *, int how);
/* n bytes likewise; NULL stays NULL. */
void	*sqc_bytes(struct sqc_call *, const void *, size_t n, int how);
struct sq_weight sqc_weight(struct sqc_call *, const struct sq_weight *);
/* Temporary memory of this call: 256-byte aligned, of the device. */
void	*sqc_temp(struct sqc_call *, size_t n);
/* A copy on the device of n bytes that only this call knows. */
void	*sqc_push(struct sqc_call *, const void *host, size_t n);
int	 sqc_on_device(const void *);

/* ---- the device's side ---- */

/* A part of a sequence's keys for up to SQC_TILE queries of one KV head. */
struct sqc_tile {
	uint32_t row, pos;		/* of the first token of the sequence */
	uint32_t query, nquery;		/* query = token * group + head */
	uint32_t from, to;		/* keys */
	uint32_t pages;			/* where its pages' pointers begin */
	uint32_t part, parts;
	uint32_t sums;			/* parts > 1: index of its sums */
};

struct sqc_attn {
	struct sq_attn a;
	struct sq_kv kv;
	const struct sqc_tile *tile;
	uint32_t ntiles;
	void *const *k, *const *v;	/* pages of all sequences */
	float *sums;			/* [.][heads of kv][SQC_TILE][dim + 2] */
};

void	 sqc_add(gpu_stream, struct sq_mat y, struct sq_mat x);
void	 sqc_add_bias(gpu_stream, const float *bias, struct sq_mat x);
void	 sqc_silu_mul(gpu_stream, struct sq_mat g, struct sq_mat u,
	    struct sq_mat y);
void	 sqc_rope(gpu_stream, const float *angles, const uint32_t *pos,
	    size_t dim, struct sq_mat x);
void	 sqc_rmsnorm(gpu_stream, struct sq_mat x, const float *w, float eps,
	    struct sq_mat y);
/* The tables of the grids that have one: before the first dequantize. */
int	 sqc_tables(void);
/* Rows ids[i], or first + i without ids. */
void	 sqc_dequantize(gpu_stream, struct sq_weight w, const uint32_t *ids,
	    size_t first, struct sq_mat out);
void	 sqc_to_bf16(gpu_stream, struct sq_mat x, void *out);
/* scale 0: each row has its own */
void	 sqc_quantize_act(gpu_stream, struct sq_mat x, float scale,
	    struct sq_qmat q);
void	 sqc_dequantize_act(gpu_stream, struct sq_qmat q, struct sq_mat y);
void	 sqc_nll(gpu_stream, struct sq_mat x, const uint32_t *target,
	    float *nll, uint32_t *top);
void	 sqc_kl(gpu_stream, struct sq_mat a, struct sq_mat b, float *kl);
void	 sqc_moments(gpu_stream, struct sq_mat x, struct sq_moments m);
void	 sqc_kv_append(gpu_stream, struct sqc_attn, struct sq_mat k,
	    struct sq_mat v);
void	 sqc_attention(gpu_stream, struct sqc_attn, struct sq_mat q,
	    struct sq_mat y);

/* Few rows times a quantized weight: whether the kernel knows the case, the
 * bytes of temporary memory that it wants, and the product. */
int	 sqc_skinny_knows(const struct sq_weight *, size_t rows, size_t *temp);
void	 sqc_skinny(gpu_stream, struct sq_weight w, struct sq_mat x,
	    struct sq_mat y, void *temp);

#ifdef __cplusplus
}
#endif

#endif
