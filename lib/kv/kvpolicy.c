/* The precision of a cache; see kvpolicy.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/kvpolicy.h"

#define PAGE	64		/* tokens, where only a size is asked for */

static const struct {
	const char *name;
	struct sq_kv_form f;
} formats[] = {
	{ "f32", { SQ_PAGE_PLAIN, SQ_F32 } },
	{ "f16", { SQ_PAGE_PLAIN, SQ_F16 } },
	{ "bf16", { SQ_PAGE_PLAIN, SQ_BF16 } },
	{ "fp8_e4m3", { SQ_PAGE_E4M3, SQ_BF16 } },
	{ "fp8_e5m2", { SQ_PAGE_E5M2, SQ_BF16 } },
	{ "int8", { SQ_PAGE_INT8, SQ_BF16 } },
	{ "int4", { SQ_PAGE_INT4, SQ_BF16 } },
	{ "int2", { SQ_PAGE_INT2, SQ_BF16 } },
	/* other names for them */
	{ "fp16", { SQ_PAGE_PLAIN, SQ_F16 } },
	{ "fp8", { SQ_PAGE_E4M3, SQ_BF16 } },
	{ "e4m3", { SQ_PAGE_E4M3, SQ_BF16 } },
	{ "e5m2", { SQ_PAGE_E5M2, SQ_BF16 } },
};

#define FORMATS	(sizeof(formats) / sizeof(formats[0]))

const char *
sq_kv_format_name(const struct sq_kv_form *f)
{
	size_t i;

	for (i = 0; i < FORMATS; i++)
		if (formats[i].f.grid == f->grid && (f->grid !=
		    SQ_PAGE_PLAIN || formats[i].f.type == f->type))
			return formats[i].name;
	return "?";
}

int
sq_kv_format_find(struct sq_kv_form *f, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < FORMATS; i++)
		if (strlen(formats[i].name) == len &&
		    memcmp(formats[i].name, name, len) == 0) {
			*f = formats[i].f;
			return 0;
		}
	return -1;
}

void
sq_kv_policy_plain(struct sq_kv_policy *p, enum sq_dtype type)
{
	memset(p, 0, sizeof(*p));
	p->k.type = p->v.type = p->near = type;
}

/* FORMAT or KEYS/VALUES, up to `end'. */
static int
read_formats(struct sq_kv_form *k, struct sq_kv_form *v, const char *s,
    const char *end, char *err)
{
	const char *slash = memchr(s, '/', (size_t)(end - s));

	if (sq_kv_format_find(k, s, (size_t)((slash ? slash : end) - s)) < 0 ||
	    (slash != NULL && sq_kv_format_find(v, slash + 1,
	    (size_t)(end - slash - 1)) < 0))
		return sq_fail(err, "'%.*s': not a format of a KV cache "
		    "(f32, f16, bf16, fp8_e4m3, fp8_e5m2, int8, int4, int2)",
		    (int)(end - s), s);
	if (slash == NULL)
		*v = *k;
	return 0;
}

static int
read_count(size_t *n, const char *s, const char *end, char *err)
{
	char *stop;
	unsigned long v = strtoul(s, &stop, 10);

	if (s == end || *s < '0' || *s > '9' || stop != end || v > 1u << 20)
		return sq_fail(err, "'%.*s': not a number of tokens",
		    (int)(end - s), s);
	*n = v;
	return 0;
}

/* layers=A-B:FORMAT, or layers=A:FORMAT */
static int
read_rule(struct sq_kv_policy *p, const char *s, const char *end, char *err)
{
	struct sq_kv_rule *r = p->rule + p->nrules;
	char *stop;

	if (p->nrules == SQ_KV_RULES)
		return sq_fail(err, "more than %d ranges of layers",
		    SQ_KV_RULES);
	r->first = r->last = strtoul(s, &stop, 10);
	if (stop != s && *stop == '-') {
		s = stop + 1;
		r->last = strtoul(s, &stop, 10);
	}
	if (stop == s || stop >= end || *stop != ':' || r->last < r->first)
		return sq_fail(err, "'%.*s': not FIRST-LAST:FORMAT",
		    (int)(end - s), s);
	p->nrules++;
	return read_formats(&r->k, &r->v, stop + 1, end, err);
}

static int
is_word(const char *s, const char *end, const char *word)
{
	return strlen(word) == (size_t)(end - s) &&
	    memcmp(s, word, strlen(word)) == 0;
}

/* Whether s begins with key=; *value is what follows. */
static int
is_key(const char *s, const char *key, const char **value)
{
	size_t n = strlen(key);

	*value = s + n + 1;
	return strncmp(s, key, n) == 0 && s[n] == '=';
}

static int
read_option(struct sq_kv_policy *p, const char *s, const char *end, char *err)
{
	struct sq_kv_form f;
	const char *v;

	if (is_word(s, end, "hadamard"))
		p->hadamard = 1;
	else if (is_word(s, end, "no-hadamard"))
		p->hadamard = 0;
	else if (is_word(s, end, "channel"))
		p->by_channel = 1;
	else if (is_key(s, "sink", &v))
		return read_count(&p->sink, v, end, err);
	else if (is_key(s, "window", &v))
		return read_count(&p->window, v, end, err);
	else if (is_key(s, "layers", &v))
		return read_rule(p, v, end, err);
	else if (is_key(s, "near", &v) && sq_kv_format_find(&f, v,
	    (size_t)(end - v)) == 0 && f.grid == SQ_PAGE_PLAIN)
		p->near = f.type;
	else
		return sq_fail(err, "'%.*s': not an option of a KV cache",
		    (int)(end - s), s);
	return 0;
}

static int
any_coded(const struct sq_kv_policy *p)
{
	int coded = p->k.grid != SQ_PAGE_PLAIN || p->v.grid != SQ_PAGE_PLAIN;
	size_t i;

	for (i = 0; i < p->nrules; i++)
		coded |= p->rule[i].k.grid != SQ_PAGE_PLAIN ||
		    p->rule[i].v.grid != SQ_PAGE_PLAIN;
	return coded;
}

/* All plain values of a cache have one type: a plain format that is named
 * gives it, else it is bfloat16. */
static int
settle(struct sq_kv_policy *p, int near_named, char *err)
{
	struct sq_kv_form *f[2 + 2 * SQ_KV_RULES];
	size_t i, n = 0;
	int named = near_named;

	f[n++] = &p->k;
	f[n++] = &p->v;
	for (i = 0; i < p->nrules; i++) {
		f[n++] = &p->rule[i].k;
		f[n++] = &p->rule[i].v;
	}
	for (i = 0; i < n; i++) {
		if (f[i]->grid != SQ_PAGE_PLAIN)
			continue;
		if (named && f[i]->type != p->near)
			return sq_fail(err, "plain values of two types");
		p->near = f[i]->type;
		named = 1;
	}
	for (i = 0; i < n; i++)
		f[i]->type = p->near;
	if (!any_coded(p))
		p->sink = p->window = 0;
	if (p->k.grid == SQ_PAGE_PLAIN && p->nrules == 0)
		p->hadamard = p->by_channel = 0;
	if (p->by_channel && p->window < SQ_PAGE_GROUP)
		return sq_fail(err, "keys by channel need a window of %d "
		    "tokens or more", SQ_PAGE_GROUP);
	return 0;
}

int
sq_kv_policy_parse(struct sq_kv_policy *p, const char *spec, char *err)
{
	const char *s = spec, *end = s + strcspn(s, ","), *near;
	int named = 0;

	sq_kv_policy_plain(p, SQ_BF16);
	if (read_formats(&p->k, &p->v, s, end, err) < 0)
		return -1;
	if (sq_page_grouped(p->k.grid)) {
		p->sink = 4;
		p->window = 128;
		p->hadamard = 1;
	}
	while (*end == ',') {
		s = end + 1;
		end = s + strcspn(s, ",");
		named |= is_key(s, "near", &near);
		if (read_option(p, s, end, err) < 0)
			return -1;
	}
	return settle(p, named, err);
}

static size_t
add_formats(char *text, size_t n, const struct sq_kv_form *k,
    const struct sq_kv_form *v)
{
	const char *a = sq_kv_format_name(k), *b = sq_kv_format_name(v);

	if (strcmp(a, b) == 0)
		return n + (size_t)snprintf(text + n, SQ_KV_TEXT - n, "%s", a);
	return n + (size_t)snprintf(text + n, SQ_KV_TEXT - n, "%s/%s", a, b);
}

void
sq_kv_policy_text(const struct sq_kv_policy *p, char text[SQ_KV_TEXT])
{
	size_t i, n = add_formats(text, 0, &p->k, &p->v);

	if (any_coded(p))
		n += (size_t)snprintf(text + n, SQ_KV_TEXT - n,
		    ",sink=%zu,window=%zu,near=%s,%s%s", p->sink, p->window,
		    p->near == SQ_F32 ? "f32" : p->near == SQ_F16 ? "f16" :
		    "bf16", p->hadamard ? "hadamard" : "no-hadamard",
		    p->by_channel ? ",channel" : "");
	for (i = 0; i < p->nrules; i++) {
		n += (size_t)snprintf(text + n, SQ_KV_TEXT - n,
		    ",layers=%zu-%zu:", p->rule[i].first, p->rule[i].last);
		n = add_formats(text, n, &p->rule[i].k, &p->rule[i].v);
	}
}

void
sq_kv_policy_layer(const struct sq_kv_policy *p, size_t layer,
    struct sq_kv *kv)
{
	struct sq_kv_form k = p->k, v = p->v;
	size_t i;

	for (i = 0; i < p->nrules; i++)
		if (layer >= p->rule[i].first && layer <= p->rule[i].last) {
			k = p->rule[i].k;
			v = p->rule[i].v;
		}
	kv->type = p->near;
	kv->k = (struct sq_kv_side){ k.grid, p->by_channel &&
	    sq_page_grouped(k.grid) };
	kv->v = (struct sq_kv_side){ v.grid, 0 };
	kv->sink = sq_kv_plain(kv) ? 0 : p->sink;
	kv->window = sq_kv_plain(kv) ? 0 : p->window;
}

int
sq_kv_policy_check(const struct sq_kv_policy *p, size_t layers, size_t dim,
    size_t page, char *err)
{
	size_t i;

	for (i = 0; i < p->nrules; i++)
		if (p->rule[i].last >= layers)
			return sq_fail(err, "a KV format for layer %zu of a "
			    "model of %zu", p->rule[i].last, layers);
	if (any_coded(p) && dim % 2 != 0)
		return sq_fail(err, "a coded KV cache for heads of %zu", dim);
	if (p->sink > page)
		return sq_fail(err, "a sink of %zu tokens, more than a page "
		    "of %zu", p->sink, page);
	if (p->by_channel && page % SQ_PAGE_GROUP != 0)
		return sq_fail(err, "keys by channel in pages of %zu tokens",
		    page);
	return 0;
}

double
sq_kv_policy_bytes(const struct sq_kv_policy *p, size_t layers, size_t heads,
    size_t dim)
{
	struct sq_kv kv = { .heads = heads, .dim = dim, .page = PAGE };
	size_t i, sum = 0;

	for (i = 0; i < layers; i++) {
		sq_kv_policy_layer(p, i, &kv);
		sum += sq_page_bytes(&kv, &kv.k) + sq_page_bytes(&kv, &kv.v);
	}
	return (double)sum / PAGE;
}
