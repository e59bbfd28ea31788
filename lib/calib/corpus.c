/* Calibration text as documents; see corpus.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/utf8.h"
#include "calib/chat.h"
#include "calib/corpus.h"
#include "formats/fmt_json.h"

static const char separator[] = "<|endoftext|>";

#define SEPARATOR	(sizeof(separator) - 1)

struct reader {
	struct sq_corpus *c;
	const struct sq_files *files;
	struct sq_chat chat;
	FILE *text;			/* becomes c->text */
	size_t len, cap;		/* of the text; room for ends or ids */
	size_t nids;
	int blank;			/* nothing since the last end */
	char *err;
};

static int
no_memory(const struct reader *r)
{
	return sq_fail(r->err, "out of memory");
}

/* The documents up to here are one more; blanks alone belong to the last. */
static int
end_document(struct reader *r, size_t at)
{
	struct sq_corpus *c = r->c;
	size_t *more;

	if (r->blank && c->n > 0) {
		c->end[c->n - 1] = at;
		return 0;
	}
	r->blank = 1;
	if ((c->n & (c->n + 1)) == 0) {		/* 0, 1, 3, 7 ... are full */
		more = realloc(c->end, (2 * c->n + 1) * sizeof(*more));
		if (more == NULL)
			return no_memory(r);
		c->end = more;
	}
	c->end[c->n++] = at;
	return 0;
}

static void
put(struct reader *r, const char *s, size_t n)
{
	size_t i;

	for (i = 0; r->blank && i < n; i++)
		r->blank = strchr(" \n\r\t", s[i]) != NULL;
	r->len += fwrite(s, 1, n, r->text);
}

/* Lines that are a separator become empty, and end a document. */
static int
read_text(struct reader *r, const char *p, size_t len)
{
	const char *end = p + len, *nl;
	size_t n;

	for (; p < end; p += n) {
		nl = memchr(p, '\n', (size_t)(end - p));
		n = (size_t)((nl == NULL ? end : nl) - p);
		if (n == SEPARATOR && memcmp(p, separator, n) == 0) {
			if (end_document(r, r->len) < 0)
				return -1;
			p += n;
			n = 0;
		}
		n += nl != NULL;
		put(r, p, n);
	}
	return end_document(r, r->len);
}

static int
line_text(struct reader *r, const json_t *value)
{
	const char *s = json_string_value(value);

	if (s == NULL || strlen(s) != json_string_length(value))
		return sq_fail(r->err, "'text' is not a text");
	if (r->c->n > 0)
		put(r, "\n\n", 2);
	put(r, s, strlen(s));
	return end_document(r, r->len);
}

static int
line_chat(struct reader *r, const json_t *value)
{
	char *s = sq_chat_text(&r->chat, value, r->err);

	if (s == NULL)
		return -1;
	put(r, s, strlen(s));
	free(s);
	return end_document(r, r->len);
}

static int
line_ids(struct reader *r, const json_t *value)
{
	struct sq_corpus *c = r->c;
	const json_t *id;
	uint32_t *more;
	size_t i;

	if (!json_is_array(value))
		return sq_fail(r->err, "'ids' is not an array");
	if (r->nids + json_array_size(value) > r->cap) {
		r->cap = 2 * (r->nids + json_array_size(value));
		more = realloc(c->id, r->cap * sizeof(*more));
		if (more == NULL)
			return no_memory(r);
		c->id = more;
	}
	json_array_foreach(value, i, id) {
		if (!json_is_integer(id) || json_integer_value(id) < 0 ||
		    json_integer_value(id) > UINT32_MAX)
			return sq_fail(r->err, "'ids' has what is no token");
		c->id[r->nids++] = (uint32_t)json_integer_value(id);
		r->blank = 0;
	}
	return end_document(r, r->nids);
}

/* The first line of tokens may say what made them. */
static int
line_head(struct reader *r, const json_t *o)
{
	const char *t = json_string_value(json_object_get(o, "tokenizer"));
	const char *s = json_string_value(json_object_get(o, "source"));

	if (t == NULL || strlen(t) >= SQ_DIGEST ||
	    (s != NULL && strlen(s) >= SQ_DIGEST))
		return sq_fail(r->err, "not the digests of a file of tokens");
	memcpy(r->c->tokenizer, t, strlen(t) + 1);
	if (s != NULL)
		memcpy(r->c->source, s, strlen(s) + 1);
	return 0;
}

static const struct {
	const char *key;
	enum sq_corpus_kind kind;
	int (*line)(struct reader *, const json_t *);
} forms[] = {
	{ "text", SQ_CORPUS_LINES, line_text },
	{ "messages", SQ_CORPUS_CHAT, line_chat },
	{ "ids", SQ_CORPUS_TOKENS, line_ids },
};

#define FORMS	(sizeof(forms) / sizeof(forms[0]))

static int
read_line(struct reader *r, const char *p, size_t n, size_t form)
{
	json_t *o = sq_json_object(p, n, r->err), *value;
	int ret;

	if (o == NULL)
		return -1;
	value = json_object_get(o, forms[form].key);
	if (value != NULL)
		ret = forms[form].line(r, value);
	else if (forms[form].kind == SQ_CORPUS_TOKENS && r->c->n == 0 &&
	    json_object_get(o, "tokenizer") != NULL)
		ret = line_head(r, o);
	else
		ret = sq_fail(r->err, "has no '%s'", forms[form].key);
	json_decref(o);
	return ret;
}

static int
read_lines(struct reader *r, const char *p, size_t len, size_t form)
{
	const char *end = p + len, *nl;
	char why[SQ_ERR];
	size_t n, line = 1;

	r->c->kind = forms[form].kind;
	if (r->c->kind == SQ_CORPUS_CHAT &&
	    sq_chat_init(&r->chat, r->files, r->err) < 0)
		return -1;
	for (; p < end; p += n + 1, line++) {
		nl = memchr(p, '\n', (size_t)(end - p));
		n = (size_t)((nl == NULL ? end : nl) - p);
		if (n > 0 && read_line(r, p, n, form) < 0) {
			memcpy(why, r->err, sizeof(why));
			return sq_fail(r->err, "line %zu: %s", line, why);
		}
	}
	return 0;
}

/* Which of the forms the first line has: FORMS when it is none of them. */
static size_t
form_of(const char *p, size_t len)
{
	const char *nl = memchr(p, '\n', len);
	char why[SQ_ERR];
	json_t *o;
	size_t i;

	if (p[0] != '{')
		return FORMS;
	o = sq_json_object(p, nl == NULL ? len : (size_t)(nl - p), why);
	if (o == NULL)
		return FORMS;
	for (i = 0; i < FORMS; i++)
		if (json_object_get(o, forms[i].key) != NULL)
			break;
	if (i == FORMS && json_object_get(o, "tokenizer") != NULL)
		i = FORMS - 1;
	json_decref(o);
	return i;
}

static int
by_hash(const void *a, const void *b)
{
	const XXH64_hash_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int
count_duplicates(struct sq_corpus *c, char *err)
{
	const char *base = c->kind == SQ_CORPUS_TOKENS ? (char *)c->id :
	    c->text;
	size_t unit = c->kind == SQ_CORPUS_TOKENS ? sizeof(*c->id) : 1;
	XXH64_hash_t *hash = malloc((c->n + 1) * sizeof(*hash));
	size_t i, from, to, last;

	if (hash == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0, to = 0; i < c->n; i++) {
		from = to;
		to = c->end[i] * unit;
		/* Blanks between documents belong to none of them. */
		while (unit == 1 && from < to && strchr("\n ", base[from]))
			from++;
		for (last = to; unit == 1 && from < last &&
		    strchr("\n ", base[last - 1]);)
			last--;
		hash[i] = XXH3_64bits(base + from, last - from);
	}
	qsort(hash, c->n, sizeof(*hash), by_hash);
	for (i = 1; i < c->n; i++)
		c->duplicates += hash[i] == hash[i - 1];
	free(hash);
	return 0;
}

int
sq_corpus_read(struct sq_corpus *c, const struct sq_files *files,
    const char *text, size_t len, char *err)
{
	struct reader r = { .c = c, .files = files, .blank = 1,
	    .err = err };
	size_t form, n;
	int ret;

	memset(c, 0, sizeof(*c));
	if (len == 0)
		return sq_fail(err, "the text is empty");
	if (memchr(text, '\0', len) != NULL || !sq_utf8_valid(text, len))
		return sq_fail(err, "not a text in UTF-8");
	if ((r.text = open_memstream(&c->text, &n)) == NULL)
		return no_memory(&r);
	form = form_of(text, len);
	ret = form == FORMS ? read_text(&r, text, len) :
	    read_lines(&r, text, len, form);
	if (fclose(r.text) != 0 && ret == 0)
		ret = no_memory(&r);
	if (ret == 0)
		ret = count_duplicates(c, err);
	if (ret < 0)
		sq_corpus_release(c);
	return ret;
}

void
sq_corpus_release(struct sq_corpus *c)
{
	free(c->text);
	free(c->end);
	free(c->id);
	memset(c, 0, sizeof(*c));
}

size_t
sq_corpus_length(const struct sq_corpus *c)
{
	return c->n == 0 ? 0 : c->end[c->n - 1];
}
