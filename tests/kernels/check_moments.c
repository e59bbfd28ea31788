/* Checks of moments: see checkkern.h. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/bins.h"
#include "tests/kernels/checkkern.h"

/* One set of moments in one buffer, so that it can be compared whole. */
struct set {
	struct sq_moments m;
	void *p;
	size_t bytes;
};

static void
set_init(struct checker *k, struct set *s, size_t cols)
{
	size_t i;

	s->bytes = cols * 2 * (sizeof(float) + sizeof(double)) +
	    SQ_BINS * sizeof(uint64_t);
	if (s->p == NULL)
		s->p = ck_buf(k, s->bytes);
	memset(s->p, 0, s->bytes);
	s->m.hist = s->p;
	s->m.sum = (double *)(s->m.hist + SQ_BINS);
	s->m.abssum = s->m.sum + cols;
	s->m.min = (float *)(s->m.abssum + cols);
	s->m.max = s->m.min + cols;
	for (i = 0; i < cols; i++) {
		s->m.min[i] = FLT_MAX;
		s->m.max[i] = -FLT_MAX;
	}
}

static void
run_case(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t rows, size_t cols, enum ck_kind kind)
{
	struct sq_mat x = { NULL, SQ_F32, rows, cols, cols + 5 };
	size_t n = (rows - 1) * x.stride + cols;
	struct set a = { .p = NULL }, b = { .p = NULL };
	char what[80];
	int r, s, t;

	x.p = ck_buf(k, n * sizeof(float));
	ck_fill(k, x.p, SQ_F32, n, kind);
	set_init(k, &a, cols);
	snprintf(what, sizeof(what), "%zux%zu %s", rows, cols,
	    ck_kind_name(kind));
	r = ref->moments(ck_ref(k, ref), &x, &a.m);
	for (t = 0; t < CK_CTXS; t++) {
		set_init(k, &b, cols);
		s = new->moments(ck_ctx(k, new, t), &x, &b.m);
		if (ck_ret(k, r, s, "%s", what))
			ck_same(k, a.p, b.p, a.bytes, "%s", what);
	}
	ck_done(k);
}

/* The bins by their definition: [2^((i-1)/4 - 32), 2^(i/4 - 32)). */
static void
check_bins(struct checker *k)
{
	double l;
	float x;
	int i;

	for (i = 0; i < 20000; i++) {
		x = (float)(ck_normal(k) * exp2(ck_uniform(k) * 72 - 38));
		l = floor(4 * (log2(fabs((double)x)) + 32)) + 1;
		l = l < 1 ? 0 : l > 255 ? 255 : l;
		ck_true(k, sq_bin(x) == (unsigned)l, "bin of %a", (double)x);
	}
	ck_true(k, sq_bin(0) == 0 && sq_bin(0x1p-32f) == 1 &&
	    sq_bin(-1) == 129 && sq_bin(FLT_MAX) == 255, "bins of the ends");
}

void
check_moments(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const size_t cols[] = { 16, 32, 240, 256, 272, 768, 7 };
	size_t i, j;

	check_bins(k);
	for (i = 0; i < sizeof(cols) / sizeof(cols[0]); i++)
		for (j = 0; j < CK_KINDS; j++)
			run_case(k, ref, new, ck_range(k, 1, 70), cols[i],
			    (enum ck_kind)j);
}
