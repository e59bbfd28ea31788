/* Checks of dequantize: see checkkern.h. */
#include <stdio.h>
#include <string.h>

#include "tests/kernels/checkkern.h"
#include "tests/kernels/ckweight.h"

static const enum sq_grid grids[] = {
	SQ_INT2, SQ_INT3, SQ_INT4, SQ_INT5, SQ_INT6, SQ_INT8, SQ_FP8_E4M3,
	SQ_FP8_E5M2, SQ_UINT4M, SQ_UINT5M, SQ_FP4, SQ_IQ4_NL, SQ_DENSE
};
static const enum sq_grid supers[] = {
	SQ_Q4_K, SQ_Q5_K, SQ_Q6_K, SQ_IQ4_XS
};
static const enum sq_dtype types[] = { SQ_F32, SQ_F16, SQ_BF16 };
static const enum ck_kind kinds[] = {
	CK_NORMAL, CK_OUTLIER, CK_ZERO, CK_TINY
};

#define NGRIDS	(sizeof(grids) / sizeof(grids[0]))
#define NTYPES	(sizeof(types) / sizeof(types[0]))
#define NKINDS	(sizeof(kinds) / sizeof(kinds[0]))

static void
run_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct sq_weight *w, size_t row,
    size_t rows, enum sq_dtype type)
{
	struct sq_mat a = { NULL, type, rows, w->cols, w->cols }, b;
	char what[160];
	size_t n;
	int r, s, t;

	a.stride += ck_range(k, 0, 3) * ck_range(k, 0, 1);
	n = ((rows - 1) * a.stride + a.cols) * sq_dtype_size(type);
	b = a;
	a.p = ck_buf(k, n);
	b.p = ck_buf(k, n);
	snprintf(what, sizeof(what), "%s%s %zux%zu g%zux%zu %s -> %s+%zu "
	    "rows %zu+%zu", sq_grid_name(w->grid), w->zeros != NULL ?
	    " asym" : "", w->rows, w->cols, w->group_rows, w->group_cols,
	    sq_dtype_name(w->grid == SQ_DENSE ? w->type : w->scale_type),
	    sq_dtype_name(type), a.stride, row, rows);
	r = ref->dequantize(ck_ref(k, ref), w, row, &a);
	for (t = 0; t < CK_CTXS; t++) {
		ck_clear(b.p, n);
		s = new->dequantize(ck_ctx(k, new, t), w, row, &b);
		if (ck_ret(k, r, s, "%s", what))
			ck_same(k, a.p, b.p, n, "%s", what);
		else
			ck_untouched(k, b.p, n, "%s", what);
	}
}

static void
one_weight(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, struct sq_weight w, enum ck_kind kind)
{
	size_t row, t;

	ck_weight(k, &w, kind);
	for (t = 0; t < NTYPES; t++) {
		row = ck_range(k, 0, w.rows - 1);
		run_case(k, ref, new, &w, row, ck_range(k, 1, w.rows - row),
		    types[t]);
	}
	ck_done(k);
}

static size_t
some_cols(struct checker *k)
{
	size_t n = ck_range(k, 1, 400);

	return ck_rand(k) & 1 ? n : (n + 31) / 32 * 32;
}

static void
shapes(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, enum sq_grid grid, enum sq_dtype type)
{
	static const size_t usual[] = { 16, 32, 64, 128 };
	static const uint8_t want_zeros;
	struct sq_weight w = { .grid = grid, .layout = SQ_ROWS, .type = type,
	    .scale_type = type };
	size_t i;

	for (i = 0; i < 24; i++) {
		w.rows = ck_range(k, 1, 6);
		w.cols = some_cols(k);
		w.group_cols = i % 3 == 0 ? ck_range(k, 1, w.cols) :
		    usual[ck_range(k, 0, 3)];
		if (w.group_cols > w.cols)
			w.group_cols = w.cols;
		w.group_rows = i % 4 == 0 ? ck_range(k, 1, w.rows) : 1;
		w.zeros = sq_grid_is_int(grid) && i % 2 ? &want_zeros : NULL;
		one_weight(k, ref, new, w, kinds[i % NKINDS]);
	}
	w.rows = 67;
	w.cols = 2080;
	w.group_rows = 1;
	w.group_cols = 128;
	one_weight(k, ref, new, w, CK_NORMAL);
}

/* Scales that have scales, and those that are powers of two. */
static void
fixed_groups(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_weight w = { .layout = SQ_ROWS, .group_rows = 1,
	    .group_cols = 32, .scale_type = SQ_F8_E8M0, .grid = SQ_MXFP4 };
	size_t i, g;

	for (i = 0; i < 12; i++) {
		w.rows = ck_range(k, 1, 6);
		w.cols = ck_range(k, 1, 300);
		one_weight(k, ref, new, w, CK_NORMAL);
		for (g = 0; g < sizeof(supers) / sizeof(supers[0]); g++) {
			struct sq_weight s = w;

			s.grid = supers[g];
			s.cols = 256 * ck_range(k, 1, 3);
			s.group_cols = s.grid == SQ_Q6_K ? 16 : 32;
			one_weight(k, ref, new, s, kinds[i % NKINDS]);
		}
	}
}

/* Every bit pattern of the short types, NaN and infinities too. */
static void
all_patterns(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_weight w = { .grid = SQ_DENSE, .rows = 256, .cols = 256 };
	uint16_t *p;
	size_t i, t, o;

	for (t = 0; t < NTYPES; t++) {
		w.type = types[t];
		p = ck_buf(k, 65536 * sq_dtype_size(w.type));
		ck_bytes(k, p, 65536 * sq_dtype_size(w.type));
		for (i = 0; w.type != SQ_F32 && i < 65536; i++)
			p[i] = (uint16_t)i;
		w.data = p;
		for (o = 0; o < NTYPES; o++)
			run_case(k, ref, new, &w, 0, w.rows, types[o]);
		ck_done(k);
	}
}

/* Worked by hand: pins the reference itself. */
static void
known_answer(struct checker *k, const struct sq_kern *new)
{
	/* codes 7 0 4 5 3 6 2 1 of 3 bits, a group of 6 and one of 2 */
	static const uint8_t codes[3] = { 0x07, 0x3b, 0x2b };
	static const uint16_t scales[2] = { 0x3800, 0xc000 };	/* .5, -2 */
	static const uint8_t zeros[2] = { 4, 1 };
	static const float want[8] = { 1.5f, -2, 0, .5f, -.5f, 1, -2, -0.0f };
	struct sq_weight w = { .grid = SQ_INT3, .layout = SQ_ROWS, .rows = 1,
	    .cols = 8, .data = codes, .group_rows = 1, .group_cols = 6,
	    .scale_type = SQ_F16, .scales = scales, .zeros = zeros };
	float got[8];
	struct sq_mat y = { got, SQ_F32, 1, 8, 8 };

	if (ck_ret(k, 0, new->dequantize(ck_ctx(k, new, 0), &w, 0, &y),
	    "known int3"))
		ck_same(k, want, got, sizeof(got), "known int3");
}

void
check_dequantize(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t g, t;

	known_answer(k, new);
	for (g = 0; g < NGRIDS; g++)
		for (t = 0; t < NTYPES; t++)
			shapes(k, ref, new, grids[g], types[t]);
	fixed_groups(k, ref, new);
	all_patterns(k, ref, new);
}
