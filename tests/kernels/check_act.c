/* Checks of quantize_act and dequantize_act, the same bits as ref: see
 * checkkern.h.  ref itself is held against its property: no value is further
 * from its code than half a step. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "tests/kernels/ckrows.h"

struct shape {
	size_t rows, cols, pad;
	enum sq_act_kind type;
	enum ck_kind kind;
	char what[120];
};

static struct sq_qmat
codes(struct checker *k, const struct shape *s)
{
	struct sq_qmat q = { s->type, NULL, NULL, s->rows, s->cols,
	    s->cols + s->pad };

	q.codes = ck_buf(k, (q.rows - 1) * q.stride + q.cols);
	q.scale = ck_buf(k, q.rows * sizeof(float));
	return q;
}

static int
same_codes(struct checker *k, const struct sq_qmat *a,
    const struct sq_qmat *b, const char *what)
{
	return ck_same(k, a->codes, b->codes, (a->rows - 1) * a->stride +
	    a->cols, "%s codes", what) && ck_same(k, a->scale, b->scale,
	    a->rows * sizeof(float), "%s scales", what);
}

/* Of a row with a scale of its own: nothing is clamped. */
static void
is_near(struct checker *k, const struct sq_mat *x, const struct sq_qmat *q,
    const char *what)
{
	size_t i, j;
	double v, step, s;

	for (i = 0; i < q->rows; i++)
		for (j = 0; j < q->cols && q->scale[i] > 0x1p-120f; j++) {
			v = ck_row(x, i)[j];
			s = q->scale[i];
			step = q->kind == SQ_ACT_INT8 ? s :
			    fmax(fabs(v) / 8, s * 0x1p-9);
			v -= s * (q->kind == SQ_ACT_FP8 ? sq_e4m3_to_f32(
			    q->codes[i * q->stride + j]) :
			    (int8_t)q->codes[i * q->stride + j]);
			if (fabs(v) > step * 0.50001)
				ck_true(k, 0, "%s: row %zu, column %zu is %g "
				    "away", what, i, j, v);
		}
}

static void
quantize(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct shape *s, float scale)
{
	struct sq_mat x = ck_mat_of(k, s->rows, s->cols, s->pad, s->kind);
	struct sq_qmat a = codes(k, s), b;
	struct sq_act act = { s->type, scale };
	int r, t, e;

	r = ref->quantize_act(ck_ref(k, ref), &x, &act, &a);
	if (r == 0 && scale == 0)
		is_near(k, &x, &a, s->what);
	for (t = 0; t < CK_CTXS; t++) {
		b = codes(k, s);
		e = new->quantize_act(ck_ctx(k, new, t), &x, &act, &b);
		if (ck_ret(k, r, e, "%s", s->what))
			same_codes(k, &a, &b, s->what);
	}
	ck_done(k);
}

static void
dequantize(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, const struct shape *s)
{
	struct sq_qmat q = codes(k, s);
	struct sq_mat a = ck_mat(k, s->rows, s->cols, s->pad), b;
	size_t i;
	int r, t, e;

	ck_bytes(k, q.codes, (q.rows - 1) * q.stride + q.cols);
	for (i = 0; s->type == SQ_ACT_FP8 && i < (q.rows - 1) * q.stride +
	    q.cols; i++)
		if ((q.codes[i] & 0x7f) == 0x7f)
			q.codes[i] = 1;		/* NaN is no code of ours */
	ck_fill(k, q.scale, SQ_F32, q.rows, CK_NORMAL);
	r = ref->dequantize_act(ck_ref(k, ref), &q, &a);
	for (t = 0; t < CK_CTXS; t++) {
		b = ck_mat(k, s->rows, s->cols, s->pad);
		e = new->dequantize_act(ck_ctx(k, new, t), &q, &b);
		if (ck_ret(k, r, e, "%s", s->what))
			ck_same(k, a.p, b.p, ck_mat_bytes(&a), "%s %d threads",
			    s->what, t + 1);
	}
	ck_done(k);
}

static struct shape
shape_of(struct checker *k, size_t i, int type, int kind)
{
	struct shape s = { .type = (enum sq_act_kind)type,
	    .kind = (enum ck_kind)kind };

	ck_shape(k, i, &s.rows, &s.cols, &s.pad);
	snprintf(s.what, sizeof(s.what), "%s %zux%zu+%zu %s",
	    sq_act_name(s.type), s.rows, s.cols, s.pad, ck_kind_name(s.kind));
	return s;
}

/* 2.54 is 127 steps of .02; .05 is 2.5 of them and goes to 2; 3 is clamped
 * to the end of the type, which is one step further below than above. */
static void
known_answer(struct checker *k, const struct sq_kern *new)
{
	static const int8_t want[5] = { 127, -1, 2, -128, 0 };
	float x[5] = { 2.54f, -0.02f, 0.05f, -3, 0 }, s;
	struct sq_act a = { SQ_ACT_INT8, 0.02f };
	uint8_t u[5];
	struct sq_mat m = { x, SQ_F32, 1, 5, 5 };
	struct sq_qmat q = { SQ_ACT_INT8, u, &s, 1, 5, 5 };

	if (ck_ret(k, 0, new->quantize_act(ck_ctx(k, new, 0), &m, &a, &q),
	    "known answer"))
		ck_same(k, want, u, 5, "known answer");
}

void
check_quantize_act(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i;
	int type, kind;
	struct shape s;

	known_answer(k, new);
	for (i = 0; i < CK_SHAPES; i++)
		for (type = SQ_ACT_INT8; type < SQ_ACTS; type++)
			for (kind = 0; kind < CK_KINDS; kind++) {
				s = shape_of(k, i, type, kind);
				quantize(k, ref, new, &s, 0);
				quantize(k, ref, new, &s, 0.25f);
				quantize(k, ref, new, &s, 0x1p-9f);
			}
}

void
check_dequantize_act(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i;
	int type;
	struct shape s;

	for (i = 0; i < CK_SHAPES; i++)
		for (type = SQ_ACT_INT8; type < SQ_ACTS; type++) {
			s = shape_of(k, i, type, CK_NORMAL);
			dequantize(k, ref, new, &s);
		}
}
