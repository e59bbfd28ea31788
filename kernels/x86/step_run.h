/*
 * The product of few tokens: how the work is cut; see step.h.  The file that
 * includes this has defined
 *
 *	struct room	what a thread needs for products
 *	PACKED		bytes of a block of an octet, up to TOKENS tokens
 *	ALONE		tokens that are multiplied one by one, at most
 *	BY_ROW(tokens)	their scales are wanted by row
 *
 * and defines the functions that are declared here.
 */
#ifndef SQ_X86_STEP_RUN_H
#define SQ_X86_STEP_RUN_H

#include <string.h>

#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/x86/few.h"
#include "kernels/x86/step_tokens.h"

#define LATER	256			/* bytes: scales that are fetched */

/* Of each thread. */
struct scratch {
	struct scales scales;
	struct room room;
	_Alignas(64) uint8_t tail[ROWS][BLOCK];
	const struct sq_slice *slice;	/* of the strips that wait */
	size_t strip, waiting;		/* the first of them, and how many */
	_Alignas(64) VF sums[];		/* of all tokens: ROWS of each octet,
					   then rows, one of each strip */
};

/* Around what a thread does. */
static void begin(const struct job *);
static void end(const struct job *);

/* A block of an octet's tokens, or a single one's, as it is multiplied. */
static void pack(const struct job *, size_t octet, size_t block);

/* n blocks from `block' of the tokens by a strip; sums: ROWS of each octet,
 * 0 at first. */
static void do_blocks(const struct job *, const struct strip *, size_t block,
    size_t n, struct scratch *);

/* The 16 rows of each token of an octet. */
static void total(const struct job *, size_t octet, const VF *sums,
    VF rows[TOKENS]);

static void
do_pack(void *arg, long task, int thread)
{
	const struct job *j = arg;

	(void)thread;
	pack(j, (size_t)task / j->blocks, (size_t)task % j->blocks);
}

/* 16 groups of each row, the first of them g of those at hand. */
SQ_INLINE void
put_groups(VF v[VL], size_t g, const int by_row, float (*to)[ROWS])
{
	int i;

	if (!by_row)
		vf_transpose(v);
	SQ_UNROLL for (i = 0; i < VL; i++)
		vf_store(by_row ? to[0] + i * AT_HAND + g : to[g + (size_t)i],
		    v[i]);
}

/* Up to 16 groups of each row, from group `first' of it: rows that follow are
 * fetched. */
SQ_INLINE void
take_scales(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, const enum sq_dtype type, VF v[VL])
{
	const char *p = w->scales;
	size_t size = type == SQ_F32 ? 4 : 2, at;
	int r;

	SQ_UNROLL for (r = 0; r < ROWS; r++) {
		at = s->group[r] + first;
		_mm_prefetch(p + at * size + LATER, _MM_HINT_T0);
		v[r] = vf_take(p, type, at, n);
	}
}

static void
take_zeros(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, VF v[VL])
{
	float z[VL];
	size_t i;
	int r;

	for (r = 0; r < ROWS; r++) {
		for (i = 0; i < VL; i++)
			z[i] = i < n ? -(float)w->zeros[s->group[r] + first +
			    i] : 0;
		v[r] = vf_load(z);
	}
}

/* The scales of the groups first .. first+n-1 of a strip. */
SQ_INLINE void
load_scales_as(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, const int by_row, struct scales *to)
{
	VF v[VL];
	size_t g;

	for (g = 0; g < n; g += VL) {
		if (w->scale_type == SQ_F16 && n - g >= VL)
			take_scales(w, s, first + g, VL, SQ_F16, v);
		else
			take_scales(w, s, first + g, n - g, w->scale_type, v);
		put_groups(v, g, by_row, to->scale);
		if (w->zeros != NULL) {
			take_zeros(w, s, first + g, n - g, v);
			put_groups(v, g, by_row, to->zero);
		}
	}
}

static void
load_scales(const struct sq_weight *w, const struct strip *s, size_t first,
    size_t n, int by_row, struct scales *to)
{
	if (by_row)
		load_scales_as(w, s, first, n, 1, to);
	else
		load_scales_as(w, s, first, n, 0, to);
}

/* ---- strips ---- */

/* The last columns, fewer than a block: from a copy. */
static void
do_tail(const struct job *j, struct strip *s, size_t block, struct scratch *t)
{
	size_t r, at = block * j->block_bytes;

	for (r = 0; r < ROWS; r++) {
		memset(t->tail[r], 0, BLOCK);
		memcpy(t->tail[r], s->row[r] + at, j->row_bytes - at);
		s->row[r] = t->tail[r];
	}
	s->at = s->ahead = 0;
	do_blocks(j, s, block, 1, t);
}

/* n blocks from `block' on. */
static void
do_chunk(const struct job *j, struct strip *s, size_t block, size_t n,
    struct scratch *t)
{
	size_t per = (size_t)j->groups, first, end;

	first = per > 1 ? block * per : block / j->run;
	end = per > 1 ? least((block + n) * per, j->across) :
	    (block + n - 1) / j->run + 1;
	load_scales(j->w, s, first, end - first, BY_ROW(j->tokens),
	    &t->scales);
	s->groups = end - first;
	s->left = j->run - block % j->run;
	s->at = block * j->block_bytes;
	if ((block + n) * BLOCK <= j->w->cols)
		do_blocks(j, s, block, n, t);
	else
		do_tail(j, s, block, t);
}

/* The results of all strips that wait, as lines of y. */
static void
put(const struct job *j, struct scratch *t)
{
	const struct sq_slice *l = t->slice;
	size_t n = t->waiting, r, row;
	VF *rows = t->sums + j->octets * ROWS;
	float *y = (float *)j->y->p + j->first * j->y->stride, *end;

	end = y + j->tokens * j->y->stride;
	for (t->waiting = 0; n > 0 && y < end; y += j->y->stride, rows += VL) {
		vf_transpose(rows);
		row = l->first + t->strip;
		for (r = 0; r < ROWS && row < l->end; r++, row += l->apart)
			vf_put(y + row, rows[r], least(n, l->end - row));
	}
}

/* The results of a strip wait for those beside them: their rows share the lines
 * of y. */
static void
keep(const struct job *j, const struct sq_slice *l, size_t strip,
    struct scratch *t)
{
	VF *to = t->sums + j->octets * ROWS, rows[TOKENS];
	size_t i;

	if (t->waiting == VL || t->slice != l || strip != t->strip + t->waiting)
		put(j, t);
	if (t->waiting == 0) {
		t->slice = l;
		t->strip = strip;
	}
	for (i = 0; i < j->tokens; i++) {
		if (i % TOKENS == 0)
			total(j, i / TOKENS, t->sums + i / TOKENS * ROWS,
			    rows);
		to[i * VL + t->waiting] = rows[i % TOKENS];
	}
	t->waiting++;
}

/* Of tokens alone, scales are turned a few at a time, while memory is read. */
static void
do_strip(const struct job *j, const struct sq_slice *l, size_t strip,
    struct scratch *t)
{
	size_t whole = j->w->cols / BLOCK, b, n, r, i;
	struct strip s = { .scales = &t->scales, .run = j->run,
	    .ahead = AHEAD };

	for (r = 0; r < ROWS; r++) {
		i = sq_slice_line(l, strip, r);
		s.row[r] = (const uint8_t *)j->w->data + i * j->row_bytes;
		if (j->w->group_rows > 1)
			i /= j->w->group_rows;
		s.group[r] = i * j->across;
	}
	memset(t->sums, 0, j->octets * ROWS * sizeof(VF));
	n = j->tokens <= ALONE ? VL / (size_t)j->groups : CHUNK;
	for (b = 0; b < whole; b += n)
		do_chunk(j, &s, b, least(n, whole - b), t);
	if (whole < j->blocks)
		do_chunk(j, &s, whole, 1, t);
	keep(j, l, strip, t);
}

/* Weights that are multiplied by the same tokens: jobs that differ in w and y. */
struct set {
	struct job job[SQ_FEW_WEIGHTS];
	struct sq_slices slices[SQ_FEW_WEIGHTS];
	size_t n;
};

static void
do_slices(void *arg, long task, int thread)
{
	struct set *s = arg;
	const struct job *j = s->job;
	struct scratch *t = (struct scratch *)(j->scratch + (size_t)thread *
	    j->scratch_size);
	const struct sq_slice *l;
	size_t done, strip, i;

	begin(j);
	t->waiting = 0;
	for (i = 0; i < s->n; i++, j++) {
		done = 0;
		while ((l = sq_slices_take(&s->slices[i], (size_t)task, &done,
		    &strip)) != NULL)
			do_strip(j, l, strip, t);
		put(j, t);
	}
	end(s->job);
}

/* ---- all of it ---- */

static void
run_pass(struct set *s, struct sq_ctx *c)
{
	size_t threads = (size_t)sq_pool_threads(c->pool), i;
	struct job *j = s->job;

	sq_pool_run(c->pool, do_pack, j, (long)(j->octets * j->blocks));
	for (i = 0; i < s->n; i++)
		sq_slices_cut(&s->slices[i], j[i].w->rows, threads, ROWS);
	sq_pool_run(c->pool, do_slices, s, (long)s->slices->n);
}

/* What the weight asks for; packed tokens follow the threads' scratch. */
static void
set_shape(struct job *j)
{
	const struct sq_weight *w = j->w;

	j->run = 1;
	j->bits = sq_grid_bits(w->grid);
	j->groups = w->group_cols >= w->cols || w->group_cols >= BLOCK ? 1 :
	    BLOCK / (int)w->group_cols;
	j->blocks = up(w->cols, BLOCK);
	if (w->group_cols >= w->cols)
		j->run = j->blocks;
	else if (j->groups == 1)
		j->run = w->group_cols / BLOCK;
	j->across = sq_groups_across(w->cols, w->group_cols);
	j->row_bytes = sq_row_bytes(w->cols, j->bits);
	j->block_bytes = BLOCK * (size_t)j->bits / 8;
}

static int
run(struct sq_ctx *c, const struct sq_few *f)
{
	size_t threads = (size_t)sq_pool_threads(c->pool), rows = f->y->rows;
	size_t first, i, most;
	struct job one = { .w = f->w[0], .x = f->x, .q = f->q };
	struct set s;

	if (rows == 0)
		return 0;
	s.n = f->n;
	set_shape(&one);
	one.scratch_size = up(sizeof(struct scratch) + up(rows, TOKENS) *
	    (ROWS + TOKENS * VL) * sizeof(VF), 4096) * 4096;
	if (threads * one.scratch_size > c->work_size / 2)
		return SQ_UNSUP;
	one.scratch = c->work;
	one.packed = one.scratch + threads * one.scratch_size;
	most = c->work_size / 2 / (one.blocks * PACKED);
	if (most == 0)
		return SQ_UNSUP;
	for (first = 0; first < rows; first += one.tokens) {
		one.first = first;
		one.tokens = least(rows - first, most * TOKENS);
		one.octets = up(one.tokens, TOKENS);
		for (i = 0; i < f->n; i++) {
			s.job[i] = one;
			s.job[i].w = f->w[i];
			s.job[i].y = &f->y[i];
		}
		run_pass(&s, c);
	}
	return 0;
}

#endif
