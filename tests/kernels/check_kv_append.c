/* Checks of kv_append, the same bits as ref, all over the pages: see
 * checkkern.h. */
#include <stdio.h>

#include "kernels/kvpage.h"
#include "tests/kernels/ckattn.h"

static void
same_pages(struct checker *k, const struct ck_batch *a,
    const struct ck_batch *b, const char *what)
{
	size_t i, p;

	for (i = 0; i < a->nseq; i++)
		for (p = 0; p < ck_pages(a, i); p++) {
			if (a->seq[i].k[p] == NULL)
				continue;
			ck_same(k, a->seq[i].k[p], b->seq[i].k[p],
			    ck_page_bytes(a), "%s: k page %zu of %zu", what,
			    p, i);
			ck_same(k, a->seq[i].v[p], b->seq[i].v[p],
			    ck_page_bytes(a), "%s: v page %zu of %zu", what,
			    p, i);
		}
}

static void
one(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    struct ck_batch *b, enum ck_kind kind, const char *what)
{
	struct ck_batch a, c;
	struct sq_mat x, y;
	int r, s, t;

	x = ck_mat_of(k, b->rows, b->kv.heads * b->kv.dim, 3, kind);
	y = ck_mat_of(k, b->rows, x.cols, 0, kind);
	ck_row(&x, b->rows - 1)[0] = 65520;		/* infinite in F16 */
	ck_row(&y, b->rows - 1)[1] = -65519;
	ck_batch_copy(k, b, &a);
	r = ref->kv_append(ck_ref(k, ref), &a.kv, a.seq, a.nseq, &x, &y);
	for (t = 0; t < CK_CTXS; t++) {
		ck_batch_copy(k, b, &c);
		s = new->kv_append(ck_ctx(k, new, t), &c.kv, c.seq, c.nseq,
		    &x, &y);
		if (ck_ret(k, r, s, "%s", what))
			same_pages(k, &a, &c, what);
		else
			same_pages(k, b, &c, what);
	}
	ck_done(k);
}

/* All tables of two batches over coded caches, with the bytes of each page. */
static void
same_coded(struct checker *k, const struct ck_batch *a,
    const struct ck_batch *b, const char *what)
{
	const struct sq_kv *kv = &a->kv;
	size_t i, p;

	for (i = 0; i < a->nseq; i++) {
		const struct sq_seq *x = a->seq + i, *y = b->seq + i;

		for (p = 0; p < ck_pages(a, i); p++) {
			ck_same(k, x->k[p], y->k[p], sq_page_bytes(kv,
			    &kv->k), "%s: k page %zu", what, p);
			ck_same(k, x->v[p], y->v[p], sq_page_bytes(kv,
			    &kv->v), "%s: v page %zu", what, p);
			if (kv->window == 0)
				continue;
			ck_same(k, x->near_k[p], y->near_k[p],
			    sq_near_bytes(kv), "%s: near k %zu", what, p);
			ck_same(k, x->near_v[p], y->near_v[p],
			    sq_near_bytes(kv), "%s: near v %zu", what, p);
		}
		ck_same(k, x->sink_k, y->sink_k, sq_sink_bytes(kv) + 64,
		    "%s: sink k", what);
		ck_same(k, x->sink_v, y->sink_v, sq_sink_bytes(kv) + 64,
		    "%s: sink v", what);
	}
}

/* Codes: twice, so that the second time goes on where the first ended. */
static void
coded(struct checker *k, const struct sq_kern *ref, const struct sq_kern *new,
    size_t i)
{
	static const enum sq_dtype types[] = { SQ_BF16, SQ_F16, SQ_F32 };
	static const size_t dims[] = { 64, 32, 80, 16, 48, 24 };
	struct ck_batch a, c, b = { .kv = { types[i % 3], 1 + i % 3,
	    dims[i / 2 % 6], 32, .k = { 1 + i % 5, 0 },
	    .v = { (i + 2) % SQ_PAGE_GRIDS, 0 }, .sink = i % 4 * 3,
	    .window = i % 3 * 32 } };
	struct sq_mat x[2], y[2];
	int r = 0, s, t, n;

	b.kv.k.by_channel = i % 5 >= 3 && b.kv.window > 0 && i % 2;
	b.kv.v.by_channel = sq_page_grouped(b.kv.v.grid) && b.kv.window > 0 &&
	    i % 4 > 1;
	ck_batch_add(k, &b, ck_range(k, 1, 70), 0, 0);
	ck_batch_add(k, &b, ck_range(k, 1, 20), ck_range(k, 0, 2) * 32, 0);
	for (n = 0; n < 2; n++) {
		x[n] = ck_mat_of(k, b.rows, b.kv.heads * b.kv.dim, 3,
		    (i + (size_t)n) % CK_KINDS);
		y[n] = ck_mat_of(k, b.rows, x[n].cols, 0, i % CK_KINDS);
	}
	for (t = -1; t < CK_CTXS; t++) {
		c = b;
		for (n = 0; n < 2; n++)
			c.seq[n].n += 80;	/* room for the second time */
		ck_coded_tables(k, &c);
		for (n = 0, s = 0; n < 2 && s == 0; n++) {
			struct sq_seq q[2] = { c.seq[0], c.seq[1] };

			q[0].n = b.seq[0].n;
			q[1].n = b.seq[1].n;
			q[0].pos += n == 0 ? 0 : q[0].n;
			q[1].pos += n == 0 ? 0 : q[1].n;
			s = (t < 0 ? ref : new)->kv_append(t < 0 ?
			    ck_ref(k, ref) : ck_ctx(k, new, t), &c.kv, q, 2,
			    &x[n], &y[n]);
		}
		if (t < 0) {
			a = c;
			r = s;
		} else if (ck_ret(k, r, s, "codes %zu", i)) {
			same_coded(k, &a, &c, "codes");
		}
	}
	ck_done(k);
}

void
check_kv_append(struct checker *k, const struct sq_kern *ref,
    const struct sq_kern *new)
{
	static const enum sq_dtype types[] = { SQ_F32, SQ_F16, SQ_BF16 };
	static const size_t dims[] = { 2, 8, 16, 40, 64, 80, 128 };
	static const size_t pages[] = { 1, 5, 16, 64, 256 };
	struct ck_batch b;
	char what[120];
	size_t i, n, pos;

	for (i = 0; i < 3 * 7 * 5; i++) {
		b = (struct ck_batch){ .kv = { types[i % 3],
		    ck_range(k, 1, 4), dims[i % 7], pages[i % 5] } };
		do {
			n = ck_range(k, 0, 60);
			pos = ck_range(k, 0, 90);
			ck_batch_add(k, &b, n, pos, pos);
		} while (b.nseq < 3);
		snprintf(what, sizeof(what), "%s %zu heads of %zu, pages of "
		    "%zu", sq_dtype_name(b.kv.type), b.kv.heads, b.kv.dim,
		    b.kv.page);
		one(k, ref, new, &b, i % CK_KINDS, what);
	}
	for (i = 0; i < 60; i++)
		coded(k, ref, new, i);
	b = (struct ck_batch){ .kv = { SQ_BF16, 4, 64, 64 } };
	ck_batch_add(k, &b, 500, 40, 0);
	one(k, ref, new, &b, CK_NORMAL, "500 tokens");
}
