/*
 * Ids to text.  The file's decoder is a list of steps over the tokens of a
 * whole text; here they run on each token as it arrives:
 *
 *	token -> REPLACE STRIP META ... -> BYTES or BYTELEVEL -> raw bytes
 *	raw bytes -> whole characters -> STRIP (after FUSE) -> out
 *
 * The list is checked when it is loaded, so that this gives the same text but
 * for two things.  Of byte tokens that are no UTF-8 the library makes one
 * U+FFFD for each byte of the whole run, which a stream cannot know; here it
 * is one for each maximal part of a character, as everywhere.  And its latest
 * versions give normalized added tokens as the normalizer left them, with a
 * space before them in Llama-2's files; here they are as they are spelled.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "model/tok.h"

void
sq_detok_init(struct sq_detok *d, const struct sq_tokenizer *t, unsigned flags)
{
	memset(d, 0, sizeof(*d));
	d->t = t;
	d->flags = flags;
}

void
sq_detok_release(struct sq_detok *d)
{
	sq_tok_buf_release(&d->raw);
	sq_tok_buf_release(&d->out);
	sq_tok_buf_release(&d->tmp);
	memset(d, 0, sizeof(*d));
}

/* How many times, at most max, the step's character stands at the end s. */
static size_t
repeats(const struct sq_tok_dec *k, const char *s, size_t n, size_t max)
{
	size_t i = 0;

	while (i < max && n - i * k->n >= k->n &&
	    memcmp(s + i * k->n, k->text, k->n) == 0)
		i++;
	return i;
}

/* The step's character, cut from both ends of a token. */
static void
strip(const struct sq_tok_dec *k, struct sq_tok_buf *b)
{
	size_t cut = repeats(k, b->s, b->n, k->start) * k->n, i;

	memmove(b->s, b->s + cut, b->n - cut);
	b->n -= cut;
	for (i = 0; i < k->stop && b->n >= k->n &&
	    memcmp(b->s + b->n - k->n, k->text, k->n) == 0; i++)
		b->n -= k->n;
}

static int
replace(struct sq_detok *d, const struct sq_tok_pat *pat, const char *text,
    size_t len, struct sq_tok_buf *b)
{
	struct sq_tok_matcher m = { 0 };
	struct sq_tok_buf out = { 0 };
	int r = pat->re == NULL ? 0 : sq_tok_matcher_init(&m, b->n, d->err);

	if (r == 0)
		r = sq_tok_replace(pat, &m, text, len, b->s, b->n, &out,
		    d->err);
	sq_tok_matcher_release(&m);
	sq_tok_buf_release(b);
	*b = out;
	return r;
}

/* The byte of a token like <0x0A>, or -1. */
static int
byte_token(const struct sq_tok_buf *b)
{
	if (b->n != 6 || memcmp(b->s, "<0x", 3) != 0 || b->s[5] != '>' ||
	    !isxdigit((unsigned char)b->s[3]) ||
	    !isxdigit((unsigned char)b->s[4]))
		return -1;
	return (int)strtol(b->s + 3, NULL, 16);
}

/* Byte-level characters to bytes; a token with any other stays as it is. */
static void
byte_level(struct sq_tok_buf *b)
{
	size_t i, len, n = 0;

	for (i = 0; i < b->n; i += len) {
		len = sq_tok_charlen(b->s + i);
		if (sq_tok_char_byte(b->s + i, len) < 0)
			return;
	}
	for (i = 0; i < b->n; i += len) {
		len = sq_tok_charlen(b->s + i);
		b->s[n++] = (char)sq_tok_char_byte(b->s + i, len);
	}
	b->n = n;
}

/* One step of a token: its text is in d->tmp. */
static int
token_step(struct sq_detok *d, const struct sq_tok_dec *k)
{
	struct sq_tok_buf *b = &d->tmp;
	int first = k->first && d->ntok == 0, c;

	switch (k->kind) {
	case DEC_REPLACE:
		return replace(d, &k->pat, k->text, k->n, b);
	case DEC_META:
		return replace(d, &k->pat, " ", first ? 0 : 1, b);
	case DEC_STRIP:
		strip(k, b);
		break;
	case DEC_BYTES:
		if ((c = byte_token(b)) >= 0) {
			b->s[0] = (char)c;
			b->n = 1;
		}
		break;
	case DEC_BYTELEVEL:
		byte_level(b);
		break;
	case DEC_FUSE:
		break;
	}
	return 0;
}

/* Moves the whole characters of d->raw to d->out, cut at the text's start. */
static int
give(struct sq_detok *d, int last)
{
	const struct sq_tokenizer *t = d->t;
	const struct sq_tok_dec *k = t->ndec ? t->dec + t->ndec - 1 : NULL;
	size_t used, cut;

	d->out.n = 0;
	if (d->raw.n == 0)
		return sq_tok_add(&d->out, "", 0, d->err);
	if (sq_tok_utf8(&d->out, d->raw.s, d->raw.n, last, &used, d->err) < 0)
		return -1;
	if (used > 0) {
		memmove(d->raw.s, d->raw.s + used, d->raw.n - used);
		d->raw.n -= used;
	}
	if (!t->fused_strip || d->out.n == 0)
		return 0;
	cut = repeats(k, d->out.s, d->out.n, k->start - d->strip);
	d->strip += cut;
	cut *= k->n;
	if (cut < d->out.n)
		d->strip = k->start;
	memmove(d->out.s, d->out.s + cut, d->out.n - cut + 1);
	d->out.n -= cut;
	return 0;
}

static int
put(struct sq_detok *d, uint32_t id)
{
	const struct sq_tokenizer *t = d->t;
	const struct sq_tok_entry *e = t->vocab.entry + id;
	size_t i, n = t->ndec - (t->fused_strip ? 1 : 0);

	d->tmp.n = 0;
	if (sq_tok_add(&d->tmp, t->vocab.text.s + e->off, e->len, d->err) < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (token_step(d, t->dec + i) < 0)
			return -1;
	if (t->ndec == 0 && d->ntok > 0 &&
	    sq_tok_add(&d->raw, " ", 1, d->err) < 0)
		return -1;
	d->ntok++;
	return sq_tok_add(&d->raw, d->tmp.s, d->tmp.n, d->err);
}

const char *
sq_detok_put(struct sq_detok *d, uint32_t id, size_t *len)
{
	const struct sq_tok_vocab *v = &d->t->vocab;

	if (id < v->n && (v->entry[id].flags & TOK_USED) &&
	    !((v->entry[id].flags & TOK_SPECIAL) &&
	    (d->flags & SQ_DETOK_SKIP_SPECIAL)) && put(d, id) < 0)
		return NULL;
	if (give(d, 0) < 0)
		return NULL;
	*len = d->out.n;
	return d->out.s;
}

const char *
sq_detok_flush(struct sq_detok *d, size_t *len)
{
	if (give(d, 1) < 0)
		return NULL;
	d->ntok = d->strip = 0;
	*len = d->out.n;
	return d->out.s;
}
