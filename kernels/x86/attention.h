/*
 * Attention on x86-64, between the driver (attention.c), which is the same for
 * all levels, and the loops of a level.
 *
 * The rows of a (sequence, KV head) are its queries, all query heads of the KV
 * head together, so that keys and values are read once for them: row r is
 * token r / group, query head head * group + r % group.  The driver cuts rows
 * into blocks and, where there are too few blocks to keep many threads busy,
 * keys into parts, whose sums it puts together.  Neither depends on the number
 * of threads or on the other sequences.
 */
#ifndef SQ_X86_ATTENTION_H
#define SQ_X86_ATTENTION_H

#include "kernels/kern.h"

#define SQ_ATTN_DIM	512	/* the greatest head dimension */
#define SQ_ATTN_ROWS	96	/* the most rows of a block */
#define SQ_ATTN_HEAD	16	/* floats before the sums of a row */

struct sq_attn_call {
	const struct sq_attn *a;
	const struct sq_kv *kv;
	const struct sq_mat *q, *y;
	size_t group;		/* query heads of a KV head */
	float scale;		/* a->scale / ln 2: scores are powers of 2 */
	const struct sq_attn_keep *keep;	/* NULL: all keys */
	const struct sq_seq *seq;	/* the first: whose masks come first */
};

/* Rows row .. row+rows-1 against the keys at positions k0 .. k1-1. */
struct sq_attn_part {
	const struct sq_seq *seq;
	size_t head;		/* of the cache */
	size_t row, rows, k0, k1;
	float *sums;		/* NULL: all keys are here, finish into y;
				   else for each row its greatest score, the
				   sum of its probabilities and, from
				   SQ_ATTN_HEAD on, of the values */
	size_t step;		/* floats from row to row of sums */
};

/*
 * The loops of a level.  Both write all rows of the part; scratch is 64-byte
 * aligned and holds SQ_ATTN_SCRATCH bytes.
 */
struct sq_attn_loops {
	size_t few_rows;	/* blocks of up to so many go to few */
	void (*few)(const struct sq_attn_call *, const struct sq_attn_part *,
	    void *scratch);
	void (*many)(const struct sq_attn_call *, const struct sq_attn_part *,
	    void *scratch);
};

#define SQ_ATTN_SCRATCH	((size_t)4 << 20)

/* Queries, sums of values, keys, values (each at most SQ_ATTN_DIM wide) and
 * scores stay far below it. */
_Static_assert(2 * SQ_ATTN_DIM * (SQ_ATTN_ROWS + 128) * sizeof(float) +
    (1 << 20) < SQ_ATTN_SCRATCH, "attention needs more scratch");

/* keep may be NULL. */
int	 sq_attn_run(struct sq_ctx *, const struct sq_attn *,
	    const struct sq_attn_keep *keep, const struct sq_kv *,
	    const struct sq_seq *, size_t nseq, const struct sq_mat *q,
	    const struct sq_mat *y, const struct sq_attn_loops *);

/* Row r of a sequence: its position, and its head in a matrix like q. */
static inline size_t
sq_attn_pos(const struct sq_attn_call *c, const struct sq_attn_part *p,
    size_t r)
{
	return p->seq->pos + (p->row + r) / c->group;
}

static inline float *
sq_attn_head(const struct sq_attn_call *c, const struct sq_mat *m,
    const struct sq_attn_part *p, size_t r)
{
	size_t token = (p->row + r) / c->group, g = (p->row + r) % c->group;

	return (float *)m->p + (p->seq->row + token) * m->stride +
	    (p->head * c->group + g) * c->kv->dim;
}

#endif
