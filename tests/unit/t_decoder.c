/*
 * A device's decoder: sequences that are decoded together make the tokens that
 * each makes alone, whichever kernels a number of them gets.  Weights are of 4
 * bits and random, so that logits lie apart; skipped where there is no decoder.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/decoder.h"
#include "model/rope.h"

#define ALL	64
#define STEPS	8
#define CONTEXT	512

static const struct sq_decoder_ops *ops;
static struct sq_decoder *d;
static char err[SQ_ERR];

static void
begin(enum sq_dec_kv kv)
{
	struct sq_dec_shape s = { .layers = 3, .dim = 2048, .ffn = 5632,
	    .heads = 16, .kv_heads = 4, .head_dim = 128, .vocab = 8192,
	    .eps = 1e-5f, .mode = SQ_DEC_W4, .kv = kv, .slots = ALL,
	    .context = CONTEXT, .pages = ALL * 9, .rows = CONTEXT };
	struct sq_config c = { .head_dim = 128, .rope.theta = 500000,
	    .context = CONTEXT };
	size_t n = CONTEXT + SQ_DEC_PAGE;
	float *a = malloc(n * c.head_dim * sizeof(*a));

	ck_assert(a != NULL && sq_rope_table(&c, 0, n, a) == 0);
	ck_assert_msg((d = ops->open(&s, err)) != NULL, "%s", err);
	ck_assert_msg(ops->random(d, 1, err) == 0 &&
	    ops->angles(d, a, n, err) == 0, "%s", err);
	free(a);
}

/* Prompts of other lengths, some of several pages. */
static void
prompt(size_t which, size_t slot)
{
	uint32_t ids[CONTEXT];
	size_t n = 5 + which * 7 % 290, i;
	struct sq_dec_prompt p = { slot, n, ids, n + STEPS };

	for (i = 0; i < n; i++)
		ids[i] = (uint32_t)((which * 7919 + i * 104729 + 13) % 8191);
	ck_assert_msg(ops->prefill(d, &p, 1, err) == 0, "%s", err);
}

/* All of them, so many at a time. */
static void
decode(size_t at_once, uint32_t made[ALL][STEPS])
{
	uint32_t slot[ALL];
	size_t i, j, n;

	for (i = 0; i < ALL; i += n) {
		n = ALL - i < at_once ? ALL - i : at_once;
		for (j = 0; j < n; j++) {
			slot[j] = (uint32_t)j;
			prompt(i + j, j);
		}
		ck_assert_msg(ops->decode(d, slot, n, STEPS - 1, err) == 0,
		    "%s", err);
		for (j = 0; j < n; j++) {
			ck_assert_int_eq(ops->made(d, j, made[i + j], STEPS,
			    err), STEPS);
			ops->clear(d, j);
		}
	}
}

/* Of sums in another order, a token or two may be a near tie. */
START_TEST(together_as_alone)
{
	static const size_t at_once[] = { 3, 12, 32, 40, 64 };
	static uint32_t alone[ALL][STEPS], made[ALL][STEPS];
	size_t i, j, k, same;

	if ((ops = sq_decoder_find("cuda", err)) == NULL) {
		printf("t_decoder: skipped: %s\n", err);
		return;
	}
	begin((enum sq_dec_kv)_i);
	decode(1, alone);
	for (k = 0; k < sizeof(at_once) / sizeof(at_once[0]); k++) {
		decode(at_once[k], made);
		for (same = i = 0; i < ALL; i++) {
			for (j = 0; j < STEPS && made[i][j] == alone[i][j];)
				j++;
			same += j == STEPS;
		}
		ck_assert_msg(same >= ALL - 3, "%zu at a time: %zu of %d",
		    at_once[k], same, ALL);
	}
	ops->close(d);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("decoder");
	TCase *c = tcase_create("all");
	SRunner *r;
	int bad;

	tcase_add_loop_test(c, together_as_alone, SQ_DEC_KV_BF16,
	    SQ_DEC_KV_INT4 + 1);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad > 0;
}
