/*
 * The forward pass against float32 Transformers: tiny random models, each with
 * something of its own (tests/data/tiny/README).
 */
#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/pool.h"
#include "engine/session.h"
#include "formats/fmt_json.h"
#include "model/sampler.h"

#define TOLERANCE	1e-4
#define MAX_IDS		512
#define VOCAB		256

static const char *const models[] = {
	"llama", "llama-rope-linear", "llama-rope-llama3", "llama-rope-yarn",
	"mistral", "qwen2", "qwen2-tied", "qwen3", "mixtral", "qwen3-moe",
};

#define NMODELS	((int)(sizeof(models) / sizeof(models[0])))

struct want {
	json_t *json;
	uint32_t ids[MAX_IDS];
	size_t n;
	double worst;
	int compared;
};

static json_t *
load(const char *path)
{
	char err[SQ_ERR], *text;
	json_t *o;
	size_t len;

	text = sq_read_file(AT_FDCWD, path, 1 << 20, &len, err);
	ck_assert_msg(text != NULL, "%s", err);
	o = sq_json_object(text, len, err);
	ck_assert_msg(o != NULL, "%s", err);
	free(text);
	return o;
}

/* Compares the logits at the positions that the file has. */
static int
compare(void *arg, size_t position, const float *logits)
{
	struct want *w = arg;
	const json_t *last = json_object_get(w->json, "last"), *row;
	size_t i, j;
	double d;

	for (i = 0; i < json_array_size(last); i++) {
		if ((size_t)json_integer_value(json_array_get(last, i)) !=
		    position)
			continue;
		row = json_array_get(json_object_get(w->json, "logits"), i);
		for (j = 0; j < json_array_size(row); j++) {
			d = fabs(logits[j] - json_number_value(
			    json_array_get(row, j)));
			w->worst = d > w->worst || isnan(d) ? d : w->worst;
		}
		w->compared++;
	}
	return 0;
}

static void
check_greedy(struct sq_session *s, const struct want *w)
{
	const json_t *greedy = json_object_get(w->json, "greedy");
	struct sq_sampling how = { .temperature = 0 };
	struct sq_sampler sampler;
	char err[SQ_ERR];
	uint32_t id;
	size_t i;

	ck_assert(sq_sampler_init(&sampler, &how, VOCAB, err) == 0);
	for (i = 0; i < json_array_size(greedy); i++) {
		ck_assert(sq_sampler_pick(&sampler, s->logits, &id,
		    err) == 0);
		ck_assert_uint_eq(id, (unsigned)json_integer_value(
		    json_array_get(greedy, i)));
		ck_assert(sq_session_feed(s, &id, 1, NULL, NULL, err) == 0);
	}
	sq_sampler_release(&sampler);
}

static void
check_level(const char *name, const char *level)
{
	struct want w = { .worst = 0 };
	struct sq_session session;
	struct sq_model *m;
	struct sq_pool *pool = sq_pool_new(2);
	struct sq_ctx ctx;
	char path[256], err[SQ_ERR];
	const json_t *ids;
	size_t i;

	snprintf(path, sizeof(path), "tests/data/tiny/%s/expect.json", name);
	w.json = load(path);
	ids = json_object_get(w.json, "ids");
	w.n = json_array_size(ids);
	ck_assert(w.n > 0 && w.n <= MAX_IDS);
	for (i = 0; i < w.n; i++)
		w.ids[i] = (uint32_t)json_integer_value(
		    json_array_get(ids, i));
	snprintf(path, sizeof(path), "tests/data/tiny/%s", name);
	m = sq_model_open(path, err);
	ck_assert_msg(m != NULL, "%s", err);
	ck_assert(sq_ctx_init(&ctx, sq_kern_find(level, err), pool) == 0);
	ck_assert_msg(sq_session_init(&session, m, &ctx, SQ_PREC_F32,
	    w.n + 16, err) == 0, "%s", err);
	ck_assert_msg(sq_session_feed(&session, w.ids, w.n, compare, &w,
	    err) == 0, "%s", err);
	ck_assert_int_gt(w.compared, 0);
	ck_assert_msg(w.worst < TOLERANCE, "%s on %s: logits differ by %g",
	    name, level, w.worst);
	check_greedy(&session, &w);
	sq_session_release(&session);
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
	sq_model_free(m);
	json_decref(w.json);
}

START_TEST(tiny_model)
{
	const char *const *level;
	char err[SQ_ERR];

	for (level = sq_kern_levels(); *level != NULL; level++)
		if (sq_kern_find(*level, err) != NULL)
			check_level(models[_i], *level);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("forward");
	TCase *tc = tcase_create("tiny models");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, tiny_model, 0, NMODELS);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
