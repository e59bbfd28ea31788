/* Checks of product and panels; see checkkern.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/panels.h"
#include "tests/kernels/checkkern.h"

static const enum sq_dtype types[] = { SQ_F32, SQ_BF16, SQ_F16 };
static const size_t sides[] = {
	1, 3, 4, 8, 15, 16, 17, 31, 32, 33, 48, 65, 100, 130, 300
};
static const size_t deeps[] = {
	1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 257, 512, 700, 1024, 1100, 2050
};

#define N(a)	(sizeof(a) / sizeof((a)[0]))
#define PICK(k, a)	((a)[ck_range(k, 0, N(a) - 1)])

struct test {
	struct sq_operand a, b, laid;	/* laid: b in panels */
	struct sq_mat want, got, first;
	size_t bytes, k;
	double *mag;
	enum sq_prec prec;
	int add;
	char what[120];
};

/* rows x cols as they are meant. */
static struct sq_operand
factor(struct checker *k, size_t rows, size_t cols, enum ck_kind kind)
{
	struct sq_operand f = { .lay = ck_range(k, 0, 1) > 0 ? SQ_TURNED :
	    SQ_AS_IS };
	size_t i;

	f.m.type = PICK(k, types);
	f.m.rows = f.lay == SQ_TURNED ? cols : rows;
	f.m.cols = f.lay == SQ_TURNED ? rows : cols;
	f.m.stride = f.m.cols + ck_range(k, 0, 3);
	f.m.p = ck_buf(k, ((f.m.rows - 1) * f.m.stride + f.m.cols) *
	    sq_dtype_size(f.m.type));
	for (i = 0; i < f.m.rows; i++)
		ck_fill(k, (char *)f.m.p + i * f.m.stride *
		    sq_dtype_size(f.m.type), f.m.type, f.m.cols, kind);
	return f;
}

static double
value(const struct sq_operand *f, size_t i, size_t j)
{
	size_t at = f->lay == SQ_TURNED ? j * f->m.stride + i :
	    i * f->m.stride + j;

	return fabs(ck_get(f->m.p, f->m.type, at));
}

/* The magnitudes that enter; bf16 products may take denormals for 0, and sums
 * in float32 may lose them: see check_matmul.c. */
static void
set_magnitudes(struct checker *k, struct test *c)
{
	double tiny = (c->prec == SQ_PREC_F32 ? 0x1p-149 : 0x1p-126) /
	    k->bound, a, b, sum;
	size_t i, j, n, at;

	for (i = 0; i < c->want.rows; i++)
		for (j = 0; j < c->want.cols; j++) {
			at = i * c->want.stride + j;
			sum = c->add ? fabs((double)((float *)
			    c->first.p)[at]) : 0;
			for (n = 0; n < c->k; n++) {
				a = value(&c->a, i, n);
				b = value(&c->b, n, j);
				sum += a * b + tiny * (1 + a + b);
			}
			c->mag[at] = sum;
		}
}

static void
set_panels(struct checker *k, const struct sq_kern *ref, struct test *c)
{
	c->laid = c->b;
	if (ck_range(k, 0, 1) > 0)
		return;
	c->laid.lay = SQ_PANELS;
	c->laid.m = (struct sq_mat){ NULL, sq_panel_type(c->prec), c->k,
	    c->want.cols, c->want.cols };
	c->laid.m.p = ck_buf(k, sq_panel_bytes(c->k, c->want.cols,
	    c->laid.m.type));
	ref->panels(ck_ref(k, ref), &c->b, &c->laid.m);
}

static void
make(struct checker *k, const struct sq_kern *ref, struct test *c, size_t m,
    enum ck_kind kind)
{
	size_t n = PICK(k, sides), i;

	c->k = PICK(k, deeps);
	c->a = factor(k, m, c->k, kind);
	c->b = factor(k, c->k, n, CK_NORMAL);
	c->want = (struct sq_mat){ NULL, SQ_F32, m, n, n + ck_range(k, 0, 3) };
	c->bytes = ((m - 1) * c->want.stride + n) * sizeof(float);
	c->got = c->first = c->want;
	c->want.p = ck_buf(k, c->bytes);
	c->got.p = ck_buf(k, c->bytes);
	c->first.p = ck_buf(k, c->bytes);
	c->mag = ck_buf(k, c->bytes / sizeof(float) * sizeof(double));
	memset(c->mag, 0, c->bytes / sizeof(float) * sizeof(double));
	for (i = 0; i < m && c->add; i++)
		ck_fill(k, (float *)c->first.p + i * c->first.stride, SQ_F32,
		    n, CK_NORMAL);
	set_panels(k, ref, c);
	snprintf(c->what, sizeof(c->what), "%zux%zux%zu %s%s %s%s%s%s %s, %s",
	    m, c->k, n, sq_dtype_name(c->a.m.type), c->a.lay == SQ_TURNED ?
	    " turned" : "", sq_dtype_name(c->b.m.type), c->b.lay == SQ_TURNED ?
	    " turned" : "", c->laid.lay == SQ_PANELS ? " panels" : "",
	    c->add ? " added" : "", c->prec == SQ_PREC_F32 ? "f32" : "bf16",
	    ck_kind_name(kind));
}

static void
run(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct test *c)
{
	double bound = k->bound;
	int r, s, t;

	if (c->prec == SQ_PREC_F32)
		k->bound = (double)(c->k + 4) * 0x1p-23;
	set_magnitudes(k, c);
	memcpy(c->want.p, c->first.p, c->bytes);
	r = ref->product(ck_ref(k, ref), &c->a, &c->laid, c->prec, c->add,
	    &c->want);
	for (t = 0; t < CK_CTXS; t++) {
		memcpy(c->got.p, c->first.p, c->bytes);
		s = new->product(ck_ctx(k, new, t), &c->a, &c->laid, c->prec,
		    c->add, &c->got);
		if (!ck_ret(k, r, s, "%s", c->what)) {
			ck_same(k, c->first.p, c->got.p, c->bytes, "%s",
			    c->what);
			break;
		}
		if (t > 0)
			ck_same(k, c->want.p, c->got.p, c->bytes,
			    "%s, %d threads", c->what, t + 1);
		else
			ck_close(k, c->want.p, c->got.p, c->mag,
			    c->bytes / sizeof(float), "%s", c->what);
		memcpy(c->want.p, c->got.p, c->bytes);
	}
	k->bound = bound;
	ck_done(k);
}

void
check_product(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i, j, step = new == ref ? 4 : 1;
	struct test c;

	for (i = 0; i < N(sides); i += step)
		for (j = 0; j < 8; j++) {
			c = (struct test){ .add = j % 2, .prec = j / 2 % 2 ?
			    SQ_PREC_F32 : SQ_PREC_BF16 };
			make(k, ref, &c, sides[i], j < 6 ? CK_NORMAL :
			    (enum ck_kind)ck_range(k, 0, CK_KINDS - 1));
			run(k, ref, new, &c);
		}
}

void
check_panels(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	struct sq_operand b;
	struct sq_mat to;
	size_t i, bytes;
	char *want, *got;
	int r, s, t;

	for (i = 0; i < 4 * N(sides); i++) {
		b = factor(k, PICK(k, deeps), sides[i % N(sides)],
		    (enum ck_kind)(i % CK_KINDS));
		to = (struct sq_mat){ NULL, i & 1 ? SQ_BF16 : SQ_F32,
		    sq_operand_rows(&b), sq_operand_cols(&b), 0 };
		bytes = sq_panel_bytes(to.rows, to.cols, to.type);
		want = to.p = ck_buf(k, bytes);
		r = ref->panels(ck_ref(k, ref), &b, &to);
		got = to.p = ck_buf(k, bytes);
		for (t = 0; t < CK_CTXS; t++) {
			ck_clear(got, bytes);
			s = new->panels(ck_ctx(k, new, t), &b, &to);
			if (ck_ret(k, r, s, "%zux%zu", to.rows, to.cols))
				ck_same(k, want, got, bytes, "%zux%zu %s%s, %d "
				    "threads", to.rows, to.cols,
				    sq_dtype_name(b.m.type), b.lay ==
				    SQ_TURNED ? " turned" : "", t + 1);
		}
		ck_done(k);
	}
}
