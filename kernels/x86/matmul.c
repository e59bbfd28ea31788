/*
 * The matrix product of the x86 levels: how the work is cut; see matmul.h.
 *
 * The workspace: packed x, then SCRATCH bytes for each thread: a panel and the
 * sums of a task.
 */
#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/x86/matmul.h"
#include "kernels/x86/sizes.h"

#define SCRATCH		((size_t)2 << 20)
#define PANEL		((size_t)128 << 10)	/* of it, for the panel */
#define PANELS		8	/* of a task, at most: x stays in the cache */
#define TASKS		4	/* for each thread, at least */
#define SLAB		((size_t)16 << 20)	/* of the rest, see run_dense */
#define AHEAD		1024	/* bytes that a stream is read ahead */

struct run {
	const struct sq_mm_level *lv;
	const struct sq_weight *w;
	struct sq_mm_x x;		/* all tokens */
	const struct sq_mat *y;
	struct sq_mm_order order;
	size_t padded;			/* columns, up to whole ones */
	size_t row, rows, nvec;		/* tokens of this pass, and vectors */
	size_t step;			/* weight rows of a task */
	char *packed, *scratch;
};

/* Bytes of n columns of a row. */
static size_t
bytes_of(const struct sq_weight *w, size_t n)
{
	if (w->grid == SQ_DENSE)
		return n * sq_dtype_size(w->type);
	return sq_row_bytes(n, sq_grid_bits(w->grid));
}

void
sq_mm_set_columns(struct sq_mm_order *o)
{
	size_t words = o->unit / o->spread, p;

	for (p = 0; p < o->unit; p++)
		o->column[p] = (uint8_t)(o->spread * (p % words) + p / words);
}

/* Columns col .. of the tokens row .., up to cols of them. */
static struct sq_mm_x
x_part(const struct run *r, size_t row, size_t rows, size_t col, size_t cols)
{
	struct sq_mm_x x = r->x;

	x.order = &r->order;
	x.rows = rows;
	x.cols = least(cols, r->x.cols - col);
	if (x.codes != NULL) {
		x.codes += row * x.stride + col;
		x.scale += row;
	} else {
		x.x += row * x.stride + col;
	}
	return x;
}

/* Bytes that cols packed columns of a token take, from a multiple of WIDE, where
 * it is alone. */
static size_t
x_bytes(const struct run *r, size_t cols)
{
	return cols * r->lv->size + up(cols, SQ_MM_WIDE) * r->lv->extra;
}

/* Those that a vector of tokens takes. */
static size_t
vector_bytes(const struct run *r, size_t cols)
{
	return cols * r->lv->size * r->lv->lanes + up(cols, SQ_MM_WIDE) *
	    r->lv->heads;
}

/* Where the block of columns from col lies in packed x. */
static char *
packed_at(const struct run *r, size_t col)
{
	return r->packed + vector_bytes(r, col) * r->nvec;
}

static void
do_pack(void *arg, long task, int thread)
{
	const struct run *r = arg;
	const struct sq_mm_level *lv = r->lv;
	size_t col = (size_t)task / r->nvec * lv->depth;
	size_t v = (size_t)task % r->nvec;
	size_t cols = least(lv->depth, r->padded - col);
	size_t tokens = least(lv->lanes, r->rows - v * lv->lanes);
	struct sq_mm_x x = x_part(r, r->row + v * lv->lanes, tokens, col, cols);

	(void)thread;
	lv->pack(&x, packed_at(r, col) + v * vector_bytes(r, cols));
}

/* The sums of some rows and of a vector of tokens, into y. */
static void
finish(const struct run *r, const float *sums, size_t row, size_t rows,
    size_t v)
{
	const struct sq_mm_level *lv = r->lv;
	size_t t = v * lv->lanes, tokens = least(lv->lanes, r->rows - t);
	float *y = (float *)r->y->p + (r->row + t) * r->y->stride + row;

	if (lv->scaled != NULL)
		lv->scaled(sums, rows, tokens, r->x.scale + r->row + t, y,
		    r->y->stride);
	else
		lv->finish(sums, rows, tokens, y, r->y->stride);
}

/* All sums of a task: vector after vector, a few rows of y at a time, which are
 * pages apart. */
static void
finish_all(const struct run *r, const float *sums, size_t first, size_t end)
{
	size_t lanes = r->lv->lanes, v, row;

	for (v = 0; v < r->nvec; v++)
		for (row = first; row < end; row += SQ_MM_PANEL)
			finish(r, sums + ((row - first) * r->nvec + v *
			    SQ_MM_PANEL) * lanes, row,
			    least(SQ_MM_PANEL, end - row), v);
}

/* One panel: what it adds to its sums. */
static void
do_panel(const struct run *r, struct sq_mm_part *p, void *panel, float *sums)
{
	const struct sq_mm_level *lv = r->lv;

	p->rows = least(SQ_MM_PANEL, r->w->rows - p->row);
	p->cols = least(lv->depth, r->padded - p->col);
	lv->expand(p, panel);
	lv->tile(panel, packed_at(r, p->col), p->rows, p->cols, r->nvec, sums,
	    p->col == 0);
}

/* From a panel to the next one, in bytes: down the rows of the task, then from
 * its first row again. */
static ptrdiff_t
to_next(const struct run *r, const struct sq_mm_part *p, size_t first,
    size_t end)
{
	ptrdiff_t row = (ptrdiff_t)bytes_of(r->w, r->w->cols);

	if (p->row + SQ_MM_PANEL < end)
		return SQ_MM_PANEL * row;
	if (p->col + r->lv->depth >= r->w->cols)
		return 0;
	return (ptrdiff_t)bytes_of(r->w, r->lv->depth) -
	    (ptrdiff_t)(p->row - first) * row;
}

static void
do_tiles(void *arg, long task, int thread)
{
	const struct run *r = arg;
	const struct sq_mm_level *lv = r->lv;
	char *panel = r->scratch + (size_t)thread * SCRATCH;
	float *sums = (float *)(panel + PANEL);
	size_t first = (size_t)task * r->step;
	size_t end = least(first + r->step, r->w->rows);
	struct sq_mm_part p = { .w = r->w, .order = &r->order, .apart = 1 };

	if (lv->begin != NULL)
		lv->begin();
	for (; p.col < r->padded; p.col += lv->depth)
		for (p.row = first; p.row < end; p.row += SQ_MM_PANEL) {
			p.ahead = to_next(r, &p, first, end);
			do_panel(r, &p, panel, sums + (p.row - first) *
			    r->nvec * lv->lanes);
		}
	finish_all(r, sums, first, end);
	if (lv->end != NULL)
		lv->end();
}

/* Weight rows of a task: whole units of them, enough tasks for all threads,
 * at most `most' units. */
static size_t
task_rows(const struct run *r, size_t threads, size_t unit, size_t most)
{
	size_t n = up(r->w->rows, unit) / (threads * TASKS);

	return unit * (n < 1 ? 1 : n > most ? most : n);
}

/* Many tokens, in blocks that fit the workspace. */
static int
run_tiles(struct run *r, struct sq_ctx *c, size_t threads, size_t room)
{
	const struct sq_mm_level *lv = r->lv;
	size_t vec = vector_bytes(r, r->padded);
	size_t most = least(room / vec, lv->block / lv->lanes);
	size_t all = up(r->x.rows, lv->lanes), step;

	if (most == 0)
		return SQ_UNSUP;
	step = up(all, up(all, most)) * lv->lanes;
	for (r->row = 0; r->row < r->x.rows; r->row += step) {
		r->rows = least(step, r->x.rows - r->row);
		r->nvec = up(r->rows, lv->lanes);
		sq_pool_run(c->pool, do_pack, r,
		    (long)(r->nvec * up(r->padded, lv->depth)));
		r->step = task_rows(r, threads, SQ_MM_PANEL, least(PANELS,
		    (SCRATCH - PANEL) / (sizeof(float) * SQ_MM_PANEL *
		    r->nvec * lv->lanes)));
		sq_pool_run(c->pool, do_tiles, r,
		    (long)up(r->w->rows, r->step));
	}
	return 0;
}

static void
do_arrange(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t t = (size_t)task;
	struct sq_mm_x x = x_part(r, t, 1, 0, r->padded);

	(void)thread;
	r->lv->arrange(&x, r->packed + t * x_bytes(r, r->padded));
}

/* STRIP rows of the weight and all tokens. */
static void
do_strip(const struct run *r, struct sq_mm_part *p, float *sums)
{
	const struct sq_mm_level *lv = r->lv;
	size_t stride = x_bytes(r, r->padded), sum = SQ_MM_STRIP * lv->lanes;
	float out[SQ_MM_STRIP], *y;
	size_t t, i;

	for (p->col = 0; p->col < r->padded; p->col += SQ_MM_COLUMNS) {
		p->cols = least(SQ_MM_COLUMNS, r->padded - p->col);
		for (t = 0; t < r->rows; t += SQ_MM_TOKENS)
			lv->direct(p, r->packed + t * stride +
			    x_bytes(r, p->col), stride, least(SQ_MM_TOKENS,
			    r->rows - t), sums + t * sum, p->col == 0);
	}
	for (t = 0; t < r->rows; t++) {
		lv->total(sums + t * sum, SQ_MM_STRIP, out);
		y = (float *)r->y->p + t * r->y->stride + p->row;
		for (i = 0; i < p->rows; i++)
			y[i * p->apart] = out[i];
	}
}

/*
 * The rows of a strip are far apart, so that memory is read in STRIP streams,
 * each one in order: what the processor foresees best where the rows of a strip
 * are walked together.  Where they are not, AMD's processors foresee one stream
 * better, Intel's several (measured).
 */
static int
in_order(const struct sq_mm_level *lv)
{
	return lv->in_order && !__builtin_cpu_is("intel");
}

static void
do_direct(void *arg, long task, int thread)
{
	const struct run *r = arg;
	float *sums = (float *)(r->scratch + (size_t)thread * SCRATCH);
	struct sq_mm_part p = { .w = r->w, .order = &r->order, .ahead = AHEAD };
	size_t row = (size_t)task * r->step, i;
	size_t rows = least(r->step, r->w->rows - row);

	p.apart = in_order(r->lv) ? 1 : up(rows, SQ_MM_STRIP);
	for (i = 0; i < up(rows, SQ_MM_STRIP); i++) {
		p.row = row + (in_order(r->lv) ? i * SQ_MM_STRIP : i);
		p.rows = least(SQ_MM_STRIP, up(row + rows - p.row, p.apart));
		do_strip(r, &p, sums);
	}
}

/* Few tokens. */
static int
run_direct(struct run *r, struct sq_ctx *c, size_t threads, size_t room)
{
	if (r->x.rows * x_bytes(r, r->padded) > room)
		return SQ_UNSUP;
	r->rows = r->x.rows;
	sq_pool_run(c->pool, do_arrange, r, (long)r->rows);
	r->step = task_rows(r, threads, SQ_MM_STRIP, SIZE_MAX);
	sq_pool_run(c->pool, do_direct, r, (long)up(r->w->rows, r->step));
	return 0;
}

int
sq_mm_allows(const struct sq_weight *w, const struct sq_mat *x,
    const struct sq_mat *y)
{
	if (!sq_weight_allows(w) || w->cols == 0 || x->type != SQ_F32 ||
	    y->type != SQ_F32)
		return 0;
	return x->rows == y->rows && x->cols == w->cols && y->cols == w->rows;
}

/* Whether the levels expand such a weight where it is. */
static int
expands(const struct sq_weight *w)
{
	if (w->grid == SQ_DENSE)
		return 1;
	if (!sq_grid_is_int(w->grid) && w->grid != SQ_FP8_E4M3 &&
	    w->grid != SQ_FP8_E5M2)
		return 0;
	return sq_dtype_is_float(w->scale_type) &&
	    (w->group_cols % SQ_MM_UNIT == 0 || w->group_cols >= w->cols);
}

int
sq_mm_int_fits(const struct sq_weight *w)
{
	if (!sq_weight_allows(w) || !sq_grid_is_int(w->grid) ||
	    !sq_dtype_is_float(w->scale_type))
		return 0;
	return w->group_cols >= w->cols || w->group_cols % SQ_MM_WIDE == 0 ||
	    w->group_cols == SQ_MM_UNIT || w->group_cols == 2 * SQ_MM_UNIT;
}

int
sq_mm_is_few(const struct sq_mm_level *lv, const struct sq_ctx *c,
    size_t tokens)
{
	return c->batch == SQ_BATCH_STEP ||
	    (c->batch == SQ_BATCH_AUTO && tokens <= lv->few);
}

static int
run_x(const struct sq_mm_level *lv, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_mm_x *x, const struct sq_mat *y)
{
	struct run r = { .lv = lv, .w = w, .x = *x, .y = y };
	int few = sq_mm_is_few(lv, c, x->rows);
	size_t threads = (size_t)sq_pool_threads(c->pool), room;

	if (x->rows == 0 || w->rows == 0)
		return 0;
	lv->order(w, few, &r.order);
	sq_mm_set_columns(&r.order);
	r.padded = up(w->cols, lv->whole) * lv->whole;
	r.scratch = c->work;
	r.packed = r.scratch + threads * SCRATCH;
	room = c->work_size - threads * SCRATCH;
	if (few)
		return run_direct(&r, c, threads, room);
	return run_tiles(&r, c, threads, room);
}

static int
run(const struct sq_mm_level *lv, struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	struct sq_mm_x all = { .x = x->p, .stride = x->stride,
	    .rows = x->rows, .cols = x->cols,
	    .round = prec == SQ_PREC_BF16 && lv->size == sizeof(float) };

	return run_x(lv, c, w, &all, y);
}

/* A weight that is not expanded where it is: some of its rows at a time are
 * dequantized, and multiplied as a dense weight. */
static int
run_dense(const struct sq_mm_level *lv, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_mat *x, enum sq_prec prec,
    const struct sq_mat *y)
{
	struct sq_weight d = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .cols = w->cols };
	struct sq_mat out = { .cols = w->cols, .stride = w->cols }, part = *y;
	struct sq_ctx less = *c;
	size_t row, step;
	int r = 0;

	d.type = out.type = lv->size == sizeof(float) ? SQ_F32 : SQ_BF16;
	step = SLAB / (w->cols * sq_dtype_size(d.type)) / SQ_MM_PANEL *
	    SQ_MM_PANEL;
	less.work_size -= SLAB;
	d.data = out.p = (char *)c->work + less.work_size;
	if (step == 0)
		return SQ_UNSUP;
	for (row = 0; row < w->rows && r == 0; row += step) {
		d.rows = out.rows = part.cols = least(step, w->rows - row);
		part.p = (float *)y->p + row;
		if ((r = sq_dequantize(c, w, row, &out)) == 0)
			r = run(lv, &less, &d, x, prec, &part);
	}
	return r;
}

int
sq_mm_run(const struct sq_mm_level *lv, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_mat *x, enum sq_prec prec,
    const struct sq_mat *y)
{
	if (!sq_mm_allows(w, x, y))
		return SQ_UNSUP;
	return expands(w) ? run(lv, c, w, x, prec, y) :
	    run_dense(lv, c, w, x, prec, y);
}

/* With the values of the codes, some rows at a time. */
static int
run_values(const struct sq_mm_level *lv, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_qmat *q, const struct sq_mat *y)
{
	struct sq_mat x = { .cols = q->cols, .stride = q->cols }, part = *y;
	size_t step = SLAB / (q->cols * sizeof(float)), row;
	struct sq_qmat some = *q;
	struct sq_ctx less = *c;
	int r = 0;

	x.type = SQ_F32;
	less.work_size -= SLAB;
	x.p = (char *)c->work + less.work_size;
	less.batch = sq_mm_is_few(lv, c, q->rows) ? SQ_BATCH_STEP :
	    SQ_BATCH_CHUNK;
	if (step == 0)
		return SQ_UNSUP;
	for (row = 0; row < q->rows && r == 0; row += step) {
		some.rows = x.rows = part.rows = least(step, q->rows - row);
		some.codes = q->codes + row * q->stride;
		some.scale = q->scale + row;
		part.p = (float *)y->p + row * y->stride;
		if ((r = sq_dequantize_act(c, &some, &x)) == 0)
			r = sq_mm_run(lv, &less, w, &x, SQ_PREC_F32, &part);
	}
	return r;
}

int
sq_mm_run_int8(const struct sq_mm_level *integers,
    const struct sq_mm_level *floats, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_qmat *q, const struct sq_mat *y)
{
	struct sq_mm_x all = { .codes = (const int8_t *)q->codes,
	    .scale = q->scale, .stride = q->stride, .rows = q->rows,
	    .cols = q->cols };
	struct sq_ctx ctx = *c;

	if (!sq_matmul_int8_allows(w, q, y))
		return SQ_UNSUP;
	if (!sq_mm_int_fits(w))
		return run_values(floats, c, w, q, y);
	/* Few tokens: only these have a direct product. */
	if (w->grid != SQ_INT4 && w->grid != SQ_INT8)
		ctx.batch = SQ_BATCH_CHUNK;
	return run_x(integers, &ctx, w, &all, y);
}
