/*
 * The driver of sparse products; see sparse.h.  The workspace: x, packed or in
 * rows, then SCRATCH bytes for each thread.
 */
#include <string.h>

#include "base/pool.h"
#include "kernels/x86/sizes.h"
#include "kernels/x86/sparse.h"

#define SCRATCH		((size_t)2 << 20)
#define ROWS		SQ_MM_PANEL
#define DEPTH		512		/* columns of a window, at most */
#define WINDOW		((size_t)ROWS * DEPTH * sizeof(float))
#define PANEL		((size_t)128 << 10)
#define PANELS		8		/* of a task, at most */
#define TASKS		4		/* for each thread, at least */
#define SLAB		((size_t)2 << 20)	/* of the rest, for codes */

struct run {
	const struct sq_sp_level *lv;
	const struct sq_mm_level *mm;
	const struct sq_weight *w;
	const struct sq_mat *x, *y;
	struct sq_mm_order order;
	int round;
	const struct sq_sp_int *ints;	/* or NULL: in floats */
	size_t width;			/* few: of integers, or 0 */
	const struct sq_sp_few_int *few_ints;
	size_t depth;			/* columns of a window */
	size_t padded;			/* columns of x, filled up */
	size_t row, rows, nvec;		/* tokens of this pass, and vectors */
	size_t step;			/* panels, or lines, of a task */
	size_t lines;			/* bands, or rows of blocks */
	struct sq_sp_few few;
	char *packed, *scratch;
};

/* The order of dense columns: as they are. */
static void
set_order(struct run *r, const struct sq_mm_level *mm, int direct)
{
	struct sq_weight dense = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .rows = ROWS, .cols = r->depth, .type = SQ_F32 };
	size_t p;

	mm->order(&dense, direct, &r->order);
	for (p = 0; p < r->order.unit; p++)
		r->order.column[p] = (uint8_t)p;
}

static struct sq_mm_x
x_part(const struct run *r, size_t row, size_t rows, size_t col, size_t cols)
{
	struct sq_mm_x x = { .rows = rows, .stride = r->x->stride,
	    .order = &r->order, .round = r->round };

	x.x = (const float *)r->x->p + row * x.stride + col;
	x.cols = least(cols, r->x->cols - col);
	return x;
}

/* Bytes of cols columns of a vector of tokens. */
static size_t
x_bytes(const struct run *r, size_t cols)
{
	const struct sq_mm_level *mm = r->mm;

	if (r->ints == NULL)
		return cols * mm->lanes * mm->size;
	return cols / r->depth * SQ_SP_PACKED(r->depth, mm->lanes);
}

static char *
packed_at(const struct run *r, size_t col)
{
	return r->packed + x_bytes(r, col) * r->nvec;
}

/* Vectors of a window's columns; behind the last column there may be more of
 * them, which are 0. */
static void
do_pack(void *arg, long task, int thread)
{
	const struct run *r = arg;
	const struct sq_mm_level *mm = r->mm;
	size_t col = (size_t)task / r->nvec * r->depth;
	size_t v = (size_t)task % r->nvec, n;
	size_t cols = least(r->depth, r->padded - col);
	size_t size = x_bytes(r, cols);
	struct sq_mm_x x = x_part(r, r->row + v * mm->lanes,
	    least(mm->lanes, r->rows - v * mm->lanes), col, cols);
	char *to = packed_at(r, col) + v * size;

	(void)thread;
	if (r->ints != NULL) {
		r->ints->pack(&x, cols, to);
		return;
	}
	n = sq_sparse_div(x.cols, r->order.unit) * r->order.unit;
	mm->pack(&x, to);
	memset(to + n * mm->lanes * mm->size, 0,
	    (cols - n) * mm->lanes * mm->size);
}

static void
finish(const struct run *r, const float *sums, size_t row, size_t rows)
{
	const struct sq_mm_level *mm = r->mm;
	size_t v, t;

	for (v = 0; v < r->nvec; v++) {
		t = v * mm->lanes;
		mm->finish(sums + t * ROWS, rows, least(mm->lanes,
		    r->rows - t), (float *)r->y->p + (r->row + t) *
		    r->y->stride + row, r->y->stride);
	}
}

/* A window, in integers or in floats; 0: it is empty. */
static int
do_window(const struct run *r, struct sq_mm_part *p,
    const struct sq_sp_window *n, char *scratch, float *sums, int first)
{
	char *panel = scratch + WINDOW;

	if (r->ints != NULL) {
		if (!r->ints->expand(n, panel))
			return 0;
		if (first)
			memset(sums, 0, r->nvec * r->mm->lanes * ROWS *
			    sizeof(*sums));
		r->ints->tile(panel, packed_at(r, n->col), n->rows, r->nvec,
		    sums);
		return 1;
	}
	if (!r->lv->spread(n, (float *)scratch, DEPTH))
		return 0;
	p->cols = n->cols;
	r->mm->expand(p, panel);
	r->mm->tile(panel, packed_at(r, n->col), n->rows, n->cols, r->nvec,
	    sums, first);
	return 1;
}

/* A panel: the windows that are not empty. */
static void
do_panel(const struct run *r, size_t row, char *scratch)
{
	const struct sq_mm_level *mm = r->mm;
	struct sq_weight dense = { .grid = SQ_DENSE, .layout = SQ_ROWS,
	    .cols = DEPTH, .type = SQ_F32, .data = scratch };
	struct sq_mm_part p = { .w = &dense, .order = &r->order, .apart = 1 };
	struct sq_sp_window n = { .w = r->w, .row = row,
	    .rows = least(ROWS, r->w->rows - row) };
	float *sums = (float *)(scratch + WINDOW + PANEL);
	int first = 1;

	p.rows = dense.rows = n.rows;
	for (; n.col < r->padded; n.col += r->depth) {
		n.cols = least(r->depth, r->padded - n.col);
		if (do_window(r, &p, &n, scratch, sums, first))
			first = 0;
	}
	if (first)
		memset(sums, 0, r->nvec * mm->lanes * ROWS * sizeof(*sums));
	finish(r, sums, row, n.rows);
}

static void
do_panels(void *arg, long task, int thread)
{
	const struct run *r = arg;
	char *scratch = r->scratch + (size_t)thread * SCRATCH;
	size_t i, first = (size_t)task * r->step * ROWS;

	if (r->mm->begin != NULL)
		r->mm->begin();
	for (i = 0; i < r->step && first + i * ROWS < r->w->rows; i++)
		do_panel(r, first + i * ROWS, scratch);
	if (r->mm->end != NULL)
		r->mm->end();
}

/* So many of n for a task that all threads have some. */
static size_t
task_step(size_t n, size_t threads, size_t most)
{
	n /= threads * TASKS;
	return n < 1 ? 1 : least(n, most);
}

static int
run_many(struct run *r, struct sq_ctx *c, size_t threads, size_t room)
{
	const struct sq_mm_level *mm = r->mm;
	size_t vec = x_bytes(r, r->padded), panels;
	size_t most = least(room / vec, mm->block / mm->lanes);
	size_t all = sq_sparse_div(r->x->rows, mm->lanes), step;

	most = least(most, (SCRATCH - WINDOW - PANEL) /
	    (ROWS * mm->lanes * sizeof(float)));
	if (most == 0)
		return SQ_UNSUP;
	step = sq_sparse_div(all, sq_sparse_div(all, most)) * mm->lanes;
	panels = sq_sparse_div(r->w->rows, ROWS);
	r->step = task_step(panels, threads, PANELS);
	for (r->row = 0; r->row < r->x->rows; r->row += step) {
		r->rows = least(step, r->x->rows - r->row);
		r->nvec = sq_sparse_div(r->rows, mm->lanes);
		sq_pool_run(c->pool, do_pack, r,
		    (long)(r->nvec * sq_sparse_div(r->padded, r->depth)));
		sq_pool_run(c->pool, do_panels, r,
		    (long)sq_sparse_div(panels, r->step));
	}
	return 0;
}

/* Bytes of a token. */
static size_t
few_stride(const struct run *r)
{
	return r->width == 0 ? r->padded * sizeof(float) :
	    r->padded / r->width * r->few_ints->bytes(r->width,
	    sq_grid_bits(r->w->grid));
}

static void
do_arrange(void *arg, long task, int thread)
{
	const struct run *r = arg;
	float *to = (float *)(r->packed + (size_t)task * few_stride(r));
	struct sq_mm_x x = x_part(r, (size_t)task, 1, 0, r->padded);
	size_t n = sq_sparse_div(x.cols, r->order.unit) * r->order.unit;

	(void)thread;
	if (r->width > 0) {
		r->few_ints->arrange(x.x, x.cols, r->padded, r->width,
		    sq_grid_bits(r->w->grid), to);
		return;
	}
	r->lv->plain->arrange(&x, to);
	memset(to + n, 0, (r->padded - n) * sizeof(*to));
}

static void
do_few(void *arg, long task, int thread)
{
	const struct run *r = arg;
	size_t first = (size_t)task * r->step;
	size_t end = least(first + r->step, r->lines);
	float *scratch = (float *)(r->scratch + (size_t)thread * SCRATCH);

	if (r->width > 0)
		r->few_ints->few(&r->few, r->width, first, end, scratch);
	else
		r->lv->few(&r->few, first, end, scratch);
}

static int
run_few(struct run *r, struct sq_ctx *c, size_t threads, size_t room)
{
	if (r->x->rows * few_stride(r) > room)
		return SQ_UNSUP;
	sq_pool_run(c->pool, do_arrange, r, (long)r->x->rows);
	r->few = (struct sq_sp_few){ r->w, (const float *)r->packed,
	    r->width > 0 ? few_stride(r) : r->padded, r->x->rows, r->y };
	r->lines = r->w->layout == SQ_NM ? sq_nm_bands(r->w) :
	    sq_blocks_down(r->w);
	r->step = task_step(r->lines, threads, SIZE_MAX);
	sq_pool_run(c->pool, do_few, r,
	    (long)sq_sparse_div(r->lines, r->step));
	return 0;
}

/* Some rows of runs of integers, spread out as int8. */
struct slab {
	const struct sq_weight *w;
	size_t row, rows;
	uint8_t *codes;
};

/* The codes of a run's slots that are not empty, or that are zeros. */
static void
spread_run(const struct sq_weight *w, size_t band, size_t step, size_t lane,
    uint8_t *out, size_t left)
{
	const uint8_t *p = (const uint8_t *)w->data + band * sq_nm_values(w);
	unsigned at, last = 0;
	size_t k, i;
	uint8_t u;

	for (k = 0; k < w->n; k++, last = at) {
		at = sq_nm_get(w, band, step, lane + k);
		if (k > 0 && at <= last)
			return;
		i = sq_nm_value(w, step, lane + k);
		u = w->grid == SQ_INT8 ? p[i] : p[i / 2] >> 4 * (i % 2) & 15;
		if (w->zeros == NULL)
			u = (uint8_t)(w->grid == SQ_INT8 ? u ^ 128 : u + 120);
		if (at < left)
			out[at] = u;
	}
}

/* Row r of the slab. */
static void
spread_row(void *arg, long task, int thread)
{
	const struct slab *s = arg;
	const struct sq_weight *w = s->w;
	size_t r = s->row + (size_t)task, rows = sq_nm_rows(w), c, n;
	uint8_t *out = s->codes + (size_t)task * w->cols;
	size_t across = sq_groups_across(w->cols, w->group_cols);

	(void)thread;
	memset(out, 128, w->cols);
	for (c = 0; w->zeros != NULL && c < w->cols; c += n) {
		n = least(w->group_cols, w->cols - c);
		memset(out + c, w->zeros[r * across + c / w->group_cols], n);
	}
	for (c = 0; c < w->cols; c += w->m)
		spread_run(w, r / rows, c / SQ_NM_LANES, c % SQ_NM_LANES +
		    r % rows * w->n, out + c, w->cols - c);
}

/* Runs of integers by many tokens. */
static int
run_codes(const struct sq_sp_level *lv, struct sq_ctx *c,
    const struct sq_weight *w, const struct sq_mat *x, enum sq_prec prec,
    const struct sq_mat *y)
{
	size_t across = sq_groups_across(w->cols, w->group_cols), step;
	struct slab s = { .w = w };
	struct sq_weight d = *w;
	struct sq_mat part = *y;
	struct sq_ctx less = *c;
	int r = 0;

	less.work_size -= SLAB;
	s.codes = (uint8_t *)c->work + less.work_size;
	step = SLAB / w->cols / ROWS * ROWS;
	if (step == 0)
		return SQ_UNSUP;
	d.grid = SQ_INT8;
	d.layout = SQ_ROWS;
	d.data = s.codes;
	for (; s.row < w->rows && r == 0; s.row += step) {
		s.rows = d.rows = part.cols = least(step, w->rows - s.row);
		part.p = (float *)y->p + s.row;
		d.scales = (const char *)w->scales + s.row * across *
		    sq_dtype_size(w->scale_type);
		if (w->zeros != NULL)
			d.zeros = w->zeros + s.row * across;
		sq_pool_run(c->pool, spread_row, &s, (long)s.rows);
		r = lv->matmul(&less, &d, x, prec, &part);
	}
	return r;
}

/* Whether windows of blocks can be multiplied as integers: one group has at
 * least half of a window, or the other way round. */
static int
ints_fit(const struct sq_weight *w, size_t width)
{
	return w->layout == SQ_BLOCKS && w->grid != SQ_DENSE &&
	    w->n % ROWS == 0 && w->m % width == 0 && (w->group_cols % width ==
	    0 || w->group_cols >= w->cols || 2 * w->group_cols == width);
}

/* Whether the runs of integers bear that x is rounded with one scale for 128
 * columns: the greatest one may not be multiplied, so many others must be. */
static int
runs_fit(const struct sq_weight *w)
{
	return w->layout == SQ_NM && w->grid != SQ_DENSE &&
	    w->m == 2 * w->n && w->cols >= 2 * SQ_SP_NM;
}

/* The width of windows for few tokens, or 0: 2:4 of int8, and blocks, where
 * groups have whole windows. */
static size_t
few_width(const struct sq_weight *w)
{
	size_t width = w->m % SQ_SP_WIDTH == 0 ? SQ_SP_WIDTH :
	    SQ_SP_WIDTH / 2, g = w->group_cols;

	if (w->layout == SQ_NM)
		return runs_fit(w) && w->m == 4 && w->grid == SQ_INT8 &&
		    w->zeros == NULL && (g >= w->cols || g % SQ_SP_NM == 0) ?
		    SQ_SP_NM : 0;
	if (w->grid == SQ_DENSE)
		return 0;
	if (g < w->cols && g % width != 0)
		width = SQ_SP_WIDTH / 2;
	if (w->m % width != 0 || (g < w->cols && g % width != 0) ||
	    w->n * (2 * sq_groups_across(w->cols, g) + 16 * SQ_SP_TOKENS) *
	    sizeof(float) > SQ_SP_SCRATCH)
		return 0;
	return w->grid == SQ_INT4 && width < SQ_SP_WIDTH ? 0 : width;
}

/* Whether a load of 64 bytes has whole rows of blocks, or a part of one. */
static int
wide_loads(const struct sq_weight *w, size_t width)
{
	return w->layout == SQ_BLOCKS && w->n % 2 == 0 && (w->m == width ||
	    (w->grid == SQ_INT8 && width == SQ_SP_WIDTH));
}

/* Whether scales and sums of few tokens fit the scratch memory. */
static int
few_fit(const struct sq_weight *w)
{
	size_t groups = w->grid == SQ_DENSE ? 1 :
	    sq_groups_across(w->cols, w->group_cols);

	if (w->layout == SQ_BLOCKS)
		return w->n * SQ_SP_TOKENS * SQ_NM_LANES * sizeof(float) <=
		    SQ_SP_SCRATCH;
	return 4 * (groups * sq_nm_rows(w) + SQ_NM_LANES) * sizeof(float) <=
	    SQ_SP_SCRATCH;
}

int
sq_sp_run(const struct sq_sp_level *lv, const struct sq_mm_level *many,
    struct sq_ctx *c, const struct sq_weight *w, const struct sq_mat *x,
    enum sq_prec prec, const struct sq_mat *y)
{
	struct run r = { .lv = lv, .mm = many, .w = w, .x = x, .y = y };
	int few = c->batch == SQ_BATCH_STEP || (c->batch == SQ_BATCH_AUTO &&
	    x->rows <= many->few);
	size_t threads = (size_t)sq_pool_threads(c->pool), room, unit;

	if (!sq_sparse_matmul_allows(w, x, y) || w->cols == 0 ||
	    !sq_sparse_common(w) || !few_fit(w))
		return SQ_UNSUP;
	if (x->rows == 0 || w->rows == 0)
		return 0;
	if (!few && runs_fit(w) && w->group_rows == 1 &&
	    prec == SQ_PREC_BF16 && many == lv->floats)
		return run_codes(lv, c, w, x, prec, y);
	r.depth = w->layout == SQ_BLOCKS && w->n % ROWS == 0 &&
	    w->m % SQ_MM_UNIT == 0 && w->m <= DEPTH ? w->m : DEPTH;
	unit = SQ_MM_UNIT;
	if (few && w->layout == SQ_BLOCKS)
		unit = w->m % SQ_MM_UNIT == 0 ? w->m : 2 * w->m;
	r.padded = sq_sparse_div(w->cols, unit) * unit;
	r.scratch = c->work;
	r.packed = r.scratch + threads * SCRATCH;
	room = c->work_size - threads * SCRATCH;
	if (!few && prec == SQ_PREC_BF16 && many == lv->floats) {
		unit = w->m % SQ_SP_WIDTH == 0 ? SQ_SP_WIDTH : SQ_SP_WIDTH / 2;
		if (ints_fit(w, unit)) {
			r.ints = lv->ints;
			r.depth = unit;
			r.padded = sq_sparse_div(w->cols, unit) * unit;
		}
	}
	if (few) {
		r.width = prec == SQ_PREC_BF16 ? few_width(w) : 0;
		r.few_ints = wide_loads(w, r.width) ? lv->few_ints :
		    &sq_sp_few_int_avx2;
		if (r.width == SQ_SP_NM)
			r.padded = sq_sparse_div(w->cols, SQ_SP_NM) * SQ_SP_NM;
		r.round = prec == SQ_PREC_BF16;
		set_order(&r, lv->plain, 1);
		return run_few(&r, c, threads, room);
	}
	r.round = prec == SQ_PREC_BF16 && many->size == sizeof(float);
	set_order(&r, many, 0);
	return run_many(&r, c, threads, room);
}
