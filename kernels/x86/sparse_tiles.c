/*
 * Blocks by many tokens: the blocks that a row of them keeps are expanded side
 * by side into a panel, and multiplied with the columns of x that they belong
 * to, wherever these lie:
 *
 *	   W   b0    .    b2    b3 ..		panel  b0  b2  b3
 *	      +----+----+----+----+	 32    +----+----+----+
 *	  row | ## |    | ## | ## |  ------>   | ## | ## | ## |  x  b0 b2 b3 of x
 *	      +----+----+----+----+	rows   +----+----+----+
 *
 * x is packed by windows, one for each column of blocks, and is gone through in
 * pieces that stay in the caches while some panels use them.
 *
 * The workspace: packed x, then SCRATCH bytes for each thread: a panel and the
 * sums of a task.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/sparse.h"

#define SCRATCH		((size_t)2 << 20)
#define PANEL		((size_t)128 << 10)	/* of it, for the panel */
#define ROWS		SQ_MM_PANEL
#define PANELS		16	/* of a task, at most */
#define TASKS		4	/* for each thread, at least */
#define PIECE		1024	/* columns of x for some panels */
#define STEP		SQ_MM_UNIT	/* columns of a step */

struct run {
	const struct sq_sp_tiles *lv;
	const struct sq_mm_level *mm;
	const struct sq_weight *w;
	const struct sq_mat *x, *y;
	struct sq_mm_order order;
	size_t windows, together;	/* packed at once */
	size_t row, rows, nvec;		/* tokens of this pass, and vectors */
	size_t step;			/* panels of a task */
	char *packed, *scratch;
};

/* Some panels of a task. */
struct task {
	char *panel;
	float *sums;
	uint32_t at[SQ_SP_DEPTH / STEP];	/* x of each step */
	size_t steps;
	uint32_t block[PANELS];		/* the next one of each panel */
	int any[PANELS];		/* has it had one? */
};

/* Bytes of a window of a vector of tokens. */
static size_t
window_bytes(const struct run *r)
{
	return r->w->m * r->mm->lanes * r->mm->size;
}

static void
do_pack(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t j = (size_t)task / r->nvec * r->together, n, m = r->w->m;
	size_t v = (size_t)task % r->nvec, t = v * r->mm->lanes;
	size_t end = least(j + r->together, r->windows);
	size_t one = window_bytes(r), col = one / m;
	struct sq_mm_x x = { .stride = r->x->stride, .order = &r->order,
	    .rows = least(r->mm->lanes, r->rows - t) };
	char *to;

	(void)thread;
	for (; j < end; j++) {
		to = r->packed + (j * r->nvec + v) * one;
		x.x = (const float *)r->x->p + (r->row + t) * x.stride + j * m;
		x.cols = least(m, r->x->cols - j * m);
		n = sq_sparse_div(x.cols, r->order.unit) * r->order.unit;
		r->mm->pack(&x, to);
		memset(to + n * col, 0, one - n * col);
	}
}

/* What the panel has gathered, to the sums of panel i. */
static void
multiply(const struct run *r, struct task *t, size_t i)
{
	struct sq_sp_strip s = { .panel = t->panel, .x = r->packed,
	    .at = t->at, .steps = t->steps, .next = window_bytes(r),
	    .nvec = r->nvec, .first = !t->any[i] };

	if (t->steps == 0)
		return;
	s.sums = t->sums + i * ROWS * r->nvec * r->mm->lanes;
	r->lv->tile(&s);
	t->any[i] = 1;
	t->steps = 0;
}

/* The blocks of panel i, from row `row', with columns below end. */
static void
do_panel(const struct run *r, struct task *t, size_t i, size_t row, size_t end)
{
	const struct sq_weight *w = r->w;
	size_t line = row / w->n, per = w->m / STEP, s, x;
	uint32_t last = sq_blocks_start(w)[line + 1], *b = &t->block[i];
	struct sq_sp_block k = { .w = w, .order = &r->order, .row = row,
	    .rows = least(ROWS, w->rows - row) };

	for (; *b < last && sq_blocks_column(w)[*b] * w->m < end; ++*b) {
		if ((t->steps + per) * STEP > SQ_SP_DEPTH)
			multiply(r, t, i);
		x = sq_blocks_column(w)[*b];
		k.col = x * w->m;
		k.block = *b;
		r->lv->expand(&k, t->panel + t->steps * STEP * r->mm->size);
		for (s = 0; s < per; s++)
			t->at[t->steps++] = (uint32_t)(x * r->nvec *
			    window_bytes(r) + s * window_bytes(r) / per);
	}
	multiply(r, t, i);
}

/* The sums of n panels into y: a few of its rows at a time, which are pages
 * apart. */
static void
finish(const struct run *r, const float *sums, size_t row, size_t n)
{
	const struct sq_mm_level *mm = r->mm;
	size_t v, t, i, size = ROWS * r->nvec * mm->lanes, first;

	for (v = 0; v < r->nvec; v++)
		for (i = 0; i < n; i++) {
			t = v * mm->lanes;
			first = row + i * ROWS;
			mm->finish(sums + i * size + t * ROWS,
			    least(ROWS, r->w->rows - first),
			    least(mm->lanes, r->rows - t), (float *)r->y->p +
			    (r->row + t) * r->y->stride + first,
			    r->y->stride);
		}
}

static void
do_tiles(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t first = (size_t)task * r->step * ROWS, i, col;
	size_t n = least(r->step, sq_sparse_div(r->w->rows - first, ROWS));
	size_t sums = ROWS * r->nvec * r->mm->lanes;
	struct task t = { .panel = r->scratch + (size_t)thread * SCRATCH };

	t.sums = (float *)(t.panel + PANEL);
	for (i = 0; i < n; i++)
		t.block[i] = sq_blocks_start(r->w)[(first + i * ROWS) /
		    r->w->n];
	r->mm->begin();
	for (col = 0; col < r->w->cols; col += PIECE)
		for (i = 0; i < n; i++)
			do_panel(r, &t, i, first + i * ROWS, col + PIECE);
	r->mm->end();
	for (i = 0; i < n; i++)
		if (!t.any[i])
			memset(t.sums + i * sums, 0, sums * sizeof(float));
	finish(r, t.sums, first, n);
}

/* A block as a weight in rows. */
static void
set_order(struct run *r)
{
	struct sq_weight block = *r->w;

	block.layout = SQ_ROWS;
	block.rows = block.n;
	block.cols = block.m;
	r->mm->order(&block, 0, &r->order);
	sq_mm_set_columns(&r->order);
}

int
sq_sp_tiles_fit(const struct sq_weight *w)
{
	return sq_sparse_allows(w) && w->layout == SQ_BLOCKS &&
	    w->n % ROWS == 0 && w->m % STEP == 0 &&
	    w->m <= SQ_SP_DEPTH && w->cols > 0 &&
	    w->rows > 0 && sq_sparse_common(w) && (w->grid == SQ_DENSE ||
	    w->group_cols % STEP == 0 || w->group_cols >= w->cols);
}

int
sq_sp_run_tiles(const struct sq_sp_tiles *lv, const struct sq_mm_level *mm,
    struct sq_ctx *c, const struct sq_weight *w, const struct sq_mat *x,
    const struct sq_mat *y)
{
	struct run r = { .lv = lv, .mm = mm, .w = w, .x = x, .y = y,
	    .windows = sq_blocks_across(w), .scratch = c->work };
	size_t threads = (size_t)sq_pool_threads(c->pool), most, all, step;
	size_t panels = sq_sparse_div(w->rows, ROWS), tasks;

	r.packed = r.scratch + threads * SCRATCH;
	most = least((c->work_size - threads * SCRATCH) / (r.windows *
	    window_bytes(&r)), mm->block / mm->lanes);
	all = sq_sparse_div(x->rows, mm->lanes);
	if (!sq_sparse_matmul_allows(w, x, y) || most == 0)
		return SQ_UNSUP;
	set_order(&r);
	r.together = sq_sparse_div(SQ_SP_DEPTH, w->m);
	step = sq_sparse_div(all, sq_sparse_div(all, most)) * mm->lanes;
	for (r.row = 0; r.row < x->rows; r.row += step) {
		r.rows = least(step, x->rows - r.row);
		r.nvec = sq_sparse_div(r.rows, mm->lanes);
		r.step = least(PANELS, (SCRATCH - PANEL) / (sizeof(float) *
		    ROWS * r.nvec * mm->lanes));
		/* as many for each thread */
		tasks = sq_sparse_div(panels, threads * r.step);
		tasks = threads * (tasks < TASKS ? TASKS : tasks);
		r.step = sq_sparse_div(panels, tasks);
		sq_pool_run(c->pool, do_pack, &r, (long)(r.nvec *
		    sq_sparse_div(r.windows, r.together)));
		sq_pool_run(c->pool, do_tiles, &r,
		    (long)sq_sparse_div(panels, r.step));
	}
	return 0;
}
