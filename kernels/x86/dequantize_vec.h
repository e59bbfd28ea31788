/*
 * dequantize and embed for AVX2 and AVX-512: each file of the level includes
 * this one.  A row is done in segments that fit the first cache: the codes are
 * unpacked to bytes, then group by group turned into values.
 */
#include <string.h>

#include "base/half.h"
#include "base/pool.h"
#include "kernels/quant.h"
#include "kernels/x86/codes.h"
#include "kernels/x86/values.h"
#include "kernels/x86/x86.h"

#define SEGMENT	4096		/* codes; a multiple of SQ_CODES_BLOCK */
#define TASK	32768		/* weights of a task, at least */

struct job {
	const struct sq_weight *w;
	const uint32_t *ids;		/* NULL: rows first, first+1 ... */
	size_t first;
	const struct sq_mat *out;
	size_t chunk;			/* rows of a task */
};

/* Where values go. */
struct span {
	void *p;
	enum sq_dtype type;
	size_t at;
};

/* How the codes of a group become values: v = number(u) scale + min. */
struct group {
	int z;				/* integers */
	__m128i table;			/* fp4, iq4 */
	float scale, min;
};

/* How a code becomes a number. */
enum form { INTEGER, INTEGER_MIN, E4M3, E5M2, IQ4, FP4 };

SQ_INLINE VF
number(const uint8_t *u, const struct group *g, const enum form form)
{
	switch (form) {
	case E4M3:
		return vf_from_e4m3(u);
	case E5M2:
		return vf_from_e5m2(u);
	case IQ4:
		return vf_from_table(u, g->table);
	case FP4:
		return vf_mul(vf_from_table(u, g->table), vf_set1(0.5f));
	default:
		return vf_from_codes(u, g->z);
	}
}

SQ_INLINE void
decode_as(const uint8_t *u, size_t n, const struct group *g, struct span to,
    const enum form form, const enum sq_dtype type)
{
	VF s = vf_set1(g->scale), m = vf_set1(g->min), v;
	size_t i;

	for (i = 0; i < n; i += VL) {
		v = vf_mul(number(u + i, g, form), s);
		if (form == INTEGER_MIN)
			v = vf_add(v, m);
		vf_give(to.p, type, to.at + i, v, n - i);
	}
}

SQ_INLINE void
decode_to(const uint8_t *u, size_t n, const struct group *g, struct span to,
    const enum form form)
{
	switch (to.type) {
	case SQ_F32: decode_as(u, n, g, to, form, SQ_F32); break;
	case SQ_F16: decode_as(u, n, g, to, form, SQ_F16); break;
	default: decode_as(u, n, g, to, form, SQ_BF16); break;
	}
}

static void
decode(const uint8_t *u, size_t n, const struct group *g, struct span to,
    enum form form)
{
	switch (form) {
	case INTEGER: decode_to(u, n, g, to, INTEGER); break;
	case INTEGER_MIN: decode_to(u, n, g, to, INTEGER_MIN); break;
	case E4M3: decode_to(u, n, g, to, E4M3); break;
	case E5M2: decode_to(u, n, g, to, E5M2); break;
	case IQ4: decode_to(u, n, g, to, IQ4); break;
	case FP4: decode_to(u, n, g, to, FP4); break;
	}
}

static enum form
form_of(enum sq_grid grid)
{
	switch (grid) {
	case SQ_FP8_E4M3:
		return E4M3;
	case SQ_FP8_E5M2:
		return E5M2;
	case SQ_FP4:
	case SQ_MXFP4:
		return FP4;
	case SQ_IQ4_NL:
	case SQ_IQ4_XS:
		return IQ4;
	case SQ_UINT4M:
	case SQ_UINT5M:
	case SQ_Q4_K:
	case SQ_Q5_K:
		return INTEGER_MIN;
	default:
		return INTEGER;
	}
}

static struct group
start_group(const struct sq_weight *w, enum form form)
{
	struct group g = { .z = 1 << (sq_grid_bits(w->grid) - 1) };

	if (form == INTEGER_MIN)
		g.z = 0;
	if (form == FP4)
		g.table = _mm_loadu_si128((const void *)sq_fp4_table);
	if (form == IQ4)
		g.table = _mm_loadu_si128((const void *)sq_iq4_table);
	return g;
}

/* Number i of the weight's groups. */
SQ_INLINE void
load_group(const struct sq_weight *w, size_t i, struct group *g)
{
	const uint8_t *u8 = w->scales;
	const int8_t *i8 = w->scales;

	if (sq_grid_has_submins(w->grid)) {
		g->scale = _cvtsh_ss(w->super[i / 8]) * u8[i];
		g->min = -(_cvtsh_ss(w->supermins[i / 8]) * w->submins[i]);
	} else if (w->grid == SQ_IQ4_XS) {
		g->scale = _cvtsh_ss(w->super[i / 8]) * i8[i];
	} else if (w->grid == SQ_Q6_K) {
		g->scale = _cvtsh_ss(w->super[i / 16]) * i8[i];
	} else if (w->scale_type == SQ_F8_E8M0) {
		g->scale = sq_e8m0_to_f32(u8[i]);
	} else {
		g->scale = sq_scalar(w->scales, w->scale_type, i);
	}
	if (w->zeros != NULL)
		g->z = w->zeros[i];
	if (w->mins != NULL)
		g->min = _cvtsh_ss(w->mins[i]);
}

/* Columns from .. from+n-1 of row i, whose codes are in u. */
static void
decode_groups(const struct sq_weight *w, size_t i, size_t from, size_t n,
    const uint8_t *u, struct span to)
{
	size_t row = i / w->group_rows *
	    sq_groups_across(w->cols, w->group_cols);
	enum form form = form_of(w->grid);
	struct group group = start_group(w, form);
	size_t c, g, m;

	for (c = from; c < from + n; c += m) {
		g = c / w->group_cols;
		m = (g + 1) * w->group_cols - c;
		if (m > from + n - c)
			m = from + n - c;
		load_group(w, row + g, &group);
		to.at = c;
		decode(u + (c - from), m, &group, to, form);
	}
}

static void
decode_row(const struct sq_weight *w, size_t i, struct span to)
{
	uint8_t u[SEGMENT + SQ_CODES_BLOCK];
	int bits = sq_grid_bits(w->grid);
	const uint8_t *row = w->data;
	size_t c, n;

	row += i * sq_row_bytes(w->cols, bits);
	for (c = 0; c < w->cols; c += n) {
		n = w->cols - c < SEGMENT ? w->cols - c : SEGMENT;
		sq_codes_unpack(row + c / 8 * (size_t)bits, n, bits, u);
		decode_groups(w, i, c, n, u, to);
	}
}

SQ_INLINE void
convert_as(const void *p, const enum sq_dtype from, size_t at, size_t n,
    struct span to, const enum sq_dtype type)
{
	size_t i;
	VF v;

	for (i = 0; i < n; i += VL) {
		v = vf_take(p, from, at + i, n - i);
		if (from == SQ_F16)
			v = vf_beyond(v, INFINITY,
			    vf_set1(__builtin_nanf("")));
		vf_give(to.p, type, i, v, n - i);
	}
}

SQ_INLINE void
convert_to(const void *p, const enum sq_dtype from, size_t at, size_t n,
    struct span to)
{
	switch (to.type) {
	case SQ_F32: convert_as(p, from, at, n, to, SQ_F32); break;
	case SQ_F16: convert_as(p, from, at, n, to, SQ_F16); break;
	default: convert_as(p, from, at, n, to, SQ_BF16); break;
	}
}

static void
convert_row(const struct sq_weight *w, size_t i, struct span to)
{
	size_t at = i * w->cols;

	if (w->type == SQ_F32)
		convert_to(w->data, SQ_F32, at, w->cols, to);
	else if (w->type == SQ_F16)
		convert_to(w->data, SQ_F16, at, w->cols, to);
	else
		convert_to(w->data, SQ_BF16, at, w->cols, to);
}

static void
do_rows(void *arg, long task, int thread)
{
	const struct job *j = arg;
	size_t k = (size_t)task * j->chunk, end = k + j->chunk, i;
	struct span to = { NULL, j->out->type, 0 };

	(void)thread;
	for (; k < end && k < j->out->rows; k++) {
		i = j->ids != NULL ? j->ids[k] : j->first + k;
		to.p = (char *)j->out->p +
		    k * j->out->stride * sq_dtype_size(to.type);
		if (j->w->grid == SQ_DENSE)
			convert_row(j->w, i, to);
		else
			decode_row(j->w, i, to);
	}
}

static void
run_rows(struct sq_ctx *c, struct job *j)
{
	j->chunk = TASK / (j->w->cols + 1) + 1;
	sq_pool_run(c->pool, do_rows, j,
	    (long)((j->out->rows + j->chunk - 1) / j->chunk));
}

static int
dequantize(struct sq_ctx *c, const struct sq_weight *w, size_t row,
    const struct sq_mat *out)
{
	struct job j = { w, NULL, row, out, 0 };

	if (!sq_dequantize_allows(w, row, out))
		return SQ_UNSUP;
	run_rows(c, &j);
	return 0;
}

static int
embed(struct sq_ctx *c, const struct sq_weight *w, const uint32_t *ids,
    const struct sq_mat *y)
{
	struct job j = { w, ids, 0, y, 0 };

	if (!sq_embed_allows(w, ids, y))
		return SQ_UNSUP;
	run_rows(c, &j);
	return 0;
}
