/* Draws come as often as their probabilities say, sorted or not. */
#include <check.h>
#include <math.h>

#include "model/sampler.h"

#define VOCAB	7
#define DRAWS	40000

static const float logits[VOCAB] = { 0.5f, -3, 2, 2, -80, 1, -1 };

static void
count(const struct sq_sampling *how, double share[VOCAB])
{
	struct sq_sampler s;
	char err[SQ_ERR];
	uint32_t id;
	size_t i;

	ck_assert(sq_sampler_init(&s, how, VOCAB, err) == 0);
	for (i = 0; i < VOCAB; i++)
		share[i] = 0;
	for (i = 0; i < DRAWS; i++) {
		ck_assert(sq_sampler_pick(&s, logits, &id, err) == 0);
		ck_assert_uint_lt(id, VOCAB);
		share[id] += 1. / DRAWS;
	}
	sq_sampler_release(&s);
}

START_TEST(frequencies)
{
	static const struct sq_sampling hows[] = {
		{ .temperature = 1, .top_p = 1, .seed = 3 },
		{ .temperature = 2, .top_p = 1, .top_k = VOCAB, .seed = 4 },
		{ .temperature = 1, .top_p = 1, .min_p = 1e-30, .seed = 5 },
	};
	const struct sq_sampling *how = &hows[_i];
	double share[VOCAB], p[VOCAB], sum = 0;
	size_t i;

	count(how, share);
	for (i = 0; i < VOCAB; i++)
		sum += p[i] = exp((double)logits[i] / how->temperature);
	for (i = 0; i < VOCAB; i++) {
		p[i] /= sum;
		/* five standard deviations */
		ck_assert_double_le(fabs(share[i] - p[i]),
		    5 * sqrt(p[i] * (1 - p[i]) / DRAWS));
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("sampler");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, frequencies, 0, 3);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
