/* Caches for the checks; see ckattn.h. */
#include <string.h>

#include "tests/kernels/ckattn.h"

size_t
ck_pages(const struct ck_batch *b, size_t seq)
{
	return (b->seq[seq].pos + b->seq[seq].n + b->kv.page - 1) /
	    b->kv.page;
}

size_t
ck_page_bytes(const struct ck_batch *b)
{
	return b->kv.heads * b->kv.page * b->kv.dim *
	    sq_dtype_size(b->kv.type);
}

size_t
ck_kv_index(const struct sq_kv *kv, size_t head, size_t pos, size_t i)
{
	return (head * kv->page + pos % kv->page) * kv->dim + i;
}

static void **
new_pages(struct checker *k, const struct ck_batch *b, size_t n, size_t first)
{
	void **p = ck_buf(k, n * sizeof(*p));
	size_t i, size = ck_page_bytes(b);

	for (i = 0; i < n; i++) {
		p[i] = NULL;
		if (i < first)
			continue;
		p[i] = ck_buf(k, size);
		memset(p[i], 0xff, size);
	}
	return p;
}

void
ck_batch_add(struct checker *k, struct ck_batch *b, size_t n, size_t pos,
    size_t from)
{
	struct sq_seq *s = b->seq + b->nseq++;
	size_t pages;

	s->n = n;
	s->pos = pos;
	s->row = b->rows + 1;
	b->rows = s->row + n;
	pages = ck_pages(b, b->nseq - 1);
	s->k = new_pages(k, b, pages, from / b->kv.page);
	s->v = new_pages(k, b, pages, from / b->kv.page);
}

static void *const *
copy_pages(struct checker *k, const struct ck_batch *b, void *const *from,
    size_t n)
{
	void **to = new_pages(k, b, n, n);
	size_t i;

	for (i = 0; i < n; i++) {
		if (from[i] == NULL)
			continue;
		to[i] = ck_buf(k, ck_page_bytes(b));
		memcpy(to[i], from[i], ck_page_bytes(b));
	}
	return to;
}

void
ck_batch_copy(struct checker *k, const struct ck_batch *from,
    struct ck_batch *to)
{
	size_t i;

	*to = *from;
	for (i = 0; i < from->nseq; i++) {
		to->seq[i].k = copy_pages(k, from, from->seq[i].k,
		    ck_pages(from, i));
		to->seq[i].v = copy_pages(k, from, from->seq[i].v,
		    ck_pages(from, i));
	}
}
