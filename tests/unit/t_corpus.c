/* lib/calib: texts as documents, and conversations as text. */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "calib/chat.h"
#include "calib/corpus.h"
#include "calib/report.h"
#include "formats/fmt_json.h"

static char err[SQ_ERR];

static json_t *
vectors(const char *path)
{
	size_t len;
	char *text = sq_read_file(AT_FDCWD, path, 1 << 20, &len, err);
	json_t *o;

	ck_assert_msg(text != NULL, "%s", err);
	o = sq_json_object(text, len, err);
	ck_assert_msg(o != NULL, "%s", err);
	free(text);
	return o;
}

static const char *
string(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* What Jinja makes of the published templates; null where it refuses. */
START_TEST(chat)
{
	const char *path = getenv("SQ_CHAT_VECTORS");
	json_t *all = vectors(path != NULL ? path :
	    "tests/formats/chat/vectors.json"), *t, *c, *want;
	struct sq_chat chat;
	size_t i, k;
	char *got;

	json_array_foreach(json_object_get(all, "templates"), i, t) {
		memset(&chat, 0, sizeof(chat));
		ck_assert_msg(sq_chat_recognize(&chat, string(t, "template"),
		    err) == 0, "%s", err);
		strcpy(chat.bos, string(t, "bos_token"));
		strcpy(chat.eos, string(t, "eos_token"));
		json_array_foreach(json_object_get(all, "conversations"), k,
		    c) {
			want = json_array_get(json_object_get(t, "texts"), k);
			got = sq_chat_text(&chat, c, err);
			if (json_is_null(want)) {
				ck_assert_ptr_null(got);
				continue;
			}
			ck_assert_msg(got != NULL, "%s %zu: %s",
			    string(t, "name"), k, err);
			ck_assert_msg(strcmp(got, json_string_value(want)) ==
			    0, "%s %zu:\n%s\nnot\n%s", string(t, "name"), k,
			    got, json_string_value(want));
			free(got);
		}
	}
	ck_assert_uint_ge(i, 9);
	json_decref(all);
	ck_assert_int_lt(sq_chat_recognize(&chat, "{{ messages }}", err), 0);
}
END_TEST

START_TEST(chat_bad)
{
	static const char *const bad[] = {
		"[]", "[{\"role\": \"user\"}]", "[{\"content\": \"x\"}]",
		"[{\"role\": \"assistant\", \"content\": \"x\"}]",
		"[{\"role\": \"system\", \"content\": \"x\"}]",
		"[{\"role\": \"user\", \"content\": [\"x\"]}]",
		"[{\"role\": \"user\", \"content\": \"x\"},"
		"{\"role\": \"user\", \"content\": \"x\"}]",
		"[{\"role\": \"user\", \"content\": \"x\"},"
		"{\"role\": \"tool\", \"content\": \"x\"}]",
		"[{\"role\": \"user\", \"content\": \"a\\u0000b\"}]",
		"[3]", "{}", "\"x\"",
	};
	struct sq_chat chat = { .form = SQ_CHAT_CHATML };
	json_t *o;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o = json_loads(bad[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		ck_assert_msg(o != NULL, "%s", bad[i]);
		ck_assert_msg(sq_chat_text(&chat, o, err) == NULL, "%s",
		    bad[i]);
		json_decref(o);
	}
}
END_TEST

static struct sq_corpus
corpus(const char *text)
{
	struct sq_corpus c;
	struct sq_files files;

	memset(&files, 0, sizeof(files));
	ck_assert_msg(sq_corpus_read(&c, &files, text, strlen(text), err) ==
	    0, "%s: %s", text, err);
	return c;
}

static void
is(const char *text, enum sq_corpus_kind kind, const char *want, size_t n,
    size_t duplicates)
{
	struct sq_corpus c = corpus(text);

	ck_assert_int_eq(c.kind, kind);
	ck_assert_str_eq(c.text, want);
	ck_assert_uint_eq(sq_corpus_length(&c), strlen(want));
	ck_assert_uint_eq(c.n, n);
	ck_assert_uint_eq(c.duplicates, duplicates);
	sq_corpus_release(&c);
}

START_TEST(texts)
{
	is("a b", SQ_CORPUS_TEXT, "a b", 1, 0);
	is("a\n<|endoftext|>\nb\n", SQ_CORPUS_TEXT, "a\n\nb\n", 2, 0);
	/* The same document, whatever the blanks around it. */
	is("a\n<|endoftext|>\na", SQ_CORPUS_TEXT, "a\n\na", 2, 1);
	is("a <|endoftext|>\nb", SQ_CORPUS_TEXT, "a <|endoftext|>\nb", 1, 0);
	/* What is blank is no document. */
	is("a\n<|endoftext|>\n\n<|endoftext|>\n", SQ_CORPUS_TEXT, "a\n\n\n\n",
	    1, 0);
	is("{\"text\": \"a\\n\"}\n{\"text\": \"b\", \"x\": 1}\n",
	    SQ_CORPUS_LINES, "a\n\n\nb", 2, 0);
	is("{\"text\":\"a\"}\n\n{\"text\":\"a\"}", SQ_CORPUS_LINES, "a\n\na",
	    2, 1);
	/* Not JSON lines, or none that we know. */
	is("{ not json", SQ_CORPUS_TEXT, "{ not json", 1, 0);
	is("{\"a\": 1}", SQ_CORPUS_TEXT, "{\"a\": 1}", 1, 0);
}
END_TEST

START_TEST(tokens)
{
	struct sq_corpus c = corpus("{\"tokenizer\": \"ab\", \"source\": "
	    "\"cd\"}\n{\"ids\": [1, 2]}\n{\"ids\": [3]}\n{\"ids\": [3]}\n");

	ck_assert_int_eq(c.kind, SQ_CORPUS_TOKENS);
	ck_assert_uint_eq(sq_corpus_length(&c), 4);
	ck_assert_uint_eq(c.n, 3);
	ck_assert_uint_eq(c.duplicates, 1);
	ck_assert_uint_eq(c.id[0] + c.id[1] * 10 + c.id[2] * 100, 321);
	ck_assert_str_eq(c.tokenizer, "ab");
	ck_assert_str_eq(c.source, "cd");
	sq_corpus_release(&c);
	c = corpus("{\"ids\":[0,4294967295]}");
	ck_assert_uint_eq(c.id[1], 4294967295u);
	sq_corpus_release(&c);
}
END_TEST

START_TEST(bad)
{
	static const char *const bad[][2] = {
		{ "", "empty" }, { "\xff", "UTF-8" },
		{ "{\"text\": 1}", "line 1: 'text' is not a text" },
		{ "{\"text\": \"a\"}\nb", "line 2: " },
		{ "{\"text\": \"a\"}\n{\"ids\": [1]}", "line 2: has no 'text'" },
		{ "{\"ids\": [-1]}", "line 1: 'ids' has what is no token" },
		{ "{\"ids\": [4294967296]}", "line 1: " },
		{ "{\"ids\": [1.5]}", "line 1: " },
		{ "{\"ids\": 7}", "line 1: 'ids' is not an array" },
		{ "{\"ids\": [1]}\n{\"tokenizer\": \"a\"}", "line 2: " },
		{ "{\"tokenizer\": 5}\n", "line 1: " },
		{ "{\"messages\": []}", "tokenizer_config.json" },
	};
	struct sq_files files;
	struct sq_corpus c;
	size_t i;

	memset(&files, 0, sizeof(files));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = '\0';
		ck_assert_msg(sq_corpus_read(&c, &files, bad[i][0],
		    strlen(bad[i][0]), err) < 0, "%s", bad[i][0]);
		ck_assert_msg(strstr(err, bad[i][1]) != NULL, "%s: %s",
		    bad[i][0], err);
	}
}
END_TEST

/* A channel is idle when it never was anything but zero. */
START_TEST(idle)
{
	float min[] = { 0, -1, 0, 0 }, max[] = { 0, 1, 2, 0 };
	struct sq_stats s = { .ntensors = 1, .tensor = { "a.b" },
	    .channels = 4, .min = min, .max = max };
	struct sq_calib_report r;

	memset(&r, 0, sizeof(r));
	ck_assert_uint_eq(sq_calib_report_idle(&r), 0);
	sq_calib_report_add(&r, &s);
	s.channels = 3;
	sq_calib_report_add(&r, &s);
	ck_assert_uint_eq(sq_calib_report_idle(&r), 2);
	ck_assert_uint_eq(r.n, 2);
	ck_assert_str_eq(r.input[0].tensor, "a.b");
	ck_assert_uint_eq(r.input[1].idle, 1);
	sq_calib_report_release(&r);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("corpus");
	TCase *t = tcase_create("all");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, chat);
	tcase_add_test(t, chat_bad);
	tcase_add_test(t, texts);
	tcase_add_test(t, tokens);
	tcase_add_test(t, bad);
	tcase_add_test(t, idle);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
