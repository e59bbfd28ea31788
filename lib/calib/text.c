/* Calibration text to samples of tokens; see text.h. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "calib/text.h"
#include "model/files.h"

static const char separator[] = "<|endoftext|>";

#define SEPARATOR	(sizeof(separator) - 1)

/* Empties the separator lines in place: the new length. */
static size_t
drop_separators(char *text, size_t len)
{
	char *p = text, *end = text + len, *to = text, *nl;
	size_t n;

	for (; p < end; p += n) {
		nl = memchr(p, '\n', (size_t)(end - p));
		n = (size_t)((nl == NULL ? end : nl) - p);
		if (n == SEPARATOR && memcmp(p, separator, n) == 0)
			p += n, n = 0;
		n += nl != NULL;
		memmove(to, p, n);
		to += n;
	}
	return (size_t)(to - text);
}

static int
check_text(const char *text, size_t len, char *err)
{
	if (len == 0)
		return sq_fail(err, "the text is empty");
	if (memchr(text, '\0', len) != NULL || !sq_utf8_valid(text, len))
		return sq_fail(err, "not a text in UTF-8");
	return 0;
}

int
sq_calib_tokens(struct sq_tokens *t, const struct sq_files *files,
    const struct sq_config *c, char *text, size_t len, size_t samples,
    size_t length, size_t skip, char *err)
{
	struct sq_ids ids = { NULL, 0, 0 };
	struct sq_tokenizer *tok;
	const unsigned char *json;
	size_t size, have;
	int r = -1;

	memset(t, 0, sizeof(*t));
	if (check_text(text, len, err) < 0 ||
	    (tok = sq_files_tokenizer(files, err)) == NULL)
		return -1;
	sq_digest_text(t->source, XXH3_128bits(text, len));
	json = sq_files_find(files, "tokenizer.json", &size);
	sq_digest_text(t->tokenizer, XXH3_128bits(json, size));
	if (length > c->context)
		length = (size_t)c->context;
	len = drop_separators(text, len);
	if (sq_tokenizer_encode(tok, text, len, SQ_TOK_SPECIAL, &ids, err) < 0)
		goto done;
	have = ids.n / length;
	if (have <= skip) {
		sq_fail(err, "%zu tokens: fewer than %zu samples of %zu",
		    ids.n, skip + 1, length);
		goto done;
	}
	t->length = length;
	t->skip = skip;
	t->count = length * (have - skip < samples ? have - skip : samples);
	if ((t->id = malloc(t->count * sizeof(*t->id))) == NULL) {
		sq_fail(err, "out of memory");
		goto done;
	}
	memcpy(t->id, ids.id + skip * length, t->count * sizeof(*t->id));
	r = 0;
done:
	sq_ids_release(&ids);
	sq_tokenizer_free(tok);
	return r;
}
