/*
 * The kernel table.  ops.def lists every operation once; the table below, the
 * callers' functions, the fallbacks and the checks are made from it.
 *
 * A backend's init receives the table of the level below and overwrites what it
 * does better; ref/ is the specification (rounding, ties) of them all.  An
 * operation returns 0, or SQ_UNSUP before it has touched any output: the
 * kernel is the only judge of what it supports, and the level below is tried.
 *
 * Operations allocate nothing, keep nothing and take no lock: they have the
 * context's thread pool and workspace.  Results do not depend on the number of
 * threads.  This header also compiles as C++.
 */
#ifndef SQ_KERNELS_KERN_H
#define SQ_KERNELS_KERN_H

#include <stddef.h>
#include <stdint.h>

#include "base/act.h"
#include "base/dtype.h"
#include "base/err.h"
#include "base/grid.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SQ_UNSUP	1

struct sq_pool;
struct sq_kern;

/*
 * The memory that a backend's operations work in.  The host's backends work in
 * the host's: alloc and put are then aligned_alloc and memcpy.  A device's
 * operations take pointers of either kind, and bring those of the host over
 * and back, call after call: what is large or lasts belongs in alloc's memory.
 * Work on a device goes on after an operation has returned; get and sync wait
 * for all that was asked for before.
 */
struct sq_mem {
	int device;			/* not the host's memory */
	void *(*alloc)(size_t n);	/* 64-byte aligned; NULL: no memory */
	void (*free)(void *p);		/* NULL is nothing */
	/* from the host, to the host, and within: 0, or -1 */
	int (*put)(void *to, const void *from, size_t n);
	int (*get)(void *to, const void *from, size_t n);
	int (*sync)(void);
	/* the device: its name (SQ_ERR bytes), bytes in all, bytes free */
	int (*probe)(char *name, size_t *total, size_t *unused);
	/* why the last call failed, or an operation returned -1 */
	const char *(*error)(void);
};

/*
 * How the rows of activations belong together.  A kernel may take another way
 * for few rows than for many, with other roundings: AUTO leaves it the choice.
 * STEP and CHUNK pin it, whatever the number of rows, so that a row comes out
 * the same in any company: STEP as if it were alone (a step of decoding),
 * CHUNK as in a long prompt.
 */
enum sq_batch { SQ_BATCH_AUTO, SQ_BATCH_STEP, SQ_BATCH_CHUNK };

/* What every operation gets first.  One context serves one caller at a time. */
struct sq_ctx {
	const struct sq_kern *kern;
	enum sq_batch batch;		/* AUTO after sq_ctx_init() */
	struct sq_pool *pool;		/* NULL: the caller's thread alone */
	void *work;			/* workspace, aligned to 64 bytes */
	size_t work_size;		/* bytes: at least SQ_WORK(threads) */
	/* told, once for each operation, that a level could not do it and
	 * which one did; NULL after sq_ctx_init() */
	void (*fell)(const char *op, const char *from, const char *to);
};

/* The least workspace: an operation splits its rows so as to live with it. */
#define SQ_WORK(threads)	((size_t)(64 + 4 * (threads)) << 20)

/* A matrix: rows of cols elements, stride elements from row to row. */
struct sq_mat {
	void *p;
	enum sq_dtype type;		/* F32, F16 or BF16 */
	size_t rows, cols, stride;
};

/* How the elements of a weight lie in memory; sparse.h has all but the first. */
enum sq_layout {
	SQ_ROWS,			/* as in sq-stream(5), row after row */
	SQ_NM,				/* n of each m columns */
	SQ_BLOCKS			/* some blocks of n rows, m columns */
};

/*
 * The weight of a linear layer, y = W x: rows = outputs, cols = inputs.  Group
 * (i, j) covers group_rows x group_cols weights and has scale
 * scales[i * ceil(cols / group_cols) + j].
 */
struct sq_weight {
	enum sq_grid grid;
	enum sq_layout layout;
	size_t rows, cols;
	enum sq_dtype type;		/* dense: F32, F16 or BF16 */
	const void *data;		/* dense: values; else codes */
	size_t group_rows, group_cols;
	enum sq_dtype scale_type;	/* F16, BF16, F32 or F8_E8M0 */
	const void *scales;		/* q*_k, iq4_xs: U8 or I8 */
	const uint8_t *zeros;		/* NULL: symmetric, z = 2^(b-1) */
	const uint16_t *mins;		/* F16: uint4m, uint5m */
	const uint16_t *super;		/* F16: q*_k, iq4_xs */
	const uint8_t *submins;		/* q4_k, q5_k */
	const uint16_t *supermins;
	size_t n, m;			/* sparse layouts, */
	const void *index;		/* and where their values belong */
};

/*
 * A factor of `product': its values as they are, turned (its rows are the
 * columns that are meant), or in panels (panels.h), whose rows and columns m
 * has.
 */
enum sq_lay { SQ_AS_IS, SQ_TURNED, SQ_PANELS };

struct sq_operand {
	struct sq_mat m;
	enum sq_lay lay;
};

/* How to quantize: see `quantize' in ops.def. */
enum sq_scale_rule {
	SQ_ABSMAX, SQ_MSE,
	SQ_WEIGHTED	/* by what a channel counts: not for `quantize' */
};

struct sq_qrule {
	enum sq_grid grid;		/* int2..int8 or fp8_e4m3 */
	enum sq_scale_rule scale;
	int symmetric;
	size_t group_rows, group_cols;	/* group_rows is 1 or w->rows */
};

/* Where quantized rows go: the parts of a TENSOR record. */
struct sq_qdst {
	uint8_t *codes;			/* rows of sq_row_bytes(cols, bits) */
	uint16_t *scales;		/* F16, one for each group */
	uint8_t *zeros;			/* asymmetric only, else NULL */
	double *error;			/* [rows]: sum of (w - q(w))^2, or NULL */
};

/* What columns can do in SQ_PAIR_ROWS rows, [columns][SQ_PAIR_ROWS] each: how far
 * one may go up or down, both at least 0, and what that costs alone; INFINITY
 * where it may not. */
#define SQ_PAIR_ROWS	16

struct sq_moves {
	const float *up, *down, *cost_up, *cost_down;
};

/*
 * A weight that is being rounded to integers, whole rows of it; the arrays are
 * F32 but for the codes, without gaps.  SQ_ROUND_COLS columns at most have a
 * scale in common, or are rounded in one call.
 */
#define SQ_ROUND_COLS	128

struct sq_rounding {
	size_t rows, cols, group_cols;
	int bits, symmetric;
	const float *w;			/* [rows][cols] */
	float *x;			/* the same: what codes leave of it */
	uint8_t *codes;			/* the same, one in a byte */
	float *scales;			/* [rows][groups]: values of F16 */
	float *zeros;			/* the same: zero points, of symmetric
					   grids 2^(bits-1) */
};

/* What `moments' adds to: all [cols] but hist, which has 256 counts in the bins
 * of sq-stream(5), STATS. */
struct sq_moments {
	float *min, *max;
	double *sum, *abssum;
	uint64_t *hist;
};

/* How precisely a product is computed: the type its operands are rounded to;
 * sums are float32. */
enum sq_prec { SQ_PREC_F32, SQ_PREC_BF16 };

/*
 * Quantized rows of activations: an int8 or the pattern of an E4M3 in each
 * byte, a scale for each row.
 */
struct sq_qmat {
	enum sq_act_kind kind;
	uint8_t *codes;			/* rows of `stride' bytes */
	float *scale;			/* [rows] */
	size_t rows, cols, stride;
};

/* What a page holds of each element: a plain value of the cache's type, or a
 * code.  kvpage.h has the layout, sq-kv(5) the formulas. */
enum sq_page_grid {
	SQ_PAGE_PLAIN, SQ_PAGE_INT8, SQ_PAGE_E4M3, SQ_PAGE_E5M2, SQ_PAGE_INT4,
	SQ_PAGE_INT2, SQ_PAGE_GRIDS
};

/* One side of a layer's cache, keys or values. */
struct sq_kv_side {
	enum sq_page_grid grid;
	int by_channel;			/* int4, int2: a scale serves 32 tokens
					   of a channel, not 32 channels of a
					   token */
};

/*
 * Keys and values of one layer, in pages of `page' tokens.  Where a side is
 * coded, a query sees the first `sink' positions and its last `window', itself
 * included, as plain values all the same: these are kept beside the pages.
 */
struct sq_kv {
	enum sq_dtype type;		/* of plain values: F32, F16 or BF16 */
	size_t heads, dim, page;	/* KV heads, head dimension, tokens */
	struct sq_kv_side k, v;
	size_t sink, window;		/* tokens; 0 when both sides are plain;
					   by_channel needs window >= 32 and
					   whole groups in a page */
};

/*
 * One sequence of a batch: rows row .. row+n-1 of the activations are its
 * tokens at positions pos .. pos+n-1.  Tables are of one layer.  Page p holds
 * positions p * page and on; a page that no query sees may be NULL.
 */
struct sq_seq {
	size_t row, n, pos;
	void *const *k, *const *v;	/* pages */
	void *const *near_k, *const *near_v;	/* the same in plain values:
					   those that a window reaches */
	void *sink_k, *sink_v;		/* [heads][sink][dim] plain values */
};

struct sq_attn {
	size_t heads;			/* query heads, a multiple of kv->heads */
	size_t window;			/* a token sees this many, itself
					   included; 0: all before it */
	float scale;			/* of the scores: 1 / sqrt(dim) */
	enum sq_prec prec;
};

/*
 * Which keys sequences see: of blocks of SQ_KEEP_BLOCK positions, one bit each,
 * that of the first block lowest.  Sequence i has a mask of `words' words for
 * each KV head, the first at bits[i * kv heads * words].
 */
#define SQ_KEEP_BLOCK	64

struct sq_attn_keep {
	const uint64_t *bits;
	size_t words;
};

/* What attention_backward reads, and what it writes. */
struct sq_attn_grad {
	struct sq_mat q, k, v, dy;
	struct sq_mat dq, dk, dv;
};

/* The operations, by number: for tables and messages. */
enum sq_op {
#define OP(name, params, args, bound)	SQ_OP_##name,
#include "kernels/ops.def"
#undef OP
	SQ_OPS
};

struct sq_kern {
	const char *name;		/* the level: "ref", "avx2" ... */
	const struct sq_kern *lower;	/* tried where this says SQ_UNSUP */
	const struct sq_mem *mem;	/* where its operations work */
	const char *from[SQ_OPS];	/* the level each operation comes from */
#define OP(name, params, args, bound)	int (*name) params;
#include "kernels/ops.def"
#undef OP
};

const char *sq_op_name(enum sq_op);

/* For an operation that no kernel did: -1, and err says so. */
int	 sq_no_kernel(char *err, enum sq_op);

/* The levels that this program knows, worst first, NULL at the end. */
const char *const *sq_kern_levels(void);

/*
 * The table of a level: "auto" is the fastest that this machine runs.  NULL, with
 * the reason in err, for an unknown name or a level that it cannot run.
 */
const struct sq_kern *sq_kern_find(const char *name, char *err);

/*
 * A context over kern with its own workspace; pool may be NULL and stays the
 * caller's.  -1 when there is no memory.
 */
int	 sq_ctx_init(struct sq_ctx *, const struct sq_kern *kern,
	    struct sq_pool *pool);
void	 sq_ctx_release(struct sq_ctx *);

/*
 * One of `parts' contexts that work side by side: over the same table, with its
 * share of the threads in a pool of its own.  -1 when there is no memory; what
 * was not made, and all zeros, may be released too.
 */
int	 sq_ctx_init_part(struct sq_ctx *, const struct sq_ctx *whole,
	    int parts);
void	 sq_ctx_release_part(struct sq_ctx *);

/*
 * The callers' functions, one for each operation: they go down the levels until
 * one supports the case.  ref supports every case that the header of the
 * operation allows, so SQ_UNSUP comes back only for a caller's mistake.
 */
#define OP(name, params, args, bound)	int sq_##name params;
#include "kernels/ops.def"
#undef OP

/* The host's memory. */
extern const struct sq_mem sq_mem_host;

/*
 * A backend in a shared object of its own, libsqk_NAME.so, which `-k NAME'
 * opens: beside the program, in ../lib of it, or where the system looks.  It
 * has both symbols.  The first must equal sq_kern_abi(), so that both were
 * built from one table.  init gets the best table of this processor and
 * overwrites everything: what works in the host's memory and is to stay must be
 * kept on purpose.  -1 with the reason in err where there is no such device.
 */
#define SQ_PLUGIN_ABI	"sq_plugin_abi"
#define SQ_PLUGIN_INIT	"sq_plugin_init"
typedef const char *sq_plugin_abi_fn(void);
typedef int sq_plugin_init_fn(struct sq_kern *k, char *err);

/* Everything that the table depends on, in words. */
static inline const char *
sq_kern_abi(void)
{
	return "3"
#define OP(name, params, args, bound)	"\n" #name #params
#include "kernels/ops.def"
#undef OP
	    ;
}

/* Each level's init: k arrives as a copy of the level below; -1 when this
 * processor cannot run it. */
int	 sq_init_ref(struct sq_kern *k);
int	 sq_init_avx2(struct sq_kern *k);
int	 sq_init_avx512(struct sq_kern *k);
int	 sq_init_avx512vnni(struct sq_kern *k);
int	 sq_init_avx512bf16(struct sq_kern *k);
int	 sq_init_amx(struct sq_kern *k);

/* Whether `auto' should take the level where it runs. */
int	 sq_pays_avx512bf16(void);

#ifdef __cplusplus
}
#endif

#endif
