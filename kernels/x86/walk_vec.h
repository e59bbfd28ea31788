/*
 * The walk over a part of a weight: its rows, four at a time, their groups,
 * the units of these.  Either the weights go into a panel (expand), or they
 * are multiplied with tokens at once (direct).
 *
 * The file that includes this has defined
 *
 *	ELEM		the type of an expanded weight
 *	STRIDE		how many of them a row of the panel takes
 *	WV, WL		the type of a vector of expanded weights, and its length
 *	make_how()	what is the same for all units of a weight
 *	make_group()	what is the same for all units of a group
 *	wv_unit()	vector j of a unit
 *	wv_keep()	that vector where columns are less than n, else 0
 *	wv_load(), wv_store()
 *	wv_dot()	sums with the products of two vectors added
 *	wv_total()	sums with the elements of a vector added
 *	spread_of()	how codes are spread; see matmul.h
 *
 * The walk is compiled once for each kind of weight.
 */
#include "kernels/quant.h"
#include "kernels/x86/unit_vec.h"

#define LINE	64			/* bytes of a cache line */
#define ROWS	4			/* walked together, at most */
#define TOKENS	SQ_MM_TOKENS
#define GROUPS	(SQ_MM_COLUMNS / SQ_MM_UNIT)	/* of a row of a part */

/* A part, and what becomes of it. */
struct walk {
	const struct sq_mm_part *part;
	struct unit_how how;
	size_t cols;			/* of the part that the weight has */
	size_t safe;			/* those whose units can be loaded */
	size_t across, left;		/* groups of a row, and before the part */
	size_t groups;			/* and in the part */
	ELEM *panel;			/* expand */
	const ELEM *x;			/* direct: rows, stride apart */
	size_t stride;
};

/* Rows that are walked together; the arrays stand apart so that the compiler
 * keeps what it can in registers. */
struct rows {
	const uint8_t *p[ROWS];		/* their first columns of the part */
	size_t group[ROWS];		/* and groups */
	ELEM *panel[ROWS];
};

/* The first n values at h, or VL of them. */
SQ_INLINE VF
scales_f16(const uint16_t *h, size_t n)
{
#if VL == 16
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(
	    (__mmask16)(n < VL ? (1u << n) - 1 : 0xffff), h));
#else
	return vf_take(h, SQ_F16, 0, n);
#endif
}

/* How many rows are walked together with nt tokens: the sums of a unit and
 * those of a row have to stay in registers. */
SQ_INLINE int
together(const enum unit_kind kind, const int nt)
{
	return unit_by_lanes(kind) && nt > 2 ? ROWS / 2 : ROWS;
}

/* n scales of each of some rows as float32, from that of group at[row]; those
 * behind them are fetched, which are wanted next and come from elsewhere than
 * the codes. */
static void
load_scales(const struct sq_weight *w, const size_t *at, int rows, size_t n,
    float (*s)[GROUPS + VL])
{
	const size_t size = sq_dtype_size(w->scale_type);
	const float *f = w->scales;
	const uint16_t *h = w->scales;
	size_t i;
	int r;

	for (r = 0; r < rows; r++)
		for (i = 0; i < n * size + LINE; i += LINE)
			_mm_prefetch((const char *)w->scales +
			    (at[r] + n) * size + i, _MM_HINT_T0);
	for (r = 0; r < rows; r++)
		if (w->scale_type == SQ_F32)
			memcpy(s[r], f + at[r], n * sizeof(*f));
		else if (w->scale_type == SQ_BF16)
			for (i = 0; i < n; i++)
				s[r][i] = sq_bf16_to_f32(h[at[r] + i]);
		else
			for (i = 0; i < n; i += VL)
				vf_store(s[r] + i, scales_f16(h + at[r] + i,
				    n - i));
}

/* n zero points of each row likewise; lanes: m less them. */
SQ_INLINE void
load_zeros(const struct sq_weight *w, const size_t *at, int rows, size_t n,
    const enum unit_kind kind, float (*zero)[GROUPS + VL])
{
	uint8_t copy[VL] = { 0 };
	const uint8_t *p;
	size_t i;
	VF z;
	int r;

	for (r = 0; r < rows; r++)
		for (i = 0; i < n; i += VL) {
			p = w->zeros + at[r] + i;
			if (n - i < VL)
				p = memcpy(copy, p, n - i);
			z = vf_from_i(vi_from_u8(p));
			if (unit_by_lanes(kind))
				z = vf_sub(vf_set1(8), z);
			vf_store(zero[r] + i, z);
		}
}

/* The unit at column c of the part, at the pointers p; it has n columns. */
SQ_INLINE void
do_unit(const struct walk *k, const struct rows *rows,
    const uint8_t *const *p, size_t c, size_t n, const struct unit_group *g,
    VF (*sum)[TOKENS], const enum unit_kind kind, const int nt)
{
	const int vectors = (int)(unit_size(kind) / WL);
	const int nr = together(kind, nt);
	VF part[ROWS][TOKENS], all[TOKENS];
	WV w, x[TOKENS];
	int j, r, t;

	SQ_UNROLL for (t = 0; t < nt; t++) {
		all[t] = vf_zero();
		SQ_UNROLL for (r = 0; r < nr; r++)
			part[r][t] = unit_by_lanes(kind) ? vf_zero() :
			    sum[r][t];
	}
	SQ_UNROLL for (j = 0; j < vectors; j++) {
		SQ_UNROLL for (t = 0; t < nt; t++) {
			x[t] = wv_load(k->x + (size_t)t * k->stride + c +
			    j * WL);
			if (kind == UNIT_INT4_LANES_ZERO)
				all[t] = wv_total(x[t], all[t]);
		}
		SQ_UNROLL for (r = 0; r < nr; r++) {
			w = wv_unit(p[r], kind, &k->how, &g[r], j);
			if (n < unit_size(kind))
				w = wv_keep(w, k->part->order->column + j * WL,
				    n);
			if (nt == 0)
				wv_store(rows->panel[r] + c + j * WL, w);
			SQ_UNROLL for (t = 0; t < nt; t++)
				part[r][t] = wv_dot(w, x[t], part[r][t]);
		}
	}
	SQ_UNROLL for (r = 0; r < nr; r++)
		SQ_UNROLL for (t = 0; t < nt; t++) {
			if (kind == UNIT_INT4_LANES_ZERO)
				part[r][t] = vf_fma(g[r].z, all[t],
				    part[r][t]);
			sum[r][t] = !unit_by_lanes(kind) ? part[r][t] :
			    vf_fma(g[r].s, part[r][t], sum[r][t]);
		}
}

/* Columns c .. end-1, of one group, whole units. */
SQ_INLINE void
do_units(const struct walk *k, const struct rows *rows, size_t c, size_t end,
    const struct unit_group *g, VF (*sum)[TOKENS], const enum unit_kind kind,
    const int nt)
{
	const size_t bits = unit_bits(kind), unit = unit_size(kind);
	const int nr = together(kind, nt);
	const uint8_t *p[ROWS];
	size_t i;
	int r;

	for (; c < end; c += unit) {
		SQ_UNROLL for (r = 0; r < nr; r++)
			p[r] = rows->p[r] + c * bits / 8;
		if (unit == SQ_MM_WIDE || c % SQ_MM_WIDE == 0)
			for (i = 0; i < SQ_MM_WIDE * bits / 8; i += LINE)
				SQ_UNROLL for (r = 0; r < nr; r++)
					_mm_prefetch((const char *)p[r] +
					    k->part->ahead + i, _MM_HINT_T0);
		do_unit(k, rows, p, c, unit, g, sum, kind, nt);
	}
}

/* The last columns, those from safe, in a copy: nothing behind the weight is
 * touched. */
SQ_INLINE void
do_copy(const struct walk *k, const struct rows *rows,
    const struct unit_group *g, VF (*sum)[TOKENS], const enum unit_kind kind,
    const int nt)
{
	uint8_t copy[ROWS][SQ_MM_UNIT * sizeof(float) + LINE];
	const uint8_t *p[ROWS];
	size_t bits = unit_bits(kind), n = k->cols - k->safe;
	const int nr = together(kind, nt);
	int r;

	memset(copy, 0, sizeof(copy));
	SQ_UNROLL for (r = 0; r < nr; r++) {
		memcpy(copy[r], rows->p[r] + k->safe * bits / 8,
		    (n * bits + 7) / 8);
		p[r] = copy[r];
	}
	do_unit(k, rows, p, k->safe, n, g, sum, kind, nt);
}

/* All groups of the rows; lanes: those of a wide unit together. */
SQ_INLINE void
do_groups(const struct walk *k, const struct rows *rows, VF (*sum)[TOKENS],
    const enum unit_kind kind, const int nt)
{
	const struct sq_weight *w = k->part->w;
	size_t c, end, i = 0, step = 1, size = w->group_cols;
	const int nr = together(kind, nt);
	float scale[ROWS][GROUPS + VL], zero[ROWS][GROUPS + VL];
	struct unit_group g[ROWS];
	int r;

	if (unit_by_lanes(kind) && size < SQ_MM_WIDE) {
		step = unit_scales(w);
		size = SQ_MM_WIDE;
	}
	load_scales(w, rows->group, nr, k->groups, scale);
	if (w->zeros != NULL)
		load_zeros(w, rows->group, nr, k->groups, kind, zero);
	end = (k->left / step + 1) * size - k->part->col;
	for (c = 0; c < k->safe; c = end, end += size, i += step) {
		if (end > k->safe)
			end = k->safe;
		SQ_UNROLL for (r = 0; r < nr; r++)
			g[r] = make_group(&k->how, kind, &scale[r][i],
			    w->zeros == NULL ? NULL : &zero[r][i]);
		do_units(k, rows, c, end, g, sum, kind, nt);
	}
	if (k->safe == k->cols)
		return;
	i = k->groups - step;
	SQ_UNROLL for (r = 0; r < nr; r++)
		g[r] = make_group(&k->how, kind, &scale[r][i],
		    w->zeros == NULL ? NULL : &zero[r][i]);
	do_copy(k, rows, g, sum, kind, nt);
}

SQ_INLINE void
do_dense(const struct walk *k, const struct rows *rows, VF (*sum)[TOKENS],
    const enum unit_kind kind, const int nt)
{
	struct unit_group none[ROWS];

	do_units(k, rows, 0, k->safe, none, sum, kind, nt);
	if (k->safe < k->cols)
		do_copy(k, rows, none, sum, kind, nt);
}

/* Rows of the part from first; where there are less, the last one takes their
 * place. */
SQ_INLINE void
do_rows(const struct walk *k, size_t first, VF (*sum)[TOKENS],
    const enum unit_kind kind, const int nt)
{
	const struct sq_mm_part *part = k->part;
	const struct sq_weight *w = part->w;
	size_t bits = unit_bits(kind), row, i;
	const int nr = together(kind, nt);
	struct rows rows;
	int r;

	SQ_UNROLL for (r = 0; r < nr; r++) {
		i = first + (size_t)r;
		row = part->row + part->apart *
		    (i < part->rows ? i : part->rows - 1);
		rows.p[r] = (const uint8_t *)w->data +
		    row * ((w->cols * bits + 7) / 8) + part->col * bits / 8;
		if (nt == 0)
			rows.panel[r] = k->panel + i * STRIDE;
		if (w->group_rows > 1)
			row /= w->group_rows;
		rows.group[r] = row * k->across + k->left;
	}
	if (unit_is_dense(kind))
		do_dense(k, &rows, sum, kind, nt);
	else
		do_groups(k, &rows, sum, kind, nt);
}

/* What is the same for all rows. */
SQ_INLINE void
set_walk(struct walk *k, const struct sq_mm_part *part,
    const enum unit_kind kind)
{
	const struct sq_weight *w = part->w;

	k->part = part;
	k->cols = w->cols - part->col;
	if (k->cols > part->cols)
		k->cols = part->cols;
	k->safe = k->cols / unit_size(kind) * unit_size(kind);
	k->across = k->left = k->groups = 0;
	if (unit_is_dense(kind))
		return;
	k->across = sq_groups_across(w->cols, w->group_cols);
	k->left = part->col / w->group_cols;
	k->groups = (part->col + k->cols - 1) / w->group_cols - k->left + 1;
}

SQ_INLINE void
expand_kind(const struct sq_mm_part *part, ELEM *panel,
    const enum unit_kind kind)
{
	struct walk k;
	size_t r;

	set_walk(&k, part, kind);
	k.how = make_how(kind, 1);
	k.panel = panel;
	for (r = 0; r < part->rows; r += ROWS)
		do_rows(&k, r, NULL, kind, 0);
}

SQ_INLINE void
direct_kind(const struct sq_mm_part *part, const ELEM *x, size_t stride,
    float *sums, int first, const enum unit_kind kind, const int nt)
{
	const int nr = together(kind, nt);
	VF sum[ROWS][TOKENS];
	struct walk k;
	size_t i;
	int r, t;

	set_walk(&k, part, kind);
	k.how = make_how(kind, unit_by_lanes(kind) ? unit_scales(part->w) : 1);
	k.x = x;
	k.stride = stride;
	for (i = 0; i < part->rows; i += (size_t)nr, sums += nr * VL) {
		SQ_UNROLL for (r = 0; r < nr; r++)
			SQ_UNROLL for (t = 0; t < nt; t++)
				sum[r][t] = first ? vf_zero() :
				    vf_load(sums + (t * SQ_MM_STRIP + r) * VL);
		do_rows(&k, i, sum, kind, nt);
		SQ_UNROLL for (r = 0; r < nr; r++)
			SQ_UNROLL for (t = 0; t < nt; t++)
				vf_store(sums + (t * SQ_MM_STRIP + r) * VL,
				    sum[r][t]);
	}
}

/* One function for each kind, all alike. */
#define KINDS(X)							\
	X(UNIT_F32) X(UNIT_F16) X(UNIT_BF16) X(UNIT_INT2) X(UNIT_INT3)	\
	X(UNIT_INT4) X(UNIT_INT4_WIDE) X(UNIT_INT5) X(UNIT_INT6)	\
	X(UNIT_INT8) X(UNIT_INT5_LONG) X(UNIT_INT6_LONG)		\
	X(UNIT_INT8_LONG) X(UNIT_E4M3) X(UNIT_E5M2)
#if VL == 16
#define LANE_KINDS(X)	X(UNIT_INT4_LANES) X(UNIT_INT4_LANES_ZERO)
#else
#define LANE_KINDS(X)
#endif

#define EXPAND(kind)							\
static void								\
expand_##kind(const struct sq_mm_part *part, ELEM *panel)		\
{									\
	expand_kind(part, panel, kind);					\
}
#define DIRECT(kind)							\
static void								\
direct_##kind(const struct sq_mm_part *part, const ELEM *x,		\
    size_t stride, size_t tokens, float *sums, int first)		\
{									\
	if (tokens == 4)						\
		direct_kind(part, x, stride, sums, first, kind, 4);	\
	if ((tokens & 2) != 0)						\
		direct_kind(part, x, stride, sums, first, kind, 2);	\
	x += (tokens & 2) * stride;					\
	sums += (tokens & 2) * SQ_MM_STRIP * VL;			\
	if ((tokens & 1) != 0)						\
		direct_kind(part, x, stride, sums, first, kind, 1);	\
}
KINDS(EXPAND)
KINDS(DIRECT)
LANE_KINDS(DIRECT)

static void
expand(const struct sq_mm_part *part, void *panel)
{
	switch (part->order->kind) {
#define CASE(kind)	case kind: expand_##kind(part, panel); break;
	KINDS(CASE)
#undef CASE
	}
}

static void
direct(const struct sq_mm_part *part, const void *x, size_t stride,
    size_t tokens, float *sums, int first)
{
	size_t n = stride / sizeof(ELEM);

	switch (part->order->kind) {
#define CASE(kind)							\
	case kind:							\
		direct_##kind(part, x, n, tokens, sums, first);		\
		break;
	KINDS(CASE)
	LANE_KINDS(CASE)
#undef CASE
	}
}

static void
order(const struct sq_weight *w, int at_once, struct sq_mm_order *o)
{
	enum unit_kind kind = unit_kind(w, at_once);

	o->kind = kind;
	o->unit = unit_size(kind);
	o->spread = spread_of(kind);
}
