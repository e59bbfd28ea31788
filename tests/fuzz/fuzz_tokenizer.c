/*
 * A tokenizer.json and, after a zero byte, a text for it; what does not begin
 * with a brace is a text for two small tokenizers of ours.  Ids must be those
 * of tokens, and byte-level ids must give the text back.  Good seeds:
 * tests/formats/tokenizer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer.h"

#define MAX_INPUT	(1 << 16)

int	 LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static const char bytes[] = "{\"pre_tokenizer\":{\"type\":\"Sequence\","
    "\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t)"
    "|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}"
    "\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"
    "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":"
    "false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"special\":true,"
    "\"normalized\":false}],\"model\":{\"vocab\":{%s,\"aa\":256,\"aaa\":257,"
    "\"ab\":258},\"merges\":[\"a b\",\"a a\",\"aa a\"]}}";
static const char spaces[] = "{\"normalizer\":{\"type\":\"Sequence\","
    "\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Prepend\",\"prepend\":"
    "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
    "\"content\":\"\xe2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\","
    "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xe2\x96\x81"
    "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
    "\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"lstrip\":true,"
    "\"rstrip\":true}],\"model\":{\"byte_fallback\":true,\"vocab\":{%s,"
    "\"\xe2\x96\x81\":256,\"a\":257,\"\xe2\x96\x81" "a\":258,\"aa\":259},"
    "\"merges\":[[\"\xe2\x96\x81\",\"a\"],[\"a\",\"a\"]]}}";

static void
must(int ok)
{
	if (!ok)
		abort();
}

/* One of ours, with a token for each byte. */
static struct sq_tokenizer *
ours(const char *file, int fallback)
{
	static char vocab[8192], json[16384];
	char err[SQ_ERR], s[16];
	size_t n = 0;
	unsigned b, c, next = 0x100;
	struct sq_tokenizer *t;

	for (b = 0; b < 256; b++) {
		c = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad) ? b :
		    next++;
		snprintf(s, sizeof(s), fallback ? "<0x%02X>" : "\\u%04x",
		    fallback ? b : c);
		n += (size_t)snprintf(vocab + n, sizeof(vocab) - n,
		    "%s\"%s\":%u", b ? "," : "", s, b);
	}
	snprintf(json, sizeof(json), file, vocab);
	t = sq_tokenizer_new(json, strlen(json), err);
	must(t != NULL);
	return t;
}

/* Encodes and decodes: the text that came back is malloc'd, or NULL. */
static char *
there_and_back(const struct sq_tokenizer *t, const char *text, size_t n,
    unsigned flags, size_t *len)
{
	struct sq_ids v = { 0 };
	struct sq_detok d;
	char err[SQ_ERR], *out = NULL, *p;
	const char *s = "";
	size_t i, k;

	*len = 0;
	if (sq_tokenizer_encode(t, text, n, flags, &v, err) < 0) {
		must(v.n == 0 && err[0] != '\0');
		sq_ids_release(&v);
		return NULL;
	}
	sq_detok_init(&d, t, 0);
	for (i = 0; i <= v.n && s != NULL; i++) {
		must(i == v.n || sq_tokenizer_token(t, v.id[i], &k) != NULL);
		s = i < v.n ? sq_detok_put(&d, v.id[i], &k) :
		    sq_detok_flush(&d, &k);
		if (s == NULL)
			break;
		must(sq_utf8_valid(s, k));
		must((p = realloc(out, *len + k + 1)) != NULL);
		out = p;
		memcpy(out + *len, s, k);
		*len += k;
	}
	sq_detok_release(&d);
	sq_ids_release(&v);
	return out;
}

static void
text_only(const char *s, size_t n)
{
	static struct sq_tokenizer *level, *meta;
	size_t len;
	unsigned flags;
	char *back;

	if (level == NULL) {
		level = ours(bytes, 0);
		meta = ours(spaces, 1);
	}
	for (flags = 0; flags < 4; flags++) {
		back = there_and_back(level, s, n, flags, &len);
		must(back != NULL);
		if (sq_utf8_valid(s, n))
			must(len == n && memcmp(back, s, n) == 0);
		free(back);
		free(there_and_back(meta, s, n, flags, &len));
	}
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
	const char *json = (const char *)data, *text = "the text";
	const char *zero = memchr(data, 0, n);
	size_t len = strlen(text), k;
	struct sq_tokenizer *t;
	char err[SQ_ERR];

	if (n > MAX_INPUT)
		return 0;
	if (n == 0 || json[0] != '{') {
		text_only(json, n);
		return 0;
	}
	if (zero != NULL) {
		text = zero + 1;
		len = n - (size_t)(text - json);
		n = (size_t)(zero - json);
	}
	if ((t = sq_tokenizer_new(json, n, err)) == NULL)
		return 0;
	free(there_and_back(t, text, len, SQ_TOK_SPECIAL | SQ_TOK_POST, &k));
	free(there_and_back(t, text, len, 0, &k));
	sq_tokenizer_free(t);
	return 0;
}
