/* Checks of kv_append, the same bits as ref, all over the pages: see
 * checkkern.h. */
#include <stdio.h>

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
	b = (struct ck_batch){ .kv = { SQ_BF16, 4, 64, 64 } };
	ck_batch_add(k, &b, 500, 40, 0);
	one(k, ref, new, &b, CK_NORMAL, "500 tokens");
}
