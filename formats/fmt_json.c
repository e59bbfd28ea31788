/* JSON through jansson; see fmt_json.h. */
#include <stdlib.h>
#include <string.h>

#include "formats/fmt_json.h"

json_t *
sq_json_object(const char *text, size_t len, char *err)
{
	json_error_t e;
	json_t *v;

	v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (v == NULL) {
		sq_fail(err, "line %d: %s", e.line, e.text);
		return NULL;
	}
	if (!json_is_object(v)) {
		json_decref(v);
		sq_fail(err, "not a JSON object");
		return NULL;
	}
	return v;
}

int
sq_json_string(const json_t *o, const char *key, const char **value, char *err)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_string(v))
		return sq_fail(err, "'%s' is %s", key,
		    v == NULL ? "missing" : "not a string");
	*value = json_string_value(v);
	if (strlen(*value) != json_string_length(v))
		return sq_fail(err, "'%s' has a zero byte in it", key);
	return 0;
}

int
sq_json_uint(const json_t *o, const char *key, uint64_t *value, char *err)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return sq_fail(err, "'%s' is %s", key,
		    v == NULL ? "missing" : "not a whole number");
	*value = (uint64_t)json_integer_value(v);
	return 0;
}

static int
absent(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v == NULL || json_is_null(v);
}

int
sq_json_opt_uint(const json_t *o, const char *key, uint64_t *value, char *err)
{
	return absent(o, key) ? 0 : sq_json_uint(o, key, value, err);
}

int
sq_json_opt_real(const json_t *o, const char *key, double *value, char *err)
{
	if (absent(o, key))
		return 0;
	if (!json_is_number(json_object_get(o, key)))
		return sq_fail(err, "'%s' is not a number", key);
	*value = json_number_value(json_object_get(o, key));
	return 0;
}

int
sq_json_opt_bool(const json_t *o, const char *key, int *value, char *err)
{
	if (absent(o, key))
		return 0;
	if (!json_is_boolean(json_object_get(o, key)))
		return sq_fail(err, "'%s' is not true or false", key);
	*value = json_is_true(json_object_get(o, key));
	return 0;
}

char *
sq_json_text(const json_t *v)
{
	return json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(17));
}

char *
sq_json_pretty(const json_t *v)
{
	char *s = json_dumps(v, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
	char *t;
	size_t n;

	if (s == NULL)
		return NULL;
	n = strlen(s);
	if ((t = realloc(s, n + 2)) == NULL) {
		free(s);
		return NULL;
	}
	t[n] = '\n';
	t[n + 1] = '\0';
	return t;
}
