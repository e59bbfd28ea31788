/* Calibration text to samples of tokens; see text.h. */
#include <stdlib.h>
#include <string.h>

#include "calib/text.h"
#include "model/files.h"

void
sq_text_report_release(struct sq_text_report *r)
{
	sq_corpus_release(&r->corpus);
	free(r->tokens);
	memset(r, 0, sizeof(*r));
}

/* The tokens of the corpus: those that it has, or has a text for. */
static int
encode(struct sq_ids *ids, const struct sq_corpus *c,
    const struct sq_tokenizer *tok, char *err)
{
	size_t n = sq_corpus_length(c), i, size = sq_tokenizer_vocab_size(tok);

	if (c->kind != SQ_CORPUS_TOKENS)
		return sq_tokenizer_encode(tok, c->text, n, SQ_TOK_SPECIAL,
		    ids, err);
	for (i = 0; i < n; i++)
		if (c->id[i] >= size)
			return sq_fail(err, "token %u is not one of the "
			    "model's %zu", c->id[i], size);
	return sq_ids_add(ids, c->id, n) < 0 ? sq_fail(err, "out of memory") :
	    0;
}

/* Tokens of each document, and BOS among all. */
static int
fill_report(struct sq_text_report *r, const struct sq_ids *ids,
    const struct sq_tokenizer *tok, const struct sq_config *config, char *err)
{
	const struct sq_corpus *c = &r->corpus;
	struct sq_ids one = { NULL, 0, 0 };
	size_t i, from, to;
	int ret = 0;

	r->total = ids->n;
	for (i = 0; i < ids->n; i++)
		r->bos += config->bos >= 0 &&
		    ids->id[i] == (uint64_t)config->bos;
	if ((r->tokens = calloc(c->n + 1, sizeof(*r->tokens))) == NULL)
		return sq_fail(err, "out of memory");
	for (i = 0, to = 0; i < c->n && ret == 0; i++) {
		from = to;
		to = c->end[i];
		r->tokens[i] = to - from;
		if (c->kind == SQ_CORPUS_TOKENS)
			continue;
		one.n = 0;
		ret = sq_tokenizer_encode(tok, c->text + from, to - from,
		    SQ_TOK_SPECIAL, &one, err);
		r->tokens[i] = one.n;
	}
	sq_ids_release(&one);
	return ret;
}

/* Cuts the samples out. */
static int
cut(struct sq_tokens *t, const struct sq_ids *ids, size_t samples,
    size_t length, size_t skip, char *err)
{
	size_t have = ids->n / length;

	if (have <= skip)
		return sq_fail(err, "%zu tokens: fewer than %zu samples of "
		    "%zu", ids->n, skip + 1, length);
	t->length = length;
	t->skip = skip;
	t->count = length * (have - skip < samples ? have - skip : samples);
	if ((t->id = malloc(t->count * sizeof(*t->id))) == NULL)
		return sq_fail(err, "out of memory");
	memcpy(t->id, ids->id + skip * length, t->count * sizeof(*t->id));
	return 0;
}

static int
take(struct sq_tokens *t, const struct sq_files *files,
    const struct sq_corpus *c, struct sq_ids *ids,
    const struct sq_tokenizer *tok, char *err)
{
	const unsigned char *json;
	size_t size;

	json = sq_files_find(files, "tokenizer.json", &size);
	sq_digest_text(t->tokenizer, XXH3_128bits(json, size));
	if (c->tokenizer[0] != '\0' && strcmp(c->tokenizer, t->tokenizer) != 0)
		return sq_fail(err, "tokens of another tokenizer: %s, not %s",
		    c->tokenizer, t->tokenizer);
	if (c->source[0] != '\0')
		memcpy(t->source, c->source, sizeof(t->source));
	return encode(ids, c, tok, err);
}

int
sq_calib_tokens(struct sq_tokens *t, const struct sq_files *files,
    const struct sq_config *config, const char *text, size_t len,
    size_t samples, size_t length, size_t skip, struct sq_text_report *report,
    char *err)
{
	struct sq_text_report own = { .total = 0 };
	struct sq_text_report *rep = report == NULL ? &own : report;
	struct sq_ids ids = { NULL, 0, 0 };
	struct sq_tokenizer *tok;
	int r;

	memset(t, 0, sizeof(*t));
	memset(rep, 0, sizeof(*rep));
	if (sq_corpus_read(&rep->corpus, files, text, len, err) < 0)
		return -1;
	sq_digest_text(t->source, XXH3_128bits(text, len));
	if ((tok = sq_files_tokenizer(files, err)) == NULL) {
		sq_text_report_release(rep);
		return -1;
	}
	r = take(t, files, &rep->corpus, &ids, tok, err);
	if (r == 0 && report != NULL)
		r = fill_report(report, &ids, tok, config, err);
	if (r == 0)
		r = cut(t, &ids, samples, length > config->context ?
		    (size_t)config->context : length, skip, err);
	sq_ids_release(&ids);
	sq_tokenizer_free(tok);
	if (r < 0 || report == NULL)
		sq_text_report_release(rep);
	return r;
}
