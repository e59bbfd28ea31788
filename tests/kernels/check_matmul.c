/*
 * Checks of matmul and matmul_int8, and of both with several weights: see
 * checkkern.h.  Every kind of weight with as many tokens as lie around the edges
 * of tiles, and shapes likewise.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/kernels/checkkern.h"
#include "tests/kernels/ckweight.h"

struct kind {
	enum sq_grid grid;
	enum sq_dtype type;
	int zeros;
};

static const struct kind kinds[] = {
	{ SQ_DENSE, SQ_F32, 0 }, { SQ_DENSE, SQ_F16, 0 },
	{ SQ_DENSE, SQ_BF16, 0 },
	{ SQ_INT2, SQ_F16, 0 }, { SQ_INT2, SQ_F32, 1 },
	{ SQ_INT3, SQ_F16, 0 }, { SQ_INT3, SQ_BF16, 1 },
	{ SQ_INT4, SQ_F16, 0 }, { SQ_INT4, SQ_F16, 1 },
	{ SQ_INT5, SQ_F32, 0 }, { SQ_INT5, SQ_F16, 1 },
	{ SQ_INT6, SQ_F16, 0 }, { SQ_INT6, SQ_F16, 1 },
	{ SQ_INT8, SQ_F16, 0 }, { SQ_INT8, SQ_F32, 1 },
	{ SQ_FP8_E4M3, SQ_F32, 0 }, { SQ_FP8_E5M2, SQ_BF16, 0 }
};
static const size_t tokens[] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33,
	47, 49, 64, 65, 100
};
static const size_t outs[] = { 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 100 };
static const size_t ins[] = {
	1, 31, 32, 33, 63, 64, 100, 127, 128, 160, 255, 256, 257, 512, 544, 700
};
static const size_t groups[] = { 32, 64, 96, 128, 256, 0 };

#define BLOCK	128		/* columns that share a scale, at most */
#define N(a)	(sizeof(a) / sizeof((a)[0]))
#define PICK(k, a)	((a)[ck_range(k, 0, N(a) - 1)])

/* One product, and what is needed to judge it. */
struct test {
	struct sq_weight w;
	struct sq_mat x, want, got;
	size_t bytes;			/* of want and of got */
	double *mag;
	enum sq_prec prec;
	struct sq_qmat q;		/* codes instead of x, where it has some */
	char what[120];
};

static int
product(const struct sq_kern *kern, struct sq_ctx *ctx, const struct test *c,
    const struct sq_mat *y)
{
	return c->q.codes != NULL ? kern->matmul_int8(ctx, &c->w, &c->q, y) :
	    kern->matmul(ctx, &c->w, &c->x, c->prec, y);
}

static void
describe(struct test *c, enum ck_kind fill)
{
	const struct sq_weight *w = &c->w;

	snprintf(c->what, sizeof(c->what),
	    "%s/%s%s %zux%zu, groups %zux%zu, %zu tokens, %s, %s",
	    sq_grid_name(w->grid), sq_dtype_name(w->type),
	    w->zeros != NULL ? " zeros" : "", w->rows, w->cols, w->group_rows,
	    w->group_cols, c->x.rows, c->q.codes != NULL ? "int8" :
	    c->prec == SQ_PREC_F32 ? "f32" : "bf16",
	    ck_kind_name(fill));
}

/* Half a unit of 16 bits that the block around column i of x shares. */
static double
half_unit(const struct test *c, const float *x, size_t i)
{
	size_t end = (i / BLOCK + 1) * BLOCK;
	double most = 0;

	for (i = i / BLOCK * BLOCK; i < end && i < c->w.cols; i++)
		most = fmax(most, fabs((double)x[i]));
	return most / 65534;
}

/* A row of x as magnitudes see it: what multiplies |w|, and what is added. */
struct row {
	double *factor;			/* of each column */
	double per_w, plus;		/* of the sum of |w|, and of nothing */
};

/*
 * The magnitudes that enter an output.  Bf16 products may take denormals for
 * 0, and sums in float32 may lose them; x may be rounded to 16 bits that share
 * a scale: what that can be is added, so that the bound covers it.
 */
static void
see_row(struct checker *k, const struct test *c, const float *x, struct row *r)
{
	int narrow = c->prec != SQ_PREC_F32;
	double unit = 0, tiny = narrow ? 0x1p-126 : 0x1p-149, sum = 0;
	size_t i;

	for (i = 0; i < c->w.cols; i++) {
		if (i % BLOCK == 0 && narrow && sq_grid_is_int(c->w.grid))
			unit = half_unit(c, x, i);
		r->factor[i] = fabs((double)x[i]) + unit / k->bound;
		sum += fabs((double)x[i]);
	}
	r->plus = tiny * (double)c->w.cols + (narrow ? tiny * sum : 0);
	if (c->q.codes != NULL)			/* a weight of denormals */
		r->plus += 0x1p-141 * sum;
	r->plus /= k->bound;
	r->per_w = narrow ? tiny / k->bound : 0;
}

static double
magnitude(const struct row *r, const double *w, size_t n)
{
	double sum = 0, all = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		sum += w[i] * r->factor[i];
		all += w[i];
	}
	return sum + all * r->per_w + r->plus;
}

static void
set_magnitudes(struct checker *k, const struct sq_kern *ref, struct test *c)
{
	struct sq_mat row = { NULL, SQ_F32, 1, c->w.cols, c->w.cols };
	struct row *x = ck_buf(k, c->x.rows * sizeof(*x));
	double *w = ck_buf(k, c->w.cols * sizeof(*w));
	double *factors = ck_buf(k, c->x.rows * c->w.cols * sizeof(double));
	size_t o, m, i;

	row.p = ck_buf(k, c->w.cols * sizeof(float));
	c->mag = ck_buf(k, c->bytes / sizeof(float) * sizeof(double));
	memset(c->mag, 0, c->bytes / sizeof(float) * sizeof(double));
	for (m = 0; m < c->x.rows; m++) {
		x[m].factor = factors + m * c->w.cols;
		see_row(k, c, (const float *)c->x.p + m * c->x.stride, &x[m]);
	}
	for (o = 0; o < c->w.rows; o++) {
		ref->dequantize(ck_ref(k, ref), &c->w, o, &row);
		for (i = 0; i < c->w.cols; i++)
			w[i] = fabs((double)((const float *)row.p)[i]);
		for (m = 0; m < c->x.rows; m++)
			c->mag[m * c->want.stride + o] = magnitude(&x[m], w,
			    c->w.cols);
	}
}

/* A random weight; of FP8 without infinities and NaN, whose products with
 * denormals are what each level makes of these. */
static void
make_weight(struct checker *k, struct sq_weight *w, enum ck_kind fill)
{
	uint8_t *codes, top = w->grid == SQ_FP8_E4M3 ? 0x7f : 0x7c;
	size_t i;

	ck_weight(k, w, fill);
	if (w->grid != SQ_FP8_E4M3 && w->grid != SQ_FP8_E5M2)
		return;
	codes = (uint8_t *)(uintptr_t)w->data;
	for (i = 0; i < w->rows * w->cols; i++)
		if ((codes[i] & top) == top)
			codes[i] ^= 0x40;
}

static void
make_mats(struct checker *k, struct test *c, size_t m, enum ck_kind fill)
{
	size_t n, i;

	c->x = (struct sq_mat){ NULL, SQ_F32, m, c->w.cols, c->w.cols + 3 };
	n = (m - 1) * c->x.stride + c->x.cols;
	c->x.p = ck_buf(k, n * sizeof(float));
	for (i = 0; i < m; i++)
		ck_fill(k, (float *)c->x.p + i * c->x.stride, SQ_F32,
		    c->x.cols, fill);
	c->want = (struct sq_mat){ NULL, SQ_F32, m, c->w.rows, c->w.rows + 5 };
	c->bytes = ((m - 1) * c->want.stride + c->want.cols) * sizeof(float);
	c->got = c->want;
	c->want.p = ck_buf(k, c->bytes);
	c->got.p = ck_buf(k, c->bytes);
}

/* What float32 sums of n products may lose, twice the worst case. */
static double
f32_bound(size_t n)
{
	return (double)(n + 4) * 0x1p-23;
}

/* Tokens first .. first+n-1 alone give the same bits as among all. */
static void
check_alone(struct checker *k, const struct sq_kern *new, const struct test *c,
    size_t first, size_t n)
{
	struct sq_mat x = c->x, y = c->got;
	size_t i;

	x.rows = y.rows = n;
	x.p = (float *)x.p + first * x.stride;
	y.p = ck_buf(k, n * y.stride * sizeof(float));
	if (new->matmul(ck_ctx(k, new, 1), &c->w, &x, c->prec, &y) != 0)
		return;
	for (i = 0; i < n; i++)
		ck_same(k, (float *)c->got.p + (first + i) * y.stride,
		    (float *)y.p + i * y.stride, y.cols * sizeof(float),
		    "%s: token %zu alone", c->what, first + i);
}

static void
run(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct test *c)
{
	double bound = k->bound;
	int r, s, t;

	if (c->prec == SQ_PREC_F32 && c->q.codes == NULL)
		k->bound = f32_bound(c->w.cols);
	set_magnitudes(k, ref, c);
	r = product(ref, ck_ref(k, ref), c, &c->want);
	for (t = 0; t < CK_CTXS; t++) {
		ck_clear(c->got.p, c->bytes);
		s = product(new, ck_ctx(k, new, t), c, &c->got);
		if (!ck_ret(k, r, s, "%s", c->what)) {
			ck_untouched(k, c->got.p, c->bytes, "%s", c->what);
			break;
		}
		if (t > 0)
			ck_same(k, c->want.p, c->got.p, c->bytes, "%s, %d "
			    "threads", c->what, t + 1);
		else
			ck_close(k, c->want.p, c->got.p, c->mag,
			    c->bytes / sizeof(float), "%s", c->what);
		memcpy(c->want.p, c->got.p, c->bytes);
	}
	k->bound = bound;
}

static void
set_groups(struct checker *k, struct sq_weight *w)
{
	if (w->grid == SQ_DENSE)
		return;
	w->group_rows = ck_range(k, 0, 3) > 0 ? 1 : PICK(k, outs);
	w->group_cols = PICK(k, groups);
	if (w->group_cols == 0 || w->group_cols > w->cols)
		w->group_cols = w->cols;
}

static void
check_kind(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct kind *kind, size_t m)
{
	static const uint8_t want_zeros;
	struct test c = { .w = { .grid = kind->grid, .layout = SQ_ROWS,
	    .type = kind->type, .scale_type = kind->type } };
	enum ck_kind fill = ck_range(k, 0, 2) > 0 ? CK_NORMAL :
	    (enum ck_kind)ck_range(k, 0, CK_KINDS - 1);

	c.w.rows = PICK(k, outs);
	c.w.cols = PICK(k, ins);
	c.w.zeros = kind->zeros ? &want_zeros : NULL;
	set_groups(k, &c.w);
	make_weight(k, &c.w, fill);
	make_mats(k, &c, m, fill);
	for (c.prec = SQ_PREC_F32; c.prec <= SQ_PREC_BF16; c.prec++) {
		describe(&c, fill);
		run(k, ref, new, &c);
	}
	ck_done(k);
}

/* Rows longer than what is done at a time, and all ways in which 4 bits are
 * grouped. */
static void
check_long(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct kind *kind, size_t group)
{
	static const uint8_t want_zeros;
	static const size_t some[] = { 1, 2, 4, 7, 16, 35 };
	struct test c = { .w = { .grid = kind->grid, .layout = SQ_ROWS,
	    .type = kind->type, .scale_type = kind->type, .rows = 21,
	    .group_rows = 1 } };
	size_t i;

	for (i = 0; i < N(some); i++) {
		c.w.cols = ck_range(k, 0, 2) > 0 ? 2176 : 2100;
		c.w.group_cols = group == 0 ? c.w.cols : group;
		c.w.zeros = kind->zeros ? &want_zeros : NULL;
		make_weight(k, &c.w, CK_NORMAL);
		make_mats(k, &c, some[i], CK_NORMAL);
		c.prec = ck_range(k, 0, 1) > 0 ? SQ_PREC_BF16 : SQ_PREC_F32;
		describe(&c, CK_NORMAL);
		run(k, ref, new, &c);
		ck_done(k);
	}
}

/* A token's result does not depend on the others, where both are many tokens
 * or both are few: on the host.  A device's library has more kernels than
 * these two. */
static void
check_others(struct checker *k, const struct sq_kern *new,
    enum sq_grid grid, size_t group, int zeros)
{
	static const struct {
		size_t tokens, first, n;
	} some[] = { { 700, 3, 30 }, { 700, 650, 50 }, { 7, 4, 3 }, { 2, 1, 1 },
	    { 8, 7, 1 }, { 8, 3, 4 }, { 8, 1, 2 }, { 12, 5, 7 } };
	struct test c = { .w = { .grid = grid, .layout = SQ_ROWS,
	    .scale_type = SQ_F16, .rows = 65, .cols = 544, .group_rows = 1,
	    .group_cols = group } };
	static const uint8_t want_zeros;
	size_t i;

	if (new->mem->device)
		return;
	c.w.zeros = zeros ? &want_zeros : NULL;
	make_weight(k, &c.w, CK_NORMAL);
	make_mats(k, &c, 700, CK_NORMAL);
	for (c.prec = SQ_PREC_F32; c.prec <= SQ_PREC_BF16; c.prec++)
		for (i = 0; i < N(some); i++) {
			c.x.rows = c.got.rows = some[i].tokens;
			describe(&c, CK_NORMAL);
			if (new->matmul(ck_ctx(k, new, 1), &c.w, &c.x, c.prec,
			    &c.got) == 0)
				check_alone(k, new, &c, some[i].first,
				    some[i].n);
		}
	ck_done(k);
}

/* Groups that no fast kernel knows. */
static void
check_odd_groups(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct test c = { .w = { .grid = SQ_INT4, .layout = SQ_ROWS,
	    .scale_type = SQ_F16, .rows = 33, .cols = 100, .group_rows = 1,
	    .group_cols = 40 }, .prec = SQ_PREC_F32 };

	make_weight(k, &c.w, CK_NORMAL);
	make_mats(k, &c, 5, CK_NORMAL);
	describe(&c, CK_NORMAL);
	run(k, ref, new, &c);
	ck_done(k);
}

/* Grids that are multiplied as dense weights, in several pieces. */
static void
check_dense(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const struct { enum sq_grid grid; enum sq_dtype scale; } some[] = {
		{ SQ_UINT4M, SQ_F16 }, { SQ_UINT5M, SQ_F16 },
		{ SQ_FP4, SQ_F32 }, { SQ_MXFP4, SQ_F8_E8M0 },
		{ SQ_IQ4_NL, SQ_F16 }, { SQ_Q4_K, SQ_U8 }, { SQ_Q5_K, SQ_U8 },
		{ SQ_Q6_K, SQ_I8 }, { SQ_IQ4_XS, SQ_I8 }
	};
	static const size_t rows[] = { 1, 40, 70 }, cols[] = { 256, 512, 65536 };
	struct test c;
	size_t i, j;

	for (i = 0; i < N(some); i++)
		for (j = 0; j < N(rows); j++) {
			c = (struct test){ .w = { .grid = some[i].grid,
			    .layout = SQ_ROWS, .scale_type = some[i].scale,
			    .group_rows = 1, .group_cols = 32 } };
			c.w.rows = rows[j];
			c.w.cols = i == 0 ? cols[j] : 512;
			c.w.group_cols = some[i].grid == SQ_Q6_K ? 16 : 32;
			make_weight(k, &c.w, CK_NORMAL);
			make_mats(k, &c, j == 2 ? 9 : 1 + j, CK_NORMAL);
			c.prec = j == 1 ? SQ_PREC_BF16 : SQ_PREC_F32;
			describe(&c, CK_NORMAL);
			run(k, ref, new, &c);
			ck_done(k);
		}
}

void
check_matmul(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, m, step = new == ref ? 4 : 1;

	for (i = 0; i < N(kinds); i++)
		for (m = i % step; m < N(tokens); m += step)
			check_kind(k, ref, new, &kinds[i], tokens[m]);
	for (i = 0; i < N(kinds); i++)
		for (m = 0; m < N(groups); m++)
			if (kinds[i].grid == SQ_INT4 || m == i % N(groups))
				check_long(k, ref, new, &kinds[i], groups[m]);
	check_others(k, new, SQ_INT4, 32, 0);
	check_others(k, new, SQ_INT4, 128, 1);
	check_others(k, new, SQ_INT8, 544, 0);
	check_others(k, new, SQ_INT8, 64, 1);
	check_odd_groups(k, ref, new);
	check_dense(k, ref, new);
}

/* The codes of x, which becomes what they mean; c->q: rows further apart. */
static void
make_codes(struct checker *k, const struct sq_kern *ref, struct test *c)
{
	struct sq_act a = { SQ_ACT_INT8, 0 };
	size_t stride = c->x.cols + 5;

	c->q = (struct sq_qmat){ SQ_ACT_INT8, NULL, NULL, c->x.rows,
	    c->x.cols, stride };
	c->q.codes = ck_buf(k, (c->q.rows - 1) * stride + c->q.cols);
	c->q.scale = ck_buf(k, c->q.rows * sizeof(float));
	ref->quantize_act(ck_ref(k, ref), &c->x, &a, &c->q);
	ref->dequantize_act(ck_ref(k, ref), &c->q, &c->x);
}

static void
check_codes(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, struct test *c, size_t m, enum ck_kind fill)
{
	make_weight(k, &c->w, fill);
	make_mats(k, c, m, fill);
	make_codes(k, ref, c);
	describe(c, fill);
	run(k, ref, new, c);
	ck_done(k);
}

void
check_matmul_int8(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t some[] = { 1, 2, 3, 4, 7, 8, 12, 13, 16, 33, 65 };
	static const uint8_t want_zeros;
	struct test c;
	size_t i, j, step = new == ref ? 3 : 1;

	for (i = 0; i < N(kinds); i++)
		for (j = i % step; j < N(some); j += step) {
			c = (struct test){ .w = { .grid = kinds[i].grid,
			    .layout = SQ_ROWS, .type = kinds[i].type,
			    .scale_type = kinds[i].type, .group_rows = 1 } };
			c.w.zeros = kinds[i].zeros ? &want_zeros : NULL;
			c.w.rows = PICK(k, outs);
			c.w.cols = j == 3 || j == 9 ? 2176 - ck_range(k, 0, 1)
			    * 76 : PICK(k, ins);
			set_groups(k, &c.w);
			check_codes(k, ref, new, &c, some[j], ck_range(k, 0,
			    2) > 0 ? CK_NORMAL : (enum ck_kind)ck_range(k, 0,
			    CK_KINDS - 1));
		}
	c = (struct test){ .w = { .grid = SQ_INT4, .layout = SQ_ROWS,
	    .scale_type = SQ_F16, .rows = 33, .cols = 100, .group_rows = 1,
	    .group_cols = 40 } };
	check_codes(k, ref, new, &c, 5, CK_NORMAL);
}

/* ---- several weights ---- */

#define MOST	5			/* one more than x86 does together */

struct several {
	struct test c[MOST];		/* the first one's x is that of all */
	const struct sq_weight *w[MOST];
	struct sq_mat y[MOST];
	size_t n;
};

/* As many rows as come, of the first one's columns: alike, or every other one in
 * groups of its own. */
static void
make_several(struct checker *k, const struct kind *kind, size_t m, int alike,
    struct several *s)
{
	static const uint8_t want_zeros;
	size_t cols = PICK(k, ins), i;
	struct test *c;

	for (i = 0; i < s->n; i++) {
		c = &s->c[i];
		*c = (struct test){ .w = { .grid = kind->grid,
		    .layout = SQ_ROWS, .type = kind->type,
		    .scale_type = kind->type, .cols = cols, .group_rows = 1,
		    .group_cols = i > 0 ? s->c[0].w.group_cols : 0 } };
		c->w.rows = PICK(k, outs);
		c->w.zeros = kind->zeros ? &want_zeros : NULL;
		if (i == 0 || (!alike && i % 2 > 0))
			set_groups(k, &c->w);
		make_weight(k, &c->w, CK_NORMAL);
		make_mats(k, c, m, CK_NORMAL);
		s->w[i] = &c->w;
		s->y[i] = c->got;
	}
}

/* Each has what it has alone, to the bit. */
static void
check_several(struct checker *k, const struct sq_kern *new, struct several *s,
    enum sq_prec prec)
{
	struct test *first = &s->c[0], *c;
	int codes = first->q.codes != NULL, r, t;
	size_t i;

	for (t = 0; t < CK_CTXS; t++) {
		for (i = 0; i < s->n; i++)
			ck_clear(s->y[i].p, s->c[i].bytes);
		r = codes ? new->matmul_int8_each(ck_ctx(k, new, t), s->w,
		    s->n, &first->q, s->y) : new->matmul_each(ck_ctx(k, new,
		    t), s->w, s->n, &first->x, prec, s->y);
		for (i = 0; i < s->n; i++) {
			c = &s->c[i];
			c->prec = prec;
			c->x = first->x;
			c->q = first->q;
			describe(c, CK_NORMAL);
			ck_clear(c->want.p, c->bytes);
			if (ck_ret(k, product(new, ck_ctx(k, new, t), c,
			    &c->want), r, "%zu of %zu: %s", i, s->n, c->what))
				ck_same(k, c->want.p, s->y[i].p, c->bytes,
				    "%zu of %zu: %s", i, s->n, c->what);
		}
	}
}

void
check_matmul_each(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t some[] = { 1, 2, 8, 9, 16, 17, 33 };
	struct several s;
	size_t i, j, prec;

	(void)ref;
	for (i = 0; i < N(kinds); i++)
		for (j = 0; j < N(some); j++)
			for (prec = SQ_PREC_F32; prec <= SQ_PREC_BF16;
			    prec++) {
				s.n = ck_range(k, 1, MOST);
				make_several(k, &kinds[i], some[j],
				    ck_range(k, 0, 3) > 0, &s);
				check_several(k, new, &s, (enum sq_prec)prec);
				ck_done(k);
			}
}

void
check_matmul_int8_each(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t some[] = { 1, 2, 8, 9, 16, 17, 33 };
	struct several s;
	size_t i, j;

	for (i = 0; i < N(kinds); i++)
		for (j = 0; j < N(some); j++) {
			s.n = ck_range(k, 1, MOST);
			make_several(k, &kinds[i], some[j],
			    ck_range(k, 0, 3) > 0, &s);
			make_codes(k, ref, &s.c[0]);
			check_several(k, new, &s, SQ_PREC_F32);
			ck_done(k);
		}
}
