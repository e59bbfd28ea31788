/*
 * Added tokens: strings that are found in the text before anything else, the
 * leftmost first, of several that begin there the longest.
 *
 * The words are sorted, so those that go on with a byte are a range that a
 * binary search narrows down.  A hostile file can make each byte of a text the
 * beginning of a long way that leads nowhere: the length of words is bounded
 * when they are loaded, and the searches are counted.
 */
#include <stdlib.h>
#include <string.h>
#include <unictype.h>
#include <unistr.h>

#include "model/tok.h"

#define SEARCHES	32	/* for each byte: one or two are usual */

static int
compare(const void *pa, const void *pb)
{
	const struct sq_tok_word *a = pa, *b = pb;
	int r = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n);

	if (r == 0)
		r = (a->n > b->n) - (a->n < b->n);
	return r ? r : (a->id > b->id) - (a->id < b->id);
}

void
sq_tok_added_sort(struct sq_tok_added *set)
{
	size_t i, k = 0;
	int b;

	if (set->n > 0)
		qsort(set->word, set->n, sizeof(*set->word), compare);
	for (i = 0; i < set->n; i++) {
		if (k > 0 && set->word[k - 1].n == set->word[i].n &&
		    memcmp(set->word[k - 1].s, set->word[i].s,
		    set->word[i].n) == 0)
			free(set->word[i].s);
		else
			set->word[k++] = set->word[i];
	}
	set->n = k;
	for (i = 0, b = 0; b <= 256; b++) {
		while (i < k && (unsigned char)set->word[i].s[0] < b)
			i++;
		set->first[b] = (uint32_t)i;
	}
}

void
sq_tok_added_release(struct sq_tok_added *set)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		free(set->word[i].s);
	free(set->word);
	memset(set, 0, sizeof(*set));
}

/* The first word of lo .. hi-1 whose byte at d is c or larger. */
static size_t
narrow(const struct sq_tok_added *set, size_t lo, size_t hi, size_t d, int c)
{
	size_t mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if ((unsigned char)set->word[mid].s[d] < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The longest word at s, or NULL; *searches goes up. */
static const struct sq_tok_word *
longest(const struct sq_tok_added *set, const char *s, size_t n,
    uint64_t *searches)
{
	const struct sq_tok_word *best = NULL;
	size_t lo = set->first[(unsigned char)s[0]];
	size_t hi = set->first[(unsigned char)s[0] + 1], d;

	for (d = 1; lo < hi; d++) {
		/* the one that ends here sorts before those that go on */
		if (set->word[lo].n == d)
			best = set->word + lo++;
		if (d == n || lo == hi)
			break;
		if (set->word[lo].s[d] == s[d] &&
		    set->word[hi - 1].s[d] == s[d])
			continue;
		lo = narrow(set, lo, hi, d, (unsigned char)s[d]);
		hi = narrow(set, lo, hi, d, (unsigned char)s[d] + 1);
		++*searches;
	}
	return best;
}

static int
is_word(ucs4_t c)
{
	return uc_is_property_alphabetic(c) || uc_is_property_join_control(c) ||
	    uc_is_general_category_withtable(c, UC_CATEGORY_MASK_M |
	    UC_CATEGORY_MASK_Nd | UC_CATEGORY_MASK_Pc);
}

/* 1 when the word at from .. to touches no other word. */
static int
alone(const char *str, size_t n, size_t from, size_t to)
{
	const uint8_t *s = (const uint8_t *)str;
	ucs4_t c;

	if (u8_prev(&c, s + from, s) != NULL && is_word(c))
		return 0;
	return to == n || u8_mbtouc(&c, s + to, n - to) <= 0 || !is_word(c);
}

/* Where the white space before `to` begins; not before from. */
static size_t
space_before(const char *str, size_t from, size_t to)
{
	const uint8_t *s = (const uint8_t *)str, *p;
	ucs4_t c;

	while (to > from && (p = u8_prev(&c, s + to, s)) != NULL &&
	    uc_is_property_white_space(c))
		to = (size_t)(p - s);
	return to > from ? to : from;
}

static size_t
space_after(const char *str, size_t n, size_t to)
{
	const uint8_t *s = (const uint8_t *)str;
	ucs4_t c;
	int len;

	while (to < n && (len = u8_mbtouc(&c, s + to, n - to)) > 0 &&
	    uc_is_property_white_space(c))
		to += (size_t)len;
	return to;
}

int
sq_tok_added_run(struct sq_tok_run *r, const struct sq_tok_added *set,
    const char *s, size_t n, int (*fn)(struct sq_tok_run *, void *arg,
    const char *s, size_t n, size_t start), void *arg)
{
	const struct sq_tok_word *w;
	size_t i = 0, from, to, done = 0, spaces = 0;
	uint64_t searches = 0;

	while (set->n > 0 && i < n) {
		w = longest(set, s + i, n - i, &searches);
		if (searches > SEARCHES * (uint64_t)(i + 4096))
			return sq_fail(r->err, "the file's added tokens take "
			    "too long on this text");
		if (w == NULL) {
			i++;
			continue;
		}
		from = i;
		to = i += w->n;
		if ((w->special && !(r->flags & SQ_TOK_SPECIAL)) ||
		    (w->single && !alone(s, n, from, to)))
			continue;
		if (w->lstrip)
			from = space_before(s, done < from ? done : from,
			    from);
		/* white space is run through once, however often it is asked
		 * for: tokens can stand in it themselves */
		if (w->rstrip && to >= spaces)
			spaces = space_after(s, n, to);
		if (w->rstrip)
			to = spaces;
		if (done < from && fn(r, arg, s + done, from - done, done) < 0)
			return -1;
		if (sq_ids_add(r->out, &w->id, 1) < 0)
			return sq_fail(r->err, "out of memory");
		done = to;
	}
	return done < n ? fn(r, arg, s + done, n - done, done) : 0;
}
