/*
 * tokenizer.json as keys of a GGUF file; see gguf_tok.h.  The way back is
 * gguf_tok_read.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_tok.h"
#include "model/gguf_tok_names.h"

struct writer {
	struct sq_gguf_out *out;
	const struct sq_config *c;
	const json_t *tok, *model;
	int spm;			/* SentencePiece */
	const char **token;		/* [c->vocab]; NULL: unused */
	int32_t *type;
	float *score;
};

/* ---- the tokens ---- */

static int
set_token(struct writer *w, const char *text, const json_t *id, int type,
    char *err)
{
	json_int_t i = json_integer_value(id);

	if (!json_is_integer(id) || i < 0 || (uint64_t)i >= w->c->vocab)
		return sq_fail(err, "tokenizer.json: token '%.64s' has an id "
		    "beyond the vocabulary", text);
	w->token[i] = text;
	w->type[i] = type;
	return 0;
}

static int
is_byte(const char *s)
{
	unsigned v;
	int n = 0;

	return sscanf(s, "<0x%2x>%n", &v, &n) == 1 && n == 6 && s[6] == '\0';
}

static int
list_tokens(struct writer *w, char *err)
{
	json_t *vocab = json_object_get(w->model, "vocab"), *id, *t;
	json_t *added = json_object_get(w->tok, "added_tokens");
	const char *unk = json_string_value(json_object_get(w->model,
	    "unk_token"));
	const char *text;
	size_t i;
	int type;

	json_object_foreach(vocab, text, id) {
		type = w->spm && is_byte(text) ? SQ_GGUF_BYTE : SQ_GGUF_NORMAL;
		if (set_token(w, text, id, type, err) < 0)
			return -1;
	}
	json_array_foreach(added, i, t) {
		text = json_string_value(json_object_get(t, "content"));
		type = json_is_true(json_object_get(t, "special")) ?
		    SQ_GGUF_CONTROL : SQ_GGUF_USER;
		if (w->spm && text != NULL && unk != NULL &&
		    strcmp(text, unk) == 0)
			type = SQ_GGUF_UNKNOWN;
		if (text == NULL || set_token(w, text,
		    json_object_get(t, "id"), type, err) < 0)
			return text == NULL ? sq_fail(err, "tokenizer.json: "
			    "an added token without content") : -1;
	}
	return 0;
}

static void
put_tokens(struct writer *w)
{
	char unused[32];
	uint64_t i;

	sq_gguf_put_array(w->out, "tokenizer.ggml.tokens", SQ_GGUF_STRING,
	    w->c->vocab);
	for (i = 0; i < w->c->vocab; i++) {
		snprintf(unused, sizeof(unused), "[PAD%ju]", (uintmax_t)i);
		sq_gguf_put_element(w->out, w->token[i] == NULL ? unused :
		    w->token[i], strlen(w->token[i] == NULL ? unused :
		    w->token[i]));
	}
	sq_gguf_put_array(w->out, "tokenizer.ggml.token_type", SQ_GGUF_I32,
	    w->c->vocab);
	for (i = 0; i < w->c->vocab; i++)
		sq_gguf_put_number(w->out, &w->type[i]);
}

/* ---- the merges ---- */

/* The halves of a merge: "a b", or ["a", "b"]. */
static int
halves(const json_t *m, struct sq_gguf_str *a, struct sq_gguf_str *b,
    char *err)
{
	const char *s = json_string_value(m), *space;

	if (s != NULL && (space = strchr(s, ' ')) != NULL) {
		*a = (struct sq_gguf_str){ s, (size_t)(space - s) };
		*b = (struct sq_gguf_str){ space + 1, strlen(space + 1) };
		return 0;
	}
	a->p = json_string_value(json_array_get(m, 0));
	b->p = json_string_value(json_array_get(m, 1));
	if (a->p == NULL || b->p == NULL)
		return sq_fail(err, "tokenizer.json: a merge that is none");
	a->n = strlen(a->p);
	b->n = strlen(b->p);
	return 0;
}

static int
join(const json_t *m, const char *between, char **text, size_t *n, char *err)
{
	struct sq_gguf_str a = { NULL, 0 }, b = { NULL, 0 };
	int len;

	if (halves(m, &a, &b, err) < 0)
		return -1;
	if (*between != '\0' && (memchr(a.p, ' ', a.n) != NULL ||
	    memchr(b.p, ' ', b.n) != NULL))
		return sq_fail(err, "tokenizer.json: a merge with a space");
	len = asprintf(text, "%.*s%s%.*s", (int)a.n, a.p, between, (int)b.n,
	    b.p);
	if (len < 0)
		return sq_fail(err, "out of memory");
	*n = (size_t)len;
	return 0;
}

static int
put_merges(struct writer *w, char *err)
{
	json_t *merges = json_object_get(w->model, "merges"), *m;
	char *text;
	size_t i, n;

	sq_gguf_put_array(w->out, "tokenizer.ggml.merges", SQ_GGUF_STRING,
	    json_array_size(merges));
	json_array_foreach(merges, i, m) {
		if (join(m, " ", &text, &n, err) < 0)
			return -1;
		sq_gguf_put_element(w->out, text, n);
		free(text);
	}
	return 0;
}

/*
 * What SentencePiece goes by: the pair that makes the token with the greatest
 * score is merged first.  So tokens get 0, -1, -2 ... in the order in which the
 * merges make them; those that no merge makes come after, by id.
 */
static int
put_scores(struct writer *w, char *err)
{
	json_t *vocab = json_object_get(w->model, "vocab"), *m;
	json_t *merges = json_object_get(w->model, "merges");
	unsigned char *made = calloc(w->c->vocab, 1);
	json_int_t id;
	char *text;
	size_t i, n;
	float next = 0;
	uint64_t t;
	int r = -1;

	if (made == NULL)
		return sq_fail(err, "out of memory");
	json_array_foreach(merges, i, m) {
		if (join(m, "", &text, &n, err) < 0)
			goto done;
		id = json_is_integer(json_object_get(vocab, text)) ?
		    json_integer_value(json_object_get(vocab, text)) : -1;
		free(text);
		if (id < 0 || (uint64_t)id >= w->c->vocab || made[id])
			continue;
		made[id] = 1;
		w->score[id] = next--;
	}
	for (t = 0; t < w->c->vocab; t++)
		if (!made[t] && w->type[t] == SQ_GGUF_NORMAL)
			w->score[t] = next--;
	sq_gguf_put_array(w->out, "tokenizer.ggml.scores", SQ_GGUF_FLOAT,
	    w->c->vocab);
	for (t = 0; t < w->c->vocab; t++)
		sq_gguf_put_number(w->out, &w->score[t]);
	r = 0;
done:
	free(made);
	return r;
}

/* ---- everything else ---- */

/* The regular expression that the text is cut by, or NULL. */
static const char *
find_pattern(const json_t *pre)
{
	const json_t *list = json_object_get(pre, "pretokenizers"), *p;
	const char *type = json_string_value(json_object_get(pre, "type"));
	const char *s;
	size_t i;

	if (type != NULL && strcmp(type, "Split") == 0)
		return json_string_value(json_object_get(json_object_get(pre,
		    "pattern"), "Regex"));
	if (type != NULL && strcmp(type, "ByteLevel") == 0 &&
	    !json_is_false(json_object_get(pre, "use_regex")))
		return SQ_GGUF_GPT2;
	json_array_foreach(list, i, p)
		if ((s = find_pattern(p)) != NULL)
			return s;
	return NULL;
}

static int
put_pre(struct writer *w, const char *name, char *err)
{
	const char *regex = find_pattern(json_object_get(w->tok,
	    "pre_tokenizer"));
	const struct sq_gguf_pre *p;

	if (name == NULL && regex != NULL)
		for (p = sq_gguf_pres; p->name != NULL; p++)
			if (strcmp(p->regex, regex) == 0) {
				name = p->name;
				break;
			}
	if (name == NULL)
		return sq_fail(err, "tokenizer.json: GGUF has names for "
		    "regular expressions, and none is known for this one: "
		    "--gguf-pre names it");
	sq_gguf_put_string(w->out, "tokenizer.ggml.pre", name, strlen(name));
	return 0;
}

/* The template of the post-processor, or NULL. */
static const json_t *
find_template(const json_t *post)
{
	const json_t *list = json_object_get(post, "processors"), *p, *t;
	size_t i;

	if (json_is_array(json_object_get(post, "single")))
		return json_object_get(post, "single");
	json_array_foreach(list, i, p)
		if ((t = find_template(p)) != NULL)
			return t;
	return NULL;
}

static void
put_flags(struct writer *w)
{
	const json_t *t = find_template(json_object_get(w->tok,
	    "post_processor"));
	size_t n = json_array_size(t);

	sq_gguf_put_bool(w->out, "tokenizer.ggml.add_bos_token", n > 0 &&
	    json_object_get(json_array_get(t, 0), "SpecialToken") != NULL);
	sq_gguf_put_bool(w->out, "tokenizer.ggml.add_eos_token", n > 0 &&
	    json_object_get(json_array_get(t, n - 1), "SpecialToken") != NULL);
}

/* A leading space, as a Prepend or Metaspace step puts it. */
static int
prepends(const json_t *tok)
{
	const json_t *n = json_object_get(tok, "normalizer"), *s;
	const json_t *p = json_object_get(tok, "pre_tokenizer");
	const char *scheme = json_string_value(json_object_get(p,
	    "prepend_scheme"));
	size_t i;

	if (scheme != NULL && strcmp(scheme, "never") != 0)
		return 1;
	if (json_object_get(n, "prepend") != NULL)
		return 1;
	json_array_foreach(json_object_get(n, "normalizers"), i, s)
		if (json_object_get(s, "prepend") != NULL)
			return 1;
	return 0;
}

static void
put_ids(struct writer *w, const json_t *conf)
{
	const json_t *pad = json_object_get(conf, "pad_token_id");
	uint64_t i;

	if (w->c->bos >= 0)
		sq_gguf_put_u32(w->out, "tokenizer.ggml.bos_token_id",
		    (uint32_t)w->c->bos);
	if (w->c->eos >= 0)
		sq_gguf_put_u32(w->out, "tokenizer.ggml.eos_token_id",
		    (uint32_t)w->c->eos);
	for (i = 0; i < w->c->vocab; i++)
		if (w->type[i] == SQ_GGUF_UNKNOWN) {
			sq_gguf_put_u32(w->out,
			    "tokenizer.ggml.unknown_token_id", (uint32_t)i);
			break;
		}
	if (json_is_integer(pad) && json_integer_value(pad) >= 0 &&
	    (uint64_t)json_integer_value(pad) < w->c->vocab)
		sq_gguf_put_u32(w->out, "tokenizer.ggml.padding_token_id",
		    (uint32_t)json_integer_value(pad));
}

static int
put_all(struct writer *w, const json_t *conf, const char *pre, char *err)
{
	uint64_t i;

	for (i = 0; i < w->c->vocab; i++)
		w->type[i] = SQ_GGUF_UNUSED;
	if (list_tokens(w, err) < 0)
		return -1;
	if (!w->spm && put_pre(w, pre, err) < 0)
		return -1;
	put_tokens(w);
	if ((w->spm ? put_scores(w, err) : put_merges(w, err)) < 0)
		return -1;
	put_ids(w, conf);
	put_flags(w);
	if (w->spm)
		sq_gguf_put_bool(w->out, "tokenizer.ggml.add_space_prefix",
		    prepends(w->tok));
	return 0;
}

int
sq_gguf_put_tokenizer(struct sq_gguf_out *o, const struct sq_config *c,
    const json_t *tok, const json_t *conf, const char *pre, char *err)
{
	struct writer w = { .out = o, .c = c, .tok = tok,
	    .model = json_object_get(tok, "model") };
	const char *type = json_string_value(json_object_get(w.model, "type"));
	const char *name;
	int r = -1;

	w.spm = json_is_true(json_object_get(w.model, "byte_fallback"));
	name = tok == NULL ? "none" : w.spm ? "llama" : "gpt2";
	sq_gguf_put_string(o, "tokenizer.ggml.model", name, strlen(name));
	if (tok == NULL)
		return 0;
	if (type != NULL && strcmp(type, "BPE") != 0)
		return sq_fail(err, "tokenizer.json: GGUF has no name for "
		    "'%.64s'", type);
	w.token = calloc(c->vocab, sizeof(*w.token));
	w.type = calloc(c->vocab, sizeof(*w.type));
	w.score = calloc(c->vocab, sizeof(*w.score));
	if (w.token == NULL || w.type == NULL || w.score == NULL)
		sq_fail(err, "out of memory");
	else
		r = put_all(&w, conf, pre, err);
	free(w.token);
	free(w.type);
	free(w.score);
	return r;
}
