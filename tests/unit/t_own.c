/*
 * A teacher's own text: each token's surprise is, on average, what the
 * teacher's probabilities there say, also where it was written in int8; leads
 * are the text's; the same for any number of threads.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "distill/own.h"
#include "engine/session.h"

#define LENGTH	48
#define TEXT	6			/* samples of the text */
#define SAMPLES	10
#define LEAD	16

static uint32_t text[TEXT * LENGTH];
static struct sq_model *model;

struct judge {
	const uint32_t *id;
	size_t vocab;
	double surprise, variance;	/* beyond what is expected; its own */
};

static int
judge(void *arg, size_t at, const float *logits)
{
	struct judge *j = arg;
	double sum = 0, mean = 0, square = 0, p, l;
	size_t i;

	if (at + 1 < LEAD || at + 1 >= LENGTH)
		return 0;
	for (i = 0; i < j->vocab; i++)
		sum += exp((double)logits[i]);
	for (i = 0; i < j->vocab; i++) {
		l = log(sum) - (double)logits[i];
		p = exp(-l);
		mean += p * l;
		square += p * l * l;
	}
	j->surprise += log(sum) - (double)logits[j->id[at + 1]] - mean;
	j->variance += square - mean * mean;
	return 0;
}

/* In standard deviations. */
static double
surprise(struct sq_ctx *ctx, const uint32_t *id)
{
	struct judge j = { .vocab = (size_t)model->config.vocab };
	struct sq_session s;
	char err[SQ_ERR];
	size_t i;

	for (i = 0; i < SAMPLES; i++) {
		j.id = id + i * LENGTH;
		ck_assert(sq_session_init(&s, model, ctx, SQ_PREC_F32, LENGTH,
		    err) == 0);
		ck_assert(sq_session_feed(&s, j.id, LENGTH, judge, &j,
		    err) == 0);
		sq_session_release(&s);
	}
	return j.surprise / sqrt(j.variance);
}

static int
of_text(const uint32_t *lead)
{
	size_t i;

	for (i = 0; i + LEAD <= TEXT * LENGTH; i++)
		if (memcmp(text + i, lead, LEAD * sizeof(*lead)) == 0)
			return 1;
	return 0;
}

static void
write_own(int threads, enum sq_prec prec, uint32_t *id)
{
	struct sq_pool *pool = sq_pool_new(threads);
	const struct sq_tokens tokens = { .id = text, .count = TEXT * LENGTH,
	    .length = LENGTH };
	struct sq_own own = { .teacher = model, .prec = prec, .text = &tokens,
	    .length = LENGTH };
	struct sq_ctx ctx;
	char err[SQ_ERR];
	uint32_t other[SAMPLES * LENGTH];
	size_t i;

	ck_assert(sq_ctx_init(&ctx, sq_kern_find("auto", err), pool) == 0);
	own.ctx = &ctx;
	ck_assert_msg(sq_own_write(&own, id, SAMPLES, err) == 0, "%s", err);
	ck_assert_double_lt(fabs(surprise(&ctx, id)), 4);
	/* what is not drawn surprises */
	memcpy(other, id, sizeof(other));
	for (i = 0; i < SAMPLES * LENGTH; i++)
		if (i % LENGTH >= LEAD)
			other[i] = (other[i] + 1000) % 4096;
	ck_assert_double_gt(surprise(&ctx, other), 8);
	for (i = 0; i < SAMPLES; i++)
		ck_assert(of_text(id + i * LENGTH));
	sq_ctx_release(&ctx);
	sq_pool_free(pool);
}

START_TEST(drawn)
{
	static const enum sq_prec prec[] = { SQ_PREC_F32, SQ_PREC_BF16 };
	static uint32_t one[SAMPLES * LENGTH], three[SAMPLES * LENGTH];
	size_t i;
	char err[SQ_ERR];

	model = sq_model_open("tests/data/sq-ref-7m", err);
	ck_assert_msg(model != NULL, "%s", err);
	for (i = 0; i < TEXT * LENGTH; i++)
		text[i] = (uint32_t)(3 + i * i * 31 % 4093);
	write_own(1, prec[_i], one);
	write_own(3, prec[_i], three);
	ck_assert_mem_eq(one, three, sizeof(one));
	sq_model_free(model);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("own");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, drawn, 0, 2);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
