/* The sparse products of few tokens: how the work is cut; see sparse_step.h. */
#include <string.h>

#include "base/pool.h"
#include "kernels/x86/sparse_step.h"
#include "kernels/x86/sparse_step_eights.h"
#include "kernels/x86/sparse_step_fours.h"
#include "kernels/x86/sparse_step_nm.h"

#define LINE	64			/* bytes */
#define ALONE	64			/* windows that are made sooner than
					   other threads begin */

enum kind { RUNS, EIGHTS, FOURS };

static enum kind
kind(const struct job *j)
{
	return j->w->layout == SQ_NM ? RUNS : j->bits == 8 ? EIGHTS : FOURS;
}

/* Of a window of a token. */
static size_t
window_size(const struct job *j)
{
	return kind(j) == RUNS ? sizeof(struct nm_window) : kind(j) == EIGHTS ?
	    sizeof(struct e8_window) : sizeof(struct f4_window);
}

/* A token's window. */
static void
do_pack(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t token = (size_t)task / j->windows;
	size_t window = (size_t)task % j->windows;
	void *to = j->packed + token * j->token_bytes + window *
	    window_size(j);

	(void)thread;
	switch (kind(j)) {
	case RUNS:
		nm_pack(j, token, window, to);
		break;
	case EIGHTS:
		e8_pack(j, token, window, to);
		break;
	case FOURS:
		f4_pack(j, token, window, to);
	}
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
		(kind(j) == RUNS ? nm_any : kind(j) == EIGHTS ? e8_any :
		    f4_any)(j, l, strip, t);
}

int
sq_sp_step_allows(const struct sq_weight *w)
{
	return sq_sparse_allows(w) && w->cols > 0 &&
	    (w->layout == SQ_NM ? nm_allows(w) : e8_allows(w) || f4_allows(w));
}

static size_t
scratch(const struct job *j)
{
	return up(kind(j) == RUNS ? nm_scratch(j) : kind(j) == EIGHTS ?
	    e8_scratch(j) : f4_scratch(j), LINE) * LINE;
}

int
sq_sp_step(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, const struct sq_mat *y)
{
	struct job j = { .w = w, .x = x, .y = y,
	    .bits = sq_grid_bits(w->grid) };
	size_t threads = (size_t)sq_pool_threads(c->pool), wide = BL_WIDE, i;
	struct nm_how how;

	if (!sq_sparse_matmul_allows(w, x, y))
		return SQ_UNSUP;
	if (x->rows == 0 || w->rows == 0)
		return 0;
	if (kind(&j) == RUNS) {
		how = nm_how(j.bits);
		j.how = &how;
		j.band_bytes = sq_nm_values(w);
		j.line_bytes = sq_nm_index(w);
		wide = NM_WIDE;
		/* whole lines of the index */
		j.windows = up(w->cols, 2 * wide) * 2;
	} else {
		j.windows = sq_blocks_across(w) * w->m / wide;
	}
	j.across = sq_groups_across(w->cols, w->group_cols);
	j.run = w->group_cols >= w->cols ? j.windows : w->group_cols / wide;
	j.token_bytes = j.windows * window_size(&j);
	j.scratch_size = scratch(&j);
	j.scratch = c->work;
	j.packed = j.scratch + threads * j.scratch_size;
	if (threads * j.scratch_size + x->rows * j.token_bytes > c->work_size)
		return SQ_UNSUP;
	if (x->rows * j.windows > ALONE)
		sq_pool_run(c->pool, do_pack, &j,
		    (long)(x->rows * j.windows));
	else
		for (i = 0; i < x->rows * j.windows; i++)
			do_pack(&j, (long)i, 0);
	sq_slices_cut(&j.slices, kind(&j) == RUNS ? sq_nm_bands(w) :
	    sq_blocks_down(w), threads, kind(&j) == RUNS ? NM_BANDS : 1);
	sq_pool_run(c->pool, do_slices, &j, (long)j.slices.n);
	return 0;
}
