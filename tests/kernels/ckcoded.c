/* Coded caches for the checks; see ckattn.h. */
#include <string.h>

#include "kernels/kvpage.h"
#include "tests/kernels/ckattn.h"

static void *const *
pages(struct checker *k, size_t n, size_t bytes)
{
	void **p = ck_buf(k, n * sizeof(*p));
	size_t i;

	for (i = 0; i < n; i++) {
		p[i] = ck_buf(k, bytes);
		memset(p[i], 0, bytes);
	}
	return p;
}

void
ck_coded_tables(struct checker *k, struct ck_batch *b)
{
	const struct sq_kv *kv = &b->kv;
	struct sq_seq *s;
	size_t n;

	for (s = b->seq; s < b->seq + b->nseq; s++) {
		n = ck_pages(b, (size_t)(s - b->seq));
		s->k = pages(k, n, sq_page_bytes(kv, &kv->k));
		s->v = pages(k, n, sq_page_bytes(kv, &kv->v));
		if (kv->window > 0) {
			s->near_k = pages(k, n, sq_near_bytes(kv));
			s->near_v = pages(k, n, sq_near_bytes(kv));
		}
		s->sink_k = ck_buf(k, sq_sink_bytes(kv) + 64);
		s->sink_v = ck_buf(k, sq_sink_bytes(kv) + 64);
	}
}

void
ck_coded_fill(struct checker *k, const struct sq_kern *ref,
    struct ck_batch *b)
{
	struct sq_mat x, y;
	struct sq_seq all;
	size_t i;

	ck_coded_tables(k, b);
	for (i = 0; i < b->nseq; i++) {
		all = b->seq[i];
		all.n += all.pos;
		all.pos = all.row = 0;
		x = ck_mat_of(k, all.n, b->kv.heads * b->kv.dim, 0,
		    CK_NORMAL);
		y = ck_mat_of(k, all.n, x.cols, 0, CK_OUTLIER);
		ref->kv_append(ck_ref(k, ref), &b->kv, &all, 1, &x, &y);
	}
}
