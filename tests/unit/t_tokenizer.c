/*
 * lib/model/tokenizer: against vectors of the tokenizers library, against a
 * merging loop that is written from the definition, and on hostile input.
 */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/utf8.h"
#include "formats/fmt_json.h"
#include "model/tokenizer.h"

#define DATA	"tests/data/"
#define MANY	4		/* threads */
#define WORD	400		/* letters of the longest random word */

static char err[SQ_ERR];

static char *
slurp(const char *path, size_t *n)
{
	char *s = sq_read_file(AT_FDCWD, path, 64 << 20, n, err);

	ck_assert_msg(s != NULL, "%s", err);
	return s;
}

static struct sq_tokenizer *
load(const char *path)
{
	struct sq_tokenizer *t;
	size_t n;
	char *s = slurp(path, &n);

	t = sq_tokenizer_new(s, n, err);
	ck_assert_msg(t != NULL, "%s: %s", path, err);
	free(s);
	return t;
}

static struct sq_tokenizer *
ref(void)
{
	return load(DATA "sq-ref-7m/tokenizer.json");
}

/* The text of ids, given out in whole characters: malloc'd. */
static char *
decode(const struct sq_tokenizer *t, const uint32_t *id, size_t n,
    unsigned flags)
{
	struct sq_detok d;
	char *out = calloc(1, n * 512 + 512);
	size_t i, len, k = 0;
	const char *s;

	ck_assert_ptr_nonnull(out);
	sq_detok_init(&d, t, flags);
	for (i = 0; i <= n; i++) {
		s = i < n ? sq_detok_put(&d, id[i], &len) :
		    sq_detok_flush(&d, &len);
		ck_assert_msg(s != NULL, "%s", d.err);
		ck_assert(sq_utf8_valid(s, len) && s[len] == '\0');
		ck_assert_uint_lt(k + len, n * 512 + 512);
		memcpy(out + k, s, len);
		k += len;
	}
	sq_detok_release(&d);
	return out;
}

static void
decodes(const struct sq_tokenizer *t, const struct sq_ids *v, unsigned flags,
    const char *want)
{
	char *s = decode(t, v->id, v->n, flags);

	ck_assert_str_eq(s, want);
	free(s);
}

/* Encodes the vector's text to *got, which must be its ids. */
static void
same_ids(const struct sq_tokenizer *t, const json_t *v, unsigned flags,
    struct sq_ids *got)
{
	const char *text = json_string_value(json_object_get(v, "text"));
	const json_t *want = json_object_get(v, "ids");
	size_t i;

	ck_assert_ptr_nonnull(text);
	ck_assert_msg(sq_tokenizer_encode(t, text, strlen(text), flags, got,
	    err) == 0, "%s", err);
	ck_assert_msg(got->n == json_array_size(want), "'%s': %zu ids", text,
	    got->n);
	for (i = 0; i < got->n; i++)
		ck_assert_msg(got->id[i] == json_integer_value(
		    json_array_get(want, i)), "'%s': id %zu", text, i);
}

static void
vector(const struct sq_tokenizer *t, const json_t *v)
{
	const char *s = json_string_value(json_object_get(v, "text"));
	const json_t *decoded = json_object_get(v, "decoded");
	const json_t *plain = json_object_get(v, "plain");
	struct sq_ids got = { 0 };

	same_ids(t, v, (unsigned)json_integer_value(json_object_get(v,
	    "flags")), &got);
	s = decoded ? json_string_value(decoded) : s;
	decodes(t, &got, 0, s);
	decodes(t, &got, SQ_DETOK_SKIP_SPECIAL,
	    plain ? json_string_value(plain) : s);
	sq_ids_release(&got);
}

/* Calls fn on each line of tok-vectors.jsonl: how many there were. */
static int
each_vector(struct sq_tokenizer *t[3], void (*fn)(const struct sq_tokenizer *,
    const json_t *))
{
	static const char *const names[] = { "ref", "llama2", "qwen2" };
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int count = 0, i;
	FILE *f = fopen(DATA "tok-vectors.jsonl", "r");

	ck_assert_ptr_nonnull(f);
	while ((n = getline(&line, &cap, f)) > 0) {
		json_t *v = json_loadb(line, (size_t)n, 0, NULL);
		const char *name = json_string_value(json_object_get(v,
		    "tokenizer"));

		ck_assert_ptr_nonnull(name);
		for (i = 0; i < 3; i++)
			if (strcmp(name, names[i]) == 0) {
				fn(t[i], v);
				count++;
			}
		json_decref(v);
	}
	free(line);
	fclose(f);
	return count;
}

static void
load_three(struct sq_tokenizer *t[3])
{
	t[0] = ref();
	t[1] = load(DATA "tok-llama2.json");
	t[2] = load(DATA "tok-qwen2.json");
}

static void
free_three(struct sq_tokenizer *t[3])
{
	int i;

	for (i = 0; i < 3; i++)
		sq_tokenizer_free(t[i]);
}

START_TEST(vectors)
{
	struct sq_tokenizer *t[3];

	load_three(t);
	ck_assert_int_eq(each_vector(t, vector), 360);
	free_three(t);
}
END_TEST

static void *
in_thread(void *three)
{
	each_vector(three, vector);
	return NULL;
}

START_TEST(threads)
{
	struct sq_tokenizer *t[3];
	pthread_t th[MANY];
	int i;

	load_three(t);
	for (i = 0; i < MANY; i++)
		ck_assert_int_eq(pthread_create(th + i, NULL, in_thread, t), 0);
	for (i = 0; i < MANY; i++)
		pthread_join(th[i], NULL);
	free_three(t);
}
END_TEST

START_TEST(names)
{
	struct sq_tokenizer *t = ref();
	size_t n;

	ck_assert_uint_eq(sq_tokenizer_vocab_size(t), 16384);
	ck_assert_int_eq(sq_tokenizer_find(t, "<|begin_of_text|>"), 1);
	ck_assert_int_eq(sq_tokenizer_find(t, "no such token"), -1);
	ck_assert_str_eq(sq_tokenizer_token(t, 223, &n), "\xc4\xa0");
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_null(sq_tokenizer_token(t, 16384, &n));
	ck_assert_int_eq(sq_tokenizer_is_special(t, 1), 1);
	ck_assert_int_eq(sq_tokenizer_is_special(t, 3), 0);
	ck_assert_int_eq(sq_tokenizer_is_special(t, UINT32_MAX), 0);
	sq_tokenizer_free(t);
	sq_tokenizer_free(NULL);
}
END_TEST

/* Python's "replace": one U+FFFD for each maximal part of a character. */
START_TEST(broken_utf8)
{
	static const struct {
		const char *bytes, *same;
	} cases[] = {
		{ "a\xff" "b", "a?b" }, { "\xc3(", "?(" }, { "\xe2\x82", "?" },
		{ "\xe2\x82" "A", "?A" }, { "\xf0\x9f\x98", "?" },
		{ "\xf0\x9f\x98\xf0\x9f", "??" }, { "\xc0\x80", "??" },
		{ "\xed\xa0\x80", "???" }, { "\xf4\x90\x80\x80", "????" },
		{ "\xe0\x80\x80", "???" }, { "\x80", "?" },
		{ "\xf1\x80\x80\xe1\x80\xc2", "???" },
	};
	struct sq_tokenizer *t = ref();
	char want[64];
	struct sq_ids v = { 0 };
	size_t i, k, n;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (k = n = 0; cases[i].same[k]; k++) {
			memcpy(want + n, "\xef\xbf\xbd", 3);
			if (cases[i].same[k] == '?')
				n += 3;
			else
				want[n++] = cases[i].same[k];
		}
		want[n] = '\0';
		ck_assert_int_eq(sq_tokenizer_encode(t, cases[i].bytes,
		    strlen(cases[i].bytes), 0, &v, err), 0);
		decodes(t, &v, 0, want);
		v.n = 0;
	}
	/* a zero byte is a byte like any other */
	v.n = 0;
	ck_assert_int_eq(sq_tokenizer_encode(t, "a\0b", 3, 0, &v, err), 0);
	ck_assert_uint_eq(v.n, 3);
	sq_ids_release(&v);
	sq_tokenizer_free(t);
}
END_TEST

/* Bytes of characters that tokens share are held back. */
START_TEST(streaming)
{
	struct sq_tokenizer *t = load(DATA "tok-llama2.json");
	static const char *const tokens[] = { "<s>", "\xe2\x96\x81", "a",
	    "<0xE2>", "<0x82>", "<0xAC>", "<0xE2>", "<0x82>", "b", "<0xF0>" };
	static const char *const want[] = { "<s>", " ", "a", "", "", "\xe2\x82"
	    "\xac", "", "", "\xef\xbf\xbd" "b", "" };
	struct sq_detok d;
	size_t i, n;
	long id;

	sq_detok_init(&d, t, 0);
	for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		id = sq_tokenizer_find(t, tokens[i]);
		ck_assert_int_ge(id, 0);
		ck_assert_str_eq(sq_detok_put(&d, (uint32_t)id, &n), want[i]);
		ck_assert_uint_eq(n, strlen(want[i]));
	}
	ck_assert_str_eq(sq_detok_put(&d, 99999, &n), "");
	ck_assert_str_eq(sq_detok_flush(&d, &n), "\xef\xbf\xbd");
	/* anew: the space that the file's decoder cuts at the start */
	d.flags = SQ_DETOK_SKIP_SPECIAL;
	for (i = 0; i < 3; i++) {
		id = sq_tokenizer_find(t, tokens[i]);
		ck_assert_str_eq(sq_detok_put(&d, (uint32_t)id, &n),
		    i < 2 ? "" : "a");
	}
	sq_detok_release(&d);
	sq_tokenizer_free(t);
}
END_TEST

/* The rank of a pair in the file's list of merges, or its length. */
static size_t
rank_of(const json_t *merges, const char *a, const char *b)
{
	const json_t *m;
	size_t i;

	json_array_foreach(merges, i, m)
		if (strcmp(json_string_value(json_array_get(m, 0)), a) == 0 &&
		    strcmp(json_string_value(json_array_get(m, 1)), b) == 0)
			break;
	return i;
}

/* Merges symbols as the definition says; each is malloc'd.  Their number. */
static size_t
merge(const json_t *merges, char **sym, size_t n)
{
	size_t none = json_array_size(merges), best, at = 0, i, k;
	char *both;

	for (;;) {
		for (best = none, i = 0; i + 1 < n; i++)
			if ((k = rank_of(merges, sym[i], sym[i + 1])) < best) {
				best = k;
				at = i;
			}
		if (best == none)
			return n;
		ck_assert_int_gt(asprintf(&both, "%s%s", sym[at], sym[at + 1]),
		    0);
		free(sym[at]);
		free(sym[at + 1]);
		sym[at] = both;
		n--;
		memmove(sym + at + 1, sym + at + 2,
		    (n - at - 1) * sizeof(*sym));
	}
}

static void
merges_word(const struct sq_tokenizer *t, const json_t *merges, size_t len,
    unsigned *seed)
{
	char word[WORD], *sym[WORD];
	struct sq_ids v = { 0 };
	size_t i, n;

	for (i = 0; i < len; i++) {
		*seed = *seed * 1103515245 + 12345;
		word[i] = "etaonihs"[*seed >> 16 & 7];
		sym[i] = strndup(word + i, 1);
	}
	ck_assert_int_eq(sq_tokenizer_encode(t, word, len, 0, &v, err), 0);
	ck_assert_uint_eq(v.n, merge(merges, sym, len));
	for (i = 0; i < v.n; i++) {
		ck_assert_str_eq(sq_tokenizer_token(t, v.id[i], &n), sym[i]);
		free(sym[i]);
	}
	sq_ids_release(&v);
}

/*
 * A merging loop that is written from the definition, on words that are short
 * (searched) and long (with a heap).  Of the first merges only: it is slow.
 */
START_TEST(merging)
{
	json_t *doc, *merges;
	struct sq_tokenizer *t;
	unsigned seed = 1;
	size_t n;
	char *file = slurp(DATA "sq-ref-7m/tokenizer.json", &n);

	doc = sq_json_object(file, n, err);
	free(file);
	merges = json_object_get(json_object_get(doc, "model"), "merges");
	while (json_array_size(merges) > 200)
		json_array_remove(merges, json_array_size(merges) - 1);
	json_object_set_new(doc, "pre_tokenizer", json_null());
	file = sq_json_text(doc);
	t = sq_tokenizer_new(file, strlen(file), err);
	ck_assert_msg(t != NULL, "%s", err);
	for (n = 1; n <= WORD; n += n / 8 + 1)
		merges_word(t, merges, n, &seed);
	sq_tokenizer_free(t);
	free(file);
	json_decref(doc);
}
END_TEST

/* One word of millions of letters, with merges and without. */
START_TEST(long_words)
{
	struct sq_tokenizer *t[3];
	size_t n = 2 << 20, i;
	char *s = malloc(n);
	struct sq_ids v = { 0 };

	ck_assert_ptr_nonnull(s);
	load_three(t);
	for (i = 0; i < 3; i++) {
		memset(s, 'o', n);
		v.n = 0;
		ck_assert_int_eq(sq_tokenizer_encode(t[i], s, n, 0, &v, err),
		    0);
		/* only the reference tokenizer has "oo" */
		ck_assert_uint_eq(v.n, i == 0 ? n / 2 : n);
		memset(s, ' ', n);
		ck_assert_int_eq(sq_tokenizer_encode(t[i], s, n, 0, &v, err),
		    0);
	}
	sq_ids_release(&v);
	free_three(t);
	free(s);
}
END_TEST

/* The figures of the reference, where the shared data are. */
START_TEST(shared)
{
	const char *dir = getenv("SQ_SHARED") ? getenv("SQ_SHARED") :
	    "../shared";
	struct sq_tokenizer *t;
	struct sq_ids v = { 0 };
	json_t *doc, *list, *one;
	char path[512], *s;
	size_t n, i;

	snprintf(path, sizeof(path), "%s/data/golden/reference.json", dir);
	if (access(path, R_OK) < 0) {
		puts("t_tokenizer: skipped 'shared': no shared data");
		return;
	}
	s = slurp(path, &n);
	doc = sq_json_object(s, n, err);
	free(s);
	t = ref();
	list = json_object_get(json_object_get(doc, "sq-ref-7m"), "tokenizer");
	ck_assert_uint_gt(json_array_size(list), 0);
	json_array_foreach(list, i, one) {
		v.n = 0;
		same_ids(t, one, SQ_TOK_SPECIAL, &v);
	}
	json_decref(doc);
	v.n = 0;
	snprintf(path, sizeof(path), "%s/data/eval/wikitext2-test.txt", dir);
	s = slurp(path, &n);
	ck_assert_int_eq(sq_tokenizer_encode(t, s, n, SQ_TOK_SPECIAL, &v, err),
	    0);
	ck_assert_uint_eq(v.n, 320091);
	free(s);
	sq_ids_release(&v);
	sq_tokenizer_free(t);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("tokenizer");
	TCase *c = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, vectors);
	tcase_add_test(c, threads);
	tcase_add_test(c, names);
	tcase_add_test(c, broken_utf8);
	tcase_add_test(c, streaming);
	tcase_add_test(c, merging);
	tcase_add_test(c, long_words);
	tcase_add_test(c, shared);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
