/*
 * GPTQ in a stream: a STATS record becomes a factor (factor.h), which the
 * tensors that it concerns share as they pass.
 */
#ifndef SQ_QUANT_GPTQ_LAYER_H
#define SQ_QUANT_GPTQ_LAYER_H

#include "quant/chunks.h"
#include "quant/gptq.h"
#include "quant/solver.h"

struct sq_gptq_layer {
	/* options */
	struct sq_ctx *ctx;
	const struct sq_lapack *lapack;
	struct sq_qrule rule;		/* group_cols 0: a whole row; no grid:
					   sq_gptq_matrix() alone */
	enum sq_column_order order;
	double damp;
	int sweeps, refit, pairs;	/* as in gptq.h */
	struct sq_sparse choose;	/* the same, of tensors without a mask;
					   swap, of all */
	size_t run;			/* columns that SQ_ACT keeps together;
					   0: the groups of super-blocks, if
					   the rule has any when H comes */
	double sparsity;
	int plain;
	struct sq_sparse swap;
	int any_diagonal;		/* that of H will do, of any input */
	/* Instead of `choose', fills the mask of weights w [rows][cols], of no
	 * grid: 0, or -1 with the reason; or NULL. */
	struct sq_sparse find;
	int (*find_mask)(void *arg, const struct sq_tensor *, const float *w,
	    struct sq_mask *, char *err);
	void *find_arg;
	int want_error;
	struct sq_solver device;	/* ctx set: it does what it knows */
	uint64_t memory;		/* bytes, of the process; 0: enough */
	int keeps;			/* keep will be set */
	unsigned char *keep;		/* NULL, or as in chunks.h */
	char model[SQ_DIGEST];		/* whose statistics they must be */
	struct sq_progress *progress;
	/* state: what the last STATS record said, and the factor made of it */
	struct sq_stats stats;		/* without arrays */
	int seen, full;			/* there was one; it has H */
	int raw;			/* the factor is still to be made, */
	int host_raw;			/* that of the host, at least */
	int on_device;			/* the tensor at hand */
	int masked;			/* the tensor at hand has a mask */
	struct sq_factor factor;
	struct sq_gptq gptq;		/* results of the last tensor, too */
	struct sq_chunks chunks;
};

/* Bytes that it takes, the process in all, to quantize a weight of rows x cols
 * elements of `size' bytes with so many threads. */
uint64_t sq_gptq_memory(const struct sq_gptq_layer *, uint64_t rows,
	    uint64_t cols, size_t size, int threads);

/*
 * The STATS record that in has just read, of linear layers, becomes the state;
 * it is passed on to out, unless that is NULL.  Without H there is no factor.
 */
int	 sq_gptq_stats(struct sq_gptq_layer *, struct sq_in *in,
	    struct sq_out *out, char *err);

/* Makes the factor of what has been read; sq_gptq_tensor() does when nobody
 * has. */
int	 sq_gptq_factor(struct sq_gptq_layer *, char *err);

/* The record that sq_gptq_tensor() makes of t. */
void	 sq_gptq_describe(const struct sq_gptq_layer *,
	    const struct sq_tensor *t, struct sq_tensor *made);

/* -1 with the reason when t is not what the state is about. */
int	 sq_gptq_ready(const struct sq_gptq_layer *,
	    const struct sq_tensor *t, char *err);

/* Quantizes tensor t from in to out; its statistics must be the state. */
int	 sq_gptq_tensor(struct sq_gptq_layer *, const struct sq_tensor *t,
	    struct sq_in *in, struct sq_out *out, char *err);

/*
 * The same in memory: H, a packed upper triangle of n channels, becomes the
 * state; w, F32 and of t's shape, is quantized, or masked.  bits: its mask;
 * NULL: none, or what is zero.  made: the record, whose payload is the caller's
 * to free.
 */
int	 sq_gptq_given(struct sq_gptq_layer *, const float *h, size_t n,
	    char *err);
int	 sq_gptq_matrix(struct sq_gptq_layer *, const struct sq_tensor *t,
	    const float *w, const uint8_t *bits, struct sq_tensor *made,
	    unsigned char **payload, char *err);

/* The state is of a tensor of that name, and has H. */
int	 sq_gptq_concerns(const struct sq_gptq_layer *, const char *name);

/* Forgets the state. */
void	 sq_gptq_forget(struct sq_gptq_layer *);

#endif
