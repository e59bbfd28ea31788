/* Normalizers: the text is rewritten, step by step, before it is cut. */
#include <errno.h>
#include <stdlib.h>
#include <uninorm.h>

#include "model/tok.h"

#define GROWTH	64u	/* times that the steps may enlarge a text */

int
sq_tok_replace(const struct sq_tok_pat *pat, struct sq_tok_matcher *m,
    const char *text, size_t len, const char *s, size_t n,
    struct sq_tok_buf *out, char *err)
{
	struct sq_tok_scan scan = { .s = s, .n = n };
	size_t from, to, prev = 0;
	int found;

	while ((found = sq_tok_next(pat, m, &scan, &from, &to, err)) > 0) {
		if (sq_tok_add(out, s + prev, from - prev, err) < 0 ||
		    sq_tok_add(out, text, len, err) < 0)
			return -1;
		prev = to;
	}
	return found < 0 ? -1 : sq_tok_add(out, s + prev, n - prev, err);
}

/* The end of the bytes from i on that are ASCII, or that are not. */
static size_t
run_end(const char *s, size_t n, size_t i, int ascii)
{
	while (i < n && ((unsigned char)s[i] < 0x80) == ascii)
		i++;
	return i;
}

/*
 * A normal form.  No character composes or changes places with an ASCII
 * character after it, so texts are cut before each of these, and ASCII runs
 * but for their last character stay as they are.
 */
static int
form(uninorm_t nf, const char *s, size_t n, struct sq_tok_buf *out, char *err)
{
	size_t from = 0, to, end, len;
	uint8_t *u;
	int r = 0;

	for (; r == 0 && from < n; from = end) {
		to = run_end(s, n, from, 1);
		end = run_end(s, n, to, 0);
		if (end == to)
			return sq_tok_add(out, s + from, to - from, err);
		to -= to > from;
		if (sq_tok_add(out, s + from, to - from, err) < 0)
			return -1;
		u = u8_normalize(nf, (const uint8_t *)s + to, end - to, NULL,
		    &len);
		if (u == NULL)
			return sq_fail_errno(err, "normal form");
		r = sq_tok_add(out, (char *)u, len, err);
		free(u);
	}
	return r;
}

static int
step(const struct sq_tok_norm *k, struct sq_tok_matcher *m, const char **s,
    size_t *n, struct sq_tok_buf *out, char *err)
{
	int r = 0;

	switch (k->kind) {
	case NORM_FORM:
		r = form(k->form, *s, *n, out, err);
		break;
	case NORM_PREPEND:
		if (sq_tok_add(out, k->text, k->n, err) < 0)
			return -1;
		r = sq_tok_add(out, *s, *n, err);
		break;
	case NORM_REPLACE:
		r = sq_tok_replace(&k->pat, m, k->text, k->n, *s, *n, out,
		    err);
		break;
	}
	*s = out->s;
	*n = out->n;
	return r;
}

int
sq_tok_normalize(const struct sq_tokenizer *t, struct sq_tok_matcher *m,
    struct sq_tok_buf *a, struct sq_tok_buf *b, const char **s, size_t *n,
    char *err)
{
	struct sq_tok_buf *out;
	size_t i;

	a->max = b->max = GROWTH * (*n + 4096);
	/* no step makes something out of nothing */
	for (i = 0; i < t->nnorm && *n > 0; i++) {
		out = *s == a->s ? b : a;
		out->n = 0;
		if (step(t->norm + i, m, s, n, out, err) < 0)
			return -1;
	}
	return 0;
}
