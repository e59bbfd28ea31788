/* The vocabulary, the merges and the added tokens as the file states them. */
#include <stdlib.h>
#include <string.h>

#include "model/tok.h"

#define MERGES_MAX	(1u << 24)
#define ADDED_LEN_MAX	256	/* bytes: finding one takes that many steps */
#define META		"\xe2\x96\x81"	/* U+2581 */

static int
no_memory(char *err)
{
	return sq_fail(err, "out of memory");
}

/* An id of the file, below SQ_TOK_ID_MAX. */
static int
get_id(const json_t *v, const char *name, uint32_t *id, char *err)
{
	json_int_t i = json_is_integer(v) ? json_integer_value(v) : -1;

	if (i < 0 || i >= (json_int_t)SQ_TOK_ID_MAX)
		return sq_fail(err, "token '%s': its id is not a number from 0 "
		    "to %u", name, SQ_TOK_ID_MAX - 1);
	*id = (uint32_t)i;
	return 0;
}

/* Raises *n above every id that the vocabulary and the added tokens have. */
static int
count_ids(json_t *vocab, const json_t *added, size_t *n, char *err)
{
	const char *name;
	uint32_t id = 0;
	json_t *v;
	size_t i;

	*n = 0;
	json_object_foreach(vocab, name, v) {
		if (get_id(v, name, &id, err) < 0)
			return -1;
		*n = id >= *n ? (size_t)id + 1 : *n;
	}
	json_array_foreach(added, i, v) {
		if (!json_is_object(v) ||
		    sq_json_string(v, "content", &name, err) < 0)
			return sq_fail(err, "added token %zu has no content",
			    i);
		if (get_id(json_object_get(v, "id"), name, &id, err) < 0)
			return -1;
		*n = id >= *n ? (size_t)id + 1 : *n;
	}
	return 0;
}

static int
load_vocab(struct sq_tokenizer *t, json_t *vocab, const json_t *added,
    char *err)
{
	const char *name;
	json_t *v;
	size_t n;

	if (count_ids(vocab, added, &n, err) < 0 ||
	    sq_tok_vocab_init(&t->vocab, n, json_object_size(vocab) +
	    json_array_size(added), err) < 0)
		return -1;
	json_object_foreach(vocab, name, v)
		if (sq_tok_vocab_add(&t->vocab,
		    (uint32_t)json_integer_value(v), name, strlen(name),
		    TOK_MODEL, err) < 0)
			return -1;
	return 0;
}

/* The two sides of a merge: "a b" or ["a", "b"]. */
static int
sides(const json_t *v, const char **a, size_t *na, const char **b, size_t *nb)
{
	const json_t *left = json_array_get(v, 0);
	const json_t *right = json_array_get(v, 1);
	const char *sp;

	if (json_is_string(v)) {
		*a = json_string_value(v);
		if ((sp = strchr(*a, ' ')) == NULL || strchr(sp + 1, ' '))
			return -1;
		*na = (size_t)(sp - *a);
		*b = sp + 1;
		*nb = strlen(*b);
	} else {
		if (json_array_size(v) != 2 || !json_is_string(left) ||
		    !json_is_string(right))
			return -1;
		*a = json_string_value(left);
		*na = json_string_length(left);
		*b = json_string_value(right);
		*nb = json_string_length(right);
	}
	return *na > 0 && *nb > 0 ? 0 : -1;
}

static int
add_merge(struct sq_tokenizer *t, const json_t *v, size_t i,
    struct sq_tok_buf *both, char *err)
{
	const char *a, *b;
	size_t na, nb;
	uint32_t left, right, made;

	if (sides(v, &a, &na, &b, &nb) < 0)
		return sq_fail(err, "merge %zu is not a pair of strings", i);
	both->n = 0;
	if (sq_tok_add(both, a, na, err) < 0 ||
	    sq_tok_add(both, b, nb, err) < 0)
		return -1;
	left = sq_tok_find_model(&t->vocab, a, na);
	right = sq_tok_find_model(&t->vocab, b, nb);
	made = sq_tok_find_model(&t->vocab, both->s, both->n);
	if (left == SQ_TOK_NONE || right == SQ_TOK_NONE || made == SQ_TOK_NONE)
		return sq_fail(err, "merge %zu: '%.*s' is not in the "
		    "vocabulary", i,
		    (int)(left == SQ_TOK_NONE ? na : right == SQ_TOK_NONE ?
		    nb : both->n), left == SQ_TOK_NONE ? a :
		    right == SQ_TOK_NONE ? b : both->s);
	sq_tok_merges_add(&t->merges, left, right, made);
	return 0;
}

static int
load_merges(struct sq_tokenizer *t, const json_t *list, char *err)
{
	struct sq_tok_buf both = { 0 };
	const json_t *v;
	size_t i, n = json_array_size(list);
	int r;

	if (n > MERGES_MAX)
		return sq_fail(err, "more than %u merges", MERGES_MAX);
	r = sq_tok_merges_init(&t->merges, n, err);
	for (i = 0; r == 0 && i < n; i++) {
		v = json_array_get(list, i);
		/* the first line of a merges.txt, which some files carry */
		if (json_is_string(v) &&
		    strncmp(json_string_value(v), "#version", 8) == 0)
			continue;
		r = add_merge(t, v, i, &both, err);
	}
	sq_tok_buf_release(&both);
	return r;
}

/* Refuses the options that change ids and are not done here. */
static int
check_options(const json_t *m, char *err)
{
	static const char *const affix[] = { "continuing_subword_prefix",
	    "end_of_word_suffix" };
	const json_t *v;
	const char *type;
	double dropout = 0;
	size_t i;

	if (json_object_get(m, "type") != NULL) {
		if (sq_json_string(m, "type", &type, err) < 0)
			return -1;
		if (strcmp(type, "BPE") != 0)
			return sq_fail(err, "type '%s' is not supported", type);
	}
	if (sq_json_opt_real(m, "dropout", &dropout, err) < 0)
		return -1;
	if (dropout > 0)
		return sq_fail(err, "dropout is not supported");
	for (i = 0; i < 2; i++) {
		v = json_object_get(m, affix[i]);
		if (v != NULL && !json_is_null(v) &&
		    (!json_is_string(v) || json_string_length(v) > 0))
			return sq_fail(err, "'%s' is not supported", affix[i]);
	}
	return 0;
}

static int
load_options(struct sq_tokenizer *t, const json_t *m, char *err)
{
	const json_t *unk = json_object_get(m, "unk_token");

	if (check_options(m, err) < 0 ||
	    sq_json_opt_bool(m, "fuse_unk", &t->fuse_unk, err) < 0 ||
	    sq_json_opt_bool(m, "byte_fallback", &t->byte_fallback, err) < 0 ||
	    sq_json_opt_bool(m, "ignore_merges", &t->ignore_merges, err) < 0)
		return -1;
	if (unk == NULL || json_is_null(unk))
		return 0;
	if (!json_is_string(unk))
		return sq_fail(err, "'unk_token' is not a string");
	t->unk_name = strdup(json_string_value(unk));
	return t->unk_name == NULL ? no_memory(err) : 0;
}

/* The ids of bytes: as the first symbols of words, and to fall back on. */
static void
byte_ids(struct sq_tokenizer *t)
{
	char s[8];
	size_t n;
	int b;

	for (b = 0; b < 256; b++) {
		snprintf(s, sizeof(s), "<0x%02X>", b);
		t->fallback[b] = sq_tok_find_model(&t->vocab, s, 6);
		s[0] = (char)b;
		n = t->bytelevel ? sq_tok_byte_char((unsigned char)b, s) : 1;
		t->byte_id[b] = sq_tok_find_model(&t->vocab, s, n);
	}
}

/* 1 when U+2581 is a token and no token has it after another character. */
static int
can_cut(const struct sq_tokenizer *t)
{
	const struct sq_tok_vocab *v = &t->vocab;
	const struct sq_tok_entry *e;
	const char *s, *at;

	if (t->bytelevel || t->ignore_merges ||
	    sq_tok_find_model(v, META, 3) == SQ_TOK_NONE)
		return 0;
	for (e = v->entry; e < v->entry + v->n; e++) {
		if (!(e->flags & TOK_MODEL))
			continue;
		s = v->text.s + e->off;
		for (at = s; (at = strstr(at, META)) != NULL; at += 3)
			if (at > s && (at < s + 3 ||
			    memcmp(at - 3, META, 3) != 0))
				return 0;
	}
	return 1;
}

int
sq_tok_load_model(struct sq_tokenizer *t, const json_t *file, char *err)
{
	const json_t *m = json_object_get(file, "model");
	const json_t *added = json_object_get(file, "added_tokens");
	json_t *vocab = json_object_get(m, "vocab");
	const json_t *merges = json_object_get(m, "merges");
	char why[SQ_ERR];

	if (added != NULL && !json_is_null(added) && !json_is_array(added))
		return sq_fail(err, "added_tokens: not an array");
	if (!json_is_object(m))
		return sq_fail(err, "model: not an object");
	if (load_options(t, m, why) < 0)
		return sq_fail(err, "model: %s", why);
	if (!json_is_object(vocab) || !json_is_array(merges))
		return sq_fail(err, "model: '%s' is missing or of another type",
		    json_is_object(vocab) ? "merges" : "vocab");
	if (load_vocab(t, vocab, added, why) < 0 ||
	    load_merges(t, merges, why) < 0)
		return sq_fail(err, "model: %s", why);
	t->unk = t->unk_name == NULL ? SQ_TOK_NONE :
	    sq_tok_find_model(&t->vocab, t->unk_name, strlen(t->unk_name));
	byte_ids(t);
	t->cut = can_cut(t);
	return 0;
}

/* Puts the token into one of the sets that are looked for in texts. */
static int
add_word(struct sq_tok_added *set, const char *s, size_t n,
    const struct sq_tok_word *like, char *err)
{
	struct sq_tok_word *w = set->word + set->n;

	if (n > ADDED_LEN_MAX)
		return sq_fail(err, "longer than %d bytes", ADDED_LEN_MAX);
	if (n == 0)
		return 0;
	*w = *like;
	if ((w->s = malloc(n)) == NULL)
		return no_memory(err);
	memcpy(w->s, s, n);
	w->n = n;
	set->n++;
	return 0;
}

/* A token that is looked for in normalized text is itself normalized. */
static int
add_normalized(struct sq_tokenizer *t, const char *s, size_t n,
    const struct sq_tok_word *like, char *err)
{
	struct sq_tok_buf a = { 0 }, b = { 0 };
	struct sq_tok_matcher m = { 0 };
	int r = 0;

	if (t->nnorm > 0 && ((r = sq_tok_matcher_init(&m, n, err)) == 0))
		r = sq_tok_normalize(t, &m, &a, &b, &s, &n, err);
	if (r == 0)
		r = add_word(&t->normal, s, n, like, err);
	sq_tok_matcher_release(&m);
	sq_tok_buf_release(&a);
	sq_tok_buf_release(&b);
	return r;
}

static int
add_token(struct sq_tokenizer *t, const json_t *o, char *err)
{
	const char *s = json_string_value(json_object_get(o, "content"));
	uint32_t id = (uint32_t)json_integer_value(json_object_get(o, "id"));
	struct sq_tok_word w = { .id = id };
	int single = 0, lstrip = 0, rstrip = 0, normalized = 1, special = 0;
	size_t n = strlen(s);

	if (sq_json_opt_bool(o, "single_word", &single, err) < 0 ||
	    sq_json_opt_bool(o, "lstrip", &lstrip, err) < 0 ||
	    sq_json_opt_bool(o, "rstrip", &rstrip, err) < 0 ||
	    sq_json_opt_bool(o, "normalized", &normalized, err) < 0 ||
	    sq_json_opt_bool(o, "special", &special, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	w.single = (uint8_t)single;
	w.lstrip = (uint8_t)lstrip;
	w.rstrip = (uint8_t)rstrip;
	w.special = (uint8_t)special;
	if (sq_tok_vocab_add(&t->vocab, id, s, n, (uint8_t)(TOK_ADDED |
	    (special ? TOK_SPECIAL : 0)), err) < 0)
		return -1;
	return normalized ? add_normalized(t, s, n, &w, err) :
	    add_word(&t->raw, s, n, &w, err);
}

int
sq_tok_load_added(struct sq_tokenizer *t, const json_t *file, char *err)
{
	const json_t *list = json_object_get(file, "added_tokens");
	size_t i, n = json_array_size(list);
	char why[SQ_ERR];

	t->raw.word = calloc(n + 1, sizeof(*t->raw.word));
	t->normal.word = calloc(n + 1, sizeof(*t->normal.word));
	if (t->raw.word == NULL || t->normal.word == NULL)
		return no_memory(err);
	for (i = 0; i < n; i++)
		if (add_token(t, json_array_get(list, i), why) < 0)
			return sq_fail(err, "added token %zu: %s", i, why);
	sq_tok_added_sort(&t->raw);
	sq_tok_added_sort(&t->normal);
	return 0;
}
