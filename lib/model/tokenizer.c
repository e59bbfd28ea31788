/* The tokenizer as its users see it: tokenizer.h; its parts are in tok.h. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tok.h"

#define VALUES_MAX	(1u << 25)	/* of the JSON: some 100 bytes each */

int
sq_ids_add(struct sq_ids *v, const uint32_t *id, size_t n)
{
	size_t cap;
	uint32_t *p;

	if (n > v->cap - v->n) {
		cap = v->cap + v->cap / 2 + 64;
		cap = cap - v->n < n ? v->n + n : cap;
		if ((p = reallocarray(v->id, cap, sizeof(*p))) == NULL)
			return -1;
		v->id = p;
		v->cap = cap;
	}
	if (n > 0)
		memcpy(v->id + v->n, id, n * sizeof(*id));
	v->n += n;
	return 0;
}

void
sq_ids_release(struct sq_ids *v)
{
	free(v->id);
	memset(v, 0, sizeof(*v));
}

/* A parsed value takes far more memory than its text: bound their number. */
static int
check_size(const char *s, size_t n, char *err)
{
	size_t i, values = 1;

	if (n > SQ_TOK_FILE_MAX)
		return sq_fail(err, "larger than %u MiB",
		    SQ_TOK_FILE_MAX >> 20);
	for (i = 0; i < n; i++)
		values += s[i] == ',' || s[i] == '[' || s[i] == '{';
	if (values > VALUES_MAX)
		return sq_fail(err, "more than %u values", VALUES_MAX);
	return 0;
}

struct sq_tokenizer *
sq_tokenizer_new(const void *json, size_t len, char *err)
{
	struct sq_tokenizer *t = NULL;
	json_t *file;

	if (check_size(json, len, err) < 0 ||
	    (file = sq_json_object(json, len, err)) == NULL)
		return NULL;
	if ((t = calloc(1, sizeof(*t))) == NULL) {
		sq_fail(err, "out of memory");
	} else if (sq_tok_load_norm(t, file, err) < 0 ||
	    sq_tok_load_split(t, file, err) < 0 ||
	    sq_tok_load_model(t, file, err) < 0 ||
	    sq_tok_load_added(t, file, err) < 0 ||
	    sq_tok_load_post(t, file, err) < 0 ||
	    sq_tok_load_dec(t, file, err) < 0) {
		sq_tokenizer_free(t);
		t = NULL;
	}
	json_decref(file);
	return t;
}

void
sq_tokenizer_free(struct sq_tokenizer *t)
{
	size_t i;

	if (t == NULL)
		return;
	sq_tok_vocab_release(&t->vocab);
	sq_tok_merges_release(&t->merges);
	sq_tok_added_release(&t->raw);
	sq_tok_added_release(&t->normal);
	for (i = 0; i < SQ_TOK_STEPS; i++) {
		sq_tok_pat_release(&t->norm[i].pat);
		free(t->norm[i].text);
		sq_tok_pat_release(&t->split[i].pat);
		sq_tok_pat_release(&t->dec[i].pat);
		free(t->dec[i].text);
	}
	sq_ids_release(&t->before);
	sq_ids_release(&t->after);
	free(t->unk_name);
	free(t);
}

/* A part of the normalized text; first: that began the input. */
static int
normal_part(struct sq_tok_run *r, void *first, const char *s, size_t n,
    size_t start)
{
	return sq_tok_split_run(r, s, n, *(int *)first && start == 0);
}

static int
raw_part(struct sq_tok_run *r, void *arg, const char *s, size_t n,
    size_t start)
{
	struct sq_tok_buf a = { 0 }, b = { 0 };
	int first = start == 0, ret;

	(void)arg;
	ret = sq_tok_normalize(r->t, &r->match, &a, &b, &s, &n, r->err);
	if (ret == 0)
		ret = sq_tok_added_run(r, &r->t->normal, s, n, normal_part,
		    &first);
	sq_tok_buf_release(&a);
	sq_tok_buf_release(&b);
	return ret;
}

static int
encode(struct sq_tok_run *r, const char *s, size_t n)
{
	const struct sq_tokenizer *t = r->t;
	int post = (r->flags & SQ_TOK_POST) != 0;

	if (sq_tok_matcher_init(&r->match, n, r->err) < 0)
		return -1;
	if ((r->bpe = sq_tok_bpe_new(n)) == NULL ||
	    (post && sq_ids_add(r->out, t->before.id, t->before.n) < 0))
		return sq_fail(r->err, "out of memory");
	if (sq_tok_added_run(r, &t->raw, s, n, raw_part, NULL) < 0)
		return -1;
	if (post && sq_ids_add(r->out, t->after.id, t->after.n) < 0)
		return sq_fail(r->err, "out of memory");
	return 0;
}

int
sq_tokenizer_encode(const struct sq_tokenizer *t, const char *text, size_t len,
    unsigned flags, struct sq_ids *out, char *err)
{
	struct sq_tok_run r = { .t = t, .out = out, .err = err,
	    .flags = flags };
	struct sq_tok_buf clean = { 0 };
	size_t before = out->n, used;
	int ret = 0;

	if (len > SQ_TOK_TEXT_MAX)
		return sq_fail(err, "text: longer than %u MiB",
		    SQ_TOK_TEXT_MAX >> 20);
	if (!sq_utf8_valid(text, len)) {
		ret = sq_tok_utf8(&clean, text, len, 1, &used, err);
		text = clean.s;
		len = clean.n;
	}
	if (ret == 0)
		ret = encode(&r, text, len);
	if (ret < 0)
		out->n = before;
	sq_tok_matcher_release(&r.match);
	sq_tok_bpe_free(r.bpe);
	sq_tok_buf_release(&clean);
	return ret;
}

size_t
sq_tokenizer_vocab_size(const struct sq_tokenizer *t)
{
	return t->vocab.n;
}

long
sq_tokenizer_find(const struct sq_tokenizer *t, const char *token)
{
	uint32_t id = sq_tok_find(&t->vocab, token, strlen(token));

	return id == SQ_TOK_NONE ? -1 : (long)id;
}

const char *
sq_tokenizer_token(const struct sq_tokenizer *t, uint32_t id, size_t *len)
{
	const struct sq_tok_entry *e = t->vocab.entry + id;

	if (id >= t->vocab.n || !(e->flags & TOK_USED))
		return NULL;
	*len = e->len;
	return t->vocab.text.s + e->off;
}

int
sq_tokenizer_is_special(const struct sq_tokenizer *t, uint32_t id)
{
	return id < t->vocab.n && (t->vocab.entry[id].flags & TOK_SPECIAL);
}
