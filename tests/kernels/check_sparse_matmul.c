/*
 * Checks of sparse_matmul: see checkkern.h.  Weights are masked at random, laid
 * out, and held against the product of the same weight in rows.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/sparse.h"
#include "tests/kernels/checkkern.h"
#include "tests/kernels/ckweight.h"

static const struct kind {
	enum sq_grid grid;
	enum sq_dtype type;
	int zeros;
} kinds[] = {
	{ SQ_DENSE, SQ_BF16, 0 }, { SQ_INT8, SQ_F16, 0 },
	{ SQ_INT8, SQ_F32, 1 }, { SQ_INT4, SQ_F16, 0 },
	{ SQ_INT4, SQ_BF16, 1 }, { SQ_DENSE, SQ_F32, 0 },
	{ SQ_DENSE, SQ_F16, 0 },
};
static const char *const patterns[] = {
	"2:4", "1:4", "4:8", "1:8", "2:8", "64x64", "32x32", "1x16", "4x48",
	"33x32", "128x64"
};
static const size_t tokens[] = { 1, 2, 3, 4, 7, 12, 13, 17, 50, 130 };
static const size_t outs[] = { 1, 2, 15, 16, 33, 64, 100, 130 };
static const size_t ins[] = { 16, 32, 100, 128, 160, 256, 544, 700, 1120 };
static const size_t groups[] = { 32, 64, 128, 0 };

#define N(a)	(sizeof(a) / sizeof((a)[0]))
#define PICK(k, a)	((a)[ck_range(k, 0, N(a) - 1)])

struct test {
	struct sq_weight rows, w;
	struct sq_mat x, want, got;
	size_t bytes;			/* of want and of got */
	double *mag;
	enum sq_prec prec;
	char what[120];
};

/* Keeps what the pattern lets it, rarely less, and now and then nothing. */
static void
make_mask(struct checker *k, struct sq_mask *m)
{
	size_t n = m->pattern.n, run = m->pattern.m, r, c, i, j, last;
	int all = ck_range(k, 0, 9) > 0;

	memset(m->bits, 0, m->rows * sq_mask_row(m));
	if (m->pattern.kind == SQ_MASK_BLOCKS) {
		for (r = 0; r < m->rows; r++)
			for (c = 0; c < m->cols; c++)
				sq_mask_set(m, r, c, r % n + c % run == 0 ?
				    (int)(ck_rand(k) & 1) & all : r % n == 0 ?
				    sq_mask_get(m, r, c - 1) :
				    sq_mask_get(m, r - 1, c));
		return;
	}
	for (r = 0; r < m->rows; r++)
		for (c = 0; c < m->cols; c += run) {
			last = m->cols - c < run ? m->cols - c : run;
			for (i = 0; i < n && all; i++) {
				j = ck_range(k, 0, last - 1);
				if (n == 1 || ck_range(k, 0, 9) > 0)
					sq_mask_set(m, r, c + j, 1);
			}
		}
}

/* What the mask drops becomes 0; a zero point that is no code, one. */
static void
drop(struct sq_weight *w, const struct sq_mask *m)
{
	size_t bits = sq_sparse_bits(w), row = bits == 4 ?
	    sq_row_bytes(w->cols, 4) : w->cols * bits / 8, r, c, g;
	uint8_t *zeros = (uint8_t *)(uintptr_t)w->zeros, *p, z;

	if (zeros != NULL)
		for (g = 0; g < ck_groups(w); g++)
			zeros[g] &= (1u << bits) - 1;
	for (r = 0; r < w->rows; r++)
		for (c = 0; c < w->cols; c++) {
			if (sq_mask_get(m, r, c))
				continue;
			p = (uint8_t *)(uintptr_t)w->data + r * row +
			    c * bits / 8;
			z = w->grid == SQ_DENSE ? 0 : (uint8_t)(1u <<
			    (bits - 1));
			if (zeros != NULL)
				z = zeros[r / w->group_rows * sq_groups_across(
				    w->cols, w->group_cols) + c /
				    w->group_cols];
			if (bits == 4)
				*p = (uint8_t)((*p & (c % 2 ? 15 : 240)) |
				    z << 4 * (c % 2));
			else
				memset(p, z, bits / 8);
		}
}

/* 0 when the pattern has a layout. */
static int
make_weight(struct checker *k, struct test *c, const struct sq_sparse *p,
    enum ck_kind fill)
{
	struct sq_mask m;
	size_t kept;
	char err[SQ_ERR];
	void *values, *index;
	int r;

	ck_weight(k, &c->rows, fill);
	if (sq_mask_init(&m, p, c->rows.rows, c->rows.cols, err) < 0)
		abort();
	make_mask(k, &m);
	drop(&c->rows, &m);
	r = sq_sparse_plan(&c->rows, &m, &c->w, &kept);
	if (ck_true(k, r == 0, "%s", c->what)) {
		values = ck_buf(k, sq_sparse_values(&c->w, kept));
		/* its numbers are of 4 and 2 bytes: the buffer's start, too */
		index = ck_buf(k, (sq_sparse_index(&c->w, kept) + 3) / 4 * 4);
		sq_sparse_pack(&c->rows, &m, &c->w, kept, values, index);
		c->w.data = values;
		c->w.index = index;
		ck_true(k, sq_sparse_check(&c->w, sq_sparse_values(&c->w,
		    kept), sq_sparse_index(&c->w, kept), err) == 0, "%s: %s",
		    c->what, err);
	}
	sq_mask_release(&m);
	return r;
}

static void
make_mats(struct checker *k, struct test *c, size_t m, enum ck_kind fill)
{
	size_t in = c->w.cols, out = c->w.rows, i;

	c->x = (struct sq_mat){ NULL, SQ_F32, m, in, in + 3 };
	c->x.p = ck_buf(k, ((m - 1) * c->x.stride + in) * sizeof(float));
	for (i = 0; i < m; i++)
		ck_fill(k, (float *)c->x.p + i * c->x.stride, SQ_F32, in, fill);
	c->want = (struct sq_mat){ NULL, SQ_F32, m, out, out + 5 };
	c->bytes = ((m - 1) * c->want.stride + out) * sizeof(float);
	c->got = c->want;
	c->want.p = ck_buf(k, c->bytes);
	c->got.p = ck_buf(k, c->bytes);
}

/* The sums of magnitudes, and what denormals taken for 0 may lose. */
static void
set_magnitudes(struct checker *k, const struct sq_kern *ref, struct test *c)
{
	struct sq_mat row = { NULL, SQ_F32, 1, c->w.cols, c->w.cols };
	const float *w, *x;
	size_t o, m, i;
	double s;

	w = row.p = ck_buf(k, c->w.cols * sizeof(float));
	c->mag = ck_buf(k, 2 * c->bytes);
	memset(c->mag, 0, 2 * c->bytes);
	for (o = 0; o < c->w.rows; o++) {
		ref->dequantize(ck_ref(k, ref), &c->rows, o, &row);
		for (m = 0; m < c->x.rows; m++) {
			x = (const float *)c->x.p + m * c->x.stride;
			for (s = 0, i = 0; i < c->w.cols; i++)
				s += fabs((double)w[i] * x[i]) +
				    0x1p-126 / k->bound *
				    (1 + fabs((double)w[i]) + fabs(x[i]));
			c->mag[m * c->want.stride + o] = s;
		}
	}
}

static void
run(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct test *c)
{
	double bound = k->bound;
	int r, s, t;

	if (c->prec == SQ_PREC_F32)	/* twice what sums may lose */
		k->bound = (double)(c->w.cols + 4) * 0x1p-23;
	set_magnitudes(k, ref, c);
	r = ref->matmul(ck_ref(k, ref), &c->rows, &c->x, c->prec, &c->want);
	for (t = 0; t < CK_CTXS; t++) {
		ck_clear(c->got.p, c->bytes);
		s = new->sparse_matmul(ck_ctx(k, new, t), &c->w, &c->x,
		    c->prec, &c->got);
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
check_one(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct kind *kind, const char *pattern,
    size_t m)
{
	static const uint8_t want_zeros;
	struct test c = { .rows = { .grid = kind->grid, .layout = SQ_ROWS,
	    .type = kind->type, .scale_type = kind->type,
	    .rows = PICK(k, outs), .cols = PICK(k, ins), .group_rows = 1 } };
	enum ck_kind fill = ck_range(k, 0, 2) > 0 ? CK_NORMAL :
	    (enum ck_kind)ck_range(k, 0, CK_KINDS - 1);
	struct sq_weight *w = &c.rows;
	struct sq_sparse p;

	sq_sparse_parse(&p, pattern);
	w->group_cols = PICK(k, groups);
	if (w->group_cols == 0 || w->group_cols > w->cols)
		w->group_cols = w->cols;
	w->zeros = kind->zeros ? &want_zeros : NULL;
	snprintf(c.what, sizeof(c.what), "%s %s/%s%s %zux%zu, groups of %zu, "
	    "%zu tokens, %s", pattern, sq_grid_name(w->grid),
	    sq_dtype_name(w->type), kind->zeros ? " zeros" : "", w->rows,
	    w->cols, w->group_cols, m, ck_kind_name(fill));
	if (make_weight(k, &c, &p, fill) == 0) {
		make_mats(k, &c, m, fill);
		for (c.prec = SQ_PREC_F32; c.prec <= SQ_PREC_BF16; c.prec++)
			run(k, ref, new, &c);
	}
	ck_done(k);
}

void
check_sparse_matmul(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, j, n = 0;

	for (i = 0; i < N(kinds); i++)
		for (j = 0; j < N(patterns); j++, n++)
			check_one(k, ref, new, &kinds[i], patterns[j],
			    tokens[n % N(tokens)]);
}
