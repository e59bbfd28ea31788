/*
 * The vocabulary and the merges: two hash tables with open addressing.  Their
 * hashes are seeded anew in each process, so that a file cannot be made to
 * collide; nothing that comes out depends on the seed.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "model/tok.h"

/* Slots for count entries, at most half full, less one. */
static size_t
mask_for(size_t count)
{
	size_t n = 16;

	while (n < count * 2)
		n *= 2;
	return n - 1;
}

static uint64_t
new_seed(void)
{
	uint64_t seed = 0;

	/* where the kernel has none to give, the tables work all the same */
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = 0x2545f4914f6cdd1du;
	return seed;
}

int
sq_tok_vocab_init(struct sq_tok_vocab *v, size_t n, size_t count, char *err)
{
	v->n = n;
	v->mask = mask_for(count);
	v->seed = new_seed();
	v->entry = calloc(n ? n : 1, sizeof(*v->entry));
	v->slot = calloc(v->mask + 1, sizeof(*v->slot));
	if (v->entry == NULL || v->slot == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

void
sq_tok_vocab_release(struct sq_tok_vocab *v)
{
	sq_tok_buf_release(&v->text);
	free(v->entry);
	free(v->slot);
	memset(v, 0, sizeof(*v));
}

/* The slot of a string, or the empty one where it belongs. */
static size_t
probe(const struct sq_tok_vocab *v, const char *s, size_t n)
{
	size_t i = XXH3_64bits_withSeed(s, n, v->seed) & v->mask;
	const struct sq_tok_entry *e;

	for (; v->slot[i] != 0; i = (i + 1) & v->mask) {
		e = v->entry + v->slot[i] - 1;
		if (e->len == n && memcmp(v->text.s + e->off, s, n) == 0)
			break;
	}
	return i;
}

int
sq_tok_vocab_add(struct sq_tok_vocab *v, uint32_t id, const char *s, size_t n,
    uint8_t flags, char *err)
{
	struct sq_tok_entry *e = v->entry + id;
	size_t i = probe(v, s, n);

	if (v->slot[i] != 0 && v->slot[i] != id + 1)
		return sq_fail(err, "token '%s': ids %u and %u", s,
		    v->slot[i] - 1, id);
	if (v->slot[i] == 0) {
		if (e->flags & TOK_USED)
			return sq_fail(err, "id %u: tokens '%s' and '%s'", id,
			    v->text.s + e->off, s);
		e->off = (uint32_t)v->text.n;
		e->len = (uint32_t)n;
		/* with a zero after it */
		if (sq_tok_add(&v->text, s, n + 1, err) < 0)
			return -1;
		v->slot[i] = id + 1;
		if (n > v->longest)
			v->longest = n;
	}
	e->flags |= flags | TOK_USED;
	return 0;
}

uint32_t
sq_tok_find(const struct sq_tok_vocab *v, const char *s, size_t n)
{
	uint32_t got = v->slot[probe(v, s, n)];

	return got == 0 ? SQ_TOK_NONE : got - 1;
}

uint32_t
sq_tok_find_model(const struct sq_tok_vocab *v, const char *s, size_t n)
{
	uint32_t id = sq_tok_find(v, s, n);

	return id != SQ_TOK_NONE && (v->entry[id].flags & TOK_MODEL) ?
	    id : SQ_TOK_NONE;
}

int
sq_tok_merges_init(struct sq_tok_merges *m, size_t n, char *err)
{
	size_t i;

	m->mask = mask_for(n);
	m->seed = new_seed();
	m->slot = malloc((m->mask + 1) * sizeof(*m->slot));
	m->made = malloc((n ? n : 1) * sizeof(*m->made));
	if (m->slot == NULL || m->made == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0; i <= m->mask; i++) {
		m->slot[i].pair = UINT64_MAX;
		m->slot[i].rank = SQ_TOK_NONE;
	}
	return 0;
}

void
sq_tok_merges_release(struct sq_tok_merges *m)
{
	free(m->slot);
	free(m->made);
	memset(m, 0, sizeof(*m));
}

void
sq_tok_merges_add(struct sq_tok_merges *m, uint32_t left, uint32_t right,
    uint32_t made)
{
	uint64_t pair = (uint64_t)left << 32 | right;
	size_t i = sq_tok_merge_hash(m, pair) & m->mask;

	while (m->slot[i].pair != pair && m->slot[i].rank != SQ_TOK_NONE)
		i = (i + 1) & m->mask;
	m->slot[i].pair = pair;
	m->slot[i].rank = (uint32_t)m->n;
	m->made[m->n++] = made;
}
