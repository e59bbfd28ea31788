/* Sparse products of many tokens in bf16 on AMX tiles; see sparse.h. */
#include "kernels/x86/sparse.h"
#include "kernels/x86/sparse_runs_amx.h"
#include "kernels/x86/sparse_step_amx.h"
#include "kernels/x86/strip_amx.h"
#include "kernels/x86/unit_bf16.h"
#include "kernels/x86/x86.h"

#define ROWS	SQ_MM_PANEL
#define STRIDE	(SQ_SP_DEPTH + 32)	/* 64 bytes more: other cache sets */

/* Scales, or zero points, of the rows of a block, in the group of column col;
 * behind the last column there are zeros, with the last group's. */
struct numbers {
	float scale[ROWS], zero[ROWS];
};

/* Scales of F16 of whole rows, in group `at' of `across'.  A lane reads 32 bits,
 * with another scale of its row. */
static void
gather_scales(const struct sq_sp_block *k, size_t across, size_t at,
    struct numbers *n)
{
	const uint16_t *p = (const uint16_t *)k->w->scales + k->row * across +
	    at - (at > 0);
	const VI lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5,
	    4, 3, 2, 1, 0);
	const VI row = _mm512_mullo_epi32(lane, vi_set1((int)across));
	size_t r;
	VI v;

	for (r = 0; r < ROWS; r += VL, p += VL * across) {
		v = _mm512_i32gather_epi32(row, p, sizeof(*p));
		v = _mm512_srlv_epi32(v, vi_set1(at > 0 ? 16 : 0));
		vf_store(n->scale + r, _mm512_cvtph_ps(
		    _mm512_cvtepi32_epi16(v)));
	}
}

static void
load_numbers(const struct sq_sp_block *k, size_t col, struct numbers *n)
{
	const struct sq_weight *w = k->w;
	size_t across = sq_groups_across(w->cols, w->group_cols), r, g, at;
	const int whole = w->group_rows == 1 && k->rows == ROWS &&
	    w->zeros == NULL;

	if (col >= w->cols)
		col = w->cols - 1;
	at = col / w->group_cols;
	if (whole && across == 1) {
		for (r = 0; r < ROWS; r += VL)
			vf_store(n->scale + r, vf_take(w->scales,
			    w->scale_type, k->row + r, VL));
		return;
	}
	if (whole && w->scale_type == SQ_F16 && across <= 1 << 20) {
		gather_scales(k, across, at, n);
		return;
	}
	for (r = 0; r < k->rows; r++) {
		g = k->row + r;
		if (w->group_rows > 1)
			g /= w->group_rows;
		g = g * across + at;
		n->scale[r] = sq_scalar(w->scales, w->scale_type, g);
		if (w->zeros != NULL)
			n->zero[r] = w->zeros[g];
	}
}

/* A group's columns of a row. */
SQ_INLINE void
expand_row(const uint8_t *p, size_t cols, const struct unit_how *how,
    const struct unit_group *g, uint16_t *out, const enum unit_kind kind)
{
	const int vectors = (int)(unit_size(kind) / WL);
	size_t c;
	int j;

	for (c = 0; c < cols; c += unit_size(kind))
		SQ_UNROLL for (j = 0; j < vectors; j++)
			wv_store(out + c + j * WL, wv_unit(p + c *
			    unit_bits(kind) / 8, kind, how, g, j));
}

SQ_INLINE void
expand_kind(const struct sq_sp_block *k, uint16_t *panel,
    const enum unit_kind kind)
{
	const struct sq_weight *w = k->w;
	const size_t row = w->m * unit_bits(kind) / 8;
	const uint8_t *p = (const uint8_t *)w->data + k->block *
	    sq_block_bytes(w) + k->row % w->n * row;
	const struct unit_how how = make_how(kind, 1);
	struct unit_group g = { .s = vf_zero() };
	struct numbers n;
	size_t c, span, r;

	span = unit_is_dense(kind) || w->group_cols > w->m ||
	    w->group_cols >= w->cols ? w->m : w->group_cols;
	for (c = 0; c < w->m; c += span) {
		if (!unit_is_dense(kind))
			load_numbers(k, k->col + c, &n);
		for (r = 0; r < k->rows; r++) {
			if (!unit_is_dense(kind))
				g = make_group(&how, kind, &n.scale[r],
				    w->zeros == NULL ? NULL : &n.zero[r]);
			expand_row(p + r * row + c * unit_bits(kind) / 8, span,
			    &how, &g, panel + r * STRIDE + c, kind);
		}
	}
}

#define KINDS(X)							\
	X(UNIT_BF16) X(UNIT_INT4) X(UNIT_INT4_WIDE) X(UNIT_INT8)	\
	X(UNIT_INT8_LONG)
#define EXPAND(kind)							\
static void								\
expand_##kind(const struct sq_sp_block *k, uint16_t *panel)		\
{									\
	expand_kind(k, panel, kind);					\
}
KINDS(EXPAND)

static void
expand(const struct sq_sp_block *k, void *panel)
{
	switch (k->order->kind) {
#define CASE(kind)	case kind: expand_##kind(k, panel); break;
	KINDS(CASE)
#undef CASE
	}
}

static void
tile(const struct sq_sp_strip *p)
{
	struct strip s = { .panel = p->panel, .x = p->x, .at = p->at,
	    .stride = STRIDE * sizeof(uint16_t), .next = p->next,
	    .steps = p->steps };

	all_vectors(s, p->nvec, p->sums, p->first);
}

static const struct sq_sp_tiles tiles = { .expand = expand, .tile = tile };

int
sq_sparse_matmul_amx(struct sq_ctx *c, const struct sq_weight *w,
    const struct sq_mat *x, enum sq_prec prec, const struct sq_mat *y)
{
	const struct sq_mm_level level = sq_mm_amx();

	int few = c->batch == SQ_BATCH_STEP || (c->batch == SQ_BATCH_AUTO &&
	    x->rows <= sq_mm_avx512bf16.few);

	/* few tokens wait for memory, not for products */
	if (prec == SQ_PREC_BF16 && few && sq_sp_step_allows(w))
		return sq_sp_step(c, w, x, y);
	if (prec != SQ_PREC_BF16 || few)
		return sq_sparse_matmul_avx512bf16(c, w, x, prec, y);
	if (sq_sp_tiles_fit(w))
		return sq_sp_run_tiles(&tiles, &level, c, w, x, y);
	if (sq_sparse_matmul_allows(w, x, y) && w->cols > 0 &&
	    sq_sp_runs_allow(w))
		return sq_sp_runs(c, w, x, y);
	return sq_sp_run(&sq_sp_avx512, &level, c, w, x, prec, y);
}
