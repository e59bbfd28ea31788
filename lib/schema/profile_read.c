/* A profile from YAML; see profile.h and sq-profile(5). */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/profile_fields.h"

struct reader {
	struct sq_profile *p;
	char *err;
};

static int
bad(const struct reader *r, const struct sq_yaml *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int
bad(const struct reader *r, const struct sq_yaml *at, const char *fmt, ...)
{
	char why[SQ_ERR];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return sq_fail(r->err, "%s:%zu: %s", r->p->label, at->line, why);
}

static const char *
shown(const struct sq_yaml *y)
{
	return y->kind == SQ_YAML_SCALAR ? y->text : y->kind == SQ_YAML_LIST ?
	    "a list" : "a map";
}

static int
read_word(const struct reader *r, const char *key, const struct sq_yaml *y,
    const char *const *words, int *value)
{
	char list[256] = "";
	size_t n = 0;
	int i;

	for (i = 0; words[i] != NULL; i++) {
		if (y->kind == SQ_YAML_SCALAR &&
		    strcmp(words[i], y->text) == 0) {
			*value = i;
			return 0;
		}
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s",
		    i == 0 ? "" : ", ", words[i]);
	}
	return bad(r, y, "%s '%.60s': not one of %s", key, shown(y), list);
}

/* FP8 is E4M3 unless said otherwise. */
static int
read_format(const struct reader *r, const char *key, const struct sq_yaml *y,
    int *format)
{
	if (y->kind == SQ_YAML_SCALAR && strcmp(y->text, "fp8") == 0) {
		*format = SQ_WF_FP8_E4M3;
		return 0;
	}
	return read_word(r, key, y, sq_wformat_names, format);
}

static int
read_uint(const struct reader *r, const char *key, const struct sq_yaml *y,
    uint64_t lo, uint64_t hi, uint64_t *value)
{
	if (sq_yaml_uint(y, value) < 0 || *value < lo || *value > hi)
		return bad(r, y, "%s '%.60s': not a whole number from %ju to "
		    "%ju", key, shown(y), (uintmax_t)lo, (uintmax_t)hi);
	return 0;
}

static int
read_bool(const struct reader *r, const char *key, const struct sq_yaml *y,
    int *value)
{
	if (sq_yaml_bool(y, value) < 0)
		return bad(r, y, "%s '%.60s': neither true nor false", key,
		    shown(y));
	return 0;
}

static int
read_text(const struct reader *r, const char *key, const struct sq_yaml *y,
    char **value)
{
	if (y->kind != SQ_YAML_SCALAR)
		return bad(r, y, "%s: %s, not a text", key, shown(y));
	free(*value);
	if ((*value = strdup(y->text)) == NULL)
		return bad(r, y, "out of memory");
	return 0;
}

static int
read_algorithm(const struct reader *r, const struct sq_yaml *y)
{
	struct sq_profile *p = r->p;
	size_t i, n = y->kind == SQ_YAML_LIST ? y->n : 1;

	if (y->kind == SQ_YAML_MAP || n > SQ_ALGS)
		return bad(r, y, "algorithm: %s", y->kind == SQ_YAML_MAP ?
		    "a map" : "too many of them");
	for (i = 0; i < n; i++)
		if (read_word(r, "algorithm", y->kind == SQ_YAML_LIST ?
		    y->item[i] : y, sq_algorithm_names,
		    &p->algorithm[i]) < 0)
			return -1;
	p->nalgorithms = (int)n;
	return 0;
}

static int
read_group(const struct reader *r, const struct sq_yaml *y,
    struct sq_profile_rule *rule)
{
	int tensor = y->kind == SQ_YAML_SCALAR &&
	    strcmp(y->text, "tensor") == 0;
	uint64_t n = 0;

	if (!tensor && (sq_yaml_uint(y, &n) < 0 || n > 1 << 30))
		return bad(r, y, "group_size '%.60s': neither a number of "
		    "weights, 0 for a row, nor tensor", shown(y));
	if (!sq_profile_free_group(rule->format) &&
	    (tensor || n != rule->group_cols))
		return bad(r, y, "group_size '%.60s': %s has groups of %ju",
		    shown(y), sq_wformat_names[rule->format],
		    (uintmax_t)rule->group_cols);
	rule->group_rows = !tensor;
	rule->group_cols = n;
	return 0;
}

static int
read_bits(const struct reader *r, const struct sq_yaml *y, int named,
    struct sq_profile_rule *rule)
{
	uint64_t n;

	if (sq_yaml_uint(y, &n) < 0 || n > 16)
		return bad(r, y, "bits '%.60s': not 2, 3, 4, 5, 6, 8 or 16",
		    shown(y));
	if (n == 16 && !named)
		sq_profile_rule_format(rule, SQ_WF_NONE);
	else if (n != 16 && !named && rule->format == SQ_WF_NONE)
		sq_profile_rule_format(rule, SQ_WF_INT);
	if (rule->format != SQ_WF_INT) {
		if ((int)n != rule->bits)
			return bad(r, y, "bits %ju: %s has %d", (uintmax_t)n,
			    sq_wformat_names[rule->format], rule->bits);
		return 0;
	}
	if (sq_grid_of_bits((int)n) < 0)
		return bad(r, y, "bits %ju: integers have 2, 3, 4, 5, 6 or 8",
		    (uintmax_t)n);
	if ((n == 8) != (rule->bits == 8))	/* the usual, again */
		rule->group_cols = n == 8 ? 0 : 128;
	rule->bits = (int)n;
	return 0;
}

/*
 * The keys of a rule in a map, upon what is in *rule.  The format comes first:
 * it says what the others may be.
 */
static int
read_rule(const struct reader *r, const struct sq_yaml *map,
    struct sq_profile_rule *rule)
{
	const struct sq_yaml *y, *format = sq_yaml_get(map, "format");
	int f;

	if (format != NULL) {
		if (read_format(r, "format", format, &f) < 0)
			return -1;
		if (f != rule->format)
			sq_profile_rule_format(rule, f);
	}
	if ((y = sq_yaml_get(map, "bits")) != NULL &&
	    read_bits(r, y, format != NULL, rule) < 0)
		return -1;
	if ((y = sq_yaml_get(map, "group_size")) != NULL &&
	    read_group(r, y, rule) < 0)
		return -1;
	if ((y = sq_yaml_get(map, "symmetric")) != NULL) {
		if (read_bool(r, "symmetric", y, &rule->symmetric) < 0)
			return -1;
		if (!rule->symmetric && rule->format != SQ_WF_INT)
			return bad(r, y, "symmetric false: %s has no zero "
			    "points", sq_wformat_names[rule->format]);
	}
	y = sq_yaml_get(map, "scale");
	return y == NULL ? 0 : read_word(r, "scale", y, sq_scale_names,
	    &rule->scale);
}

/* All keys of the map are among the fields, or are `more'. */
static int
check_keys(const struct reader *r, const struct sq_field *fields,
    const char *name, const char *more, const struct sq_yaml *y)
{
	const struct sq_yaml *key;
	size_t i;

	if (y->kind != SQ_YAML_MAP)
		return bad(r, y, "%s: %s, not a map", name, shown(y));
	for (i = 0; i < y->n; i += 2) {
		key = y->item[i];
		if (sq_field_find(fields, key->text,
		    strlen(key->text)) == NULL &&
		    (more == NULL || strcmp(key->text, more) != 0))
			return bad(r, key, "%s: no such key: '%.60s'", name,
			    key->text);
	}
	return 0;
}

static int
read_override(const struct reader *r, const struct sq_yaml *y)
{
	static const struct sq_field keys[] = {
		{ .name = "match", .type = SQ_FIELD_TEXT },
		{ .name = "format", .type = SQ_FIELD_RULE },
		{ .name = "bits", .type = SQ_FIELD_RULE },
		{ .name = "group_size", .type = SQ_FIELD_RULE },
		{ .name = "symmetric", .type = SQ_FIELD_RULE },
		{ .name = "scale", .type = SQ_FIELD_RULE },
		{ .type = SQ_FIELD_END }
	};
	const struct sq_yaml *match = sq_yaml_get(y, "match");
	struct sq_profile_rule rule = r->p->rule;
	char why[SQ_ERR];

	if (check_keys(r, keys, "overrides", NULL, y) < 0)
		return -1;
	if (match == NULL || match->kind != SQ_YAML_SCALAR)
		return bad(r, y, "overrides: one without 'match'");
	if (read_rule(r, y, &rule) < 0)
		return -1;
	if (sq_profile_override(r->p, match->text, &rule, why) < 0)
		return bad(r, match, "match: %s", why);
	r->p->override[r->p->noverrides - 1].line = match->line;
	return 0;
}

static int
read_overrides(const struct reader *r, const struct sq_yaml *y)
{
	size_t i;

	if (y->kind != SQ_YAML_LIST)
		return bad(r, y, "overrides: %s, not a list", shown(y));
	for (i = 0; i < y->n; i++)
		if (read_override(r, y->item[i]) < 0)
			return -1;
	return 0;
}

static int	read_map(const struct reader *, const struct sq_field *,
		    const char *, const struct sq_yaml *);

static int
read_field(const struct reader *r, const struct sq_field *f,
    const struct sq_yaml *y)
{
	void *to = sq_field_of(f, r->p);
	uint64_t *bits = to;
	double *real = to;

	switch (f->type) {
	case SQ_FIELD_BITS:
		if (sq_yaml_uint(y, bits) < 0 ||
		    (*bits != 16 && *bits != 8 && *bits != 4))
			return bad(r, y, "%s '%.60s': not the number "
			    "16, 8 or 4", f->name, shown(y));
		return 0;
	case SQ_FIELD_UINT:
		return read_uint(r, f->name, y, (uint64_t)f->lo,
		    (uint64_t)f->hi, to);
	case SQ_FIELD_REAL:
		if (sq_yaml_real(y, real) < 0 || *real < f->lo ||
		    *real > f->hi)
			return bad(r, y, "%s '%.60s': not a number from %g to "
			    "%g", f->name, shown(y), f->lo, f->hi);
		return 0;
	case SQ_FIELD_BOOL:
		return read_bool(r, f->name, y, to);
	case SQ_FIELD_WORD:
		return f->words == sq_wformat_names ?
		    read_format(r, f->name, y, to) :
		    read_word(r, f->name, y, f->words, to);
	case SQ_FIELD_TEXT:
		return read_text(r, f->name, y, to);
	case SQ_FIELD_ALGORITHM:
		return read_algorithm(r, y);
	case SQ_FIELD_OVERRIDES:
		return read_overrides(r, y);
	case SQ_FIELD_RULE:		/* has been read before */
		return 0;
	case SQ_FIELD_MAP:
		return read_map(r, f->sub, f->name, y);
	default:
		return 0;
	}
}

/* In the order of the table, whatever that of the file. */
static int
read_fields(const struct reader *r, const struct sq_field *fields,
    const struct sq_yaml *map)
{
	const struct sq_field *f;
	const struct sq_yaml *y;

	for (f = fields; f->type != SQ_FIELD_END; f++) {
		y = sq_yaml_get(map, f->name);
		if (y == NULL && f->required)
			return bad(r, map, "'%s' is missing", f->name);
		if (y != NULL && read_field(r, f, y) < 0)
			return -1;
	}
	return 0;
}

static int
read_map(const struct reader *r, const struct sq_field *fields,
    const char *name, const struct sq_yaml *y)
{
	if (check_keys(r, fields, name, NULL, y) < 0)
		return -1;
	return read_fields(r, fields, y);
}

static int
kv_of_bits(uint64_t bits)
{
	return bits == 16 ? SQ_KV_FP16 : bits == 8 ? SQ_KV_FP8_E4M3 :
	    SQ_KV_INT4;
}

/* What the widths say when nothing else does. */
static void
apply_widths(struct sq_profile *p)
{
	struct sq_profile_activation *a = &p->activation;
	struct sq_profile_kv *kv = &p->kv;

	if (p->activation_bits != 16)
		a->format = p->rule.format == SQ_WF_FP8_E4M3 ||
		    p->rule.format == SQ_WF_FP8_E5M2 ? SQ_WF_FP8_E4M3 :
		    SQ_WF_INT;
	kv->format = kv_of_bits(p->kv_bits_decode);
	kv->prefill_format = kv_of_bits(p->kv_bits_prefill);
	if (p->kv_bits_decode == 4 || p->kv_bits_prefill == 4) {
		kv->sink = 4;
		kv->window = 128;
		kv->hadamard = 1;
	}
}

/* e: what stands below "extensions", or NULL. */
static int
read_extensions(const struct reader *r, const struct sq_yaml *e)
{
	struct sq_profile_rule *rule = &r->p->rule;

	if (r->p->weight_bits != 16)
		sq_profile_rule_format(rule, SQ_WF_INT);
	if (r->p->weight_bits == 8) {
		rule->bits = 8;
		rule->group_cols = 0;
	}
	if (e != NULL && check_keys(r, sq_extension_fields, "extensions",
	    NULL, e) < 0)
		return -1;
	if (e != NULL && read_rule(r, e, rule) < 0)
		return -1;
	apply_widths(r->p);
	return e == NULL ? 0 : read_fields(r, sq_extension_fields, e);
}

int
sq_profile_parse(struct sq_profile *p, const char *label, const char *text,
    size_t len, char *err)
{
	struct reader r = { p, err };
	char why[SQ_ERR];

	sq_profile_init(p);
	p->label = label;
	if ((p->tree = sq_yaml_parse(text, len, why)) == NULL) {
		sq_fail(err, "%s:%s", label, why);
		goto fail;
	}
	if (check_keys(&r, sq_spec_fields, "profile", "extensions",
	    p->tree) < 0 || read_fields(&r, sq_spec_fields, p->tree) < 0 ||
	    read_extensions(&r, sq_yaml_get(p->tree, "extensions")) < 0 ||
	    sq_profile_check(p, err) < 0)
		goto fail;
	return 0;
fail:
	sq_profile_release(p);
	return -1;
}
