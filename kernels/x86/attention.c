/*
 * The driver of attention; see attention.h.  A sequence with few blocks of
 * rows (decoding: one for each KV head) has its keys cut into parts of at
 * least PART_KEYS, until there are PIECES pieces of work.  The parts' sums go
 * through the first megabytes of the workspace, which bounds how many
 * sequences are in a wave.
 */
#include <math.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/rows.h"
#include "kernels/x86/attention.h"

#define PIECES		256
#define PART_KEYS	512	/* for one block of few rows; */
#define PART_KEYS_MANY	2048	/* else, as sums cost more */
#define MAX_WAVE	8192			/* sequences */
#define SUMS_SIZE	((size_t)48 << 20)	/* bytes of workspace */

/* How a sequence is cut. */
struct plan {
	const struct sq_seq *seq;
	size_t rows;			/* of a KV head */
	size_t blocks, parts;
	size_t first, keys;		/* position of part 0, keys of a part */
	size_t task;			/* number of the first task */
	float *sums;
};

struct job {
	struct sq_attn_call call;
	const struct sq_attn_loops *loops;
	struct plan *plan;
	size_t nplans, tasks, step;	/* floats of a row's sums */
	size_t few_rows;		/* blocks of so many go to few */
	int whole;			/* keys are not cut into parts */
	char *scratch;
};

_Static_assert(MAX_WAVE * sizeof(struct plan) + SUMS_SIZE <=
    SQ_WORK(1) - SQ_ATTN_SCRATCH, "attention needs more workspace");

static size_t
ceil_div(size_t a, size_t b)
{
	return (a + b - 1) / b;
}

static size_t
sums_size(const struct job *j, const struct plan *p)
{
	return p->parts < 2 ? 0 :
	    j->call.kv->heads * p->rows * p->parts * j->step * sizeof(float);
}

static void
cut(const struct job *j, const struct sq_seq *s, struct plan *p)
{
	size_t start = sq_window_start(j->call.a, s->pos) / 64 * 64;
	size_t span = s->pos + s->n - start, least, work;

	p->seq = s;
	p->rows = s->n * j->call.group;
	p->blocks = ceil_div(p->rows, SQ_ATTN_ROWS);
	p->first = start;
	work = p->blocks * j->call.kv->heads;
	least = p->rows <= j->few_rows ? PART_KEYS : PART_KEYS_MANY;
	p->parts = j->whole ? 1 : ceil_div(PIECES, work);
	if (p->parts > ceil_div(span, least))
		p->parts = ceil_div(span, least);
	while (sums_size(j, p) > SUMS_SIZE)
		p->parts /= 2;
	p->keys = ceil_div(ceil_div(span, p->parts), 64) * 64;
	p->parts = ceil_div(span, p->keys);
}

/* Which plan a task belongs to. */
static const struct plan *
find_plan(const struct job *j, size_t task)
{
	size_t lo = 0, hi = j->nplans, mid;

	while (hi - lo > 1) {
		mid = (lo + hi) / 2;
		if (j->plan[mid].task <= task)
			lo = mid;
		else
			hi = mid;
	}
	return j->plan + lo;
}

/* The last blocks see the most keys: they are started first. */
static void
set_part(const struct job *j, const struct plan *p, size_t i,
    struct sq_attn_part *w)
{
	size_t part = i % p->parts, end;
	size_t block = p->blocks - 1 - i / p->parts % p->blocks;

	w->seq = p->seq;
	w->head = i / p->parts / p->blocks;
	w->row = block * SQ_ATTN_ROWS;
	w->rows = p->rows - w->row;
	if (p->blocks > 1 && w->rows > SQ_ATTN_ROWS)
		w->rows = SQ_ATTN_ROWS;
	w->k0 = sq_window_start(j->call.a, sq_attn_pos(&j->call, w, 0));
	w->k1 = sq_attn_pos(&j->call, w, w->rows - 1) + 1;
	if (part > 0 && w->k0 < p->first + part * p->keys)
		w->k0 = p->first + part * p->keys;
	end = p->first + (part + 1) * p->keys;
	if (w->k1 > end)
		w->k1 = end;
	w->step = p->parts * j->step;
	w->sums = p->parts == 1 ? NULL : p->sums +
	    (w->head * p->rows + w->row) * w->step + part * j->step;
}

/* A part without keys: no probability, so that join leaves it out. */
static void
no_keys(const struct sq_attn_part *w)
{
	size_t r;

	for (r = 0; r < w->rows; r++)
		w->sums[r * w->step + 1] = 0;
}

static void
do_part(void *arg, long task, int thread)
{
	const struct job *j = arg;
	const struct plan *p = find_plan(j, (size_t)task);
	void *scratch = j->scratch + (size_t)thread * SQ_ATTN_SCRATCH;
	struct sq_attn_part w;

	set_part(j, p, (size_t)task - p->task, &w);
	if (w.k0 >= w.k1)
		no_keys(&w);
	else if (w.rows <= j->few_rows)
		j->loops->few(&j->call, &w, scratch);
	else
		j->loops->many(&j->call, &w, scratch);
}

/* The parts of one row into y. */
static void
join_row(const struct job *j, const float *sums, size_t parts, float *y)
{
	size_t i, k, dim = j->call.kv->dim;
	float f, max = -INFINITY, total = 0;
	const float *s;

	for (k = 0, s = sums; k < parts; k++, s += j->step)
		if (s[1] > 0 && s[0] > max)
			max = s[0];
	memset(y, 0, dim * sizeof(*y));
	for (k = 0, s = sums; k < parts; k++, s += j->step) {
		if (!(s[1] > 0))
			continue;
		f = exp2f(s[0] - max);
		total += f * s[1];
		for (i = 0; i < dim; i++)
			y[i] += f * s[SQ_ATTN_HEAD + i];
	}
	for (i = 0; i < dim; i++)
		y[i] /= total;
}

static void
join(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t heads = j->call.kv->heads, r;
	const struct plan *p = j->plan + (size_t)task / heads;
	struct sq_attn_part w = { .seq = p->seq };

	(void)thread;
	if (p->parts < 2)
		return;
	w.head = (size_t)task % heads;
	for (r = 0; r < p->rows; r++)
		join_row(j, p->sums + (w.head * p->rows + r) * p->parts *
		    j->step, p->parts, sq_attn_head(&j->call, j->call.y, &w,
		    r));
}

/* Plans sequences until the wave is full; returns how many, and whether any
 * of them has parts to join. */
static size_t
plan_wave(struct job *j, const struct sq_seq *seq, size_t nseq, float *sums,
    int *joins)
{
	size_t i, used = 0, size;
	struct plan *p;

	*joins = 0;
	j->tasks = j->nplans = 0;
	for (i = 0; i < nseq && j->nplans < MAX_WAVE; i++) {
		if (seq[i].n == 0)
			continue;
		p = j->plan + j->nplans;
		cut(j, seq + i, p);
		size = sums_size(j, p);
		if (used + size > SUMS_SIZE)
			break;
		p->sums = sums + used / sizeof(float);
		used += size;
		p->task = j->tasks;
		j->tasks += p->blocks * p->parts * j->call.kv->heads;
		j->nplans++;
		*joins |= p->parts > 1;
	}
	return i;
}

int
sq_attn_run(struct sq_ctx *c, const struct sq_attn *a,
    const struct sq_attn_keep *keep, const struct sq_kv *kv,
    const struct sq_seq *seq, size_t nseq, const struct sq_mat *q,
    const struct sq_mat *y, const struct sq_attn_loops *loops)
{
	struct job j = { .call = { a, kv, q, y, 1, 0, keep, seq },
	    .loops = loops };
	float *sums = (float *)c->work;
	size_t i;
	int joins;

	if (kv->dim % 16 != 0 || kv->dim > SQ_ATTN_DIM ||
	    !sq_attention_allows(a, kv, seq, nseq, q, y) ||
	    (keep != NULL && !sq_keep_allows(keep, kv, seq, nseq)))
		return SQ_UNSUP;
	j.call.group = a->heads / kv->heads;
	j.call.scale = a->scale * 1.44269504f;
	j.step = SQ_ATTN_HEAD + kv->dim;
	/* a row of a chunk must not depend on the others */
	j.whole = c->batch == SQ_BATCH_CHUNK || keep != NULL;
	j.few_rows = c->batch == SQ_BATCH_CHUNK ? 0 : loops->few_rows;
	j.plan = (struct plan *)((char *)c->work + SUMS_SIZE);
	j.scratch = (char *)c->work + SQ_WORK(0);
	for (i = 0; i < nseq; ) {
		i += plan_wave(&j, seq + i, nseq - i, sums, &joins);
		sq_pool_run(c->pool, do_part, &j, (long)j.tasks);
		if (joins)
			sq_pool_run(c->pool, join, &j,
			    (long)(j.nplans * kv->heads));
	}
	return 0;
}
