/* YAML as a tree of nodes; see fmt_yaml.h. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "formats/fmt_yaml.h"

#define MAX_DEPTH	16
#define MAX_NODES	65536

struct reader {
	yaml_parser_t parser;
	yaml_event_t event;
	int held;			/* event is to be deleted */
	size_t nodes;
	const char *text;
	char *err;
};

/* Bytes that are no characters come with their place in the text alone. */
static size_t
problem_line(const struct reader *r)
{
	size_t line = r->parser.problem_mark.line + 1, i;

	if (r->parser.error != YAML_READER_ERROR)
		return line;
	for (line = 1, i = 0; i < r->parser.problem_offset; i++)
		line += r->text[i] == '\n';
	return line;
}

static int
next(struct reader *r)
{
	const char *why;

	if (r->held)
		yaml_event_delete(&r->event);
	r->held = 0;
	if (yaml_parser_parse(&r->parser, &r->event)) {
		r->held = 1;
		return 0;
	}
	why = r->parser.problem == NULL ? "not YAML" : r->parser.problem;
	return sq_fail(r->err, "%zu: %s", problem_line(r), why);
}

static size_t
line_of(const struct reader *r)
{
	return r->event.start_mark.line + 1;
}

void
sq_yaml_free(struct sq_yaml *y)
{
	size_t i;

	if (y == NULL)
		return;
	for (i = 0; i < y->n; i++)
		sq_yaml_free(y->item[i]);
	free(y->item);
	free(y->text);
	free(y);
}

static int
append(struct sq_yaml *to, struct sq_yaml *item)
{
	struct sq_yaml **more;

	if ((to->n & (to->n + 1)) == 0) {	/* 0, 1, 3, 7 ... are full */
		more = realloc(to->item, (2 * to->n + 1) * sizeof(*more));
		if (more == NULL)
			return -1;
		to->item = more;
	}
	to->item[to->n++] = item;
	return 0;
}

static int
set_scalar(struct reader *r, struct sq_yaml *y)
{
	const yaml_event_t *e = &r->event;
	const char *text = (const char *)e->data.scalar.value;

	y->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (strlen(text) != e->data.scalar.length)
		return sq_fail(r->err, "%zu: a zero byte in a string",
		    y->line);
	if ((y->text = strdup(text)) == NULL)
		return sq_fail(r->err, "%zu: out of memory", y->line);
	return 0;
}

static int
refuse_extras(struct reader *r)
{
	const yaml_event_t *e = &r->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (e->type) {
	case YAML_SCALAR_EVENT:
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
		break;
	default:
		return sq_fail(r->err, "%zu: an alias, which is not allowed "
		    "here", line_of(r));
	}
	if (anchor != NULL || tag != NULL)
		return sq_fail(r->err, "%zu: %s, which is not allowed here",
		    line_of(r), anchor != NULL ? "an anchor" : "a tag");
	return 0;
}

/* A key is a scalar that the map y has not had. */
static int
check_key(struct reader *r, const struct sq_yaml *y, const struct sq_yaml *key)
{
	size_t i;

	if (key->kind != SQ_YAML_SCALAR)
		return sq_fail(r->err, "%zu: a key that is not a word",
		    key->line);
	for (i = 0; i < y->n; i += 2)
		if (strcmp(y->item[i]->text, key->text) == 0)
			return sq_fail(r->err, "%zu: '%s' again, first in "
			    "line %zu", key->line, key->text,
			    y->item[i]->line);
	return 0;
}

/* The node that the event at hand begins. */
static struct sq_yaml *
node(struct reader *r, int depth)
{
	struct sq_yaml *y = NULL, *child;
	yaml_event_type_t end;

	if (refuse_extras(r) < 0)
		return NULL;
	if (depth == MAX_DEPTH || r->nodes++ == MAX_NODES) {
		sq_fail(r->err, "%zu: %s", line_of(r), depth == MAX_DEPTH ?
		    "nested too deeply" : "too many values");
		return NULL;
	}
	if ((y = calloc(1, sizeof(*y))) == NULL) {
		sq_fail(r->err, "%zu: out of memory", line_of(r));
		return NULL;
	}
	y->line = line_of(r);
	if (r->event.type == YAML_SCALAR_EVENT) {
		if (set_scalar(r, y) < 0)
			goto fail;
		return y;
	}
	y->kind = r->event.type == YAML_MAPPING_START_EVENT ? SQ_YAML_MAP :
	    SQ_YAML_LIST;
	end = y->kind == SQ_YAML_MAP ? YAML_MAPPING_END_EVENT :
	    YAML_SEQUENCE_END_EVENT;
	for (;;) {
		if (next(r) < 0)
			goto fail;
		if (r->event.type == end)
			return y;
		if ((child = node(r, depth + 1)) == NULL)
			goto fail;
		if (y->kind == SQ_YAML_MAP && y->n % 2 == 0 &&
		    check_key(r, y, child) < 0) {
			sq_yaml_free(child);
			goto fail;
		}
		if (append(y, child) < 0) {
			sq_fail(r->err, "%zu: out of memory", child->line);
			sq_yaml_free(child);
			goto fail;
		}
	}
fail:
	sq_yaml_free(y);
	return NULL;
}

static struct sq_yaml *
document(struct reader *r)
{
	struct sq_yaml *y;

	do {
		if (next(r) < 0)
			return NULL;
	} while (r->event.type == YAML_STREAM_START_EVENT ||
	    r->event.type == YAML_DOCUMENT_START_EVENT);
	if (r->event.type == YAML_STREAM_END_EVENT) {
		sq_fail(r->err, "1: nothing in it");
		return NULL;
	}
	if ((y = node(r, 0)) == NULL)
		return NULL;
	if (next(r) < 0 || next(r) < 0) {	/* the document's end, then */
		sq_yaml_free(y);
		return NULL;
	}
	if (r->event.type != YAML_STREAM_END_EVENT) {
		sq_fail(r->err, "%zu: a second document", line_of(r));
		sq_yaml_free(y);
		return NULL;
	}
	return y;
}

struct sq_yaml *
sq_yaml_parse(const char *text, size_t len, char *err)
{
	struct reader r = { .text = text, .err = err };
	struct sq_yaml *y;

	if (!yaml_parser_initialize(&r.parser)) {
		sq_fail(err, "1: out of memory");
		return NULL;
	}
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text,
	    len);
	y = document(&r);
	if (r.held)
		yaml_event_delete(&r.event);
	yaml_parser_delete(&r.parser);
	return y;
}

const struct sq_yaml *
sq_yaml_get(const struct sq_yaml *y, const char *key)
{
	size_t i;

	if (y->kind != SQ_YAML_MAP)
		return NULL;
	for (i = 0; i < y->n; i += 2)
		if (strcmp(y->item[i]->text, key) == 0)
			return y->item[i + 1];
	return NULL;
}

static int
is_plain(const struct sq_yaml *y)
{
	return y->kind == SQ_YAML_SCALAR && y->plain && y->text[0] != '\0';
}

int
sq_yaml_uint(const struct sq_yaml *y, uint64_t *value)
{
	char *end;

	if (!is_plain(y) || !isdigit((unsigned char)y->text[0]))
		return -1;
	errno = 0;
	*value = strtoull(y->text, &end, 10);
	return *end != '\0' || errno != 0 ? -1 : 0;
}

int
sq_yaml_real(const struct sq_yaml *y, double *value)
{
	char *end;

	/* strtod takes hexadecimal and names, too. */
	if (!is_plain(y) ||
	    y->text[strspn(y->text, "0123456789+-.eE")] != '\0')
		return -1;
	*value = strtod(y->text, &end);
	return *end != '\0' || end == y->text || !isfinite(*value) ? -1 : 0;
}

int
sq_yaml_bool(const struct sq_yaml *y, int *value)
{
	if (!is_plain(y))
		return -1;
	if (strcmp(y->text, "true") != 0 && strcmp(y->text, "false") != 0)
		return -1;
	*value = y->text[0] == 't';
	return 0;
}

/* Words of letters, digits and some marks: nothing that means something. */
static int
plain_is_safe(const char *s)
{
	static const char *const words[] = { "true", "false", "yes", "no",
	    "on", "off", "null", "y", "n" };
	size_t i;

	if (!isalpha((unsigned char)s[0]))
		return 0;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(s, words[i]) == 0)
			return 0;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && strchr("._-/", *s) == NULL)
			return 0;
	return 1;
}

char *
sq_yaml_quote(const char *text)
{
	char *out, *p;

	if (plain_is_safe(text))
		return strdup(text);
	if ((p = out = malloc(4 * strlen(text) + 3)) == NULL)
		return NULL;
	*p++ = '"';
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			*p++ = '\\';
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			p += sprintf(p, "\\x%02x", (unsigned)*text);
		else
			*p++ = *text;
	}
	*p++ = '"';
	*p = '\0';
	return out;
}
