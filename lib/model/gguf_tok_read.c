/* A GGUF file's keys as tokenizer.json; see gguf_tok.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_tok.h"
#include "model/gguf_tok_names.h"

#define WORDS(digits)							\
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"	\
	digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"		\
	"\\s+(?!\\S)|\\s+"

const struct sq_gguf_pre sq_gguf_pres[] = {
	{ "llama-bpe", WORDS("\\p{N}{1,3}"), 0, 1, 1 },
	{ "llama3", WORDS("\\p{N}{1,3}"), 0, 1, 1 },
	{ "llama-v3", WORDS("\\p{N}{1,3}"), 0, 1, 1 },
	{ "qwen2", WORDS("\\p{N}"), 1, 0, 0 },
	{ "deepseek-r1-qwen", WORDS("\\p{N}"), 1, 0, 0 },
	{ "gpt-2", SQ_GGUF_GPT2, 0, 0, 0 },
	{ NULL, NULL, 0, 0, 0 }
};

struct reader {
	const struct sq_gguf *g;
	const struct sq_gguf_kv *tokens, *types, *scores, *merges;
	const struct sq_gguf_pre *pre;	/* NULL: SentencePiece */
	json_t *vocab, *added;
};

static int
type_of(const struct reader *r, uint64_t i)
{
	return r->types == NULL ? SQ_GGUF_NORMAL :
	    sq_gguf_i32(r->types, i);
}

static int
find_array(const struct sq_gguf *g, const char *name, uint32_t type,
    uint64_t n, const struct sq_gguf_kv **kv, char *err)
{
	*kv = sq_gguf_find(g, name);
	if (*kv != NULL && (!(*kv)->is_array || (*kv)->type != type ||
	    (n != 0 && (*kv)->n != n)))
		return sq_fail(err, "key '%s': not an array as it should be",
		    name);
	return 0;
}

static int
find_arrays(struct reader *r, char *err)
{
	const struct sq_gguf *g = r->g;

	if (find_array(g, "tokenizer.ggml.tokens", SQ_GGUF_STRING, 0,
	    &r->tokens, err) < 0)
		return -1;
	if (r->tokens == NULL || r->tokens->n == 0)
		return sq_fail(err, "key 'tokenizer.ggml.tokens' is missing");
	if (find_array(g, "tokenizer.ggml.token_type", SQ_GGUF_I32,
	    r->tokens->n, &r->types, err) < 0 ||
	    find_array(g, "tokenizer.ggml.scores", SQ_GGUF_FLOAT,
	    r->tokens->n, &r->scores, err) < 0)
		return -1;
	return find_array(g, "tokenizer.ggml.merges", SQ_GGUF_STRING, 0,
	    &r->merges, err);
}

/* ---- the tokens ---- */

static int
add_special(struct reader *r, const json_t *text, uint64_t id, int special)
{
	return json_array_append_new(r->added, json_pack(
	    "{s:I, s:O, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
	    "content", text, "single_word", 0, "lstrip", 0, "rstrip", 0,
	    "normalized", 0, "special", special));
}

static int
list_tokens(struct reader *r, char *err)
{
	const uint8_t *at = NULL;
	struct sq_gguf_str s;
	json_t *text;
	uint64_t i;
	int type, bad;

	for (i = 0; i < r->tokens->n; i++) {
		s = sq_gguf_next(r->tokens, &at);
		if ((type = type_of(r, i)) == SQ_GGUF_UNUSED)
			continue;
		text = memchr(s.p, '\0', s.n) != NULL ? NULL :
		    json_stringn(s.p, s.n);
		if (text == NULL)
			return sq_fail(err, "token %ju is not UTF-8",
			    (uintmax_t)i);
		bad = type != SQ_GGUF_NORMAL && type != SQ_GGUF_BYTE &&
		    add_special(r, text, i, type != SQ_GGUF_USER) < 0;
		if (!bad && json_object_get(r->vocab,
		    json_string_value(text)) == NULL)
			bad = json_object_set_new(r->vocab,
			    json_string_value(text),
			    json_integer((json_int_t)i)) < 0;
		json_decref(text);
		if (bad)
			return sq_fail(err, "out of memory");
	}
	return 0;
}

/* ---- the merges ---- */

static json_t *
listed_merges(const struct reader *r)
{
	json_t *list = json_array(), *a, *b;
	const uint8_t *at = NULL;
	struct sq_gguf_str s;
	const char *space;
	uint64_t i;

	for (i = 0; r->merges != NULL && i < r->merges->n; i++) {
		s = sq_gguf_next(r->merges, &at);
		space = s.n < 2 ? NULL : memchr(s.p + 1, ' ', s.n - 1);
		if (space == NULL)
			goto bad;
		a = json_stringn(s.p, (size_t)(space - s.p));
		b = json_stringn(space + 1, (size_t)(s.p + s.n - space - 1));
		if (a == NULL || b == NULL) {
			json_decref(a);
			json_decref(b);
			goto bad;
		}
		json_array_append_new(list, json_pack("[o, o]", a, b));
	}
	return list;
bad:
	json_decref(list);
	return NULL;
}

struct merge {
	const char *token;
	size_t left, n;			/* bytes of its left half, and all */
	float score;
	uint64_t order;
};

/* The greatest score first, then the longer left half. */
static int
by_score(const void *a, const void *b)
{
	const struct merge *x = a, *y = b;

	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->left != y->left)
		return x->left > y->left ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

struct merges {
	struct merge *m;
	size_t n, room;
};

static int
add_merge(struct merges *l, const char *token, size_t left, size_t n,
    float score)
{
	struct merge *m = l->m;

	if (l->n == l->room) {
		l->room = l->room == 0 ? 4096 : 2 * l->room;
		if ((m = realloc(l->m, l->room * sizeof(*m))) == NULL)
			return -1;
		l->m = m;
	}
	m[l->n] = (struct merge){ token, left, n, score, l->n };
	l->n++;
	return 0;
}

#define LONGEST	256			/* bytes of a token that is made */

/* Whether the n bytes at s are a token that merges take and make. */
static int
is_piece(const struct reader *r, const char *s, size_t n)
{
	char text[LONGEST + 1];
	const json_t *id;

	memcpy(text, s, n);
	text[n] = '\0';
	id = json_object_get(r->vocab, text);
	return id != NULL && type_of(r, (uint64_t)json_integer_value(id)) ==
	    SQ_GGUF_NORMAL;
}

/* Every way in which a token is two others. */
static int
split_token(const struct reader *r, struct merges *l, const char *s,
    float score)
{
	size_t n = strlen(s), i;

	if (n > LONGEST)
		return 0;
	for (i = 1; i < n; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80 &&
		    is_piece(r, s, i) && is_piece(r, s + i, n - i) &&
		    add_merge(l, s, i, n, score) < 0)
			return -1;
	return 0;
}

static json_t *
scored_merges(const struct reader *r)
{
	struct merges l = { NULL, 0, 0 };
	json_t *list = json_array(), *id;
	const char *s;
	uint64_t i;
	size_t k;

	json_object_foreach(r->vocab, s, id) {
		i = (uint64_t)json_integer_value(id);
		if (r->scores != NULL && type_of(r, i) == SQ_GGUF_NORMAL &&
		    split_token(r, &l, s, sq_gguf_f32(r->scores, i)) < 0)
			goto done;
	}
	if (l.n > 0)
		qsort(l.m, l.n, sizeof(*l.m), by_score);
	for (k = 0; k < l.n; k++)
		json_array_append_new(list, json_pack("[s%, s%]", l.m[k].token,
		    l.m[k].left, l.m[k].token + l.m[k].left,
		    l.m[k].n - l.m[k].left));
done:
	free(l.m);
	return list;
}

/* ---- everything else ---- */

static int
flag(const struct reader *r, const char *key, int otherwise)
{
	sq_gguf_bool(r->g, key, &otherwise);
	return otherwise;
}

static json_t *
special(const struct reader *r, const char *key, json_t *known)
{
	json_t *t;
	uint64_t id;
	size_t i;
	const char *text;

	if (sq_gguf_uint(r->g, key, &id) < 0)
		return NULL;
	json_array_foreach(r->added, i, t)
		if ((uint64_t)json_integer_value(json_object_get(t, "id")) ==
		    id) {
			text = json_string_value(json_object_get(t,
			    "content"));
			json_object_set_new(known, text, json_pack(
			    "{s:s, s:[I], s:[s]}", "id", text, "ids",
			    (json_int_t)id, "tokens", text));
			return json_pack("{s:{s:s, s:i}}", "SpecialToken",
			    "id", text, "type_id", 0);
		}
	return NULL;
}

/* [bos] text [eos], where the file says so. */
static json_t *
post_processor(const struct reader *r)
{
	json_t *known = json_object(), *single = json_array(), *t;
	int bos = r->pre == NULL || r->pre->bos;

	if (flag(r, "tokenizer.ggml.add_bos_token", bos) &&
	    (t = special(r, "tokenizer.ggml.bos_token_id", known)) != NULL)
		json_array_append_new(single, t);
	json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence",
	    "id", "A", "type_id", 0));
	if (flag(r, "tokenizer.ggml.add_eos_token", 0) &&
	    (t = special(r, "tokenizer.ggml.eos_token_id", known)) != NULL)
		json_array_append_new(single, t);
	return json_pack("{s:s, s:o, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:o}",
	    "type", "TemplateProcessing", "single", single, "pair", "Sequence",
	    "id", "A", "type_id", 0, "Sequence", "id", "B", "type_id", 1,
	    "special_tokens", known);
}

static json_t *
byte_level(void)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
	    "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0);
}

static void
bytes_steps(const struct reader *r, json_t *o)
{
	json_object_set_new(o, "normalizer", r->pre->compose ?
	    json_pack("{s:s}", "type", "NFC") : json_null());
	json_object_set_new(o, "pre_tokenizer", json_pack(
	    "{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
	    "pretokenizers", "type", "Split", "pattern", "Regex",
	    r->pre->regex, "behavior", "Isolated", "invert", 0,
	    byte_level()));
	json_object_set_new(o, "post_processor", post_processor(r));
	json_object_set_new(o, "decoder", byte_level());
}

#define SPACE	"\xe2\x96\x81"		/* SentencePiece's, U+2581 */

static void
pieces_steps(const struct reader *r, json_t *o)
{
	json_t *steps = json_array(), *back;

	if (flag(r, "tokenizer.ggml.add_space_prefix", 1))
		json_array_append_new(steps, json_pack("{s:s, s:s}", "type",
		    "Prepend", "prepend", SPACE));
	back = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type",
	    "Replace", "pattern", "String", SPACE, "content", " ", "type",
	    "ByteFallback", "type", "Fuse");
	if (json_array_size(steps) > 0)
		json_array_append_new(back, json_pack(
		    "{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ",
		    "start", 1, "stop", 0));
	json_array_append_new(steps, json_pack("{s:s, s:{s:s}, s:s}", "type",
	    "Replace", "pattern", "String", " ", "content", SPACE));
	json_object_set_new(o, "normalizer", json_pack("{s:s, s:o}", "type",
	    "Sequence", "normalizers", steps));
	json_object_set_new(o, "pre_tokenizer", json_null());
	json_object_set_new(o, "post_processor", post_processor(r));
	json_object_set_new(o, "decoder", json_pack("{s:s, s:o}", "type",
	    "Sequence", "decoders", back));
}

/* The text of the unknown token, or null. */
static json_t *
unknown(const struct reader *r)
{
	const char *s;
	json_t *id;

	if (r->pre == NULL)
		json_object_foreach(r->vocab, s, id)
			if (type_of(r, (uint64_t)json_integer_value(id)) ==
			    SQ_GGUF_UNKNOWN)
				return json_string(s);
	return json_null();
}

static json_t *
make(struct reader *r, char *err)
{
	json_t *o = json_pack("{s:s, s:n, s:n, s:O}", "version", "1.0",
	    "truncation", "padding", "added_tokens", r->added);
	json_t *merges = r->pre != NULL ? listed_merges(r) : scored_merges(r);
	int spm = r->pre == NULL;

	if (o == NULL || merges == NULL) {
		json_decref(o);
		json_decref(merges);
		sq_fail(err, "key 'tokenizer.ggml.merges': not merges");
		return NULL;
	}
	if (spm)
		pieces_steps(r, o);
	else
		bytes_steps(r, o);
	json_object_set_new(o, "model", json_pack(
	    "{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:O, s:o}", "type",
	    "BPE", "dropout", "unk_token", unknown(r),
	    "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
	    spm, "byte_fallback", spm, "ignore_merges",
	    !spm && r->pre->whole, "vocab", r->vocab, "merges", merges));
	return o;
}

/* By its name there; -1 with the reason, or with an empty one for none. */
static int
find_pre(struct reader *r, char *err)
{
	struct sq_gguf_str model, pre = { "", 0 };
	const struct sq_gguf_pre *p;

	*err = '\0';
	if (sq_gguf_string(r->g, "tokenizer.ggml.model", &model) < 0 ||
	    (model.n == 4 && memcmp(model.p, "none", 4) == 0) ||
	    (model.n == 8 && memcmp(model.p, "no_vocab", 8) == 0))
		return -1;
	if (model.n == 5 && memcmp(model.p, "llama", 5) == 0)
		return 0;
	if (model.n != 4 || memcmp(model.p, "gpt2", 4) != 0)
		return sq_fail(err, "tokenizer '%.*s' is not supported",
		    (int)(model.n < 64 ? model.n : 64), model.p);
	sq_gguf_string(r->g, "tokenizer.ggml.pre", &pre);
	for (p = sq_gguf_pres; p->name != NULL; p++)
		if (strlen(p->name) == pre.n &&
		    memcmp(p->name, pre.p, pre.n) == 0) {
			r->pre = p;
			return 0;
		}
	return sq_fail(err, "pre-tokenizer '%.*s' is not known",
	    (int)(pre.n < 64 ? pre.n : 64), pre.p);
}

json_t *
sq_gguf_tokenizer(const struct sq_gguf *g, char *err)
{
	struct reader r = { .g = g };
	json_t *o = NULL;

	if (find_pre(&r, err) < 0 || find_arrays(&r, err) < 0)
		return NULL;
	r.vocab = json_object();
	r.added = json_array();
	if (list_tokens(&r, err) == 0)
		o = make(&r, err);
	json_decref(r.vocab);
	json_decref(r.added);
	return o;
}
