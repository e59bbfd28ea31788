/* The sparse products of few tokens: how the work is cut; see sparse_step.h. */
#include <string.h>

#include "base/pool.h"
#include "kernels/x86/sparse_step.h"
#include "kernels/x86/sparse_step_blocks.h"
#include "kernels/x86/sparse_step_nm.h"

#define LINE	64			/* bytes */

static int
is_runs(const struct job *j)
{
	return j->w->layout == SQ_NM;
}

/* A token's window. */
static void
do_pack(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t token = (size_t)task / j->windows;
	size_t window = (size_t)task % j->windows;
	char *to = j->packed + token * j->token_bytes;

	(void)thread;
	if (is_runs(j))
		nm_pack(j, token, window, (struct nm_window *)to + window);
	else
		bl_pack(j, token, window, (struct bl_window *)to + window);
}

static void
do_slices(void *arg, long task, int thread)
{
	struct job *j = arg;
	void *t = j->scratch + (size_t)thread * j->scratch_size;
	const struct sq_slice *l;
	size_t done = 0, strip;

	while ((l = sq_slices_take(&j->slices, (size_t)task, &done,
	    &strip)) != NULL)
		(is_runs(j) ? nm_any : bl_any)(j, l, strip, t);
}

int
sq_sp_step_allows(const struct sq_weight *w)
{
	return sq_sparse_allows(w) && w->cols > 0 &&
	    (w->layout == SQ_NM ? nm_allows(w) : bl_allows(w));
}

int
sq_sp_step(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, const struct sq_mat *y)
{
	struct job j = { .w = w, .x = x, .y = y,
	    .bits = sq_grid_bits(w->grid) };
	size_t threads = (size_t)sq_pool_threads(c->pool), wide, size;
	struct nm_how how;

	if (!sq_sparse_matmul_allows(w, x, y))
		return SQ_UNSUP;
	if (x->rows == 0 || w->rows == 0)
		return 0;
	how = nm_how(j.bits);
	j.how = &how;
	if (is_runs(&j)) {
		j.band_bytes = sq_nm_values(w);
		j.line_bytes = sq_nm_index(w);
	}
	wide = is_runs(&j) ? NM_WIDE : BL_WIDE;
	size = is_runs(&j) ? sizeof(struct nm_window) :
	    sizeof(struct bl_window);
	/* whole lines of the index, or whole blocks */
	j.windows = is_runs(&j) ? up(w->cols, 2 * wide) * 2 :
	    sq_blocks_across(w) * w->m / wide;
	j.across = sq_groups_across(w->cols, w->group_cols);
	j.run = w->group_cols >= w->cols ? j.windows : w->group_cols / wide;
	j.token_bytes = j.windows * size;
	j.scratch_size = up(is_runs(&j) ? nm_scratch(&j) : bl_scratch(&j),
	    LINE) * LINE;
	j.scratch = c->work;
	j.packed = j.scratch + threads * j.scratch_size;
	if (threads * j.scratch_size + x->rows * j.token_bytes > c->work_size)
		return SQ_UNSUP;
	sq_pool_run(c->pool, do_pack, &j, (long)(x->rows * j.windows));
	sq_slices_cut(&j.slices, is_runs(&j) ? sq_nm_bands(w) :
	    sq_blocks_down(w), threads, is_runs(&j) ? NM_BANDS : 1);
	sq_pool_run(c->pool, do_slices, &j, (long)j.slices.n);
	return 0;
}
