/*
 * The engine: what a request gets does not depend on company, on the order of
 * things, or on what is reused; and a cache that is too small is said to be.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "engine/batcher.h"
#include "engine/textout.h"
#include "kv/kvpick.h"
#include "kv/kvprefix.h"

#define MODEL	"tests/data/sq-ref-7m"
#define N	18
#define MAX	40

static struct sq_model *model;
static struct sq_ctx ctx;

struct got {
	uint32_t token[MAX];
	size_t n, reused;
	enum sq_finish finish;
	int ended;
	char why[SQ_ERR];
	/* to cancel after so many; 0: not */
	struct sq_batcher *e;
	uint64_t id;
	size_t cancel;
};

static void
take(void *arg, const struct sq_event *ev)
{
	struct got *g = arg;

	if (ev->kind == SQ_EV_TOKEN) {
		ck_assert_uint_lt(g->n, MAX);
		g->token[g->n++] = ev->token;
		if (g->cancel == g->n)
			sq_batcher_cancel(g->e, ev->id);
	} else if (ev->kind == SQ_EV_END) {
		ck_assert_int_eq(g->ended, 0);
		g->ended = 1;
		g->finish = ev->finish;
		g->reused = ev->usage->reused;
		if (ev->why != NULL)
			strcpy(g->why, ev->why);
	}
}

static struct sq_batcher *
engine(const char *kv, size_t seqs, uint64_t memory, int no_reuse)
{
	struct sq_batcher_how how = { .model = model, .ctx = &ctx,
	    .prec = SQ_PREC_BF16, .seqs = seqs, .context = 600,
	    .memory = memory, .no_reuse = no_reuse, .digest = "test" };
	char err[SQ_ERR], *slash;
	struct sq_batcher *e;
	char spec[100];

	strcpy(spec, kv);
	if ((slash = strchr(spec, '>')) != NULL) {
		*slash = '\0';
		how.split = 1;
		ck_assert_msg(sq_kv_policy_parse(&how.prefill, spec, err) == 0,
		    "%s", err);
	}
	ck_assert_msg(sq_kv_policy_parse(&how.kv, slash == NULL ? spec :
	    slash + 1, err) == 0, "%s", err);
	e = sq_batcher_new(&how, err);
	ck_assert_msg(e != NULL, "%s", err);
	return e;
}

/* Prompt i: of an odd length, the first part shared by four at a time. */
static size_t
prompt(size_t i, uint32_t *ids)
{
	static const size_t lengths[] = { 1, 3, 64, 65, 66, 130, 193, 200,
	    260, 20, 128, 129, 90, 7, 330, 2 };
	size_t n = lengths[i % 16] + i / 16, j;

	for (j = 0; j < n; j++)
		ids[j] = (uint32_t)(((j < 128 ? i % 3 : i) * 977 + j * 131 +
		    j * j % 89) % 16000 + 3);
	return n;
}

static void
submit(struct sq_batcher *e, size_t i, struct got *g)
{
	uint32_t ids[600];
	struct sq_request q = { .ids = ids, .max_tokens = 3 + i * 7 % 9,
	    .ignore_eos = 1, .sampling = { .temperature = i % 2 ? .9 : 0,
	    .top_p = .95, .seed = i }, .event = take, .arg = g };
	char err[SQ_ERR];

	q.n = prompt(i, ids);
	memset(g, 0, sizeof(*g));
	g->e = e;
	g->id = sq_batcher_submit(e, &q, err);
	ck_assert_msg(g->id != 0, "%s", err);
}

static void
run(struct sq_batcher *e)
{
	char err[SQ_ERR];

	ck_assert_msg(sq_batcher_run(e, err) == 0, "%s", err);
}

static const char *const policies[] = { "bf16", "int4", "int8>int4" };

/* 18 requests that join, are cancelled and leave: each as alone. */
START_TEST(company)
{
	static struct got alone[N], g[N];
	struct sq_batcher *e = engine(policies[_i], 1, 0, 1);
	char err[SQ_ERR];
	size_t i, next, cancelled = 0;

	for (i = 0; i < N; i++) {
		submit(e, i, &alone[i]);
		run(e);
		ck_assert_int_eq(alone[i].finish, SQ_LENGTH);
		ck_assert_uint_eq(alone[i].n, 3 + i * 7 % 9);
	}
	sq_batcher_free(e);

	e = engine(policies[_i], 12, 0, 0);
	for (next = 0; next < 8; next++)
		submit(e, next, &g[next]);
	for (i = 0; sq_batcher_step(e, err) > 0 || next < N; i++) {
		if (next < N) {
			submit(e, next, &g[next]);
			next++;
		}
		if (i % 5 == 3 && next > 2 && !g[next - 2].ended)
			g[next - 2].cancel = 2;
	}
	for (i = 0; i < N; i++) {
		ck_assert_int_eq(g[i].ended, 1);
		ck_assert_uint_le(g[i].n, alone[i].n);
		if (g[i].finish == SQ_CANCELLED)
			cancelled++;
		else
			ck_assert_uint_eq(g[i].n, alone[i].n);
		ck_assert_msg(memcmp(g[i].token, alone[i].token, g[i].n *
		    sizeof(uint32_t)) == 0, "%s: request %zu differs",
		    policies[_i], i);
	}
	ck_assert_uint_gt(cancelled, 1);
	sq_batcher_free(e);
}
END_TEST

/* A prefix that is there already is not computed again, and changes nothing:
 * also one that branches off where no prompt has ended. */
START_TEST(prefix)
{
	struct sq_batcher *e = engine(policies[_i], 2, 0, 0);
	struct sq_request q = { .max_tokens = 12, .ignore_eos = 1,
	    .event = take };
	static uint32_t ids[600];
	struct got first, again, other, third;
	char err[SQ_ERR];
	size_t i;

	for (i = 0; i < 600; i++)
		ids[i] = (uint32_t)(i * 37 % 15000 + 5);
	q.ids = ids;
	q.n = 450;
	memset(&first, 0, sizeof(first));
	q.arg = &first;
	ck_assert(sq_batcher_submit(e, &q, err) != 0);
	run(e);
	memset(&again, 0, sizeof(again));
	q.arg = &again;
	ck_assert(sq_batcher_submit(e, &q, err) != 0);
	run(e);
	ck_assert_uint_eq(first.reused, 0);
	ck_assert_uint_eq(again.reused, 448);
	ck_assert_mem_eq(first.token, again.token, sizeof(first.token));
	/* from 256 on another text, three times */
	for (i = 256; i < 450; i++)
		ids[i] += 1;
	for (i = 0; i < 3; i++) {
		struct got *g = i == 0 ? &first : i == 1 ? &other : &third;

		memset(g, 0, sizeof(*g));
		q.arg = g;
		ids[300] += (uint32_t)i;
		ck_assert(sq_batcher_submit(e, &q, err) != 0);
		run(e);
		ids[300] -= (uint32_t)i;
	}
	/* the second time the branch was hot, so the third one uses it */
	ck_assert_uint_eq(third.reused, 256);
	sq_batcher_free(e);
	e = engine(policies[_i], 1, 0, 1);
	memset(&again, 0, sizeof(again));
	q.arg = &again;
	ids[300] += 2;
	ck_assert(sq_batcher_submit(e, &q, err) != 0);
	run(e);
	ck_assert_uint_eq(again.reused, 0);
	ck_assert_mem_eq(third.token, again.token, sizeof(third.token));
	sq_batcher_free(e);
}
END_TEST

/* A budget: what can never fit fails, what fits later waits, nothing holds
 * more than was said. */
START_TEST(budget)
{
	struct sq_batcher *e;
	struct sq_batcher_totals t;
	static struct got g[N];
	uint64_t one;
	size_t i, failed = 0;

	e = engine("bf16", 4, 0, 0);
	one = sq_kvcache_predict(sq_batcher_cache(e), 1, 250, SQ_BATCHER_CHUNK);
	sq_batcher_free(e);
	e = engine("bf16", 8, one, 0);
	for (i = 0; i < 16; i++)
		submit(e, i, &g[i]);
	run(e);
	for (i = 0; i < 16; i++)
		if (g[i].finish == SQ_FAILED) {
			ck_assert_ptr_ne(strstr(g[i].why, "budget"), NULL);
			failed++;
		} else
			ck_assert_int_eq(g[i].finish, SQ_LENGTH);
	ck_assert_uint_eq(failed, 2);		/* of 260 and 330 tokens */
	sq_batcher_totals(e, &t);
	ck_assert_uint_le(t.kv_peak, one);
	ck_assert_uint_gt(t.evicted, 0);
	sq_batcher_free(e);
}
END_TEST

/* Memory is foreseen: to the byte where a window has all blocks, never too
 * little, at most one block's plain values too much. */
START_TEST(predicted)
{
	static const struct {
		size_t prompt, tokens, spare;
	} is[] = { { 5, 130 + 11, 0 }, { 14, 330 + 11, 1 } };
	struct sq_batcher *e = engine("int4", 1, 0, 1);
	struct sq_batcher_totals t;
	uint64_t most;
	struct got g;

	submit(e, is[_i].prompt, &g);
	run(e);
	ck_assert_uint_eq(g.n, 11);
	sq_batcher_totals(e, &t);
	most = sq_kvcache_predict(sq_batcher_cache(e), 1, is[_i].tokens,
	    SQ_BATCHER_CHUNK);
	ck_assert_uint_le(t.kv_peak, most);
	ck_assert_uint_ge(t.kv_peak + is[_i].spare *
	    sq_batcher_cache(e)->near_bytes, most);
	sq_batcher_free(e);
}
END_TEST

START_TEST(stops)
{
	static const char *const stop[] = { "END", "ENDS" };
	struct sq_textout t;
	char err[SQ_ERR];
	struct sq_tokenizer *tok = NULL;
	size_t len, i, n;
	const char *s;
	char all[200] = "";
	struct sq_ids ids = { NULL, 0, 0 };
	FILE *f = fopen(MODEL "/tokenizer.json", "r");
	char *json = malloc(8 << 20);

	n = fread(json, 1, 8 << 20, f);
	fclose(f);
	tok = sq_tokenizer_new(json, n, err);
	ck_assert_msg(tok != NULL, "%s", err);
	ck_assert(sq_tokenizer_encode(tok, "EN or EMD? then ENDING", 22, 0,
	    &ids, err) == 0);
	ck_assert(sq_textout_init(&t, tok, stop, 2) == 0);
	for (i = 0; i < ids.n; i++) {
		s = sq_textout_put(&t, ids.id[i], &len);
		ck_assert_ptr_ne(s, NULL);
		strncat(all, s, len);
	}
	ck_assert(t.stopped);
	s = sq_textout_flush(&t, &len);
	strncat(all, s, len);
	ck_assert_str_eq(all, "EN or EMD? then ");
	sq_textout_release(&t);
	sq_ids_release(&ids);
	sq_tokenizer_free(tok);
	free(json);
}
END_TEST

/* The link and the memory change what is chosen, and it is said why. */
START_TEST(choice)
{
	struct sq_kv_need n = { 32, 8, 128, 10000, 0, 0, 1000 };
	struct sq_kv_policy p;
	char why[4096];

	sq_kv_pick(&p, &n, why, sizeof(why));
	ck_assert_int_eq(p.k.grid, SQ_PAGE_PLAIN);
	n.memory = 900000000;			/* of 1.3 GB */
	sq_kv_pick(&p, &n, why, sizeof(why));
	ck_assert_int_eq(p.k.grid, SQ_PAGE_INT8);
	ck_assert_ptr_ne(strstr(why, "beyond the memory"), NULL);
	n.memory = 0;
	n.link = 50e6;
	sq_kv_pick(&p, &n, why, sizeof(why));
	ck_assert_int_eq(p.k.grid, SQ_PAGE_INT4);
	ck_assert_ptr_ne(strstr(why, "too few"), NULL);
}
END_TEST

/* A policy has one text, and what is wrong is refused. */
START_TEST(policy)
{
	static const char *const bad[] = { "", "int3", "int4,sink", "int4,x",
	    "int8,layers=3", "int8,layers=3-1:f16", "int4,window=8,channel",
	    "f16,layers=0-1:f32", "int4,sink=-1" };
	static const char *const good[][2] = {
		{ "fp16", "f16" }, { "int8/int8", "int8,sink=0,window=0,"
		    "near=bf16,no-hadamard" },
		{ "int4", "int4,sink=4,window=128,near=bf16,hadamard" },
		{ "int8/int4,layers=0-1:f16", "int8/int4,sink=0,window=0,"
		    "near=f16,no-hadamard,layers=0-1:f16" },
	};
	struct sq_kv_policy p, q;
	char err[SQ_ERR], text[SQ_KV_TEXT], again[SQ_KV_TEXT];
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(sq_kv_policy_parse(&p, bad[i], err) < 0, "'%s'",
		    bad[i]);
	for (i = 0; i < 4; i++) {
		ck_assert_int_eq(sq_kv_policy_parse(&p, good[i][0], err), 0);
		sq_kv_policy_text(&p, text);
		ck_assert_str_eq(text, good[i][1]);
		ck_assert_int_eq(sq_kv_policy_parse(&q, text, err), 0);
		sq_kv_policy_text(&q, again);
		ck_assert_str_eq(text, again);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("engine");
	TCase *t = tcase_create("engine");
	SRunner *r = srunner_create(s);
	char err[SQ_ERR];
	int failed;

	if ((model = sq_model_open(MODEL, err)) == NULL ||
	    sq_ctx_init(&ctx, sq_kern_find("auto", err), sq_pool_new(2)) < 0) {
		fprintf(stderr, "t_engine: %s\n", err);
		return 1;
	}
	srunner_set_fork_status(r, CK_NOFORK);
	tcase_set_timeout(t, 300);
	tcase_add_loop_test(t, company, 0, 3);
	tcase_add_loop_test(t, prefix, 0, 3);
	tcase_add_test(t, budget);
	tcase_add_loop_test(t, predicted, 0, 2);
	tcase_add_test(t, stops);
	tcase_add_test(t, choice);
	tcase_add_test(t, policy);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	sq_model_free(model);
	return failed != 0;
}
