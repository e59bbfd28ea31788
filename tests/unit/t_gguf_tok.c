/* A tokenizer through the keys of a GGUF file: it gives the same tokens. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/fmt_json.h"
#include "model/gguf_tok.h"
#include "model/tokenizer.h"

#define DATA	"tests/data/"

static char err[SQ_ERR];

/* A GGUF file with nothing but the tokenizer of that tokenizer.json. */
static struct sq_gguf *
through_file(const char *json, uint64_t vocab)
{
	char path[] = "/tmp/t_gguf_tok.XXXXXX";
	struct sq_config c = { .vocab = vocab, .bos = 1, .eos = 2 };
	json_t *tok = json_load_file(json, 0, NULL), *conf = json_object();
	struct sq_gguf_out o = { .n = 0 };
	struct sq_gguf *g;
	int fd = mkstemp(path);

	ck_assert(tok != NULL && fd >= 0);
	ck_assert_msg(sq_gguf_put_tokenizer(&o, &c, tok, conf, NULL,
	    err) == 0, "%s", err);
	ck_assert_int_eq(sq_gguf_finish(&o), 0);
	ck_assert_int_eq(write(fd, o.head, o.n), (ssize_t)o.n);
	g = sq_gguf_open(path, err);
	ck_assert_msg(g != NULL, "%s", err);
	close(fd);
	unlink(path);
	sq_gguf_out_release(&o);
	json_decref(tok);
	json_decref(conf);
	return g;
}

static struct sq_tokenizer *
made(const char *json, uint64_t vocab)
{
	struct sq_gguf *g = through_file(json, vocab);
	json_t *o = sq_gguf_tokenizer(g, err);
	struct sq_tokenizer *t;
	char *text;

	ck_assert_msg(o != NULL, "%s", err);
	text = sq_json_text(o);
	t = sq_tokenizer_new(text, strlen(text), err);
	ck_assert_msg(t != NULL, "%s", err);
	free(text);
	json_decref(o);
	sq_gguf_close(g);
	return t;
}

static int
same_ids(const struct sq_tokenizer *t, const json_t *v)
{
	const json_t *ids = json_object_get(v, "ids");
	const json_t *text = json_object_get(v, "text");
	struct sq_ids got = { .n = 0 };
	int same;
	size_t i;

	ck_assert_int_eq(sq_tokenizer_encode(t, json_string_value(text),
	    json_string_length(text), (unsigned)json_integer_value(
	    json_object_get(v, "flags")), &got, err), 0);
	same = got.n == json_array_size(ids);
	for (i = 0; same && i < got.n; i++)
		same = got.id[i] == (uint32_t)json_integer_value(
		    json_array_get(ids, i));
	free(got.id);
	return same;
}

/* How many of the vectors of that tokenizer the one that was made fails. */
static int
wrong(const struct sq_tokenizer *t, const char *name, int *count)
{
	FILE *f = fopen(DATA "tok-vectors.jsonl", "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	json_t *v;
	int bad = 0;

	ck_assert_ptr_nonnull(f);
	for (*count = 0; (n = getline(&line, &cap, f)) > 0; json_decref(v)) {
		v = json_loadb(line, (size_t)n, 0, NULL);
		if (strcmp(json_string_value(json_object_get(v, "tokenizer")),
		    name) != 0)
			continue;
		bad += !same_ids(t, v);
		++*count;
	}
	free(line);
	fclose(f);
	return bad;
}

START_TEST(vectors)
{
	static const struct { const char *name, *file; uint64_t vocab; } v[] = {
		{ "ref", DATA "sq-ref-7m/tokenizer.json", 16384 },
		{ "qwen2", DATA "tok-qwen2.json", 2048 },
		{ "llama2", DATA "tok-llama2.json", 2000 },
	};
	struct sq_tokenizer *t = made(v[_i].file, v[_i].vocab);
	int n, bad = wrong(t, v[_i].name, &n);

	ck_assert_int_ge(n, 100);
	ck_assert_msg(bad == 0, "%s: %d of %d", v[_i].name, bad, n);
	sq_tokenizer_free(t);
}
END_TEST

/* What the keys say. */
START_TEST(keys)
{
	struct sq_gguf *g = through_file(DATA "tok-llama2.json", 2010);
	const struct sq_gguf_kv *types = sq_gguf_find(g,
	    "tokenizer.ggml.token_type");
	const struct sq_gguf_kv *scores = sq_gguf_find(g,
	    "tokenizer.ggml.scores");
	struct sq_gguf_str s;
	uint64_t u = 0;
	int b = 0;

	ck_assert_int_eq(sq_gguf_string(g, "tokenizer.ggml.model", &s), 0);
	ck_assert(s.n == 5 && memcmp(s.p, "llama", 5) == 0);
	ck_assert_int_eq(types->n, 2010);
	ck_assert_int_eq(sq_gguf_i32(types, 0), 2);	/* <unk> */
	ck_assert_int_eq(sq_gguf_i32(types, 1), 3);	/* <s> */
	ck_assert_int_eq(sq_gguf_i32(types, 3), 6);	/* <0x00> */
	ck_assert_int_eq(sq_gguf_i32(types, 1999), 1);
	ck_assert_int_eq(sq_gguf_i32(types, 2009), 5);	/* not there */
	ck_assert(sq_gguf_f32(scores, 0) == 0);
	ck_assert(sq_gguf_f32(scores, 1999) < -1000);
	ck_assert_int_eq(sq_gguf_bool(g, "tokenizer.ggml.add_bos_token", &b),
	    0);
	ck_assert_int_eq(b, 1);
	ck_assert_int_eq(sq_gguf_uint(g, "tokenizer.ggml.unknown_token_id",
	    &u), 0);
	ck_assert_int_eq(u, 0);
	sq_gguf_close(g);
	g = through_file(DATA "tok-qwen2.json", 2048);
	ck_assert_int_eq(sq_gguf_string(g, "tokenizer.ggml.pre", &s), 0);
	ck_assert(s.n == 5 && memcmp(s.p, "qwen2", 5) == 0);
	sq_gguf_close(g);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gguf_tok");
	TCase *c = tcase_create("gguf_tok");
	SRunner *r;
	int failed;

	tcase_add_loop_test(c, vectors, 0, 3);
	tcase_add_test(c, keys);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
