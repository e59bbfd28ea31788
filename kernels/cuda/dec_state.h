/* The decoder's state, and what its files have for one another: dec_open.c
 * makes and frees it, dec_weights.c fills it, decoder.c runs steps. */
#ifndef SQ_KERNELS_CUDA_DEC_STATE_H
#define SQ_KERNELS_CUDA_DEC_STATE_H

#include "kernels/cuda/dec.h"
#include "kernels/cuda/dec_gemm.h"

#define DEC_SPLITS	16		/* of a sequence's pages, at most */

/* One product of a block: of some roles, one below the other. */
struct dec_lin {
	size_t rows, cols;
	void *w16;			/* bf16 */
	void *w8;			/* e4m3 */
	float *s8;			/* [rows] */
	void *w4;			/* int4, in units */
};

struct dec_layer {
	struct dec_lin qkv, o, gu, down;
	float *attn_norm, *ffn_norm;
	void *k, *v;
};

struct dec_graph {
	size_t n;
	int draws;
	cudaGraphExec_t exec;
};

struct sq_decoder {
	struct sq_dec_shape s;
	struct dec_gemm *gemm;
	struct dec_layer *layer;
	struct dec_lin head;
	void *embed;
	float *norm, *angles;
	/* activations */
	size_t rows;			/* room, a multiple of 16 */
	float *h, *last, *logits, *sums, *scale;
	void *x, *y, *qkv, *gu, *out, *att, *best;
	float *squares;			/* of rows of h, in parts */
	uint32_t *done, ntiles;		/* of dec_mid(), three times */
	/* sequences, on the device; slot `slots' is nobody's */
	uint32_t *next, *length, *table, *made, *nmade, *active;
	uint32_t *ids, *pos, *slot, *first, *row;
	struct dec_how *how;
	size_t draws;			/* slots that do not go greedily */
	uint32_t max_pages;
	struct dec_plan plan;		/* units 0: dec_ring() does not run */
	/* on the host */
	uint32_t *host_table, *unused;
	size_t nunused, *slot_pages, *host_made, *host_length;
	char *host_draws;		/* whether a slot draws */
	uint32_t *holders;		/* of each page: slots that have it */
	size_t bytes;			/* of all but the cache */
	int short_logits;		/* bf16: the library has no float32 */
	int coarse;			/* weights that dec_mid() does not take */
	struct dec_graph graph[64];
	int ngraphs;
};

/* -1, the reason in err. */
int	 dec_why(char *err);

struct sq_decoder *dec_open(const struct sq_dec_shape *, char *err);
void	 dec_close(struct sq_decoder *);
int	 dec_weight(struct sq_decoder *, enum sq_dec_role, size_t layer,
	    const struct sq_weight *, char *err);
int	 dec_vector(struct sq_decoder *, enum sq_dec_role, size_t layer,
	    const float *, char *err);
int	 dec_angles(struct sq_decoder *, const float *, size_t n, char *err);
int	 dec_random(struct sq_decoder *, uint64_t seed, char *err);

#endif
