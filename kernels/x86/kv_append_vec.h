/*
 * kv_append and kv_read over the vectors of vec.h; the file of a level defines
 * LEVEL(op) and includes this.  Heads of a multiple of VL only, of 16 where
 * they are coded.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/page_vec.h"
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

/* One side of the cache of a sequence: keys or values. */
struct side {
	const struct sq_kv *kv;
	const struct sq_kv_side *how;
	void *const *page, *const *near;
	void *sink;
};

static struct side
side_of(const struct sq_kv *kv, const struct sq_seq *s, int values)
{
	return values ?
	    (struct side){ kv, &kv->v, s->v, s->near_v, s->sink_v } :
	    (struct side){ kv, &kv->k, s->k, s->near_k, s->sink_k };
}

static void
append_head(const struct side *s, size_t head, size_t pos, const float *x)
{
	const struct sq_kv *kv = s->kv;
	char *to = sq_page_at(kv, s->how, s->page, head, pos);
	size_t token = pos % kv->page;

	if (kv->window > 0)
		put(sq_near_at(kv, s->near, head, pos), kv->type, x, kv->dim);
	if (pos < kv->sink)
		put(sq_sink_at(kv, s->sink, head, pos), kv->type, x, kv->dim);
	if (s->how->grid == SQ_PAGE_PLAIN)
		put(to + token * sq_page_row(kv, s->how), kv->type, x,
		    kv->dim);
	else if (!s->how->by_channel)
		page_put(kv, s->how, to, token, x);
}

/* A group of tokens by channel: all of it is in the near pages. */
static void
append_channels(const struct side *s, size_t group)
{
	const struct sq_kv *kv = s->kv;
	size_t h, pos = group * SQ_PAGE_GROUP;

	for (h = 0; h < kv->heads; h++)
		page_put_channels(kv, s->how, sq_page_at(kv, s->how, s->page,
		    h, pos), pos % kv->page, sq_near_at(kv, s->near, h, pos));
}

static void
append_token(const struct job *j, const struct sq_seq *s, size_t t)
{
	const struct side k = side_of(j->kv, s, 0), v = side_of(j->kv, s, 1);
	size_t h, dim = j->kv->dim;

	for (h = 0; h < j->kv->heads; h++) {
		append_head(&k, h, s->pos + t, sq_row(j->k, s->row + t) +
		    h * dim);
		append_head(&v, h, s->pos + t, sq_row(j->v, s->row + t) +
		    h * dim);
	}
}

/* After all rows: the groups that these complete, a sequence a task. */
static void
complete(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_seq *s = j->seq + task;
	const struct side k = side_of(j->kv, s, 0), v = side_of(j->kv, s, 1);
	size_t g;

	(void)thread;
	for (g = s->pos / SQ_PAGE_GROUP; (g + 1) * SQ_PAGE_GROUP <= s->pos +
	    s->n; g++) {
		if (k.how->by_channel)
			append_channels(&k, g);
		if (v.how->by_channel)
			append_channels(&v, g);
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

	if (kv->dim % (sq_kv_plain(kv) ? VL : 16) != 0 ||
	    !sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	for (i = 0; i < nseq; i++) {
		tokens += seq[i].n;
		if ((seq[i].n + TOKENS - 1) / TOKENS > j.parts)
			j.parts = (seq[i].n + TOKENS - 1) / TOKENS;
	}
	sq_pool_run(tokens * k->cols < SMALL ? NULL : c->pool, append, &j,
	    (long)(nseq * j.parts));
	if (kv->k.by_channel || kv->v.by_channel)
		sq_pool_run(c->pool, complete, &j, (long)nseq);
	return 0;
}

static void
read_side(const struct side *s, size_t head, size_t pos, float *to)
{
	const void *p = sq_page_at(s->kv, s->how, s->page, head, pos);
	size_t token = pos % s->kv->page;

	if (s->how->grid == SQ_PAGE_PLAIN)
		plain_load((const char *)p + token * sq_page_row(s->kv,
		    s->how), s->kv->type, s->kv->dim, to);
	else
		page_load(s->kv, s->how, p, token, to);
}

static void
read_seq(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct sq_seq *s = j->seq + task;
	const struct side k = side_of(j->kv, s, 0), v = side_of(j->kv, s, 1);
	size_t t, h, dim = j->kv->dim;

	(void)thread;
	for (t = 0; t < s->n; t++)
		for (h = 0; h < j->kv->heads; h++) {
			read_side(&k, h, s->pos + t, sq_row(j->k, s->row +
			    t) + h * dim);
			read_side(&v, h, s->pos + t, sq_row(j->v, s->row +
			    t) + h * dim);
		}
}

int
LEVEL(kv_read)(struct sq_ctx *c, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *k,
    const struct sq_mat *v)
{
	struct job j = { kv, seq, 1, k, v };

	if (kv->dim % 16 != 0 || !sq_append_allows(kv, seq, nseq, k, v))
		return SQ_UNSUP;
	sq_pool_run(c->pool, read_seq, &j, (long)nseq);
	return 0;
}
