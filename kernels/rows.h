/* What the operations on rows of activations share, whatever the level. */
#ifndef SQ_KERNELS_ROWS_H
#define SQ_KERNELS_ROWS_H

#include "kernels/kern.h"
#include "kernels/kvpage.h"

static inline float *
sq_row(const struct sq_mat *m, size_t i)
{
	return (float *)m->p + i * m->stride;
}

/* F32 matrices of one shape. */
static inline int
sq_rows_alike(const struct sq_mat *a, const struct sq_mat *b)
{
	return a->type == SQ_F32 && b->type == SQ_F32 && a->rows == b->rows &&
	    a->cols == b->cols;
}

/* What sq_quantize_act and sq_dequantize_act allow: x is the side in F32. */
static inline int
sq_act_allows(const struct sq_mat *x, enum sq_act_kind kind,
    const struct sq_qmat *q)
{
	return x->type == SQ_F32 && x->rows == q->rows && x->cols == q->cols &&
	    q->stride >= q->cols && kind == q->kind &&
	    (kind == SQ_ACT_INT8 || kind == SQ_ACT_FP8);
}

/* What sq_rope allows: F32 rows of whole heads, each of an even size. */
static inline int
sq_rope_allows(const struct sq_mat *x, size_t dim)
{
	return x->type == SQ_F32 && dim > 0 && dim % 2 == 0 &&
	    x->cols % dim == 0;
}

/* What sq_hadamard allows: F32 rows of whole heads. */
static inline int
sq_hadamard_allows(const struct sq_mat *x, size_t dim)
{
	return x->type == SQ_F32 && dim > 0 && x->cols % dim == 0;
}

/* What sq_nll allows: every target is a column. */
static inline int
sq_nll_allows(const struct sq_mat *logits, const uint32_t *target)
{
	size_t i;

	if (logits->type != SQ_F32 || logits->cols == 0)
		return 0;
	for (i = 0; target != NULL && i < logits->rows; i++)
		if (target[i] >= logits->cols)
			return 0;
	return 1;
}

/* Sequences whose tokens are rows of a matrix of that many rows. */
static inline int
sq_seq_allows(const struct sq_seq *seq, size_t nseq, size_t rows)
{
	size_t i;

	for (i = 0; i < nseq; i++)
		if (seq[i].n > rows || seq[i].row > rows - seq[i].n)
			return 0;
	return 1;
}

/* What sq_kv_append and sq_kv_read allow. */
static inline int
sq_append_allows(const struct sq_kv *kv, const struct sq_seq *seq, size_t nseq,
    const struct sq_mat *k, const struct sq_mat *v)
{
	return sq_kv_allows(kv) && sq_rows_alike(k, v) &&
	    k->cols == kv->heads * kv->dim &&
	    sq_seq_allows(seq, nseq, k->rows);
}

/* What sq_attention allows. */
static inline int
sq_attention_allows(const struct sq_attn *a, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q,
    const struct sq_mat *y)
{
	return sq_kv_allows(kv) && kv->heads > 0 && kv->dim > 0 &&
	    a->heads % kv->heads == 0 && sq_rows_alike(q, y) &&
	    q->cols == a->heads * kv->dim &&
	    sq_seq_allows(seq, nseq, q->rows);
}

/* A sequence's mask of a KV head, and whether a block is kept. */
static inline const uint64_t *
sq_keep_mask(const struct sq_attn_keep *keep, const struct sq_kv *kv,
    size_t seq, size_t head)
{
	return keep->bits + (seq * kv->heads + head) * keep->words;
}

static inline int
sq_kept(const uint64_t *mask, size_t block)
{
	return (int)(mask[block / 64] >> block % 64 & 1);
}

/* What sq_sparse_attention allows of its masks. */
static inline int
sq_keep_allows(const struct sq_attn_keep *keep, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq)
{
	size_t i, h, b, last;

	for (i = 0; i < nseq; i++) {
		if (seq[i].n == 0)
			continue;
		last = (seq[i].pos + seq[i].n - 1) / SQ_KEEP_BLOCK;
		if (last / 64 >= keep->words)
			return 0;
		for (h = 0; h < kv->heads; h++)
			for (b = seq[i].pos / SQ_KEEP_BLOCK; b <= last; b++)
				if (!sq_kept(sq_keep_mask(keep, kv, i, h), b))
					return 0;
	}
	return 1;
}

/* What sq_attention_backward allows. */
static inline int
sq_attn_grad_allows(const struct sq_attn *a, size_t kv_heads, size_t length,
    const struct sq_attn_grad *g)
{
	return kv_heads > 0 && length > 0 && a->heads % kv_heads == 0 &&
	    g->q.cols > 0 && g->q.cols % a->heads == 0 &&
	    g->q.rows % length == 0 && g->q.rows == g->k.rows &&
	    g->k.cols == kv_heads * (g->q.cols / a->heads) &&
	    sq_rows_alike(&g->q, &g->dy) && sq_rows_alike(&g->q, &g->dq) &&
	    sq_rows_alike(&g->k, &g->v) && sq_rows_alike(&g->k, &g->dk) &&
	    sq_rows_alike(&g->k, &g->dv);
}

/* The first position that a token at pos sees. */
static inline size_t
sq_window_start(const struct sq_attn *a, size_t pos)
{
	return a->window == 0 || pos < a->window ? 0 : pos + 1 - a->window;
}

#endif
