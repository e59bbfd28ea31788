/*
 * kv_append over the vectors of vec.h; the file of a level defines LEVEL(op)
 * and includes this.  Heads of a multiple of VL only.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/vec.h"
#include "kernels/x86/x86.h"

#define TOKENS	16		/* of a sequence, in a task */
#define SMALL	32768		/* elements that one thread writes faster */

struct job {
	const struct sq_kv *kv;
	const struct sq_seq *seq;
	size_t parts;			/* tasks of a sequence */
	const struct sq_mat *k, *v;
};

static void
put(void *to, enum sq_dtype type, const float *x, size_t n)
{
	uint16_t *h = to;
	size_t i;

	if (type == SQ_F32)
		memcpy(to, x, n * sizeof(*x));
	else if (type == SQ_F16)
		for (i = 0; i < n; i += VL)
			vf_put_f16(h + i, vf_load(x + i));
	else
		for (i = 0; i < n; i += VL)
			vf_put_bf16(h + i, vf_load(x + i));
}

static void
append_token(const struct job *j, const struct sq_seq *s, size_t t)
{
	const struct sq_kv *kv = j->kv;
	const float *k = sq_row(j->k, s->row + t);
	const float *v = sq_row(j->v, s->row + t);
	size_t h, pos = s->pos + t, size = sq_dtype_size(kv->type);

	for (h = 0; h < kv->heads; h++) {
		put(sq_kv_at(kv, s->k, h, pos, size), kv->type,
		    k + h * kv->dim, kv->dim);
		put(sq_kv_at(kv, s->v, h, pos, size), kv->type,
		    v + h * kv->dim, kv->dim);
	}
}

static void
append(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_seq *s = j->seq + (size_t)task / j->parts;
	size_t t = (size_t)task % j->parts * TOKENS, end = t + TOKENS;

	(void)thread;
	for (; t < end && t < s->n; t++)
		append_token(j, s, t);
}

int
LEVEL(kv_append)(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *k,
    const struct sq_mat *v)
{
	struct job j = { kv, seq, 1, k, v };
	size_t i, tokens = 0;

	if (kv->dim % VL != 0 || !sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	for (i = 0; i < nseq; i++) {
		tokens += seq[i].n;
		if ((seq[i].n + TOKENS - 1) / TOKENS > j.parts)
			j.parts = (seq[i].n + TOKENS - 1) / TOKENS;
	}
	sq_pool_run(tokens * k->cols < SMALL ? NULL : c->pool, append, &j,
	    (long)(nseq * j.parts));
	return 0;
}
