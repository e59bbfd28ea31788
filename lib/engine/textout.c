/* Text as it may be shown; see textout.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/textout.h"

int
sq_textout_init(struct sq_textout *t, const struct sq_tokenizer *tok,
    const char *const *stop, size_t nstop)
{
	memset(t, 0, sizeof(*t));
	sq_detok_init(&t->detok, tok, SQ_DETOK_SKIP_SPECIAL);
	if (nstop > SQ_STOPS)
		return sq_fail(t->err, "more than %d stop strings", SQ_STOPS);
	for (; t->nstop < nstop; t->nstop++)
		if ((t->stop[t->nstop] = strdup(stop[t->nstop])) == NULL)
			return sq_fail(t->err, "out of memory");
	return 0;
}

void
sq_textout_release(struct sq_textout *t)
{
	size_t i;

	sq_detok_release(&t->detok);
	for (i = 0; i < t->nstop; i++)
		free(t->stop[i]);
	free(t->held);
	memset(t, 0, sizeof(*t));
}

/* What the last call gave out goes, text comes. */
static int
hold(struct sq_textout *t, const char *text, size_t len)
{
	char *p;

	if (t->n + len + 1 > t->cap) {
		p = realloc(t->held, 2 * (t->n + len + 1));
		if (p == NULL)
			return sq_fail(t->err, "out of memory");
		t->held = p;
		t->cap = 2 * (t->n + len + 1);
	}
	memmove(t->held, t->held + t->given, t->n - t->given);
	t->n -= t->given;
	t->given = 0;
	memcpy(t->held + t->n, text, len);
	t->n += len;
	t->held[t->n] = '\0';
	return 0;
}

/* How much of the end may be the beginning of a stop string. */
static size_t
tail(const struct sq_textout *t)
{
	size_t i, n, most = 0;

	for (i = 0; i < t->nstop; i++) {
		n = strlen(t->stop[i]);
		for (n = n - 1 < t->n ? n - 1 : t->n; n > most; n--)
			if (memcmp(t->held + t->n - n, t->stop[i], n) == 0)
				most = n;
	}
	return most;
}

/* The first stop string cuts the text. */
static void
cut(struct sq_textout *t)
{
	size_t i, n = t->n;
	char *p;

	for (i = 0; i < t->nstop; i++)
		if (*t->stop[i] != '\0' && (p = memmem(t->held, t->n,
		    t->stop[i], strlen(t->stop[i]))) != NULL &&
		    (size_t)(p - t->held) < n) {
			n = (size_t)(p - t->held);
			t->stopped = 1;
		}
	t->n = n;
}

const char *
sq_textout_put(struct sq_textout *t, uint32_t id, size_t *len)
{
	const char *text = sq_detok_put(&t->detok, id, len);

	if (text == NULL) {
		sq_fail(t->err, "%s", t->detok.err);
		return NULL;
	}
	if (t->stopped)
		*len = 0;
	if (hold(t, text, *len) < 0)
		return NULL;
	cut(t);
	t->given = t->stopped ? t->n : t->n - tail(t);
	*len = t->given;
	return t->held;
}

const char *
sq_textout_flush(struct sq_textout *t, size_t *len)
{
	const char *text = sq_detok_flush(&t->detok, len);

	if (text == NULL || t->stopped)
		*len = 0;
	if (hold(t, text == NULL ? "" : text, *len) < 0)
		return NULL;
	cut(t);
	*len = t->given = t->n;
	return t->held;
}
