/*
 * Half a block of a model, held while a filter makes up its mind: a norm stands
 * before the weights that take its output, so it cannot go out before they are
 * known.
 *
 *	attention	norm  STATS  q k v  STATS (kv)  STATS  o
 *	MLP		norm  STATS  gate up  STATS  down
 *
 * What changes is the size of rows and columns: each tensor has a factor for
 * each of them, applied as it is written.
 */
#ifndef SQ_QUANT_HALF_BLOCK_H
#define SQ_QUANT_HALF_BLOCK_H

#include "formats/fmt_stats.h"
#include "kernels/kern.h"
#include "quant/filter.h"

#define SQ_HALF_RECORDS	24
#define SQ_ROLES	(SQ_HEAD + 1)

struct sq_held {
	int is_stats;
	struct sq_stats stats;
	struct sq_tensor t;
	const struct sq_slot *slot;
	unsigned char *data;		/* the payload */
	/* factors, or NULL: of rows, of columns (of a vector: its elements) */
	float *row, *col;
};

struct sq_half {
	size_t n;
	struct sq_held rec[SQ_HALF_RECORDS];
	uint64_t bytes;			/* of what is held */
};

/* Takes the TENSOR or STATS record at hand; -1 with the reason in f->err, also
 * when it would be more than max bytes (0: no limit). */
int	 sq_half_take(struct sq_half *, struct sq_filter *f,
	    const struct sq_tensor *t, const struct sq_slot *slot,
	    uint64_t max);

/* The weight (or, bias: the bias) of a role, or NULL. */
struct sq_held *sq_half_tensor(struct sq_half *, enum sq_role, int bias);

/* The statistics of a tensor's input, or (kv) its output; or NULL. */
struct sq_stats *sq_half_stats(struct sq_half *, const char *tensor, int kv);

/*
 * Rows row .. row+out->rows-1 of a held matrix (a vector is one row) as
 * float32, with its factors.  0, or -1 where no kernel reads it.
 */
int	 sq_held_rows(const struct sq_held *, struct sq_ctx *, size_t row,
	    const struct sq_mat *out);

/* Multiplies factors: n of them, of rows or columns.  -1: no memory. */
int	 sq_held_scale(struct sq_held *, int rows, const float *s, size_t n);

/*
 * Writes all records in their order, and forgets them.  wide: what has factors
 * becomes F32; otherwise it keeps its type.
 */
int	 sq_half_put(struct sq_half *, struct sq_filter *f, struct sq_ctx *,
	    int wide);
void	 sq_half_release(struct sq_half *);

/* x' = x * s, channel by channel: the statistics of x become those of x'. */
void	 sq_stats_scale(struct sq_stats *, const float *s);

#endif
