/*
 * Byte pair encoding of a word: of all neighbouring pairs that have a merge
 * the one of lowest rank is merged, the leftmost of equal ones, until there is
 * none.
 *
 * Short words search the lowest rank again for each merge.  Long ones (a word
 * can be as long as the text) keep the symbols in a list and the pairs in a
 * heap of rank << 32 | position: O(n log n).  Pairs that are gone stay in the
 * heap and are known by their rank, which a symbol remembers of its pair.
 *
 *	symbol	id  prev  next  rank of (this, next)
 *
 * Words come again and again, so the short ones are kept in a small table that
 * lives as long as the call.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/tok.h"

#define SHORT		48	/* symbols of a word that is searched */
#define SLOTS		16384	/* words that are kept */
#define KEEP_FROM	4096	/* bytes of a text for which that pays */
#define KEY		30
#define IDS		8
#define META		"\xe2\x96\x81"	/* U+2581, SentencePiece's space */

struct symbol {
	uint32_t id, prev, next, rank;
};

struct kept {
	uint8_t len, n;
	char key[KEY];
	uint32_t id[IDS];
};

struct sq_tok_bpe {
	struct sq_ids ids;		/* the word's symbols */
	struct symbol *sym;
	uint64_t *heap;
	size_t nsym, nheap, heapcap;
	struct kept *kept;		/* NULL: none */
	struct sq_tok_buf name;		/* a word as the vocabulary has it */
};

struct sq_tok_bpe *
sq_tok_bpe_new(size_t text)
{
	struct sq_tok_bpe *b = calloc(1, sizeof(*b));

	/* without the table it is slower, not wrong */
	if (b != NULL && text >= KEEP_FROM)
		b->kept = calloc(SLOTS, sizeof(*b->kept));
	return b;
}

void
sq_tok_bpe_free(struct sq_tok_bpe *b)
{
	if (b == NULL)
		return;
	sq_ids_release(&b->ids);
	free(b->sym);
	free(b->heap);
	free(b->kept);
	sq_tok_buf_release(&b->name);
	free(b);
}

static int
no_memory(struct sq_tok_run *r)
{
	return sq_fail(r->err, "out of memory");
}

static int
push(struct sq_tok_run *r, uint32_t id)
{
	struct sq_ids *w = &r->bpe->ids;

	if (w->n < w->cap) {
		w->id[w->n++] = id;
		return 0;
	}
	return sq_ids_add(w, &id, 1) < 0 ? no_memory(r) : 0;
}

/*
 * A character that is no token: its bytes' tokens if all are there, else the
 * unknown token, which is held back (*unknown) to be fused with the next.
 */
static int
missing(struct sq_tok_run *r, const char *s, size_t n, int *unknown)
{
	const struct sq_tokenizer *t = r->t;
	size_t i = 0;

	if (t->byte_fallback)
		while (i < n && t->fallback[(unsigned char)s[i]] != SQ_TOK_NONE)
			i++;
	if (t->byte_fallback && i == n) {
		for (i = 0; i < n; i++)
			if (push(r, t->fallback[(unsigned char)s[i]]) < 0)
				return -1;
		return 0;
	}
	if (t->unk_name == NULL)
		return 0;
	if (t->unk == SQ_TOK_NONE)
		return sq_fail(r->err, "a character has no token, and neither "
		    "has unk_token '%s'", t->unk_name);
	if (*unknown && !t->fuse_unk)
		return push(r, t->unk);
	*unknown = 1;
	return 0;
}

/* The id of the character or byte at s, *n bytes long. */
static uint32_t
first_id(const struct sq_tokenizer *t, const char *s, size_t *n)
{
	*n = t->bytelevel ? 1 : sq_tok_charlen(s);
	if (*n == 1)
		return t->byte_id[(unsigned char)*s];
	return sq_tok_find_model(&t->vocab, s, *n);
}

/* The symbols that a word begins with go to r->bpe->ids. */
static int
symbols(struct sq_tok_run *r, const char *s, size_t n)
{
	const struct sq_tokenizer *t = r->t;
	size_t i, len, k;
	int unknown = 0, ret;
	uint32_t id;
	char c[2];

	r->bpe->ids.n = 0;
	for (i = 0; i < n; i += len) {
		if ((id = first_id(t, s + i, &len)) != SQ_TOK_NONE) {
			if (unknown && push(r, t->unk) < 0)
				return -1;
			unknown = 0;
			ret = push(r, id);
		} else if (t->bytelevel) {
			k = sq_tok_byte_char((unsigned char)s[i], c);
			ret = missing(r, c, k, &unknown);
		} else {
			ret = missing(r, s + i, len, &unknown);
		}
		if (ret < 0)
			return -1;
	}
	return unknown ? push(r, t->unk) : 0;
}

static size_t
merge_short(const struct sq_tok_merges *m, uint32_t *id, size_t n)
{
	uint32_t rank[SHORT];
	size_t i, at;

	for (i = 0; i + 1 < n; i++)
		rank[i] = sq_tok_rank(m, id[i], id[i + 1]);
	while (n > 1) {
		for (at = 0, i = 1; i + 1 < n; i++)
			if (rank[i] < rank[at])
				at = i;
		if (rank[at] == SQ_TOK_NONE)
			break;
		id[at] = m->made[rank[at]];
		n--;
		memmove(id + at + 1, id + at + 2,
		    (n - at - 1) * sizeof(*id));
		memmove(rank + at, rank + at + 1, (n - at) * sizeof(*rank));
		if (at > 0)
			rank[at - 1] = sq_tok_rank(m, id[at - 1], id[at]);
		if (at + 1 < n)
			rank[at] = sq_tok_rank(m, id[at], id[at + 1]);
	}
	return n;
}

/* A heap of four children each: fewer cache lines than of two. */
static void
sift_down(uint64_t *h, size_t n, size_t i)
{
	uint64_t v = h[i];
	size_t kid, least, end;

	while ((kid = 4 * i + 1) < n) {
		end = kid + 4 < n ? kid + 4 : n;
		for (least = kid++; kid < end; kid++)
			if (h[kid] < h[least])
				least = kid;
		if (h[least] >= v)
			break;
		h[i] = h[least];
		i = least;
	}
	h[i] = v;
}

static int
heap_add(struct sq_tok_run *r, uint32_t rank, size_t at)
{
	struct sq_tok_bpe *b = r->bpe;
	uint64_t v = (uint64_t)rank << 32 | at, *p;
	size_t i, up, cap;

	if (b->nheap == b->heapcap) {
		cap = b->heapcap * 2;
		if ((p = realloc(b->heap, cap * sizeof(*p))) == NULL)
			return no_memory(r);
		b->heap = p;
		b->heapcap = cap;
	}
	for (i = b->nheap++; i > 0; i = up) {
		up = (i - 1) / 4;
		if (b->heap[up] <= v)
			break;
		b->heap[i] = b->heap[up];
	}
	b->heap[i] = v;
	return 0;
}

static uint64_t
heap_take(struct sq_tok_bpe *b)
{
	uint64_t top = b->heap[0];

	b->heap[0] = b->heap[--b->nheap];
	if (b->nheap > 0)
		sift_down(b->heap, b->nheap, 0);
	return top;
}

/* The list of the word's symbols and the heap of its pairs. */
static int
long_init(struct sq_tok_run *r)
{
	const struct sq_tok_merges *m = &r->t->merges;
	struct sq_tok_bpe *b = r->bpe;
	size_t n = b->ids.n, i;
	struct symbol *y;

	if (n > b->nsym) {
		free(b->sym);
		free(b->heap);
		b->nsym = 0;
		b->sym = malloc(n * sizeof(*b->sym));
		b->heap = malloc(n * sizeof(*b->heap));
		if (b->sym == NULL || b->heap == NULL)
			return no_memory(r);
		b->nsym = b->heapcap = n;
	}
	b->nheap = 0;
	for (i = 0; i < n; i++) {
		y = b->sym + i;
		y->id = b->ids.id[i];
		y->prev = (uint32_t)(i - 1);
		y->next = i + 1 < n ? (uint32_t)(i + 1) : SQ_TOK_NONE;
		y->rank = i + 1 < n ?
		    sq_tok_rank(m, y->id, b->ids.id[i + 1]) : SQ_TOK_NONE;
		if (y->rank != SQ_TOK_NONE)
			b->heap[b->nheap++] = (uint64_t)y->rank << 32 | i;
	}
	for (i = b->nheap / 4 + 1; i-- > 0;)
		if (i < b->nheap)
			sift_down(b->heap, b->nheap, i);
	return 0;
}

/* The pair that begins at a symbol has become another one. */
static int
new_pair(struct sq_tok_run *r, uint32_t at)
{
	struct symbol *sym = r->bpe->sym, *y = sym + at;

	y->rank = y->next == SQ_TOK_NONE ? SQ_TOK_NONE :
	    sq_tok_rank(&r->t->merges, y->id, sym[y->next].id);
	return y->rank == SQ_TOK_NONE ? 0 : heap_add(r, y->rank, at);
}

static int
merge_long(struct sq_tok_run *r)
{
	struct sq_tok_bpe *b = r->bpe;
	struct symbol *y, *gone;
	uint64_t top;
	uint32_t at;
	size_t n;

	if (long_init(r) < 0)
		return -1;
	while (b->nheap > 0) {
		top = heap_take(b);
		at = (uint32_t)top;
		y = b->sym + at;
		if (y->rank != (uint32_t)(top >> 32))
			continue;
		gone = b->sym + y->next;
		y->id = r->t->merges.made[y->rank];
		y->next = gone->next;
		gone->rank = SQ_TOK_NONE;
		if (y->next != SQ_TOK_NONE)
			b->sym[y->next].prev = at;
		if ((at > 0 && new_pair(r, y->prev) < 0) ||
		    new_pair(r, at) < 0)
			return -1;
	}
	for (n = 0, at = 0; at != SQ_TOK_NONE; at = b->sym[at].next)
		b->ids.id[n++] = b->sym[at].id;
	b->ids.n = n;
	return 0;
}

/* The word's tokens go to r->bpe->ids. */
static int
encode(struct sq_tok_run *r, const char *s, size_t n)
{
	struct sq_ids *w = &r->bpe->ids;

	if (symbols(r, s, n) < 0)
		return -1;
	if (w->n > SHORT)
		return merge_long(r);
	w->n = merge_short(&r->t->merges, w->id, w->n);
	return 0;
}

/* The token that a whole word is, if any: *id. */
static int
whole(struct sq_tok_run *r, const char *s, size_t n, uint32_t *id)
{
	const struct sq_tok_vocab *v = &r->t->vocab;
	struct sq_tok_buf *name = &r->bpe->name;
	size_t i, k;
	char c[2];

	*id = SQ_TOK_NONE;
	if (n > v->longest)
		return 0;
	if (!r->t->bytelevel) {
		*id = sq_tok_find_model(v, s, n);
		return 0;
	}
	name->n = 0;
	for (i = 0; i < n; i++) {
		k = sq_tok_byte_char((unsigned char)s[i], c);
		if (sq_tok_add(name, c, k, r->err) < 0)
			return -1;
	}
	*id = sq_tok_find_model(v, name->s, name->n);
	return 0;
}

static int
give(struct sq_tok_run *r, const uint32_t *id, size_t n)
{
	return sq_ids_add(r->out, id, n) < 0 ? no_memory(r) : 0;
}

static int
word(struct sq_tok_run *r, const char *s, size_t n)
{
	const struct sq_ids *w = &r->bpe->ids;
	struct kept *k = NULL;
	uint32_t id = SQ_TOK_NONE;

	if (r->bpe->kept != NULL && n <= KEY) {
		k = r->bpe->kept + XXH3_64bits(s, n) % SLOTS;
		if (k->len == n && memcmp(k->key, s, n) == 0)
			return give(r, k->id, k->n);
	}
	if (r->t->ignore_merges && whole(r, s, n, &id) < 0)
		return -1;
	if (id != SQ_TOK_NONE)
		return give(r, &id, 1);
	if (encode(r, s, n) < 0 || give(r, w->id, w->n) < 0)
		return -1;
	if (k != NULL && w->n <= IDS) {
		k->len = (uint8_t)n;
		k->n = (uint8_t)w->n;
		memcpy(k->key, s, n);
		memcpy(k->id, w->id, w->n * sizeof(*w->id));
	}
	return 0;
}

/*
 * Where no token goes on with U+2581 after another character, no merge crosses
 * that place: the parts of a text are encoded alone, as words are.
 */
int
sq_tok_bpe_run(struct sq_tok_run *r, const char *s, size_t n)
{
	size_t len = sizeof(META) - 1, from = 0, i;

	for (i = 1; r->t->cut && i < n; i++) {
		if (s[i] != META[0] || n - i < len ||
		    memcmp(s + i, META, len) != 0 ||
		    (i >= len && memcmp(s + i - len, META, len) == 0))
			continue;
		if (word(r, s + from, i - from) < 0)
			return -1;
		from = i;
	}
	return word(r, s + from, n - from);
}
