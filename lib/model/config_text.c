/*
 * Editing the text of a JSON object; see config_text.h.  The text has been
 * parsed before: it is known to be valid.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "model/config_text.h"

/* From a quotation mark: the byte after the string's end. */
static size_t
string_end(const char *s, size_t i, size_t len)
{
	for (i++; i < len && s[i] != '"'; i++)
		if (s[i] == '\\')
			i++;
	return i < len ? i + 1 : len;
}

/* From the first byte of a value: that of the comma or brace behind it. */
static size_t
value_end(const char *s, size_t i, size_t len)
{
	int depth = 0;

	while (i < len) {
		if (s[i] == '"') {
			i = string_end(s, i, len);
			continue;
		}
		if (depth == 0 && (s[i] == ',' || s[i] == '}'))
			break;
		depth += s[i] == '{' || s[i] == '[';
		depth -= s[i] == '}' || s[i] == ']';
		i++;
	}
	return i;
}

/* Where the member `key' of the object begins, and the comma or brace behind
 * it; len when there is none. */
static size_t
find_key(const char *s, size_t len, const char *key, size_t *end)
{
	size_t i = 0, from, to, n = strlen(key);

	while (i < len && s[i] != '{')
		i++;
	for (i++; i < len; i++) {
		while (i < len && s[i] != '"' && s[i] != '}')
			i++;
		if (i >= len || s[i] == '}')
			break;
		from = i;
		to = string_end(s, i, len);
		*end = i = value_end(s, to, len);
		if (to - from == n + 2 && memcmp(s + from + 1, key, n) == 0)
			return from;
	}
	return len;
}

/* Back over white space: one past the last byte that is not. */
static size_t
trim(const char *s, size_t i)
{
	while (i > 0 && isspace((unsigned char)s[i - 1]))
		i--;
	return i;
}

char *
sq_config_text_without(const char *text, size_t len, const char *key,
    size_t *n)
{
	size_t end = len, at = find_key(text, len, key, &end), head;
	char *t = malloc(len + 1);

	if (t == NULL)
		return NULL;
	head = at == len ? len : trim(text, at);
	if (at < len && text[end] == ',') {
		end++;			/* with the comma behind it */
		while (isspace((unsigned char)text[end]))
			end++;
		head = at;
	} else if (at < len && head > 0 && text[head - 1] == ',')
		head--;			/* the last: with that before it */
	memcpy(t, text, head);
	if (at < len)
		memcpy(t + head, text + end, len - end);
	*n = at == len ? len : head + len - end;
	t[*n] = '\0';
	return t;
}

/* `"key": value', indented as a member of the outermost object. */
static char *
member(const char *key, json_t *value, size_t *n)
{
	json_t *o = json_pack("{s:o}", key, value);
	char *s = o == NULL ? NULL : json_dumps(o, JSON_INDENT(2));

	json_decref(o);
	if (s != NULL) {		/* without the braces of its own */
		*n = trim(s, strlen(s) - 1) - 1;
		memmove(s, s + 1, *n);
		s[*n] = '\0';
	}
	return s;
}

char *
sq_config_text_set(const char *text, size_t len, const char *key,
    json_t *value, size_t *n)
{
	char *old = sq_config_text_without(text, len, key, &len), *m, *t = NULL;
	size_t head, add;

	m = member(key, value, &add);
	if (old == NULL || m == NULL)
		goto done;
	for (head = len; head > 0 && old[head - 1] != '}'; head--)
		;
	head = trim(old, head == 0 ? 0 : head - 1);
	if ((t = malloc(head + 1 + add + sizeof("\n}\n"))) == NULL)
		goto done;
	*n = head;
	memcpy(t, old, head);
	if (head > 0 && old[head - 1] != '{')
		t[(*n)++] = ',';
	memcpy(t + *n, m, add);
	*n += add;
	memcpy(t + *n, "\n}\n", 4);
	*n += 3;
done:
	free(old);
	free(m);
	return t;
}
