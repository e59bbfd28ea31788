/*
 * The steps around the model as the file states them: normalizer,
 * pre-tokenizer, post-processor, decoder.  Each is an object with a type, or a
 * Sequence of such, or null.
 */
#include <stdlib.h>
#include <string.h>
#include <uninorm.h>

#include "model/tok.h"

#define DEPTH	 8	/* Sequences in Sequences */
#define TEMPLATE 256	/* tokens that a template adds on a side */

typedef int (*loader)(struct sq_tokenizer *, const json_t *, const char *type,
    char *err);

/* Calls fn for each step; key names the array of a Sequence. */
static int
each(struct sq_tokenizer *t, const json_t *o, const char *key, loader fn,
    int depth, char *err)
{
	const json_t *list, *v;
	const char *type;
	size_t i;

	if (o == NULL || json_is_null(o))
		return 0;
	if (!json_is_object(o))
		return sq_fail(err, "a step is not an object");
	if (sq_json_string(o, "type", &type, err) < 0)
		return -1;
	if (strcmp(type, "Sequence") != 0)
		return fn(t, o, type, err);
	list = json_object_get(o, key);
	if (depth == DEPTH || !json_is_array(list))
		return sq_fail(err, "Sequence: %s", depth == DEPTH ?
		    "too deep" : "without its array");
	json_array_foreach(list, i, v) {
		if (!json_is_object(v))
			return sq_fail(err, "a step is not an object");
		if (each(t, v, key, fn, depth + 1, err) < 0)
			return -1;
	}
	return 0;
}

/* Puts the name of the part before the reason. */
static int
load(struct sq_tokenizer *t, const json_t *file, const char *part,
    const char *key, loader fn, char *err)
{
	char why[SQ_ERR];

	if (each(t, json_object_get(file, part), key, fn, 0, why) < 0)
		return sq_fail(err, "%s: %s", part, why);
	return 0;
}

static int
unknown(const char *type, char *err)
{
	return sq_fail(err, "'%s' is not supported", type);
}

/* {"String": ...} or {"Regex": ...}. */
static int
pattern(const json_t *o, struct sq_tok_pat *p, char *err)
{
	const json_t *v = json_object_get(o, "pattern");
	const json_t *plain = json_object_get(v, "String");
	const json_t *regex = json_object_get(v, "Regex");

	if (json_is_string(plain))
		return sq_tok_pat_plain(p, json_string_value(plain),
		    json_string_length(plain), err);
	if (json_is_string(regex))
		return sq_tok_pat_regex(p, json_string_value(regex),
		    json_string_length(regex), err);
	return sq_fail(err, "'pattern' is neither a String nor a Regex");
}

/* The text of a key, copied; one_char: it must be a single character. */
static int
text(const json_t *o, const char *key, int one_char, char **s, size_t *n,
    char *err)
{
	const char *v;

	if (sq_json_string(o, key, &v, err) < 0)
		return -1;
	*n = strlen(v);
	if (one_char && (*n == 0 || sq_tok_charlen(v) != *n))
		return sq_fail(err, "'%s' is not one character", key);
	if ((*s = strdup(v)) == NULL)
		return sq_fail(err, "out of memory");
	return 0;
}

static int
norm_step(struct sq_tokenizer *t, const json_t *o, const char *type, char *err)
{
	struct sq_tok_norm *k = t->norm + t->nnorm;

	if (t->nnorm == SQ_TOK_STEPS)
		return sq_fail(err, "more than %d steps", SQ_TOK_STEPS);
	t->nnorm++;
	if (strcmp(type, "Prepend") == 0) {
		k->kind = NORM_PREPEND;
		return text(o, "prepend", 0, &k->text, &k->n, err);
	}
	if (strcmp(type, "Replace") == 0) {
		k->kind = NORM_REPLACE;
		if (pattern(o, &k->pat, err) < 0)
			return -1;
		return text(o, "content", 0, &k->text, &k->n, err);
	}
	k->kind = NORM_FORM;
	if (strcmp(type, "NFC") == 0)
		k->form = UNINORM_NFC;
	else if (strcmp(type, "NFD") == 0)
		k->form = UNINORM_NFD;
	else if (strcmp(type, "NFKC") == 0)
		k->form = UNINORM_NFKC;
	else if (strcmp(type, "NFKD") == 0)
		k->form = UNINORM_NFKD;
	else
		return unknown(type, err);
	return 0;
}

/* The next step of the pre-tokenizer, or NULL with the reason. */
static struct sq_tok_split *
split_new(struct sq_tokenizer *t, char *err)
{
	if (t->nsplit == SQ_TOK_STEPS)
		sq_fail(err, "more than %d steps", SQ_TOK_STEPS);
	return t->nsplit == SQ_TOK_STEPS ? NULL : t->split + t->nsplit++;
}

static int
split_regex(struct sq_tokenizer *t, const char *re, int behavior, int invert,
    char *err)
{
	struct sq_tok_split *k = split_new(t, err);

	if (k == NULL)
		return -1;
	k->kind = SPLIT_PATTERN;
	k->behavior = behavior;
	k->invert = invert;
	return sq_tok_pat_regex(&k->pat, re, strlen(re), err);
}

static int
behavior(const json_t *o, int *value, char *err)
{
	static const char *const names[] = { "Isolated", "Removed",
	    "Contiguous", "MergedWithPrevious", "MergedWithNext" };
	const char *s;
	size_t i;

	if (sq_json_string(o, "behavior", &s, err) < 0)
		return -1;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(s, names[i]) == 0) {
			*value = (int)i;
			return 0;
		}
	return sq_fail(err, "behavior '%s' is not known", s);
}

static int
split_split(struct sq_tokenizer *t, const json_t *o, char *err)
{
	struct sq_tok_split *k = split_new(t, err);
	int b;

	if (k == NULL || behavior(o, &b, err) < 0 ||
	    sq_json_opt_bool(o, "invert", &k->invert, err) < 0)
		return -1;
	k->kind = SPLIT_PATTERN;
	k->behavior = b;
	return pattern(o, &k->pat, err);
}

static int
split_bytelevel(struct sq_tokenizer *t, const json_t *o, char *err)
{
	/* GPT-2's expression, which is the library's default */
	static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+|"
	    " ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
	struct sq_tok_split *k;
	int prefix = 1, regex = 1;

	if (sq_json_opt_bool(o, "add_prefix_space", &prefix, err) < 0 ||
	    sq_json_opt_bool(o, "use_regex", &regex, err) < 0)
		return -1;
	if (prefix) {
		if ((k = split_new(t, err)) == NULL)
			return -1;
		k->kind = SPLIT_PREFIX;
	}
	t->bytelevel = 1;
	return regex ? split_regex(t, gpt2, SPLIT_ISOLATED, 0, err) : 0;
}

/* The scheme of a Metaspace: also as add_prefix_space, its older form. */
static int
meta_scheme(const json_t *o, int *scheme, char *err)
{
	static const char *const names[] = { "always", "first", "never" };
	const json_t *v = json_object_get(o, "prepend_scheme");
	int prefix = 1, i;

	if (sq_json_opt_bool(o, "add_prefix_space", &prefix, err) < 0)
		return -1;
	*scheme = prefix ? META_ALWAYS : META_NEVER;
	if (v == NULL)
		return 0;
	for (i = 0; i < 3; i++)
		if (json_is_string(v) &&
		    strcmp(json_string_value(v), names[i]) == 0) {
			*scheme = i;
			return 0;
		}
	return sq_fail(err, "'prepend_scheme' is not known");
}

static int
split_meta(struct sq_tokenizer *t, const json_t *o, char *err)
{
	struct sq_tok_split *k = split_new(t, err);
	int scheme;

	if (k == NULL || meta_scheme(o, &scheme, err) < 0)
		return -1;
	k->kind = SPLIT_META;
	k->scheme = scheme;
	k->split = 1;
	if (sq_json_opt_bool(o, "split", &k->split, err) < 0)
		return -1;
	return text(o, "replacement", 1, &k->pat.plain, &k->pat.n, err);
}

static int
split_digits(struct sq_tokenizer *t, const json_t *o, char *err)
{
	int single = 0;

	if (sq_json_opt_bool(o, "individual_digits", &single, err) < 0)
		return -1;
	return split_regex(t, "\\p{N}", single ? SPLIT_ISOLATED :
	    SPLIT_CONTIGUOUS, 0, err);
}

static int
split_punctuation(struct sq_tokenizer *t, const json_t *o, char *err)
{
	int b = SPLIT_ISOLATED;

	if (json_object_get(o, "behavior") != NULL &&
	    behavior(o, &b, err) < 0)
		return -1;
	return split_regex(t, "[\\p{P}!-/:-@\\[-`{-~]", b, 0, err);
}

static int
split_step(struct sq_tokenizer *t, const json_t *o, const char *type, char *err)
{
	/* BPE takes bytes then, so there is no text left to be cut */
	if (t->bytelevel)
		return sq_fail(err, "'%s' after ByteLevel is not supported",
		    type);
	if (strcmp(type, "Split") == 0)
		return split_split(t, o, err);
	if (strcmp(type, "ByteLevel") == 0)
		return split_bytelevel(t, o, err);
	if (strcmp(type, "Metaspace") == 0)
		return split_meta(t, o, err);
	if (strcmp(type, "Digits") == 0)
		return split_digits(t, o, err);
	if (strcmp(type, "Punctuation") == 0)
		return split_punctuation(t, o, err);
	if (strcmp(type, "Whitespace") == 0)
		return split_regex(t, "[\\w\\u200c\\u200d]+|"
		    "[^\\w\\u200c\\u200d\\s]+", SPLIT_REMOVED, 1, err);
	if (strcmp(type, "WhitespaceSplit") == 0)
		return split_regex(t, "\\s", SPLIT_REMOVED, 0, err);
	return unknown(type, err);
}

/* Appends the ids of a special token of a template. */
static int
template_ids(const struct sq_tokenizer *t, const json_t *o, const char *name,
    struct sq_ids *out, char *err)
{
	const json_t *list = json_object_get(json_object_get(json_object_get(o,
	    "special_tokens"), name), "ids"), *v;
	json_int_t id;
	uint32_t u;
	size_t i;

	if (!json_is_array(list))
		return sq_fail(err, "special token '%s' has no ids", name);
	json_array_foreach(list, i, v) {
		id = json_is_integer(v) ? json_integer_value(v) : -1;
		if (id < 0 || (uint64_t)id >= t->vocab.n ||
		    !(t->vocab.entry[id].flags & TOK_USED))
			return sq_fail(err, "special token '%s': an id has no "
			    "token", name);
		if (out->n == TEMPLATE)
			return sq_fail(err, "more than %d tokens", TEMPLATE);
		u = (uint32_t)id;
		if (sq_ids_add(out, &u, 1) < 0)
			return sq_fail(err, "out of memory");
	}
	return 0;
}

/* [special tokens] the text [special tokens] */
static int
template(const struct sq_tokenizer *t, const json_t *o, struct sq_ids side[2],
    char *err)
{
	const json_t *list = json_object_get(o, "single"), *v, *piece;
	const char *name;
	int seen = 0;
	size_t i;

	if (!json_is_array(list))
		return sq_fail(err, "'single' is not an array");
	json_array_foreach(list, i, v) {
		if ((piece = json_object_get(v, "Sequence")) != NULL) {
			if (sq_json_string(piece, "id", &name, err) < 0)
				return -1;
			if (seen++ || strcmp(name, "A") != 0)
				return sq_fail(err, "Sequence '%s' a second "
				    "time or not A", name);
			continue;
		}
		piece = json_object_get(v, "SpecialToken");
		if (sq_json_string(piece, "id", &name, err) < 0 ||
		    template_ids(t, o, name, side + seen, err) < 0)
			return -1;
	}
	return seen ? 0 : sq_fail(err, "no Sequence");
}

static int
post_step(struct sq_tokenizer *t, const json_t *o, const char *type, char *err)
{
	struct sq_ids side[2] = { { 0 }, { 0 } };
	int r;

	if (strcmp(type, "ByteLevel") == 0)
		return 0;	/* it moves offsets, which we do not have */
	if (strcmp(type, "TemplateProcessing") != 0)
		return unknown(type, err);
	if (t->before.n + t->after.n > 0)
		return sq_fail(err, "a second template");
	r = template(t, o, side, err);
	sq_ids_release(&t->before);
	sq_ids_release(&t->after);
	t->before = side[0];
	t->after = side[1];
	return r;
}

static int
dec_strip(struct sq_tokenizer *t, struct sq_tok_dec *k, const json_t *o,
    int fused, char *err)
{
	uint64_t start, stop;

	k->kind = DEC_STRIP;
	if (sq_json_uint(o, "start", &start, err) < 0 ||
	    sq_json_uint(o, "stop", &stop, err) < 0)
		return -1;
	k->start = start;
	k->stop = stop;
	if (fused && stop > 0)
		return sq_fail(err, "Strip of the text's end is not "
		    "supported");
	t->fused_strip = fused;
	return text(o, "content", 1, &k->text, &k->n, err);
}

static int
dec_meta(struct sq_tok_dec *k, const json_t *o, char *err)
{
	int scheme;

	k->kind = DEC_META;
	if (meta_scheme(o, &scheme, err) < 0)
		return -1;
	k->first = scheme != META_NEVER;
	return text(o, "replacement", 1, &k->pat.plain, &k->pat.n, err);
}

/*
 * A stream of tokens is decoded, so the order is bound: what works on a token
 * comes first, then bytes, then Fuse, then at most a Strip of the beginning.
 */
static int
dec_step(struct sq_tokenizer *t, const json_t *o, const char *type, char *err)
{
	struct sq_tok_dec *k = t->dec + t->ndec;
	enum { TOKENS, BYTES, FUSED } at = TOKENS;
	size_t i;

	if (t->ndec == SQ_TOK_STEPS)
		return sq_fail(err, "more than %d steps", SQ_TOK_STEPS);
	for (i = 0; i < t->ndec; i++)
		if (t->dec[i].kind == DEC_FUSE ||
		    t->dec[i].kind == DEC_BYTELEVEL)
			at = FUSED;
		else if (t->dec[i].kind == DEC_BYTES)
			at = BYTES;
	t->ndec++;
	if (strcmp(type, "Fuse") == 0 && !t->fused_strip) {
		k->kind = DEC_FUSE;
		return 0;
	}
	if (strcmp(type, "Strip") == 0 && at != BYTES && !t->fused_strip)
		return dec_strip(t, k, o, at == FUSED, err);
	if (at != TOKENS)
		return sq_fail(err, "'%s' is not supported here", type);
	if (strcmp(type, "Replace") == 0) {
		k->kind = DEC_REPLACE;
		if (pattern(o, &k->pat, err) < 0)
			return -1;
		return text(o, "content", 0, &k->text, &k->n, err);
	}
	if (strcmp(type, "Metaspace") == 0)
		return dec_meta(k, o, err);
	if (strcmp(type, "ByteFallback") == 0)
		k->kind = DEC_BYTES;
	else if (strcmp(type, "ByteLevel") == 0)
		k->kind = DEC_BYTELEVEL;
	else
		return unknown(type, err);
	return 0;
}

int
sq_tok_load_norm(struct sq_tokenizer *t, const json_t *file, char *err)
{
	return load(t, file, "normalizer", "normalizers", norm_step, err);
}

int
sq_tok_load_split(struct sq_tokenizer *t, const json_t *file, char *err)
{
	return load(t, file, "pre_tokenizer", "pretokenizers", split_step, err);
}

int
sq_tok_load_post(struct sq_tokenizer *t, const json_t *file, char *err)
{
	return load(t, file, "post_processor", "processors", post_step, err);
}

int
sq_tok_load_dec(struct sq_tokenizer *t, const json_t *file, char *err)
{
	return load(t, file, "decoder", "decoders", dec_step, err);
}
