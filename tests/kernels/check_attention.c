/*
 * Checks of attention: see checkkern.h.  The magnitudes of an output are the
 * sum of p |v|: what ref gives for the cache with the values' signs removed.
 * In SQ_PREC_F32 the bound is 1e-5.
 *
 * Rounding a score s = sum of q k moves p by a factor of exp(error), so where
 * scores are large the bound grows with the rounding of their terms.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/ckattn.h"

#define F32_BOUND	1e-5

/* Of codes in bf16, both factors of a score may be rounded. */
#define CODED_LOOSE	1.5

/* Of queries, where the bound is not loosened: in bf16 the worst of many
 * thousand outputs is then well below it. */
#define QUERY		0.7f

struct setup {
	struct sq_attn a;
	struct sq_mat q;
	float k_scale;			/* factors on standard normal */
	enum ck_kind v_kind;
	double loose;			/* allowed, in units of the bound */
	struct sq_attn_keep keep;	/* of sparse_attention */
	char what[160];
};

/* The operation that is checked: sparse where there are masks. */
static int
attend(struct sq_ctx *c, const struct sq_kern *kern, const struct setup *s,
    const struct ck_batch *b, const struct sq_mat *y)
{
	return s->keep.bits == NULL ?
	    kern->attention(c, &s->a, &b->kv, b->seq, b->nseq, &s->q, y) :
	    kern->sparse_attention(c, &s->a, &s->keep, &b->kv, b->seq,
	    b->nseq, &s->q, y);
}

/* Masks at random, but for the blocks that are always kept; or full ones. */
static void
keep_some(struct checker *k, struct setup *s, const struct ck_batch *b)
{
	size_t i, j, n, last, all = ck_range(k, 0, 4);
	uint64_t *m;

	s->keep.words = 2;
	for (i = 0; i < b->nseq; i++)
		while ((b->seq[i].pos + b->seq[i].n) / SQ_KEEP_BLOCK / 64 >=
		    s->keep.words)
			s->keep.words++;
	n = b->nseq * b->kv.heads * s->keep.words;
	s->keep.bits = m = ck_buf(k, n * sizeof(*m));
	for (i = 0; i < n; i++)
		m[i] = all == 0 ? UINT64_MAX : ck_rand(k) & ck_rand(k);
	for (i = 0; i < b->nseq * b->kv.heads; i++) {
		const struct sq_seq *q = &b->seq[i / b->kv.heads];

		last = (q->pos + q->n) / SQ_KEEP_BLOCK;
		for (j = q->pos / SQ_KEEP_BLOCK; j <= last; j++)
			m[i * s->keep.words + j / 64] |= (uint64_t)1 << j % 64;
	}
}

/* All positions that a sequence has cached; dropped pages stay NULL. */
static void
fill_cache(struct checker *k, struct ck_batch *b, const struct setup *s)
{
	const struct sq_kv *kv = &b->kv;
	size_t i, h, pos, e;
	double x[512], y[512];
	float v[512];

	for (i = 0; i < b->nseq; i++)
		for (pos = 0; pos < b->seq[i].pos + b->seq[i].n; pos++)
			for (h = 0; h < kv->heads; h++) {
				if (b->seq[i].k[pos / kv->page] == NULL)
					continue;
				ck_fill(k, v, SQ_F32, kv->dim, s->v_kind);
				for (e = 0; e < kv->dim; e++) {
					x[e] = ck_normal(k) *
					    (double)s->k_scale;
					y[e] = (double)v[e];
					ck_put(b->seq[i].k[pos / kv->page],
					    kv->type, ck_kv_index(kv, h, pos,
					    e), x[e]);
					ck_put(b->seq[i].v[pos / kv->page],
					    kv->type, ck_kv_index(kv, h, pos,
					    e), y[e]);
				}
			}
}

/* The same cache with |v| for v. */
static void
magnitudes_of(struct checker *k, const struct ck_batch *b,
    struct ck_batch *to)
{
	size_t i, p, e, n;
	void *v;

	ck_batch_copy(k, b, to);
	n = ck_page_bytes(b) / sq_dtype_size(b->kv.type);
	for (i = 0; i < b->nseq; i++)
		for (p = 0; p < ck_pages(b, i); p++) {
			if ((v = to->seq[i].v[p]) == NULL)
				continue;
			for (e = 0; e < n; e++)
				ck_put(v, b->kv.type, e,
				    fabs(ck_get(v, b->kv.type, e)));
		}
}

static double *
magnitudes(struct checker *k, const struct sq_kern *ref,
    const struct ck_batch *b, const struct setup *s)
{
	struct ck_batch m;
	struct sq_mat y = ck_mat(k, b->rows, s->q.cols, 0);
	size_t i, n = b->rows * s->q.cols;
	double *mag = malloc(n * sizeof(*mag));
	double f = s->a.prec == SQ_PREC_F32 ? F32_BOUND / k->bound : 1;

	magnitudes_of(k, b, &m);
	attend(ck_ref(k, ref), ref, s, &m, &y);
	for (i = 0; mag != NULL && i < n; i++)
		mag[i] = ((double)((float *)y.p)[i] + 0x1p-100) * f *
		    s->loose;
	return mag;
}

/* Rows that belong to no sequence. */
static void
other_rows(struct checker *k, const struct ck_batch *b,
    const struct sq_mat *y, const char *what)
{
	size_t i, row = 0;

	for (i = 0; i < b->nseq; i++) {
		for (; row < b->seq[i].row; row++)
			ck_untouched(k, ck_row(y, row), y->cols *
			    sizeof(float), "%s: row %zu", what, row);
		row += b->seq[i].n;
	}
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct ck_batch *b, struct setup *s)
{
	struct sq_mat want, got, first;
	double *mag;
	int r, n, t;

	fill_cache(k, b, s);
	want = ck_mat(k, b->rows, s->q.cols, 5);
	first = want;
	r = attend(ck_ref(k, ref), ref, s, b, &want);
	mag = magnitudes(k, ref, b, s);
	for (t = 0; t < CK_CTXS && mag != NULL; t++) {
		got = ck_mat(k, b->rows, s->q.cols, 5);
		n = attend(ck_ctx(k, new, t), new, s, b, &got);
		if (!ck_ret(k, r, n, "%s", s->what)) {
			ck_untouched(k, got.p, ck_mat_bytes(&got), "%s",
			    s->what);
			continue;
		}
		if (t == 0) {
			ck_mat_close(k, &want, &got, mag, s->what);
			ck_mat_pads(k, &got, s->what);
			other_rows(k, b, &got, s->what);
			first = got;
		}
		ck_same(k, first.p, got.p, ck_mat_bytes(&got),
		    "%s %d threads", s->what, t + 1);
	}
	free(mag);
	ck_done(k);
}

static void
name(struct setup *s, const struct ck_batch *b, const char *kind)
{
	size_t i, n;

	n = (size_t)snprintf(s->what, sizeof(s->what), "%s %s %s %zu/%zu heads"
	    " of %zu, page %zu, window %zu:", kind, sq_dtype_name(b->kv.type),
	    s->a.prec == SQ_PREC_F32 ? "f32" : "bf16", s->a.heads,
	    b->kv.heads, b->kv.dim, b->kv.page, s->a.window);
	for (i = 0; i < b->nseq && n < sizeof(s->what); i++)
		n += (size_t)snprintf(s->what + n, sizeof(s->what) - n,
		    " %zu@%zu", b->seq[i].n, b->seq[i].pos);
}

/* Queries of standard normal times a factor. */
static void
queries(struct checker *k, struct setup *s, const struct ck_batch *b,
    float scale)
{
	size_t i, j;

	s->a.scale = 1 / sqrtf((float)b->kv.dim);
	s->q = ck_mat_of(k, b->rows, s->a.heads * b->kv.dim, 7, CK_NORMAL);
	for (i = 0; i < s->q.rows; i++)
		for (j = 0; j < s->q.cols; j++)
			ck_row(&s->q, i)[j] *= scale;
}

static size_t
window_start(size_t pos, size_t window)
{
	return window == 0 || pos < window ? 0 : pos + 1 - window;
}

static void
add_seq(struct checker *k, struct ck_batch *b, const struct sq_attn *a,
    size_t n, size_t pos)
{
	ck_batch_add(k, b, n, pos, window_start(pos, a->window));
}

/* Every shape, with sequences of all kinds. */
static void
shapes(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t i, int sparse)
{
	static const enum sq_dtype types[] = { SQ_BF16, SQ_F32, SQ_F16 };
	static const size_t dims[] = { 16, 32, 48, 64, 80, 96, 128, 256, 24 };
	static const size_t groups[] = { 1, 2, 3, 4, 5, 7, 8, 12 };
	static const size_t pages[] = { 16, 64, 1, 128, 37, 32 };
	static const size_t windows[] = { 0, 0, 1, 5, 64, 100 };
	struct setup s = { .k_scale = 1, .loose = 1,
	    .v_kind = i % 7 == 0 ? CK_OUTLIER : CK_NORMAL };
	struct ck_batch b = { .kv = { types[(i + i / 9) % 3], 1 + i % 2,
	    dims[i % 9], pages[i / 2 % 6] } };

	s.a.heads = b.kv.heads * groups[i / 3 % 8];
	s.a.window = windows[i / 4 % 6];
	s.a.prec = i % 4 < 2 ? SQ_PREC_BF16 : SQ_PREC_F32;
	add_seq(k, &b, &s.a, 1, 0);
	add_seq(k, &b, &s.a, 1, ck_range(k, 1, 300));
	add_seq(k, &b, &s.a, 1, b.kv.page * ck_range(k, 1, 3) - 1);
	add_seq(k, &b, &s.a, 0, 0);
	add_seq(k, &b, &s.a, ck_range(k, 2, 12), ck_range(k, 0, 100));
	/* The reference takes its time with many wide heads. */
	add_seq(k, &b, &s.a, ck_range(k, 20, s.a.heads * b.kv.dim > 800 ? 40 :
	    90), i % 2 ? 0 : ck_range(k, 0, 100));
	queries(k, &s, &b, QUERY);
	if (sparse)
		keep_some(k, &s, &b);
	name(&s, &b, sparse ? "sparse" : "shape");
	one(k, ref, new, &b, &s);
}

/* Long enough that keys are cut into parts. */
static void
long_ones(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, int sparse)
{
	static const size_t shape[][7] = {
		/* kv heads, group, dim, page, window, n, pos */
		{ 1, 3, 64, 64, 0, 1, 3000 }, { 2, 1, 64, 16, 0, 1, 1023 },
		{ 1, 8, 128, 128, 0, 1, 1300 }, { 1, 1, 64, 64, 0, 5, 1700 },
		{ 1, 2, 48, 32, 700, 3, 2000 }, { 1, 2, 64, 64, 0, 40, 1100 },
		{ 2, 3, 16, 64, 0, 100, 0 }, { 1, 1, 64, 64, 2048, 30, 4200 },
		{ 1, 12, 32, 64, 0, 1, 2500 }, { 1, 2, 32, 64, 0, 290, 0 },
	};
	struct ck_batch b;
	struct setup s;
	size_t i;

	for (i = 0; i < 2 * sizeof(shape) / sizeof(shape[0]);
	    i += sparse ? 5 : 1) {
		const size_t *d = shape[i / 2];

		b = (struct ck_batch){ .kv = { SQ_BF16, d[0], d[2], d[3] } };
		s = (struct setup){ .k_scale = 1, .loose = 1, .a = {
		    .heads = d[0] * d[1], .window = d[4],
		    .prec = i % 2 ? SQ_PREC_F32 : SQ_PREC_BF16 } };
		add_seq(k, &b, &s.a, d[5], d[6]);
		add_seq(k, &b, &s.a, 2, 3);
		queries(k, &s, &b, QUERY);
		if (sparse)
			keep_some(k, &s, &b);
		name(&s, &b, sparse ? "sparse long" : "long");
		one(k, ref, new, &b, &s);
	}
}

/* Scores from all equal to hundreds apart. */
static void
scores(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new, size_t i)
{
	static const float scale[] = { 0, 0.01f, 4, 30, 300 };
	static const enum sq_dtype types[] = { SQ_BF16, SQ_F32, SQ_F16 };
	float f = scale[i % 5];
	struct setup s = { .k_scale = 1, .v_kind = i % CK_KINDS };
	struct ck_batch b = { .kv = { types[i / 5 % 3], 1, 64, 64 } };

	s.a.heads = i % 2 ? 2 : 6;
	s.a.prec = i / 5 % 2 ? SQ_PREC_F32 : SQ_PREC_BF16;
	/* |s| is about f and at most 8 f; a step of rounding is 2^-23 or
	 * 2^-8 of the terms */
	s.loose = 1 + (double)f * (s.a.prec == SQ_PREC_F32 ?
	    8 * 0x1p-23 / F32_BOUND * 4 : 8 * 0x1p-8 / k->bound);
	if (s.v_kind == CK_LARGE)
		s.v_kind = CK_OUTLIER;
	add_seq(k, &b, &s.a, 1, 200);
	add_seq(k, &b, &s.a, 40, 30);
	queries(k, &s, &b, f);
	name(&s, &b, "scores");
	one(k, ref, new, &b, &s);
}

/* Of large values only this is asked: finite, and no greater than the
 * greatest value. */
static void
large(struct checker *k, const struct sq_kern *new, enum sq_dtype type,
    enum sq_prec prec)
{
	struct setup s = { .k_scale = 3000, .v_kind = CK_NORMAL,
	    .a = { .heads = 4, .prec = prec } };
	struct ck_batch b = { .kv = { type, 2, 64, 64 } };
	struct sq_mat y;
	size_t i, j, bad = 0;
	int r;

	add_seq(k, &b, &s.a, 1, 700);
	add_seq(k, &b, &s.a, 50, 0);
	fill_cache(k, &b, &s);
	queries(k, &s, &b, 3000);
	y = ck_mat(k, b.rows, s.q.cols, 0);
	r = new->attention(ck_ctx(k, new, 1), &s.a, &b.kv, b.seq, b.nseq,
	    &s.q, &y);
	for (i = 0; i < b.nseq && r == 0; i++)
		for (j = 0; j < b.seq[i].n * y.cols; j++)
			bad += !(fabsf(ck_row(&y, b.seq[i].row)[j]) < 8);
	ck_true(k, bad == 0, "large scores %s: %zu values are wrong",
	    sq_dtype_name(type), bad);
	ck_done(k);
}

/* One more than the greatest of n magnitudes: about what sum p |v| is where
 * values are normal with some outliers. */
static double
most_of(const float *x, size_t n)
{
	double most = 0;
	size_t i;

	for (i = 0; i < n; i++)
		most = fmax(most, fabs((double)x[i]));
	return most + 1;
}

/* Coded caches of all kinds: what is seen as plain values, and what as
 * codes. */
static void
coded(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t i, int sparse)
{
	static const enum sq_dtype types[] = { SQ_BF16, SQ_F16, SQ_F32 };
	static const size_t dims[] = { 64, 32, 80, 128, 16, 48, 256 };
	static const size_t sinks[] = { 4, 0, 1, 70 };
	static const size_t windows[] = { 128, 0, 32, 100, 64 };
	struct setup s = { .k_scale = 1, .loose = 1 };
	struct ck_batch b = { .kv = { types[i / 2 % 3], 1 + i % 2,
	    dims[i % 7], i % 3 ? 64 : 32, .k = { 1 + i % 5, 0 },
	    .v = { i / 3 % SQ_PAGE_GRIDS, 0 }, .sink = sinks[i / 2 % 4],
	    .window = windows[i / 3 % 5] } };
	struct sq_mat want, got;
	double *m;
	size_t e;
	int r, n, t;

	b.kv.k.by_channel = i % 5 >= 3 && b.kv.window >= 32 && i % 4 < 2;
	s.a.heads = b.kv.heads * (1 + i % 4);
	s.a.window = i % 6 == 5 ? 90 : 0;
	s.a.prec = i % 4 < 2 ? SQ_PREC_BF16 : SQ_PREC_F32;
	add_seq(k, &b, &s.a, 1, 0);
	add_seq(k, &b, &s.a, 1, ck_range(k, 130, 300));
	add_seq(k, &b, &s.a, 1, i % 4 ? 40 : 2300);
	add_seq(k, &b, &s.a, ck_range(k, 20, 90), i % 2 ? 0 :
	    ck_range(k, 0, 200));
	queries(k, &s, &b, QUERY);
	if (sparse)
		keep_some(k, &s, &b);
	name(&s, &b, sparse ? "sparse coded" : "coded");
	ck_coded_fill(k, ref, &b);
	want = ck_mat(k, b.rows, s.q.cols, 5);
	r = attend(ck_ref(k, ref), ref, &s, &b, &want);
	got = want;
	m = malloc(b.rows * s.q.cols * sizeof(*m));
	for (e = 0; m != NULL && e < b.rows * s.q.cols; e++)
		m[e] = most_of(ck_row(&want, e / s.q.cols) + e % s.q.cols /
		    b.kv.dim * b.kv.dim, b.kv.dim) * (s.a.prec ==
		    SQ_PREC_F32 ? F32_BOUND / k->bound : CODED_LOOSE);
	for (t = 0; t < CK_CTXS && m != NULL; t++) {
		struct sq_mat y = ck_mat(k, b.rows, s.q.cols, 5);

		n = attend(ck_ctx(k, new, t), new, &s, &b, &y);
		if (!ck_ret(k, r, n, "%s", s.what))
			continue;
		if (t == 0) {
			ck_mat_close(k, &want, &y, m, s.what);
			other_rows(k, &b, &y, s.what);
			got = y;
		}
		ck_same(k, got.p, y.p, ck_mat_bytes(&y), "%s %d threads",
		    s.what, t + 1);
	}
	free(m);
	ck_done(k);
}

/*
 * A chunk's rows are what they are in any company: all at once, or from the
 * middle on, as after a reused prefix.
 */
static void
company(struct checker *k, const struct sq_kern *new, size_t i)
{
	static const size_t cut[] = { 64, 128, 192, 250, 255 };
	struct setup s = { .k_scale = 1, .loose = 1, .a = { .heads = 3,
	    .prec = i % 2 ? SQ_PREC_F32 : SQ_PREC_BF16 } };
	struct ck_batch b = { .kv = { SQ_BF16, 1, 64, 64 } };
	struct sq_ctx *c = ck_ctx(k, new, 1);
	struct sq_mat all, part, q;
	struct sq_seq rest;
	size_t at = cut[i % 5];
	int r;

	add_seq(k, &b, &s.a, 256, i % 3 * 512);
	fill_cache(k, &b, &s);
	queries(k, &s, &b, i % 4 ? 8 : 1);
	all = ck_mat(k, b.rows, s.q.cols, 0);
	part = ck_mat(k, b.rows, s.q.cols, 0);
	q = s.q;
	rest = b.seq[0];
	rest.pos += at;
	rest.row += at;
	rest.n -= at;
	c->batch = SQ_BATCH_CHUNK;
	r = new->attention(c, &s.a, &b.kv, b.seq, 1, &q, &all);
	if (ck_ret(k, r, new->attention(c, &s.a, &b.kv, &rest, 1, &q, &part),
	    "a chunk from %zu on", at))
		ck_same(k, ck_row(&all, rest.row), ck_row(&part, rest.row),
		    rest.n * q.cols * sizeof(float), "a chunk from %zu on",
		    at);
	c->batch = SQ_BATCH_AUTO;
	ck_done(k);
}

/* More sequences than are planned at once, or whose parts' sums fill the
 * workspace; they share their pages, so all rows must come out the same. */
static void
crowd(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t nseq, size_t pos, size_t heads, size_t group, size_t dim)
{
	struct setup s = { .k_scale = 1, .v_kind = CK_NORMAL, .loose = 1,
	    .a = { .heads = heads * group, .prec = SQ_PREC_BF16 } };
	struct ck_batch b = { .kv = { SQ_BF16, heads, dim, 64 } };
	struct sq_seq *seq = ck_buf(k, nseq * sizeof(*seq));
	struct sq_mat q, want, got;
	size_t i, wrong = 0;
	double *mag;
	int r, n;

	add_seq(k, &b, &s.a, 1, pos);
	b.seq[0].row = 0;
	b.rows = 1;
	fill_cache(k, &b, &s);
	queries(k, &s, &b, 1);
	q = ck_mat(k, nseq, s.q.cols, 0);
	got = ck_mat(k, nseq, s.q.cols, 0);
	want = ck_mat(k, 1, s.q.cols, 0);
	for (i = 0; i < nseq; i++) {
		seq[i] = b.seq[0];
		seq[i].row = i;
		memcpy(ck_row(&q, i), s.q.p, s.q.cols * sizeof(float));
	}
	r = ref->attention(ck_ref(k, ref), &s.a, &b.kv, seq, 1, &s.q, &want);
	n = new->attention(ck_ctx(k, new, 1), &s.a, &b.kv, seq, nseq, &q,
	    &got);
	mag = magnitudes(k, ref, &b, &s);
	for (i = 1; i < nseq; i++)
		wrong += memcmp(ck_row(&got, i), got.p, q.cols *
		    sizeof(float)) != 0;
	got.rows = 1;
	if (mag != NULL && ck_ret(k, r, n, "%zu sequences", nseq)) {
		ck_mat_close(k, &want, &got, mag, "one of many sequences");
		ck_true(k, wrong == 0, "%zu of %zu like sequences differ",
		    wrong, nseq);
	}
	free(mag);
	ck_done(k);
}

void
check_attention(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const enum sq_dtype types[] = { SQ_F32, SQ_F16, SQ_BF16 };
	size_t i;

	for (i = 0; i < (new == ref ? 9 : 27); i++)
		shapes(k, ref, new, i, 0);
	for (i = 0; i < (new == ref ? 5 : 15); i++)
		scores(k, ref, new, i);
	for (i = 0; i < (new == ref ? 5 : 30); i++)
		coded(k, ref, new, i, 0);
	for (i = 0; i < (new == ref ? 2 : 10); i++)
		company(k, new, i);
	for (i = 0; i < 6; i++)
		large(k, new, types[i % 3], i / 3 ? SQ_PREC_BF16 :
		    SQ_PREC_F32);
	if (new == ref)
		return;
	long_ones(k, ref, new, 0);
	crowd(k, ref, new, 9000, 0, 1, 1, 16);
	crowd(k, ref, new, 700, 513, 8, 8, 128);
}

void
check_sparse_attention(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	size_t i;

	for (i = 0; i < (new == ref ? 2 : 6); i++)
		shapes(k, ref, new, i, 1);
	for (i = 0; i < (new == ref ? 1 : 6); i++)
		coded(k, ref, new, i, 1);
	if (new != ref)
		long_ones(k, ref, new, 1);
}
