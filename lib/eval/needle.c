/*
 * Needles: a fact is put at some depth of a text that has nothing to do with
 * it, and asked for at the end.  The hay is any text, cut at the ends of lines;
 * names and numbers come from the seed, so the same options give the same
 * questions.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "eval/task.h"

static const char *const names[] = { "Adele", "Bruno", "Clara", "Dmitri",
	"Elin", "Farid", "Greta", "Hester", "Idris", "Joana", "Kenji",
	"Linden", "Marlow", "Nadia", "Oskar", "Priya", "Quentin", "Rosa",
	"Stellan", "Thea" };
static const char *const things[] = { "account number", "password",
	"train number", "room number", "birth year", "favorite number",
	"ticket number", "locker code" };

#define PICK(rng, list) \
	(list)[sq_rng_next(rng) % (sizeof(list) / sizeof((list)[0]))]

/* Tokens of len bytes, or -1. */
static long
tokens(const struct sq_tokenizer *tok, const char *s, size_t len, char *err)
{
	struct sq_ids ids = { 0 };
	long n = -1;

	if (sq_tokenizer_encode(tok, s, len, 0, &ids, err) == 0)
		n = (long)ids.n;
	sq_ids_release(&ids);
	return n;
}

/* The end of the line that byte `at' is in, the newline included. */
static size_t
line_end(const char *s, size_t len, size_t at)
{
	const char *p = at >= len ? NULL : memchr(s + at, '\n', len - at);

	return p == NULL ? len : (size_t)(p - s) + 1;
}

/* From `from' of the hay, whole lines of about `want' tokens: their length. */
static long
stretch(const struct sq_tokenizer *tok, const char *hay, size_t len,
    size_t from, size_t want, double bytes_per_token, char *err)
{
	size_t at = from + (size_t)((double)want * bytes_per_token);
	long n;
	int i;

	at = line_end(hay, len, at < len ? at : len);
	for (i = 0; i < 4; i++) {	/* the guess, mended */
		if ((n = tokens(tok, hay + from, at - from, err)) < 0)
			return -1;
		if ((size_t)n <= want)
			break;
		at = from + (size_t)((double)(at - from) * (double)want /
		    (double)n * .98);
		at = line_end(hay, len, at);
	}
	return (long)(at - from);
}

static int
question(struct sq_task *t, struct sq_rng *rng, const char *hay, size_t n,
    size_t length, double depth, size_t number, char *err)
{
	const char *name = PICK(rng, names), *thing = PICK(rng, things);
	unsigned code = 1000 + (unsigned)(sq_rng_next(rng) % 89000);
	struct sq_item *it = sq_task_add(t);
	size_t at = line_end(hay, n, (size_t)(depth * (double)n));
	char *answer;

	if (it == NULL)
		return sq_fail(err, "out of memory");
	if (depth == 0)
		at = 0;
	if (asprintf(&it->id, "%zu-%.2f-%zu", length, depth, number) < 0)
		it->id = NULL;
	if (asprintf(&it->group, "%zu,%.2f", length, depth) < 0)
		it->group = NULL;
	if (asprintf(&answer, "%u", code) < 0)
		answer = NULL;
	if (asprintf(&it->prompt, "Read the text and answer the questions."
	    "\n\n%.*sThe %s of %s is %u.\n%.*s\n\nQuestion: What is the %s of "
	    "%s?\nAnswer:", (int)at, hay, thing, name, code, (int)(n - at),
	    hay + at, thing, name) < 0)
		it->prompt = NULL;
	it->answer = malloc(sizeof(*it->answer));
	if (it->id == NULL || it->group == NULL || answer == NULL ||
	    it->prompt == NULL || it->answer == NULL) {
		free(answer);
		return sq_fail(err, "out of memory");
	}
	it->answer[it->nanswers++] = answer;
	it->rule = SQ_EXACT;
	it->make = 10;
	return 0;
}

int
sq_needle_make(struct sq_task *t, const char *hay, size_t len,
    const struct sq_tokenizer *tok, const struct sq_task_options *o, char *err)
{
	struct sq_rng rng = { o->seed };
	size_t length, d, i, from, sample = len < 65536 ? len : 65536;
	long n = tokens(tok, hay, sample, err), cut;
	double per, depth;

	memset(t, 0, sizeof(*t));
	t->kind = SQ_NEEDLE;
	if ((t->name = strdup("needle")) == NULL)
		return sq_fail(err, "out of memory");
	if (n < 0)
		return -1;
	per = n == 0 ? 4 : (double)sample / (double)n;
	for (length = o->least; length <= o->most; length *= 2) {
		/* the question, the fact and the instruction take about 50 */
		if ((double)length * per > (double)len)
			return sq_fail(err, "a text of %zu bytes is too short "
			    "for prompts of %zu tokens", len, length);
		for (d = 0; d < o->depths; d++)
			for (i = 0; i < o->each; i++) {
				depth = o->depths == 1 ? .5 : (double)d /
				    (double)(o->depths - 1);
				from = line_end(hay, len, (size_t)(
				    sq_rng_uniform(&rng) * ((double)len -
				    (double)length * per)));
				cut = stretch(tok, hay, len, from,
				    length < 128 ? length / 2 : length - 64,
				    per, err);
				if (cut < 0 || question(t, &rng, hay + from,
				    (size_t)cut, length, depth, i, err) < 0)
					return -1;
			}
	}
	return 0;
}
