/* Checks of add and add_bias, the same bits as ref: see checkkern.h. */
#include <stdio.h>

#include "tests/kernels/ckrows.h"

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t shape, enum ck_kind kind, int bias)
{
	struct sq_mat x, y, a, b;
	size_t rows, cols, pad;
	char what[120];
	int r, s, t;

	ck_shape(k, shape, &rows, &cols, &pad);
	x = ck_mat_of(k, rows, cols, pad, kind);
	y = ck_mat_of(k, bias ? 1 : rows, cols, 1, kind);
	a = ck_mat_copy(k, &x);
	snprintf(what, sizeof(what), "%zux%zu+%zu %s", rows, cols, pad,
	    ck_kind_name(kind));
	r = bias ? ref->add_bias(ck_ref(k, ref), y.p, &a) :
	    ref->add(ck_ref(k, ref), &y, &a);
	for (t = 0; t < CK_CTXS; t++) {
		b = ck_mat_copy(k, &x);
		s = bias ? new->add_bias(ck_ctx(k, new, t), y.p, &b) :
		    new->add(ck_ctx(k, new, t), &y, &b);
		if (ck_ret(k, r, s, "%s", what))
			ck_same(k, a.p, b.p, ck_mat_bytes(&b), "%s %d threads",
			    what, t + 1);
	}
	ck_done(k);
}

static void
all(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    int bias)
{
	size_t i, kind;

	for (i = 0; i < CK_SHAPES; i++)
		for (kind = 0; kind < CK_KINDS; kind++)
			one(k, ref, new, i, kind, bias);
}

void
check_add(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	all(k, ref, new, 0);
}

void
check_add_bias(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	all(k, ref, new, 1);
}
