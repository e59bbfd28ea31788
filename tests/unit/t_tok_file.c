/*
 * lib/model/tokenizer: what each part of a tokenizer.json does, one small file
 * at a time, and what is refused.  Expected ids were found with the tokenizers
 * library where it takes the file.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"

/* a..h are 0..7, space 8, "ab" 9, "cd" 10, "abcd" 11, U+2581 12 */
#define MODEL	"\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2," \
		"\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\" \":8,\"ab\":9," \
		"\"cd\":10,\"abcd\":11,\"\xe2\x96\x81\":12}," \
		"\"merges\":[\"a b\",[\"c\",\"d\"],\"ab cd\"]"
#define FILE_WITH(more)	"{\"model\":{" MODEL "}," more "}"
#define SPLIT(re, behavior, more) \
	"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" re \
	"\"},\"behavior\":\"" behavior "\"" more "}"
#define TOKEN(id, s, more) \
	"{\"id\":" #id ",\"content\":\"" s "\",\"normalized\":false" more "}"

static char err[SQ_ERR];

/* What the file makes of a text, as "1 2 3", or the reason of a failure. */
static const char *
ids(const char *json, const char *text, unsigned flags)
{
	static char out[4096];
	struct sq_tokenizer *t = sq_tokenizer_new(json, strlen(json), err);
	struct sq_ids v = { 0 };
	size_t i, k = 0;
	int r;

	if (t == NULL)
		return err;
	r = sq_tokenizer_encode(t, text, strlen(text), flags, &v, err);
	out[0] = '\0';
	for (i = 0; i < v.n && k + 16 < sizeof(out); i++)
		k += (size_t)snprintf(out + k, sizeof(out) - k, "%s%u",
		    i ? " " : "", v.id[i]);
	sq_ids_release(&v);
	sq_tokenizer_free(t);
	return r < 0 ? err : out;
}

/* What the decoder makes of all ids of the model but abcd. */
static const char *
text(const char *json, const uint32_t *id, size_t n)
{
	static char out[256];
	struct sq_tokenizer *t = sq_tokenizer_new(json, strlen(json), err);
	struct sq_detok d;
	const char *s;
	size_t i, len;

	if (t == NULL)
		return err;
	out[0] = '\0';
	sq_detok_init(&d, t, 0);
	for (i = 0; i <= n; i++) {
		s = i < n ? sq_detok_put(&d, id[i], &len) :
		    sq_detok_flush(&d, &len);
		ck_assert_ptr_nonnull(s);
		strncat(out, s, sizeof(out) - strlen(out) - 1);
	}
	sq_detok_release(&d);
	sq_tokenizer_free(t);
	return out;
}

START_TEST(model)
{
	const char *plain = FILE_WITH("\"added_tokens\":[]");

	ck_assert_str_eq(ids(plain, "abcdab", 0), "11 9");
	ck_assert_str_eq(ids(plain, "", 0), "");
	/* no unknown token: what is not in the vocabulary is left out */
	ck_assert_str_eq(ids(plain, "aXbY", 0), "9");
	ck_assert_str_eq(ids("{\"model\":{\"unk_token\":\"h\"," MODEL "}}",
	    "aXYbZ", 0), "0 7 7 1 7");
	ck_assert_str_eq(ids("{\"model\":{\"unk_token\":\"h\",\"fuse_unk\":"
	    "true," MODEL "}}", "aXYbZ", 0), "0 7 1 7");
	ck_assert_str_eq(ids("{\"model\":{\"unk_token\":\"?\"," MODEL "}}",
	    "abX", 0), "a character has no token, and neither has unk_token "
	    "'?'");
	/* the bytes of U+00E9, and of what has not all of them the unknown */
	ck_assert_str_eq(ids("{\"model\":{\"byte_fallback\":true,"
	    "\"unk_token\":\"a\",\"vocab\":{\"a\":0,\"<0xC3>\":1,"
	    "\"<0xA9>\":2},\"merges\":[]}}", "\xc3\xa9\xc3\xa8", 0), "1 2 0");
	/* a word that is a token, though no merge makes it */
	ck_assert_str_eq(ids("{\"model\":{\"ignore_merges\":true,"
	    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}", "ab", 0),
	    "2");
	/* the later one of equal merges counts */
	ck_assert_str_eq(ids("{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,"
	    "\"ba\":3},\"merges\":[\"a b\",\"b a\",\"a b\"]}}", "aba", 0),
	    "0 3");
}
END_TEST

START_TEST(behaviors)
{
	/* merges do not cross what the splits cut */
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("b", "Isolated", "")), "abcd", 0),
	    "0 1 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("b", "Removed", "")), "abcd", 0),
	    "0 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("b", "MergedWithPrevious", "")),
	    "abcd", 0), "9 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("b", "MergedWithNext", "")),
	    "abcd", 0), "0 1 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("[ab]", "Isolated", "")), "abcd",
	    0), "0 1 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("[ab]", "Contiguous", "")),
	    "abcd", 0), "9 10");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("[cd]", "Removed",
	    ",\"invert\":true")), "abcd", 0), "2 3");
	ck_assert_str_eq(ids(FILE_WITH(SPLIT("c?", "Isolated", "")), "abcd",
	    0), "0 1 2 3");
}
END_TEST

/* Where Oniguruma and PCRE2 differ: what is left after Removed. */
START_TEST(expressions)
{
	static const struct {
		const char *re, *in, *left;
	} cases[] = {
		/* U+180E is no white space, U+0085 is; both are kept out of
		 * the vocabulary, so a to h show what matched */
		{ "\\\\s+a", "\xc2\x85" "ab", "1" },
		{ "\\\\s+a", "\xe1\xa0\x8e" "ab", "9" },
		{ "\\\\S+", "ab c", "8" },
		{ "[^\\\\s]", "ab c", "8" },
		{ "\\\\h", "abgh", "6 7" }, { "\\\\H", "abgh", "9" },
		{ "\\\\v", "a\x0b" "b\x0c" "c", "0 1 2" },
		{ "a\\\\b", "ab a", "9 8" }, { "a\\\\B", "ab a", "1 8 0" },
		{ "\\\\w", "a\xc2\xbd\xcc\x81 b", "8" },
		{ "\\\\W", "a\xc2\xbd b", "0 1" },
		{ "\\\\u0061", "ab", "1" }, { "\\\\x61", "ab", "1" },
		{ "\\\\x{61}", "ab", "1" },
		{ "\\\\p{Han}a", "\xe4\xb8\xad" "ab", "1" },
		/* its script is Common; only its extensions have Han */
		{ "\\\\p{Han}a", "\xe3\x80\x81" "ab", "9" },
		{ "\\\\p{^Ll}a", " ab", "1" },
		{ "[[:alpha:]]", "ab c", "8" },
		{ "a(?m:.)b", "a\nbc", "2" }, { "a.b", "a\nbc", "9 2" },
		{ "(?i:A)", "ab", "1" }, { "(?i)A", "ab", "1" },
		{ "a{,2}b", "aabc", "2" }, { "a{1,2}+b", "aaaabc", "2" },
		{ "a{b", "a{bc", "2" }, { "^b", "a\nbcb", "0 2 1" },
		{ "a$", "ba\nab", "1 9" }, { "(a)\\\\1", "aab", "1" },
		{ "(?<x>a)\\\\k<x>", "aab", "1" }, { "[]a]", "ab", "1" },
		{ "(?<=a)b", "abb", "0 1" }, { "a(?!b)", "abac", "9 2" },
		{ "a++b", "aabc", "2" }, { "[\\\\w&]", "ab c", "8" },
	};
	char json[1024];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(json, sizeof(json), FILE_WITH(SPLIT("%s", "Removed",
		    "")), cases[i].re);
		ck_assert_msg(strcmp(ids(json, cases[i].in, 0),
		    cases[i].left) == 0, "%s: %s", cases[i].re,
		    ids(json, cases[i].in, 0));
	}
}
END_TEST

START_TEST(refused_expressions)
{
	static const struct {
		const char *re, *why;
	} cases[] = {
		{ "", "pattern: empty" },
		{ "(", "pattern '(': not understood: missing closing "
		    "parenthesis" },
		{ "[a", "pattern '[a': a class is not closed" },
		{ "[a[b]]", "pattern '[a[b]]': 'a class in a class' is not "
		    "supported" },
		{ "[a&&b]", "pattern '[a&&b]': '&& in a class' is not "
		    "supported" },
		{ "\\\\", "pattern '\\': it ends with a backslash" },
		{ "\\\\Q", "pattern '\\Q': '\\Q' is not supported" },
		{ "[\\\\W]", "pattern '[\\W]': '\\W' is not supported" },
		{ "\\\\xff", "pattern '\\xff': '\\x of a part of a "
		    "character' is not supported" },
		{ "\\\\u12", "pattern '\\u12': '\\u or \\x without "
		    "digits' is not supported" },
		{ "\\\\pL", "pattern '\\pL': '\\p without {}' is not "
		    "supported" },
		{ "(?x)a", "pattern '(?x)a': '(?x' is not supported" },
		{ "(*F)", "pattern '(*F)': '(*' is not supported" },
		{ "a{2,3}+", "pattern 'a{2,3}+': '{n,m}+' is not supported" },
		{ "a{2}?", "pattern 'a{2}?': '{n}?' is not supported" },
	};
	char json[1024], why[SQ_ERR];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(json, sizeof(json), FILE_WITH(SPLIT("%s", "Removed",
		    "")), cases[i].re);
		snprintf(why, sizeof(why), "pre_tokenizer: %s", cases[i].why);
		ck_assert_str_eq(ids(json, "a", 0), why);
	}
}
END_TEST

/* Expressions that would run for years are given up; others are just slow. */
START_TEST(slow_expressions)
{
	static const struct {
		const char *re, *why;
	} cases[] = {
		{ "(.+)+[yz]", "the file's regular expression: match limit "
		    "exceeded" },
		{ "(?=(.*)\\\\1q)a", "the file's regular expression takes too "
		    "long on this text" },
	};
	size_t n = 40000, i;
	char json[1024], *s = malloc(n + 1);

	ck_assert_ptr_nonnull(s);
	memset(s, 'a', n);
	s[n] = '\0';
	for (i = 0; i < 2; i++) {
		snprintf(json, sizeof(json), FILE_WITH(SPLIT("%s", "Removed",
		    "")), cases[i].re);
		ck_assert_int_eq(strcmp(ids(json, s, 0), cases[i].why), 0);
	}
	/* matches that are longer than any window */
	ck_assert_int_eq(strcmp(ids(FILE_WITH(SPLIT("a+", "Removed", "")), s,
	    0), ""), 0);
	memcpy(s + n - 3, " bc", 3);
	ck_assert_int_eq(strcmp(ids(FILE_WITH(SPLIT("a+ (?=bc$)", "Removed",
	    "")), s, 0), "1 2"), 0);
	ck_assert_int_eq(strcmp(ids(FILE_WITH(SPLIT("(?<=a) (?=bc\\\\z)|"
	    "a+?(?= bc)", "Removed", "")), s, 0), "1 2"), 0);
	free(s);
}
END_TEST

/* a cdcd...cd b cdcd...cd with the b at a place: its length. */
static size_t
cd_text(char *s, size_t at)
{
	size_t n, i;

	for (n = 0; n < at % 2; n++)
		s[n] = 'a';
	for (i = n; i < at + 1500; i += 2) {
		if (n == at)
			s[n++] = 'b';
		s[n++] = 'c';
		s[n++] = 'd';
	}
	return n;
}

/*
 * Texts are searched in windows of 1024 bytes: a match across an edge is found,
 * and none is made up there.  "cd" is a token unless something cuts it; all
 * that goes is the b.
 */
START_TEST(windows)
{
	static const char *const res[] = { "b", "b(?=c)", "b|(?!\\\\S)",
	    "b|(?<=[cd])$", "b|(?<=[cd])\\\\z", "b|(?<=c)(?!d)",
	    "b|(?<=\\\\w)\\\\b", "b|(?<=c)(?=\\\\z)|cdcdx", "b|c?\\\\z" };
	struct sq_tokenizer *t;
	struct sq_ids v = { 0 };
	char json[1024], s[4096];
	size_t at, i, k, n;

	for (k = 0; k < sizeof(res) / sizeof(res[0]); k++) {
		snprintf(json, sizeof(json), FILE_WITH(SPLIT("%s", "Removed",
		    "")), res[k]);
		t = sq_tokenizer_new(json, strlen(json), err);
		ck_assert_msg(t != NULL, "%s", err);
		for (at = 1000; at < 1060; at++) {
			n = cd_text(s, at);
			v.n = 0;
			ck_assert_int_eq(sq_tokenizer_encode(t, s, n, 0, &v,
			    err), 0);
			ck_assert_msg(v.n == (n - 1 + at % 2) / 2,
			    "%s at %zu: %zu ids", res[k], at, v.n);
			for (i = at % 2; i < v.n; i++)
				ck_assert_uint_eq(v.id[i], 10);
		}
		sq_tokenizer_free(t);
	}
	sq_ids_release(&v);
}
END_TEST

#define META(scheme, more) "\"pre_tokenizer\":{\"type\":\"Metaspace\"," \
	"\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":\"" scheme "\"" \
	more "}"

START_TEST(steps)
{
	ck_assert_str_eq(ids(FILE_WITH(META("always", "")), "a b", 0),
	    "12 0 12 1");
	ck_assert_str_eq(ids(FILE_WITH(META("never", "")), "a b", 0),
	    "0 12 1");
	ck_assert_str_eq(ids(FILE_WITH(META("always", "")), " a", 0), "12 0");
	ck_assert_str_eq(ids(FILE_WITH(META("first", "") ",\"added_tokens\":["
	    TOKEN(20, "X", "") "]"), "aXb", 0), "12 0 20 1");
	ck_assert_str_eq(ids(FILE_WITH(META("always", "") ",\"added_tokens\":["
	    TOKEN(20, "X", "") "]"), "aXb", 0), "12 0 20 12 1");
	ck_assert_str_eq(ids(FILE_WITH("\"pre_tokenizer\":{\"type\":"
	    "\"WhitespaceSplit\"}"), " ab  c ", 0), "9 2");
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"Sequence\","
	    "\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"h\"},"
	    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
	    "\"content\":\"ab\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
	    "\"[ef]+\"},\"content\":\"\"}]}"), "a eefb", 0), "7 0 9 1");
	/* e with an acute, composed and compatible, is no token; e is */
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"NFC\"}"),
	    "e\xcc\x81" "a", 0), "0");
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"NFD\"}"),
	    "\xc3\xa9" "a", 0), "4 0");
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"NFKC\"}"),
	    "\xef\xbd\x81" "b", 0), "9");
	/* marks in any order: 0316 stands before 0301 */
	ck_assert_str_eq(ids("{\"normalizer\":{\"type\":\"NFC\"},\"model\":{"
	    "\"vocab\":{\"\xc3\xa1\":0,\"\xcc\x96\":1},\"merges\":[]}}",
	    "a\xcc\x81\xcc\x96", 0), "0 1");
}
END_TEST

START_TEST(added)
{
	const char *special = FILE_WITH("\"added_tokens\":["
	    TOKEN(20, "<x>", ",\"special\":true") ","
	    TOKEN(21, "<xx>", "") "," TOKEN(22, "<x", "") "]");

	ck_assert_str_eq(ids(special, "a<x>b", SQ_TOK_SPECIAL), "0 20 1");
	ck_assert_str_eq(ids(special, "a<x>b", 0), "9");
	ck_assert_str_eq(ids(special, "a<xx>b<x", 0), "0 21 1 22");
	ck_assert_str_eq(ids(FILE_WITH("\"added_tokens\":["
	    TOKEN(20, "X", ",\"lstrip\":true,\"rstrip\":true") "]"),
	    "a  X  b", 0), "0 20 1");
	ck_assert_str_eq(ids(FILE_WITH("\"added_tokens\":["
	    TOKEN(20, "X", ",\"single_word\":true") "]"), "aX X Xb", 0),
	    "0 8 20 8 1");
	/* found in normalized text: the space of the token is U+2581 there */
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"Replace\","
	    "\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"},"
	    "\"added_tokens\":[{\"id\":20,\"content\":\"f g\"}]"), "f g g", 0),
	    "20 12 6");
}
END_TEST

START_TEST(template)
{
	const char *json = FILE_WITH("\"post_processor\":{\"type\":\"Sequence\""
	    ",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":"
	    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
	    "\"S\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":"
	    "\"E\"}}],\"special_tokens\":{\"S\":{\"ids\":[6]},\"E\":{\"ids\":"
	    "[7,7]}}}]}");

	ck_assert_str_eq(ids(json, "ab", SQ_TOK_POST), "6 9 7 7");
	ck_assert_str_eq(ids(json, "", SQ_TOK_POST), "6 7 7");
	ck_assert_str_eq(ids(json, "ab", 0), "9");
}
END_TEST

START_TEST(decoders)
{
	static const uint32_t id[] = { 12, 0, 12, 9 };
	static const uint32_t spaces[] = { 8, 8, 0, 8 };

	ck_assert_str_eq(text(FILE_WITH("\"decoder\":null"), id, 4),
	    "\xe2\x96\x81 a \xe2\x96\x81 ab");
	ck_assert_str_eq(text(FILE_WITH("\"decoder\":{\"type\":\"Fuse\"}"), id,
	    4), "\xe2\x96\x81" "a\xe2\x96\x81" "ab");
	ck_assert_str_eq(text(FILE_WITH("\"decoder\":{\"type\":\"Metaspace\","
	    "\"replacement\":\"\xe2\x96\x81\"}"), id, 4), "a ab");
	ck_assert_str_eq(text(FILE_WITH("\"decoder\":{\"type\":\"Sequence\","
	    "\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
	    "\"[a-z]\"},\"content\":\"<0x21>\"},{\"type\":\"ByteFallback\"},"
	    "{\"type\":\"Fuse\"}]}"), id + 1, 1), "!");
	ck_assert_str_eq(text(FILE_WITH("\"decoder\":{\"type\":\"Sequence\","
	    "\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
	    "\"content\":\" \",\"start\":2,\"stop\":0}]}"), spaces, 4), "a ");
	ck_assert_str_eq(text(FILE_WITH("\"decoder\":{\"type\":\"Strip\","
	    "\"content\":\"a\",\"start\":1,\"stop\":0}"), id, 4),
	    "\xe2\x96\x81\xe2\x96\x81" "b");
}
END_TEST

START_TEST(refused_files)
{
	static const struct {
		const char *json, *why;
	} cases[] = {
		{ "", "line 1: '[' or '{' expected near end of file" },
		{ "[]", "not a JSON object" },
		{ "{}", "model: not an object" },
		{ "{\"model\":{\"type\":\"Unigram\"}}",
		    "model: type 'Unigram' is not supported" },
		{ "{\"model\":{}}",
		    "model: 'vocab' is missing or of another type" },
		{ "{\"model\":{\"vocab\":{},\"merges\":{}}}",
		    "model: 'merges' is missing or of another type" },
		{ "{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}",
		    "model: id 0: tokens 'a' and 'b'" },
		{ "{\"model\":{\"vocab\":{\"a\":16777216},\"merges\":[]}}",
		    "model: token 'a': its id is not a number from 0 to "
		    "16777215" },
		{ "{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}",
		    "model: token 'a': its id is not a number from 0 to "
		    "16777215" },
		{ "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
		    "model: merge 0: 'b' is not in the vocabulary" },
		{ "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
		    "model: merge 0: 'aa' is not in the vocabulary" },
		{ "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}",
		    "model: merge 0 is not a pair of strings" },
		{ "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"\",\"a\"]]}}",
		    "model: merge 0 is not a pair of strings" },
		{ "{\"model\":{\"dropout\":0.5," MODEL "}}",
		    "model: dropout is not supported" },
		{ "{\"model\":{\"end_of_word_suffix\":\"</w>\"," MODEL "}}",
		    "model: 'end_of_word_suffix' is not supported" },
		{ FILE_WITH("\"added_tokens\":{}"),
		    "added_tokens: not an array" },
		{ FILE_WITH("\"added_tokens\":[{\"id\":1}]"),
		    "model: added token 0 has no content" },
		{ FILE_WITH("\"added_tokens\":[" TOKEN(1, "z", "") "]"),
		    "added token 0: id 1: tokens 'b' and 'z'" },
		{ FILE_WITH("\"added_tokens\":[" TOKEN(50, "a", "") "]"),
		    "added token 0: token 'a': ids 0 and 50" },
		{ FILE_WITH("\"normalizer\":{\"type\":\"Lowercase\"}"),
		    "normalizer: 'Lowercase' is not supported" },
		{ FILE_WITH("\"pre_tokenizer\":{\"type\":\"Sequence\"}"),
		    "pre_tokenizer: Sequence: without its array" },
		{ FILE_WITH("\"pre_tokenizer\":{\"type\":\"Sequence\","
		    "\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":"
		    "\"Digits\"}]}"), "pre_tokenizer: 'Digits' after ByteLevel "
		    "is not supported" },
		{ FILE_WITH(SPLIT("a", "Sideways", "")),
		    "pre_tokenizer: behavior 'Sideways' is not known" },
		{ FILE_WITH("\"post_processor\":{\"type\":"
		    "\"TemplateProcessing\",\"single\":[]}"),
		    "post_processor: no Sequence" },
		{ FILE_WITH("\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
		    "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}"),
		    "decoder: 'ByteFallback' is not supported here" },
		{ FILE_WITH("\"decoder\":{\"type\":\"WordPiece\"}"),
		    "decoder: 'WordPiece' is not supported" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_str_eq(ids(cases[i].json, "a", 0), cases[i].why);
}
END_TEST

/* Many values, deep nesting, texts that grow without end. */
START_TEST(large)
{
	size_t n = 1u << 26, i;
	char *s = malloc(n);

	ck_assert_ptr_nonnull(s);
	for (i = 0; i < n; i++)
		s[i] = i & 1 ? ',' : '0';
	s[0] = '[';
	ck_assert_ptr_null(sq_tokenizer_new(s, n, err));
	ck_assert_str_eq(err, "more than 33554432 values");
	memset(s, '[', 100000);
	ck_assert_ptr_null(sq_tokenizer_new(s, 100000, err));
	ck_assert_str_eq(err, "line 1: maximum parsing depth reached near '['");
	ck_assert_ptr_null(sq_tokenizer_new(s, SQ_TOK_FILE_MAX + 1ul, err));
	ck_assert_str_eq(err, "larger than 512 MiB");
	free(s);
	ck_assert_str_eq(ids(FILE_WITH("\"normalizer\":{\"type\":\"Sequence\","
	    "\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"
	    "\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"},{\"type\":\"Replace\","
	    "\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"},"
	    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
	    "\"aaaaaaaaaaaaaaaa\"},{\"type\":\"Replace\",\"pattern\":{"
	    "\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaa\"},{\"type\":"
	    "\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
	    "\"aaaaaaaaaaaaaaaa\"}]}"), "aaaa", 0),
	    "the text grows beyond 262400 bytes");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tok_file");
	TCase *c = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, model);
	tcase_add_test(c, behaviors);
	tcase_add_test(c, expressions);
	tcase_add_test(c, refused_expressions);
	tcase_add_test(c, slow_expressions);
	tcase_add_test(c, windows);
	tcase_add_test(c, steps);
	tcase_add_test(c, added);
	tcase_add_test(c, template);
	tcase_add_test(c, decoders);
	tcase_add_test(c, refused_files);
	tcase_add_test(c, large);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
