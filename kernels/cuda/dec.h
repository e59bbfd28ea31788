/*
 * The decoder, inside: its buffers, and the functions that start its kernels.
 * decoder.c has weights, pages and steps; the dec_*.cu files the kernels.
 *
 *	h  f32 [rows][dim]		the residual stream
 *	x  [rows][.]			what a product takes: bf16, or e4m3
 *					with a scale for each row
 *	keys    [page][head][token][dim]
 *	values  [page][head][token / 16][dim][token % 16]
 *						so that tensor cores take them
 *						as they are
 *	both are followed, page by page and head by head, where they are int4
 *	by the scale and the minimum of each token, f16
 */
#ifndef SQ_KERNELS_CUDA_DEC_H
#define SQ_KERNELS_CUDA_DEC_H

#include "kernels/cuda/cuda.h"
#include "kernels/decoder.h"

#define DEC_FEW		4		/* tokens that dec_few() takes */
#define DEC_PARTS	32		/* of a row of logits */
#define DEC_LOGITS	64		/* rows of logits at a time, in prefill */

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that a page has for one head, of keys or values. */
#define DEC_PAGE_BYTES(kv, dim)						\
	((kv) == SQ_DEC_KV_INT4 ? SQ_DEC_PAGE * (dim) / 2 + SQ_DEC_PAGE * 4 : \
	SQ_DEC_PAGE * (dim) * ((kv) == SQ_DEC_KV_FP8 ? 1 : 2))

/* The form of what a product takes.  Panels are what dec_mid() takes: f16, for
 * each 64 columns, in its order, `pad' rows of 128 bytes. */
enum dec_form { DEC_PLAIN, DEC_E4M3, DEC_PANELS };

struct dec_x {
	enum dec_form form;
	void *p;
	float *scale;			/* [rows], E4M3 */
	uint32_t pad;			/* PANELS */
};

/* What a product of many tokens leaves, bf16.  Of e4m3, up to DEC_BARE tokens,
 * these are the bare sums, to be multiplied by the scales of both: the vendor's
 * products with scales are few, and slow for such numbers.  Of dec_mid(), where
 * there are shares, pieces of tiles of DEC_PIECE columns, to be added up, and
 * rows to be multiplied unless `row' is NULL; gate and up in turns. */
#define DEC_BARE	512
#define DEC_PIECE	256
#define DEC_MID		64		/* tokens that dec_mid() takes */

struct dec_y {
	const void *p;
	const float *row, *col;		/* [rows], [cols], or NULL */
	uint32_t shares, tiles, chunks, pad;
};

/* Everything that a step's kernels know about its tokens. */
struct dec_step {
	uint32_t n;			/* tokens */
	const uint32_t *slot;		/* [n] */
	const uint32_t *pos;		/* [n], or NULL: length[slot] */
	uint32_t *length;		/* [slots] */
	const uint32_t *table;		/* [slots][max_pages] */
	uint32_t max_pages;
	uint32_t heads, kv_heads, dim;	/* dim: of a head */
	const float *angles;
	struct dec_y y;			/* what makes qkv; p NULL: it itself */
	enum sq_dec_kv kv;		/* the cache */
	void *k, *v;			/* of one layer */
};

void	 dec_embed(gpu_stream, const void *table, size_t dim,
	    const uint32_t *ids, const uint32_t *slot, size_t n, float *h);
/* h += add (unless it is NULL); x = rmsnorm(h) in its form. */
void	 dec_norm(gpu_stream, float *h, struct dec_y add, const float *w,
	    float eps, size_t n, size_t dim, struct dec_x x);
/* Rows `row' of h, each to its place: the last tokens of prompts. */
void	 dec_gather(gpu_stream, const float *h, const uint32_t *row, size_t n,
	    size_t dim, float *to);
void	 dec_silu(gpu_stream, struct dec_y gate_up, size_t n, size_t ffn,
	    struct dec_x x);
/* bf16 [n][dim] to another form. */
void	 dec_form(gpu_stream, const void *in, size_t n, size_t dim,
	    struct dec_x x);
/* Takes qkv from y, rotates q and k, and puts k and v into their pages.
 * Prompts, from 0 on: tokens first[i] .. first[i + 1] - 1. */
void	 dec_rope(gpu_stream, struct dec_step, void *qkv,
	    const uint32_t *first, size_t prompts, size_t longest);
/* Of each slot: how it makes tokens. */
struct dec_how {
	double temperature, top_p, min_p;
	uint64_t top_k, rng;
};

/* The greatest logit's id is what the slot makes next.  col: scales, or NULL.
 * best: room for DEC_PARTS pairs of 32 bits for each of the n.  Where slots
 * may draw, how they do, else NULL. */
void	 dec_pick(gpu_stream, const void *logits, int bf16, const float *col,
	    size_t vocab,
	    const uint32_t *slot, size_t n, void *best, uint32_t *next,
	    uint32_t *made, uint32_t *nmade, size_t most, uint32_t *length,
	    int grow, struct dec_how *);

/* Where a slot draws, what dec_pick() is to take, into best, between its two
 * halves. */
void	 dec_draw(gpu_stream, const void *logits, int bf16, const float *col,
	    size_t vocab, const uint32_t *slot, size_t n, struct dec_how *,
	    void *best);

void	 dec_random_w4(gpu_stream, uint64_t seed, size_t rows, size_t cols,
	    void *codes, void *scales, float spread);
void	 dec_random_bf16(gpu_stream, uint64_t seed, size_t n, void *out,
	    float spread);
void	 dec_ones(gpu_stream, float *p, size_t n);
/* bf16 rows to e4m3 with a scale for each. */
void	 dec_rows_e4m3(gpu_stream, const void *bf16, size_t rows, size_t cols,
	    void *out, float *scale);

/* How a weight lies in memory: units of 16 rows x 128 columns, of which
 * DEC_W4_UNIT is the size, or rows. */
enum dec_format { DEC_W4, DEC_FP8, DEC_DENSE };

#define DEC_W4_UNIT	(16 * 128 / 2 + 16 * 2)

/* Where a product of few tokens goes: float32; added to float32; bf16; or,
 * of a weight that is gate and up, silu(gate) * up in bf16. */
enum dec_end { DEC_F32, DEC_ADD, DEC_BF16, DEC_SILU };

struct dec_few {
	enum dec_format format;
	const void *w;
	const float *scale;		/* [rows], e4m3 */
	uint32_t rows, cols, n;
	const void *x;			/* bf16 [n][cols], or */
	const float *h, *norm;		/* rmsnorm(h) */
	float eps;
	enum dec_end end;
	void *y;
};

/* Whether it is for dec_few(), and whether for it with h. */
int	 dec_few_knows(enum dec_format, size_t rows, size_t cols, size_t n);
int	 dec_few_norms(size_t cols, size_t n);
void	 dec_few(gpu_stream, struct dec_few);
/* Codes of rows, with f16 scales, into units of a weight of `all' rows; the
 * first goes to row `first'.  turns: eight rows go in, eight are left out; else
 * the first half of a unit has its even rows. */
void	 dec_pack_w4(gpu_stream, const void *codes, const void *scales,
	    size_t rows, size_t cols, size_t group, size_t first, int turns,
	    size_t all, void *out);

/* Up to DEC_MID tokens times a weight of 4 bits, whose scales are at most
 * DEC_MID_SCALE. */
#define DEC_MID_SCALE	0.249f

/* What becomes of its pieces: dec_end.h. */
enum dec_mid_end { DEC_MID_PIECES, DEC_MID_ADD, DEC_MID_SILU };

#define DEC_SQUARES	128		/* columns whose squares are summed */

struct dec_mid {
	const void *w;
	uint32_t rows, cols, pad, n;
	const void *x;			/* panels */
	void *y;			/* pieces */
	enum dec_mid_end end;
	uint32_t *done, *clear;		/* [tiles]: 0; to be 0 after it */
	uint32_t ntiles;		/* of them */
	const void *next;		/* weight that is read next, or NULL */
	uint32_t next_rows, next_cols;
	/* x is to be divided by a norm, of these, or NULL; SILU does it, of
	 * others the factors go to roots, or NULL */
	const float *squares;		/* [n][cols / DEC_SQUARES] */
	float eps, *roots;
	/* ADD: to the rows of h; norm, or NULL: the weights of the next one,
	 * which takes the sums of their squares */
	float *h, *sums;
	const float *norm;
	void *out;			/* panels */
};

/* The rows of panels for n tokens; 0: too many. */
uint32_t dec_mid_pad(size_t n);
int	 dec_mid_knows(size_t rows, size_t cols, size_t n);
/* How many blocks share the work. */
uint32_t dec_mid_shares(size_t rows, size_t cols);
void	 dec_mid(gpu_stream, struct dec_mid);

/* What a unit of dec_ring() does: `left' pages from page `page' of a run on,
 * which has `pages' and belongs to `slot'. */
struct dec_unit {
	uint32_t run, page, pages, slot, left, unused[3];
};

/* Which units have a run's pages. */
struct dec_run {
	uint32_t first, n;
};

/* The shares of a step's pages: see dec_ring.cu. */
struct dec_plan {
	uint32_t units;
	struct dec_unit *unit;		/* [units] */
	struct dec_run *run;		/* [n * kv_heads] */
};

/* Floats of a piece for each head: its sums, and from [dim] on the greatest
 * score and the sum of the exponentials. */
#define DEC_SUMS(dim)	((dim) + 4)

/* How many units there are; 0: dec_ring() does not run. */
uint32_t dec_ring_units(uint32_t dim, enum sq_dec_kv);
/* Of up to 1024 sequences. */
void	 dec_ring_plan(gpu_stream, struct dec_step, struct dec_plan);
/* sums: room for n * kv_heads + units pieces of a group. */
void	 dec_ring(gpu_stream, struct dec_step, struct dec_plan,
	    const void *qkv, float *sums);

/* The whole of a step's attention for a few sequences, bf16 rows of qkv to bf16
 * [n][heads * dim]; -1: it does not run. */
int	 dec_attn_few(gpu_stream, struct dec_step, const void *qkv, void *out);

void	 dec_attn(gpu_stream, struct dec_step, const void *qkv, size_t splits,
	    float *sums);
/* Puts the splits, or the pieces of a plan (splits 0), together:
 * [n][heads * dim] in the form of x. */
void	 dec_merge(gpu_stream, struct dec_step, const float *sums,
	    size_t splits, struct dec_plan, struct dec_x x);

/* Causal attention within prompts: tokens first[i] .. first[i + 1] - 1. */
/* The same where it runs (Hopper, heads of 128), else -1; rows: of all. */
int	 dec_prompts_wg(gpu_stream, const void *qkv, const uint32_t *first,
	    size_t n, size_t rows, size_t longest, uint32_t heads,
	    uint32_t kv_heads, void *out);
void	 dec_prompts(gpu_stream, const void *qkv, const uint32_t *first,
	    size_t n, size_t longest, uint32_t heads, uint32_t kv_heads,
	    uint32_t dim, void *out);

#ifdef __cplusplus
}
#endif

#endif
