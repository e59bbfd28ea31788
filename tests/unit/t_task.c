/* Tasks: readers, scores, tests of significance. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/significance.h"
#include "eval/task.h"
#include "eval/top.h"

static char err[SQ_ERR];

static double
score(enum sq_answer_rule rule, const char *said, const char *right)
{
	char *answer[] = { (char *)right };
	char *classes[] = { "Animal", "Anim", "Plant" };
	struct sq_item it = { .answer = answer, .nanswers = 1,
	    .classes = classes, .nclasses = 3 };

	return sq_answer_score(&it, rule, said);
}

#define NEAR(a, b)	ck_assert_double_eq_tol(a, b, 1e-9)

START_TEST(answers)
{
	NEAR(score(SQ_EXACT, " 2687\nQuestion: what", "2687"), 1);
	NEAR(score(SQ_EXACT, "\n\n 2687. \n", "2687"), 0);
	NEAR(score(SQ_EXACT, "", "x"), 0);
	/* the words "cat sat" of "cat sat down" and "cat sat" */
	NEAR(score(SQ_F1, "The cat sat\ndown.", "a Cat sat"), 2 * 2. / 5);
	NEAR(score(SQ_F1_LINE, "The cat sat\ndown.", "a Cat sat"), 1);
	NEAR(score(SQ_F1, "", "a cat"), 0);
	NEAR(score(SQ_F1, "x x y", "x y y"), 2 * 2. / 6);
	/* "b d" of "b c d" and "b x d": order counts */
	NEAR(score(SQ_ROUGE_L, "b c d", "b x d"), 2 * 2. / 6);
	NEAR(score(SQ_ROUGE_L, "d c b", "b x d"), 2 * 1. / 6);
	NEAR(score(SQ_CLASSIFY, "it is an Animal", "Animal"), 1);
	NEAR(score(SQ_CLASSIFY, "Animal or Plant", "Animal"), .5);
	NEAR(score(SQ_CLASSIFY, "Plant", "Animal"), 0);
	NEAR(score(SQ_RETRIEVE, "Paragraph 3, or 12", "Paragraph 12"), .5);
	NEAR(score(SQ_COUNT, "none", "7"), 0);
	NEAR(score(SQ_EDIT, "# no\n```\nreturn x\nmore", "return y"), 1 - 1. / 8);
	NEAR(score(SQ_EDIT, "", "abc"), 0);
}
END_TEST

START_TEST(intervals)
{
	double v[10] = { 1, 1, 1, 0, 1, 1, 0, 1, 1, 1 }, w[10], delta;
	struct sq_interval s = sq_interval_of(v, 10);
	int i;

	/* Wilson's interval of 8 in 10, as tables have it */
	NEAR(s.mean, .8);
	ck_assert_double_eq_tol(s.low, .4902, 1e-4);
	ck_assert_double_eq_tol(s.high, .9433, 1e-4);
	ck_assert(isnan(sq_interval_of(v, 0).mean));
	/* five lost, none won: 2 / 2^5 */
	for (i = 0; i < 10; i++)
		w[i] = i < 5 && v[i] == 1 ? 0 : v[i];
	w[6] = v[6];
	NEAR(sq_paired(v, w, 10, &delta), 2 / pow(2, 4));
	NEAR(delta, -.4);
	NEAR(sq_paired(v, v, 10, &delta), 1);
	ck_assert_double_eq_tol(sq_p_of_z(1.959964), .05, 1e-6);
	v[0] = .5;
	ck_assert_double_lt(sq_paired(v, w, 10, &delta), .1);
}
END_TEST

/* Writes a file and reads it as a task. */
static int
read_text(struct sq_task *t, enum sq_task_kind kind, const char *text)
{
	struct sq_task_options o = { 0 };
	char path[] = "/tmp/t_taskXXXXXX";
	int fd = mkstemp(path), r;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
	r = sq_task_read(t, kind, path, &o, err);
	unlink(path);
	return r;
}

START_TEST(files)
{
	static const struct {
		enum sq_task_kind kind;
		const char *text, *says;
	} bad[] = {
		{ SQ_CHOICE, "", "no questions" },
		{ SQ_CHOICE, "{\n", "line 1" },
		{ SQ_CHOICE, "{\"query\":\"a\",\"choices\":[\"b\"],\"gold\":0}",
		    "1 choices" },
		{ SQ_CHOICE, "{\"query\":\"a\",\"choices\":[\"b\",\"c\"],"
		    "\"gold\":2}", "number 2" },
		{ SQ_CHOICE, "{\"query\":\"a\",\"choices\":[\"b\",1],"
		    "\"gold\":0}", "no string" },
		{ SQ_LAMBADA, "{\"context\":\"a\"}", "continuation" },
		{ SQ_FREE, "{\"prompt\":\"a\"}", "answer" },
		{ SQ_HELLASWAG, "a\n9\nb\nc\nd\ne\n", "line 2" },
		{ SQ_HELLASWAG, "a\n1\nb\n", "multiple of 6" },
		{ SQ_LONGBENCH, "{\"input\":\"a\",\"context\":\"b\","
		    "\"answers\":[\"c\"],\"dataset\":\"none\"}", "'none'" },
	};
	struct sq_task t;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(read_text(&t, bad[i].kind, bad[i].text), -1);
		ck_assert_msg(strstr(err, bad[i].says) != NULL, "%s", err);
		sq_task_release(&t);
	}
	ck_assert_int_eq(read_text(&t, SQ_CHOICE, "{\"query\":\"a\\n\","
	    "\"choices\":[\"b\",\"c\"],\"gold\":1}\n\n{\"query\":\"a\","
	    "\"choices\":[\"b\",\"c\"],\"gold\":0,\"id\":\"x\"}\n"), 0);
	ck_assert_uint_eq(t.n, 2);
	ck_assert_str_eq(t.item[0].prompt, "a\nAnswer:");
	ck_assert_str_eq(t.item[1].prompt, "a\nAnswer:");
	ck_assert_str_eq(t.item[0].option[1], " c");
	ck_assert_uint_eq(t.item[0].gold, 1);
	ck_assert_str_eq(t.item[1].id, "x");
	sq_task_release(&t);
	ck_assert_int_eq(read_text(&t, SQ_HELLASWAG, "ctx\n2\na\nb\nc\nd\n"),
	    0);
	ck_assert_uint_eq(t.item[0].gold, 2);
	ck_assert_str_eq(t.item[0].option[3], " d");
	sq_task_release(&t);
}
END_TEST

/* Shards are runs that follow each other and differ by one at most. */
START_TEST(shards)
{
	size_t of, at, n, next, len;

	for (n = 0; n < 40; n++)
		for (of = 1; of < 12; of++)
			for (at = next = 0; at < of; at++) {
				struct sq_shard s = { at, of };

				ck_assert_uint_eq(sq_shard_start(&s, n), next);
				next = sq_shard_end(&s, n);
				len = next - sq_shard_start(&s, n);
				ck_assert_uint_le(len, (n + of - 1) / of);
				ck_assert_uint_ge(len, n / of);
				if (at + 1 == of)
					ck_assert_uint_eq(next, n);
			}
}
END_TEST

/* Against the definition: c is before d when it is greater, or equal and
 * earlier. */
START_TEST(likeliest)
{
	enum { ROWS = 7, COLS = 33, WIDE = 40 };
	float x[ROWS * WIDE];
	uint32_t ids[ROWS * SQ_TOP], rest[SQ_TOP] = { 1, 2, 3, 4, 5 };
	uint32_t other[SQ_TOP] = { 5, 9, 1, 7, 8 };
	struct sq_mat m = { x, SQ_F32, ROWS, COLS, WIDE };
	struct sq_ctx c = { .kern = sq_kern_find("ref", err) };
	size_t r, i, k, before;
	unsigned seed = 1;

	for (i = 0; i < ROWS * WIDE; i++)
		x[i] = (float)(rand_r(&seed) % 12);
	ck_assert_int_eq(sq_top(&c, &m, ids), 0);
	for (r = 0; r < ROWS; r++)
		for (i = 0; i < COLS; i++) {
			const float *v = x + r * WIDE;

			for (k = before = 0; k < COLS; k++)
				before += v[k] > v[i] || (v[k] == v[i] &&
				    k < i);
			if (before < SQ_TOP)
				ck_assert_uint_eq(ids[r * SQ_TOP + before], i);
		}
	m.cols = SQ_TOP - 1;
	ck_assert_int_eq(sq_top(&c, &m, ids), -1);
	ck_assert_uint_eq(sq_top_common(rest, other), 2);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("task");
	TCase *c = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, answers);
	tcase_add_test(c, intervals);
	tcase_add_test(c, files);
	tcase_add_test(c, likeliest);
	tcase_add_test(c, shards);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
